//! `claviger alerts …`

use serde_json::Value;

use super::{Session, note_next_page};
use crate::args::alerts::AlertsCommand;
use crate::failure::Failure;
use crate::output::time::short_value;
use crate::output::{self, Column, Table, text};

const PATH: &str = "/admin/v1/alerts";

pub(super) async fn run(session: &Session, command: &AlertsCommand) -> Result<(), Failure> {
    match command {
        AlertsCommand::List(args) => {
            let answer = session.server.get(PATH, &args.query()).await?;
            session.show(&answer, || table(session, &answer))?;
            if !session.json {
                note_next_page(&answer, "claviger alerts list");
            }
            Ok(())
        }
        AlertsCommand::Show { id } => {
            let answer = session.server.get(&format!("{PATH}/{id}"), &[]).await?;
            session.show(&answer, || one(session, &answer))
        }
        AlertsCommand::Close { id } => {
            let answer = session.server.post(&format!("{PATH}/{id}/close"), None).await?;
            session.show(&answer, || one(session, &answer))
        }
    }
}

fn table(session: &Session, answer: &Value) -> String {
    if output::rows(answer).is_empty() {
        return "There are no such alerts.".to_owned();
    }
    let columns = [
        Column::Whole("ID"),
        Column::Whole("OPENED"),
        Column::Whole("STATE"),
        Column::Whole("KIND"),
        Column::Prose("ABOUT"),
    ];
    let mut table = Table::new(&columns);
    for alert in output::rows(answer) {
        let opened = short_value(&alert["opened_at"], session.now, "");
        table.row([text(alert, "id"), opened, text(alert, "state"), text(alert, "kind"), about(alert)]);
    }
    table.lines()
}

/// The key by name, prefix and hint, or the organization where it is about all of its keys.
fn about(alert: &Value) -> String {
    let detail = &alert["detail"];
    match alert["key"].as_str() {
        Some(_) => format!("{} ({}…{})", text(detail, "name"), text(detail, "prefix"), text(detail, "hint")),
        None => format!("{} on {}", text(alert, "organization"), text(alert, "api")),
    }
}

fn one(session: &Session, alert: &Value) -> String {
    let time = |name: &str| short_value(&alert[name], session.now, "");
    let head = output::fields(&[
        ("id", text(alert, "id")),
        ("kind", text(alert, "kind")),
        ("state", text(alert, "state")),
        ("organization", text(alert, "organization")),
        ("api", text(alert, "api")),
        ("key", text(alert, "key")),
        ("about", about(alert)),
        ("opened", time("opened_at")),
        ("closed", time("closed_at")),
        ("closed by", text(alert, "closed_by")),
    ]);
    let figures = alert["detail"].as_object().into_iter().flatten();
    let figures: Vec<(&str, String)> = figures
        .filter(|(name, _)| !["name", "prefix", "hint"].contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    if figures.is_empty() { head } else { format!("{head}\n\n{}", output::fields(&figures)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_alert_names_its_key_as_people_know_it() {
        let detail = json!({"name": "CI", "prefix": "tork_sk_", "hint": "x7Qd"});
        let alert = json!({"key": "key_1", "organization": "org_1", "api": "tork", "detail": detail});
        assert_eq!(about(&alert), "CI (tork_sk_…x7Qd)");
        let of_all = json!({"key": null, "organization": "org_1", "api": "tork", "detail": {"used": 80}});
        assert_eq!(about(&of_all), "org_1 on tork");
    }
}
