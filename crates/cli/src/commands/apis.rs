//! `claviger apis`

use serde_json::Value;

use super::Session;
use crate::args::ApisCommand;
use crate::failure::Failure;
use crate::output::{self, Column, Table, list, text};

pub(super) async fn run(session: &Session, command: Option<ApisCommand>) -> Result<(), Failure> {
    match command.unwrap_or(ApisCommand::List) {
        ApisCommand::List => {
            let answer = session.server.get("/admin/v1/apis", &[]).await?;
            session.show(&answer, || table(&answer))?;
            if !session.json && output::rows(&answer).is_empty() {
                output::note("Define one with: claviger apply FILE (claviger init writes a first file).");
            }
            Ok(())
        }
        ApisCommand::Show { name } => {
            let answer = session.server.get(&format!("/admin/v1/apis/{name}"), &[]).await?;
            session.show(&answer, || details(&answer))
        }
    }
}

fn table(answer: &Value) -> String {
    let rows = output::rows(answer);
    if rows.is_empty() {
        return "No API is defined yet.".to_owned();
    }
    let mut table = Table::new(&[
        Column::Whole("NAME"),
        Column::Prose("TITLE"),
        Column::Whole("BASE PATH"),
        Column::Prose("HOSTS"),
        Column::Prose("KEYS BEGIN WITH"),
    ]);
    for api in rows {
        let prefixes: Vec<_> = members(&api["formats"], "prefix").collect();
        table.row([
            text(api, "name"),
            text(api, "title"),
            text(api, "base_path"),
            list(&api["hosts"]),
            prefixes.join(", "),
        ]);
    }
    table.lines()
}

fn members<'v>(array: &'v Value, name: &'static str) -> impl Iterator<Item = String> + 'v {
    array.as_array().into_iter().flatten().map(move |element| text(element, name))
}

fn details(api: &Value) -> String {
    let head = output::fields(&[
        ("name", text(api, "name")),
        ("title", text(api, "title")),
        ("hosts", list(&api["hosts"])),
        ("base path", text(api, "base_path")),
    ]);
    let mut formats = Table::new(&[
        Column::Whole("PREFIX"),
        Column::Whole("KIND"),
        Column::Whole("ENV"),
        Column::Whole("RANDOM PART"),
        Column::Whole(""),
    ]);
    for format in api["formats"].as_array().into_iter().flatten() {
        let checksum = format["checksum"].as_str().map_or(String::new(), |name| format!(" with {name}"));
        formats.row([
            text(format, "prefix"),
            text(format, "kind"),
            text(format, "environment"),
            format!("{} {}{checksum}", format["length"], text(format, "alphabet")),
            if format["default"] == true { "default" } else { "" }.to_owned(),
        ]);
    }
    let mut scopes = Table::new(&[Column::Whole("SCOPE"), Column::Prose("PERMITS")]);
    for scope in api["scopes"].as_array().into_iter().flatten() {
        scopes.row([text(scope, "name"), text(scope, "description")]);
    }
    let mut endpoints = Table::new(&[Column::Whole("ENDPOINT"), Column::Whole("SCOPE"), Column::Whole("ENV")]);
    for endpoint in api["endpoints"].as_array().into_iter().flatten() {
        endpoints.row([text(endpoint, "endpoint"), text(endpoint, "scope"), text(endpoint, "environment")]);
    }
    format!("{head}\n\n{}\n\n{}\n\n{}", formats.lines(), scopes.lines(), endpoints.lines())
}
