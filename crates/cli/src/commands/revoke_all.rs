//! `claviger keys revoke-all`

use std::io::{BufRead as _, IsTerminal as _};

use serde_json::Value;

use super::Session;
use crate::args::bulk::RevokeAllArgs;
use crate::failure::{Context as _, Failure};
use crate::output::{self, Column, Table, text};

const PATH: &str = "/admin/v1/keys/bulk-revoke";

pub(super) async fn run(session: &Session, args: &RevokeAllArgs) -> Result<(), Failure> {
    if !args.dry_run && !args.yes {
        if session.json || !std::io::stdin().is_terminal() {
            return Err(Failure::usage("this revokes keys for ever, and nobody can be asked whether that is meant")
                .next("look first with --dry-run, then say --yes"));
        }
        let shown = session.server.post_at_length(PATH, args.body(true)).await?;
        output::note(&would_revoke(&shown));
        if number(&shown, "matched") == 0 {
            return Ok(());
        }
        output::note("\nRevoke them for ever? Type yes:");
        let mut typed = String::new();
        std::io::stdin().lock().read_line(&mut typed).or_fail(|| "read from the terminal".to_owned())?;
        if typed.trim() != "yes" {
            return Err(Failure::new("nothing was revoked"));
        }
    }
    let answer = session.server.post_at_length(PATH, args.body(args.dry_run)).await?;
    session.show(&answer, || if args.dry_run { would_revoke(&answer) } else { revoked(&answer) })
}

fn number(answer: &Value, name: &str) -> usize {
    answer[name].as_u64().unwrap_or_default() as usize
}

fn would_revoke(answer: &Value) -> String {
    match number(answer, "matched") {
        0 => format!("No key that works fits.{}", before(answer)),
        matched => {
            format!(
                "{} would be revoked.{}\n\n{}",
                output::count(matched, "key"),
                before(answer),
                keys(answer, matched)
            )
        }
    }
}

fn revoked(answer: &Value) -> String {
    match number(answer, "revoked") {
        0 => format!("No key that works fits; nothing was revoked.{}", before(answer)),
        count => {
            let done = output::count(count, "key");
            format!("Revoked {done}. No server accepts them any more.{}\n\n{}", before(answer), keys(answer, count))
        }
    }
}

/// What was revoked by an earlier call, such as one that was cut short.
fn before(answer: &Value) -> String {
    match number(answer, "already_revoked") {
        0 => String::new(),
        count => format!(" ({} revoked before)", output::count(count, "key")),
    }
}

fn keys(answer: &Value, all: usize) -> String {
    let rows = answer["keys"].as_array().map_or(&[][..], Vec::as_slice);
    let mut table = Table::new(&[
        Column::Whole("ID"),
        Column::Prose("NAME"),
        Column::Whole("SECRET"),
        Column::Whole("ORGANIZATION"),
    ]);
    for key in rows {
        let secret = format!("{}…{}", text(key, "prefix"), text(key, "hint"));
        table.row([text(key, "id"), text(key, "name"), secret, text(key, "organization")]);
    }
    let rest = all.saturating_sub(rows.len());
    let more = if rest > 0 { format!("\nand {rest} more") } else { String::new() };
    format!("{}{more}", table.lines())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_and_what_would_be_revoked_is_said() {
        let key = json!({"id": "key_1", "name": "CI", "prefix": "sk_", "hint": "abcd", "organization": "org_1"});
        let answer = json!({"matched": 3, "revoked": 3, "already_revoked": 1, "keys": [key]});
        insta::assert_snapshot!(revoked(&answer), @r"
        Revoked 3 keys. No server accepts them any more. (1 key revoked before)

        ID     NAME  SECRET    ORGANIZATION
        key_1  CI    sk_…abcd  org_1
        and 2 more
        ");
        assert!(would_revoke(&answer).starts_with("3 keys would be revoked. (1 key revoked before)\n"));
        let nothing = json!({"matched": 0, "revoked": 0, "already_revoked": 0, "keys": []});
        assert_eq!(would_revoke(&nothing), "No key that works fits.");
        assert_eq!(revoked(&nothing), "No key that works fits; nothing was revoked.");
    }
}
