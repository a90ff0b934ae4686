//! `claviger invitations …`

use serde_json::{Value, json};

use super::{Session, members, presented};
use crate::args::members::{AcceptArgs, InvitationsCommand, InviteArgs, OrgArgs};
use crate::failure::Failure;
use crate::output::time::{long_value, short_value};
use crate::output::{self, Column, Table, text};

pub(super) async fn run(session: &Session, command: InvitationsCommand) -> Result<(), Failure> {
    match command {
        InvitationsCommand::Create(args) => create(session, &args).await,
        InvitationsCommand::List(at) => {
            let answer = session.server.get(&path(&at), &[]).await?;
            session.show(&answer, || table(session, &answer))
        }
        InvitationsCommand::Revoke { id, at } => {
            let answer = session.server.delete(&format!("{}/{id}", path(&at)), &[]).await?;
            session
                .show(&answer, || format!("Took back invitation {id} to {}.", output::clean(&text(&answer, "email"))))
        }
        InvitationsCommand::Accept(args) => accept(session, &args).await,
    }
}

fn path(at: &OrgArgs) -> String {
    format!("/admin/v1/organizations/{}/invitations", at.org)
}

async fn create(session: &Session, args: &InviteArgs) -> Result<(), Failure> {
    let body = json!({"email": args.email, "role": args.role, "send_mail": args.send_mail});
    let answer = session.server.create(&path(&args.at), body, &args.once).await?;
    if args.send_mail {
        return session.show(&answer, || {
            format!("{}\n\nA mail takes the token to them.", output::fields(&rows(session, &answer)))
        });
    }
    session.show_issued(&answer, "token", args.quiet, || {
        let mut rows = rows(session, &answer);
        rows.push(("token", text(&answer, "token")));
        output::fields(&rows)
    })?;
    if !session.json && !args.quiet {
        output::note(&format!(
            "Give it to {} alone: whoever has it becomes a member, once.\n\
             Accept it with: claviger invitations accept --invitation - --name NAME",
            output::clean(&text(&answer, "email"))
        ));
    }
    Ok(())
}

async fn accept(session: &Session, args: &AcceptArgs) -> Result<(), Failure> {
    let body = json!({"token": presented(&args.invitation)?, "name": args.name});
    let answer = session.server.create("/admin/v1/invitations/accept", body, &args.once).await?;
    session.show(&answer, || members::details(session, &answer))
}

fn table(session: &Session, answer: &Value) -> String {
    let rows = output::rows(answer);
    if rows.is_empty() {
        return "There are no open invitations.".to_owned();
    }
    let mut table = Table::new(&[
        Column::Whole("ID"),
        Column::Prose("EMAIL"),
        Column::Whole("ROLE"),
        Column::Whole("CREATED"),
        Column::Whole("EXPIRES"),
    ]);
    for invitation in rows {
        table.row([
            text(invitation, "id"),
            text(invitation, "email"),
            text(invitation, "role"),
            short_value(&invitation["created_at"], session.now, ""),
            short_value(&invitation["expires_at"], session.now, ""),
        ]);
    }
    table.lines()
}

fn rows(session: &Session, invitation: &Value) -> Vec<(&'static str, String)> {
    vec![
        ("id", text(invitation, "id")),
        ("email", text(invitation, "email")),
        ("role", text(invitation, "role")),
        ("expires", long_value(&invitation["expires_at"], session.now, "")),
    ]
}
