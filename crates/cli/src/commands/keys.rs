//! `claviger keys`

use claviger_domain::id::KeyId;
use serde_json::{Value, json};

use super::{Session, note_next_page};
use crate::args::keys::{CreateArgs, KeysCommand, ListArgs, RevokeArgs, RotateArgs, UpdateArgs};
use crate::failure::Failure;
use crate::output::time::{long_value, short_value};
use crate::output::{self, Column, Table, list, text};

const PATH: &str = "/admin/v1/keys";

pub(super) async fn run(session: &Session, command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(args) => create(session, &args).await,
        KeysCommand::List(args) => list_keys(session, &args).await,
        KeysCommand::Show { id } => {
            let key = session.server.get(&format!("{PATH}/{id}"), &[]).await?;
            session.show(&key, || details(session, &key))
        }
        KeysCommand::Update(args) => update(session, &args).await,
        KeysCommand::Rotate(args) => rotate(session, &args).await,
        KeysCommand::Disable { id } => switch(session, id, "disable", "Disabled").await,
        KeysCommand::Enable { id } => switch(session, id, "enable", "Enabled").await,
        KeysCommand::Revoke(args) => revoke(session, args).await,
        KeysCommand::RevokeAll(args) => super::revoke_all::run(session, &args).await,
        KeysCommand::Import(args) => super::import::run(session, &args).await,
    }
}

async fn create(session: &Session, args: &CreateArgs) -> Result<(), Failure> {
    let issued = session.server.create(PATH, args.body(), &args.once).await?;
    session.show_issued(&issued, "secret", args.quiet, || {
        output::fields(&[
            ("id", text(&issued, "id")),
            ("name", text(&issued, "name")),
            ("kind", kind(&issued)),
            ("scopes", list(&issued["scopes"])),
            ("expires", long_value(&issued["expires_at"], session.now, "never")),
            ("secret", text(&issued, "secret")),
        ])
    })
}

async fn list_keys(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let answer = session.server.get(PATH, &args.query()).await?;
    session.show(&answer, || match args.org {
        _ if output::rows(&answer).is_empty() => "There are no such keys.".to_owned(),
        Some(_) => organization_table(session, &answer),
        None => deployment_table(&answer),
    })?;
    note_next_page(&answer, "claviger keys list");
    Ok(())
}

async fn update(session: &Session, args: &UpdateArgs) -> Result<(), Failure> {
    let body = args.body();
    if body.is_empty() {
        return Err(
            Failure::usage("no change was named").next("`claviger keys update --help` lists what can be changed")
        );
    }
    let key = session.server.patch(&format!("{PATH}/{}", args.id), Value::Object(body)).await?;
    session.show(&key, || details(session, &key))
}

async fn rotate(session: &Session, args: &RotateArgs) -> Result<(), Failure> {
    let path = format!("{PATH}/{}/rotate", args.id);
    let body = json!({"overlap_seconds": args.overlap});
    let issued = session.server.create(&path, body, &args.once).await?;
    session.show_issued(&issued, "secret", args.quiet, || {
        output::fields(&[
            ("id", text(&issued, "id")),
            ("name", text(&issued, "name")),
            ("old secret", old_secret(session, &issued)),
            ("secret", text(&issued, "secret")),
        ])
    })
}

fn old_secret(session: &Session, key: &Value) -> String {
    match long_value(&key["overlap_ends_at"], session.now, "") {
        ends if ends.is_empty() => "works no more".to_owned(),
        ends => format!("works until {ends}"),
    }
}

async fn switch(session: &Session, id: KeyId, action: &str, done: &str) -> Result<(), Failure> {
    let key = session.server.post(&format!("{PATH}/{id}/{action}"), None).await?;
    session.show(&key, || format!("{done} {id} ({}).", output::clean(&text(&key, "name"))))
}

async fn revoke(session: &Session, args: RevokeArgs) -> Result<(), Failure> {
    let path = format!("{PATH}/{}", args.id);
    let answer = session.server.delete(&path, &[("reason", args.reason)]).await?;
    session.show(&answer, || format!("Revoked {}. No server accepts it any more.", args.id))
}

/// The keys of one organization, with what tells them apart. The API is one of them where there is more than one.
fn organization_table(session: &Session, answer: &Value) -> String {
    let keys = output::rows(answer);
    let has_apis = keys.iter().any(|key| key["api"] != keys[0]["api"]);
    let api_column = has_apis.then_some(Column::Whole("API"));
    let mut columns = vec![Column::Whole("ID"), Column::Prose("NAME")];
    columns.extend(api_column);
    columns.extend([
        Column::Whole("SECRET"),
        Column::Prose("KIND"),
        Column::Whole("STATE"),
        Column::Whole("LAST USED"),
    ]);
    let mut table = Table::new(&columns);
    for key in keys {
        let mut cells = vec![text(key, "id"), text(key, "name")];
        cells.extend(api_column.map(|_| text(key, "api")));
        cells.extend([
            hint(key),
            short_kind(key),
            text(key, "state"),
            short_value(&key["last_used"], session.now, "never"),
        ]);
        table.row(cells);
    }
    table.lines()
}

/// Keys of many organizations: whose they are matters more than what they may do.
fn deployment_table(answer: &Value) -> String {
    let mut table = Table::new(&[
        Column::Whole("ID"),
        Column::Whole("ORGANIZATION"),
        Column::Whole("API"),
        Column::Prose("NAME"),
        Column::Whole("STATE"),
    ]);
    for key in output::rows(answer) {
        table.row([
            text(key, "id"),
            text(key, "organization"),
            text(key, "api"),
            text(key, "name"),
            text(key, "state"),
        ]);
    }
    table.lines()
}

fn details(session: &Session, key: &Value) -> String {
    let time = |name: &str, missing: &str| long_value(&key[name], session.now, missing);
    let metadata = key["metadata"].as_object().filter(|members| !members.is_empty());
    let restrictions = &key["restrictions"];
    let mut rows = vec![
        ("id", text(key, "id")),
        ("name", text(key, "name")),
        ("state", state(session, key)),
        ("organization", text(key, "organization")),
        ("api", text(key, "api")),
        ("kind", kind(key)),
        ("secret", hint(key)),
        ("scopes", scopes(key)),
    ];
    let restricted = ["ip", "referrer", "endpoint"].map(|name| (name, restriction(&restrictions[name])));
    if restricted.iter().all(|(_, rules)| rules.is_empty()) {
        rows.push(("restrictions", "none".to_owned()));
    }
    rows.extend(restricted);
    rows.extend([
        ("parent", text(key, "parent_id")),
        ("metadata", metadata.map_or(String::new(), |_| key["metadata"].to_string())),
        ("created", format!("{} by {}", time("created_at", ""), text(key, "created_by"))),
        ("expires", time("expires_at", "never")),
        ("last used", time("last_used", "never")),
        ("rotated", time("rotated_at", "")),
        ("old secret", if key["overlap_ends_at"].is_string() { old_secret(session, key) } else { String::new() }),
        ("revision", key["revision"].as_i64().map_or(String::new(), |revision| revision.to_string())),
    ]);
    output::fields(&rows)
}

fn state(session: &Session, key: &Value) -> String {
    let mut state = text(key, "state");
    if key["revoked_at"].is_string() {
        state = format!("{state} {}", long_value(&key["revoked_at"], session.now, ""));
        if let Some(reason) = key["revoked_reason"].as_str() {
            state = format!("{state}: {reason}");
        }
    }
    state
}

fn kind(key: &Value) -> String {
    format!("{}, {}", text(key, "kind"), text(key, "environment"))
}

/// Full access and live go without saying: `secret`, `secret, test`, `restricted: evaluate`.
fn short_kind(key: &Value) -> String {
    let mut short = text(key, "kind");
    if key["environment"] == "test" {
        short.push_str(", test");
    }
    match list(&key["scopes"]) {
        all if all == "*" => {}
        none if none.is_empty() => short.push_str(": no scopes"),
        named => short = format!("{short}: {named}"),
    }
    short
}

fn hint(key: &Value) -> String {
    format!("{}…{}", text(key, "prefix"), text(key, "hint"))
}

fn scopes(key: &Value) -> String {
    match list(&key["scopes"]) {
        all if all == "*" => "* (full access)".to_owned(),
        none if none.is_empty() => "none: it may do nothing".to_owned(),
        named => named,
    }
}

/// Nothing when there is no restriction; an empty list is something else, and said.
fn restriction(rules: &Value) -> String {
    match rules.as_array() {
        None => String::new(),
        Some(rules) if rules.is_empty() => "nothing is allowed".to_owned(),
        Some(_) => list(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_is_for_is_said_shortly() {
        let check = |kind: &str, environment: &str, scopes: &[&str], expected: &str| {
            let key = json!({"kind": kind, "environment": environment, "scopes": scopes});
            assert_eq!(short_kind(&key), expected);
        };
        check("secret", "live", &["*"], "secret");
        check("secret", "test", &["*"], "secret, test");
        check("restricted", "live", &["evaluate", "usage:read"], "restricted: evaluate, usage:read");
        check("restricted", "live", &[], "restricted: no scopes");
    }

    #[test]
    fn no_restriction_and_nothing_allowed_are_told_apart() {
        assert_eq!(restriction(&Value::Null), "");
        assert_eq!(restriction(&json!([])), "nothing is allowed");
        assert_eq!(restriction(&json!(["10.0.0.0/8", "::1/128"])), "10.0.0.0/8, ::1/128");
    }
}
