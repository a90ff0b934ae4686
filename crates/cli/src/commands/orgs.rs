//! `claviger orgs`

use claviger_domain::id::OrganizationId;
use serde_json::{Value, json};

use super::{Session, note_next_page};
use crate::args::OrgsCommand;
use crate::failure::Failure;
use crate::output::time::{long_value, short_value};
use crate::output::{self, Column, Table, text};

const PATH: &str = "/admin/v1/organizations";

pub(super) async fn run(session: &Session, command: OrgsCommand) -> Result<(), Failure> {
    match command {
        OrgsCommand::Create { name, time_zone, quiet, once } => {
            let answer = session.server.create(PATH, json!({"name": name, "time_zone": time_zone}), &once).await?;
            if quiet {
                return output::print(&output::clean(&text(&answer, "id")));
            }
            session.show(&answer, || details(session, &answer))?;
            if !session.json {
                let id = output::clean(&text(&answer, "id"));
                output::note(&format!("\nNext: claviger keys create --org {id} --api NAME --name NAME"));
            }
            Ok(())
        }
        OrgsCommand::List(page) => {
            let query = [("limit", page.limit.map(|limit| limit.to_string())), ("cursor", page.cursor)];
            let answer = session.server.get(PATH, &query).await?;
            session.show(&answer, || table(session, &answer))?;
            note_next_page(&answer, "claviger orgs list");
            Ok(())
        }
        OrgsCommand::Show { id } => {
            let answer = session.server.get(&format!("{PATH}/{id}"), &[]).await?;
            session.show(&answer, || details(session, &answer))
        }
        OrgsCommand::Update { id, name, time_zone } => {
            let mut body = json!({});
            if let Some(name) = name {
                body["name"] = json!(name);
            }
            if let Some(time_zone) = time_zone {
                body["time_zone"] = json!(time_zone);
            }
            let answer = session.server.patch(&format!("{PATH}/{id}"), body).await?;
            session.show(&answer, || details(session, &answer))
        }
        OrgsCommand::Suspend { id } => set_status(session, id, "suspended", "Suspended").await,
        OrgsCommand::Activate { id } => set_status(session, id, "active", "Activated").await,
    }
}

async fn set_status(session: &Session, id: OrganizationId, status: &str, done: &str) -> Result<(), Failure> {
    let answer = session.server.patch(&format!("{PATH}/{id}"), json!({"status": status})).await?;
    session.show(&answer, || format!("{done} {id} ({}).", output::clean(&text(&answer, "name"))))
}

fn table(session: &Session, answer: &Value) -> String {
    let rows = output::rows(answer);
    if rows.is_empty() {
        return "There are no organizations yet. Create one with: claviger orgs create NAME".to_owned();
    }
    let mut table =
        Table::new(&[Column::Whole("ID"), Column::Prose("NAME"), Column::Whole("STATUS"), Column::Whole("CREATED")]);
    for organization in rows {
        table.row([
            text(organization, "id"),
            text(organization, "name"),
            text(organization, "status"),
            short_value(&organization["created_at"], session.now, ""),
        ]);
    }
    table.lines()
}

fn details(session: &Session, organization: &Value) -> String {
    output::fields(&[
        ("id", text(organization, "id")),
        ("name", text(organization, "name")),
        ("status", text(organization, "status")),
        ("time zone", text(organization, "time_zone")),
        ("created", long_value(&organization["created_at"], session.now, "")),
    ])
}
