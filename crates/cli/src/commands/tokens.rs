//! `claviger verifiers` and `claviger admin-tokens`: things with a name and a token.

use std::fmt::Display;

use serde_json::{Value, json};

use super::Session;
use crate::args::TokensCommand;
use crate::failure::Failure;
use crate::output::time::short_value;
use crate::output::{self, Column, Table, text};

/// One of the two sorts.
pub(super) struct Sort {
    path: &'static str,
    one: &'static str,
    none_yet: &'static str,
}

pub(super) const VERIFIERS: Sort = Sort {
    path: "/admin/v1/verifiers",
    one: "verifier",
    none_yet: "There are no verifiers. API servers on this machine can use the socket; for others: claviger verifiers create NAME",
};
pub(super) const ADMIN_TOKENS: Sort = Sort {
    path: "/admin/v1/admin-tokens",
    one: "admin token",
    none_yet: "There are no admin tokens. This machine's socket needs none; for other machines: claviger admin-tokens create NAME",
};

pub(super) async fn run<Id>(session: &Session, sort: &Sort, command: TokensCommand<Id>) -> Result<(), Failure>
where
    Id: Clone + Send + Sync + 'static + std::str::FromStr + Display,
    Id::Err: std::error::Error + Send + Sync + 'static,
{
    match command {
        TokensCommand::Create { name, quiet, once } => {
            let answer = session.server.create(sort.path, json!({"name": name}), &once).await?;
            session.show_issued(&answer, "token", quiet, || {
                output::fields(&[
                    ("id", text(&answer, "id")),
                    ("name", text(&answer, "name")),
                    ("token", text(&answer, "token")),
                ])
            })
        }
        TokensCommand::List => {
            let answer = session.server.get(sort.path, &[]).await?;
            session.show(&answer, || table(session, sort, &answer))
        }
        TokensCommand::Revoke { id } => {
            let answer = session.server.delete(&format!("{}/{id}", sort.path), &[]).await?;
            session.show(&answer, || format!("Revoked {} {id}.", sort.one))
        }
    }
}

fn table(session: &Session, sort: &Sort, answer: &Value) -> String {
    let rows = output::rows(answer);
    if rows.is_empty() {
        return sort.none_yet.to_owned();
    }
    let mut table =
        Table::new(&[Column::Whole("ID"), Column::Prose("NAME"), Column::Whole("CREATED"), Column::Whole("REVOKED")]);
    for row in rows {
        table.row([
            text(row, "id"),
            text(row, "name"),
            short_value(&row["created_at"], session.now, ""),
            short_value(&row["revoked_at"], session.now, "no"),
        ]);
    }
    table.lines()
}
