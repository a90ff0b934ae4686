//! `claviger members …`

use serde_json::{Value, json};

use super::{Session, said};
use crate::args::members::{MemberArgs, MembersCommand, OrgArgs, RemoveArgs, UpdateMemberArgs};
use crate::failure::{Context as _, Failure};
use crate::output::time::{long_value, short_value};
use crate::output::{self, Column, Table, list, text};

pub(super) async fn run(session: &Session, command: MembersCommand) -> Result<(), Failure> {
    match command {
        MembersCommand::List(at) => {
            let answer = session.server.get(&list_path(&at), &[]).await?;
            session.show(&answer, || table(session, &answer, &at))
        }
        MembersCommand::Show(member) => {
            let answer = session.server.get(&path(&member, ""), &[]).await?;
            session.show(&answer, || details(session, &answer))
        }
        MembersCommand::Keys(member) => list_keys(session, &member).await,
        MembersCommand::Update(args) => update(session, &args).await,
        MembersCommand::Remove(args) if args.dry_run && args.keys.is_open() => list_keys(session, &args.member).await,
        MembersCommand::Remove(args) => remove(session, &args).await,
    }
}

fn list_path(at: &OrgArgs) -> String {
    format!("/admin/v1/organizations/{}/members", at.org)
}

fn path(member: &MemberArgs, below: &str) -> String {
    format!("{}/{}{below}", list_path(&member.at), member.id)
}

async fn update(session: &Session, args: &UpdateMemberArgs) -> Result<(), Failure> {
    let chosen = args.alert_mails.as_ref().map(|kinds| json!(kinds));
    let chosen = chosen.or(args.no_alert_mails.then(|| json!([]))).or(args.default_alert_mails.then_some(Value::Null));
    let body = said([
        ("name", args.name.as_ref().map(|name| json!(name))),
        ("role", args.role.map(|role| json!(role))),
        ("alert_mails", chosen),
    ]);
    let answer = session.server.patch(&path(&args.member, ""), body).await?;
    session.show(&answer, || details(session, &answer))
}

async fn list_keys(session: &Session, member: &MemberArgs) -> Result<(), Failure> {
    let answer = session.server.get(&path(member, "/keys"), &[]).await?;
    session.show(&answer, || keys(session, &answer))
}

async fn remove(session: &Session, args: &RemoveArgs) -> Result<(), Failure> {
    let mut body = serde_json::to_value(&args.keys).or_fail(|| "say what becomes of the keys".to_owned())?;
    body["dry_run"] = args.dry_run.into();
    let answer = session.server.post(&path(&args.member, "/remove"), Some(body)).await?;
    session.show(&answer, || removed(&answer))?;
    let is_handed_over = answer["handed_over"].as_array().is_some_and(|keys| !keys.is_empty());
    if is_handed_over && answer["dry_run"] == false && !session.json {
        output::note(
            "\nWhoever left still knows the secrets that were handed over. Replace each: claviger keys rotate ID",
        );
    }
    Ok(())
}

fn table(session: &Session, answer: &Value, at: &OrgArgs) -> String {
    let rows = output::rows(answer);
    if rows.is_empty() {
        return format!(
            "There are no members. Invite one: claviger invitations create --org {} --email ADDRESS --role owner",
            at.org
        );
    }
    let mut table = Table::new(&[
        Column::Whole("ID"),
        Column::Prose("NAME"),
        Column::Prose("EMAIL"),
        Column::Whole("ROLE"),
        Column::Whole("JOINED"),
    ]);
    for member in rows {
        table.row([
            text(member, "id"),
            text(member, "name"),
            text(member, "email"),
            text(member, "role"),
            short_value(&member["created_at"], session.now, ""),
        ]);
    }
    table.lines()
}

/// A member, line by line.
pub(super) fn details(session: &Session, member: &Value) -> String {
    output::fields(&[
        ("id", text(member, "id")),
        ("name", text(member, "name")),
        ("email", text(member, "email")),
        ("role", text(member, "role")),
        ("alert mails", alert_mails(member)),
        ("organization", text(member, "organization")),
        ("joined", long_value(&member["created_at"], session.now, "")),
    ])
}

fn alert_mails(member: &Value) -> String {
    match member["alert_mails"].as_array() {
        Some(kinds) if kinds.is_empty() => "none".to_owned(),
        Some(_) => list(&member["alert_mails"]),
        None => "what the role has".to_owned(),
    }
}

fn keys(session: &Session, answer: &Value) -> String {
    let rows = output::rows(answer);
    if rows.is_empty() {
        return "The member made no key that is live.".to_owned();
    }
    let mut table = Table::new(&[
        Column::Whole("ID"),
        Column::Prose("NAME"),
        Column::Whole("API"),
        Column::Whole("SECRET"),
        Column::Whole("CREATED"),
        Column::Whole("LAST USED"),
    ]);
    for key in rows {
        table.row([
            text(key, "id"),
            text(key, "name"),
            text(key, "api"),
            secret(key),
            short_value(&key["created_at"], session.now, ""),
            short_value(&key["last_used"], session.now, "never"),
        ]);
    }
    table.lines()
}

/// Its public head and its last characters.
fn secret(key: &Value) -> String {
    format!("{}…{}", text(key, "prefix"), text(key, "hint"))
}

fn removed(answer: &Value) -> String {
    let member = &answer["member"];
    let who = format!("{} ({}, {})", text(member, "id"), text(member, "name"), text(member, "email"));
    let is_dry = answer["dry_run"] == true;
    let head = if is_dry { format!("{who} would be removed.") } else { format!("Removed {who}.") };
    let head = output::clean(&head);
    let mut table = Table::new(&[
        Column::Whole("ID"),
        Column::Prose("NAME"),
        Column::Whole("API"),
        Column::Whole("SECRET"),
        Column::Whole("BECOMES"),
    ]);
    let mut is_empty = true;
    for (field, becomes) in [("revoked", "revoked"), ("handed_over", "handed over"), ("kept", "kept as it is")] {
        for key in answer[field].as_array().into_iter().flatten() {
            is_empty = false;
            table.row([text(key, "id"), text(key, "name"), text(key, "api"), secret(key), becomes.to_owned()]);
        }
    }
    if is_empty { format!("{head} No live key was theirs.") } else { format!("{head}\n\n{}", table.lines()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_each_key_is_said() {
        let key = |id: &str| json!({"id": id, "name": "CI", "api": "tork", "prefix": "tork_sk_", "hint": "x7Qd"});
        let member = json!({"id": "mem_1", "name": "Ada\u{202e}", "email": "ada@example.com"});
        let mut answer = json!({
            "member": member, "revoked": [key("key_1")], "handed_over": [key("key_2")], "kept": [key("key_3")],
            "dry_run": false,
        });
        insta::assert_snapshot!(removed(&answer), @r"
        Removed mem_1 (Ada\u{202e}, ada@example.com).

        ID     NAME  API   SECRET         BECOMES
        key_1  CI    tork  tork_sk_…x7Qd  revoked
        key_2  CI    tork  tork_sk_…x7Qd  handed over
        key_3  CI    tork  tork_sk_…x7Qd  kept as it is
        ");
        for list in ["revoked", "handed_over", "kept"] {
            answer[list] = json!([]);
        }
        answer["dry_run"] = true.into();
        let told = removed(&answer);
        assert!(told.ends_with("ada@example.com) would be removed. No live key was theirs."), "{told}");
    }
}
