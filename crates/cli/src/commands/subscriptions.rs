//! `claviger subscriptions`

use serde_json::{Value, json};

use super::{Session, said};
use crate::args::subscriptions::{PlaceArgs, SubscriptionsCommand, Switch};
use crate::failure::Failure;
use crate::output::time::{long_value, short_value};
use crate::output::{self, Column, Table, text};

pub(super) async fn run(session: &Session, command: SubscriptionsCommand) -> Result<(), Failure> {
    match command {
        SubscriptionsCommand::Set { place, plan, state, api_access, anchor_day, event_at } => {
            let body = said([
                ("plan", plan.map(|plan| json!(plan))),
                ("state", state.map(|state| json!(state))),
                ("api_access", api_access.map(|switch| json!(matches!(switch, Switch::On)))),
                ("anchor_day", anchor_day.map(|day| json!(day.0))),
                ("event_at", event_at.map(|at| json!(at))),
            ]);
            let answer = session.server.put(&path(&place), body).await?;
            session.show(&answer, || details(session, &answer))?;
            note(session, &answer);
            Ok(())
        }
        SubscriptionsCommand::Show(place) => {
            let answer = session.server.get(&path(&place), &[]).await?;
            session.show(&answer, || details(session, &answer))?;
            note(session, &answer);
            Ok(())
        }
        SubscriptionsCommand::List { org } => {
            let answer = session.server.get(&format!("/admin/v1/organizations/{org}/subscriptions"), &[]).await?;
            session.show(&answer, || table(session, &answer))
        }
    }
}

fn path(place: &PlaceArgs) -> String {
    format!("/admin/v1/organizations/{}/subscriptions/{}", place.org, place.api)
}

/// What somebody should know goes beside the answer.
fn note(session: &Session, answer: &Value) {
    if let (false, Some(notice)) = (session.json, answer["notice"].as_str()) {
        output::note(&format!("\n{}", output::clean(notice)));
    }
}

fn details(session: &Session, answer: &Value) -> String {
    let said = &answer["said"];
    let keys_work = match (answer["keys_work"].as_bool(), answer["keys_work_until"].as_str()) {
        (Some(true), Some(_)) => format!("until {}", long_value(&answer["keys_work_until"], session.now, "")),
        (Some(true), None) => "yes".to_owned(),
        _ => "no: they are refused".to_owned(),
    };
    let plan = match answer["plan"].as_str() {
        Some(name) => format!("{} ({name})", text(answer, "plan_title")),
        None => "none".to_owned(),
    };
    let billing = match said["state"].as_str() {
        Some(state) => format!("{state} since {}", long_value(&said["state_since"], session.now, "")),
        None => "nothing was said: the API's default plan holds".to_owned(),
    };
    output::fields(&[
        ("api", text(answer, "api")),
        ("plan", plan),
        ("billing", billing),
        ("api access", if said["api_access"] == false { "off".to_owned() } else { String::new() }),
        ("keys work", keys_work),
        ("keys", format!("{} of {}", answer["keys"], answer["key_limit"])),
        ("anchor day", said["anchor_day"].as_u64().map_or(String::new(), |day| day.to_string())),
    ])
}

fn table(session: &Session, answer: &Value) -> String {
    let rows = output::rows(answer);
    if rows.is_empty() {
        return "Nothing was said of this organization: the default plans of the APIs hold.".to_owned();
    }
    let mut table =
        Table::new(&[Column::Whole("API"), Column::Whole("PLAN"), Column::Whole("STATE"), Column::Whole("SINCE")]);
    for said in rows {
        table.row([
            text(said, "api"),
            text(said, "plan"),
            text(said, "state"),
            short_value(&said["state_since"], session.now, ""),
        ]);
    }
    table.lines()
}
