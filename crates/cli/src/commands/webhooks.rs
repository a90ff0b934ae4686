//! `claviger webhooks` and `claviger mail`

use claviger_domain::id::WebhookId;
use serde_json::{Map, Value, json};

use super::{Session, note_next_page};
use crate::args::webhooks::{CreateWebhookArgs, MailCommand, ReplayArgs, UpdateWebhookArgs, WebhooksCommand};
use crate::failure::Failure;
use crate::output::time::{long_value, short_value};
use crate::output::{self, Column, Table, list, text};

const PATH: &str = "/admin/v1/webhooks";

pub(super) async fn run(session: &Session, command: WebhooksCommand) -> Result<(), Failure> {
    match command {
        WebhooksCommand::Create(args) => create(session, args).await,
        WebhooksCommand::List { org, page } => {
            let query = [
                ("organization", org.map(|id| id.to_string())),
                ("limit", page.limit.map(|limit| limit.to_string())),
                ("cursor", page.cursor),
            ];
            let answer = session.server.get(PATH, &query).await?;
            session.show(&answer, || table(session, &answer))?;
            note_next_page(&answer, "claviger webhooks list");
            Ok(())
        }
        WebhooksCommand::Show { id } => {
            let answer = session.server.get(&path(id, ""), &[]).await?;
            session.show(&answer, || details(session, &answer))
        }
        WebhooksCommand::Update(args) => update(session, args).await,
        WebhooksCommand::Enable { id } => patch(session, id, json!({"enabled": true})).await,
        WebhooksCommand::Disable { id } => patch(session, id, json!({"enabled": false})).await,
        WebhooksCommand::RotateSecret { id, overlap, quiet, once } => {
            let body = overlap.map_or(json!({}), |seconds| json!({"overlap_seconds": seconds}));
            let answer = session.server.create(&path(id, "/rotate-secret"), body, &once).await?;
            session.show_issued(&answer, "secret", quiet, || issued(session, &answer))
        }
        WebhooksCommand::Delete { id } => {
            let answer = session.server.delete(&path(id, ""), &[]).await?;
            session.show(&answer, || format!("Deleted webhook endpoint {id}."))
        }
        WebhooksCommand::Test { id } => {
            let answer = session.server.post(&path(id, "/test"), None).await?;
            session.show(&answer, || {
                let event = text(&answer, "event");
                format!("A ping is on its way. See what became of it: claviger webhooks delivery {id} {event}")
            })
        }
        WebhooksCommand::Deliveries { id, state, page } => {
            let query =
                [("state", state), ("limit", page.limit.map(|limit| limit.to_string())), ("cursor", page.cursor)];
            let answer = session.server.get(&path(id, "/deliveries"), &query).await?;
            session.show(&answer, || deliveries(session, &answer))?;
            note_next_page(&answer, &format!("claviger webhooks deliveries {id}"));
            Ok(())
        }
        WebhooksCommand::Delivery { id, event } => {
            let answer = session.server.get(&path(id, &format!("/deliveries/{event}")), &[]).await?;
            session.show(&answer, || delivery(session, &answer))
        }
        WebhooksCommand::Replay(args) => replay(session, args).await,
    }
}

pub(super) async fn run_mail(session: &Session, command: MailCommand) -> Result<(), Failure> {
    let MailCommand::Test { to } = command;
    let answer = session.server.post("/admin/v1/mail/test", Some(json!({"to": to}))).await?;
    session.show(&answer, || {
        format!(
            "Mail {} to {to} is on its way. Where it cannot be sent, the server's log says why.",
            text(&answer, "id")
        )
    })
}

fn path(id: WebhookId, below: &str) -> String {
    format!("{PATH}/{id}{below}")
}

async fn create(session: &Session, args: CreateWebhookArgs) -> Result<(), Failure> {
    let CreateWebhookArgs { url, events, org, description, quiet, once } = args;
    let body = json!({"url": url, "events": events, "organization": org, "description": description});
    let answer = session.server.create(PATH, body, &once).await?;
    session.show_issued(&answer, "secret", quiet, || issued(session, &answer))
}

async fn update(session: &Session, args: UpdateWebhookArgs) -> Result<(), Failure> {
    let UpdateWebhookArgs { id, url, events, description, no_description } = args;
    let mut body = Map::new();
    let mut change = |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
    change("url", url.map(Value::from));
    change("events", events.map(|events| json!(events)));
    change("description", description.map(|name| json!(name)).or(no_description.then_some(Value::Null)));
    if body.is_empty() {
        return Err(Failure::usage("nothing to change was named").next("see claviger webhooks update --help"));
    }
    patch(session, id, Value::Object(body)).await
}

async fn patch(session: &Session, id: WebhookId, body: Value) -> Result<(), Failure> {
    let answer = session.server.patch(&path(id, ""), body).await?;
    session.show(&answer, || details(session, &answer))
}

async fn replay(session: &Session, args: ReplayArgs) -> Result<(), Failure> {
    let ReplayArgs { id, event, since, until, delivered_too } = args;
    let mut body = json!({"event": event, "since": since, "until": until});
    if delivered_too {
        body["delivered_too"] = true.into();
    }
    let answer = session.server.post(&path(id, "/replay"), Some(body)).await?;
    session.show(&answer, || {
        let count = usize::try_from(answer["replayed"].as_u64().unwrap_or_default()).unwrap_or(usize::MAX);
        let sent = if count == 1 { "is sent" } else { "are sent" };
        format!("{} {sent} once more.", output::count(count, "event"))
    })?;
    if answer["more"] == true && !session.json {
        output::note("There may be more: run the same command again when these are over.");
    }
    Ok(())
}

fn table(session: &Session, answer: &Value) -> String {
    let rows = output::rows(answer);
    if rows.is_empty() {
        return "There are no webhook endpoints. Create one: claviger webhooks create --url URL --event TYPE"
            .to_owned();
    }
    let mut table = Table::new(&[
        Column::Whole("ID"),
        Column::Whole("ORGANIZATION"),
        Column::Prose("URL"),
        Column::Prose("EVENTS"),
        Column::Whole("STATE"),
        Column::Whole("CREATED"),
    ]);
    for webhook in rows {
        table.row([
            text(webhook, "id"),
            organization(webhook),
            text(webhook, "url"),
            list(&webhook["events"]),
            state(webhook),
            short_value(&webhook["created_at"], session.now, ""),
        ]);
    }
    table.lines()
}

fn organization(webhook: &Value) -> String {
    webhook["organization"].as_str().unwrap_or("everybody's").to_owned()
}

fn state(webhook: &Value) -> String {
    match (webhook["enabled"].as_bool(), webhook["disabled_reason"].as_str()) {
        (Some(true), _) if webhook["failing_since"].is_string() => "failing".to_owned(),
        (Some(true), _) => "enabled".to_owned(),
        (_, Some("gone")) => "disabled: it answered 410".to_owned(),
        _ => "disabled".to_owned(),
    }
}

fn rows(session: &Session, webhook: &Value) -> Vec<(&'static str, String)> {
    vec![
        ("id", text(webhook, "id")),
        ("events of", organization(webhook)),
        ("url", text(webhook, "url")),
        ("description", text(webhook, "description")),
        ("events", list(&webhook["events"])),
        ("state", state(webhook)),
        ("failing since", long_value(&webhook["failing_since"], session.now, "")),
        ("created", long_value(&webhook["created_at"], session.now, "")),
        ("secret replaced", long_value(&webhook["rotated_at"], session.now, "")),
        ("old secret until", long_value(&webhook["overlap_ends_at"], session.now, "")),
    ]
}

fn details(session: &Session, webhook: &Value) -> String {
    output::fields(&rows(session, webhook))
}

fn issued(session: &Session, answer: &Value) -> String {
    let mut rows = rows(session, answer);
    rows.push(("secret", text(answer, "secret")));
    output::fields(&rows)
}

fn deliveries(session: &Session, answer: &Value) -> String {
    let rows = output::rows(answer);
    if rows.is_empty() {
        return "There are no such deliveries.".to_owned();
    }
    let mut table = Table::new(&[
        Column::Whole("EVENT"),
        Column::Whole("TYPE"),
        Column::Whole("STATE"),
        Column::Number("ATTEMPTS"),
        Column::Whole("QUEUED"),
        Column::Whole("NEXT"),
        Column::Prose("REASON"),
    ]);
    for delivery in rows {
        table.row([
            text(delivery, "event"),
            text(delivery, "type"),
            text(delivery, "state"),
            delivery["attempts"].to_string(),
            short_value(&delivery["created_at"], session.now, ""),
            short_value(&delivery["next_attempt_at"], session.now, ""),
            text(delivery, "reason"),
        ]);
    }
    table.lines()
}

fn delivery(session: &Session, delivery: &Value) -> String {
    let head = output::fields(&[
        ("event", text(delivery, "event")),
        ("type", text(delivery, "type")),
        ("state", text(delivery, "state")),
        ("reason", text(delivery, "reason")),
        ("queued", long_value(&delivery["created_at"], session.now, "")),
        ("next attempt", long_value(&delivery["next_attempt_at"], session.now, "")),
        ("payload", delivery["payload"].to_string()),
    ]);
    let mut table = Table::new(&[
        Column::Number("ATTEMPT"),
        Column::Whole("TIME"),
        Column::Number("MS"),
        Column::Whole("STATUS"),
        Column::Prose("ANSWER"),
    ]);
    let log = delivery["log"].as_array().map_or(&[][..], Vec::as_slice);
    for attempt in log {
        let answer = attempt["reason"].as_str().or(attempt["answer"].as_str()).unwrap_or_default();
        table.row([
            attempt["number"].to_string(),
            short_value(&attempt["at"], session.now, ""),
            attempt["milliseconds"].to_string(),
            attempt["status"].as_i64().map_or(String::new(), |status| status.to_string()),
            answer.to_owned(),
        ]);
    }
    if log.is_empty() { format!("{head}\n\nIt was not tried yet.") } else { format!("{head}\n\n{}", table.lines()) }
}
