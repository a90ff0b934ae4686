//! Who may do what: every operation of the API document × every kind of caller.
//!
//! An operation without a row fails, and so does a row without an operation.

use std::collections::BTreeSet;

use claviger_app::CreateKey;
use claviger_domain::definition::{API_KEYS_READ, API_KEYS_WRITE, USAGE_READ};
use claviger_domain::key::{Environment, Kind};
use claviger_domain::member::Role;
use claviger_domain::peer::Peer;
use claviger_gate::Verify;
use serde_json::{Value, json};

use crate::deployment::{Deployment, blank, restricted};
use crate::document::{self, operations};
use crate::wire::{Call, Listener, Reply};

/// The callers:
/// - `none` presents nothing, `garbage` something that was never issued;
/// - `other` is a full key of another organization, `full` one of this organization;
/// - `noscope` is a restricted key with every scope but the one needed, `scope` one with only that;
/// - `ephemeral` is made with a full key, `test` is a full key for the test environment;
/// - `admin` presents an admin token, `socket` comes in by the unix socket and presents nothing.
///
/// The key that an operation is about is live, restricted to the scope `api_keys:write`, and does not expire.
/// An ephemeral key cannot touch it (it would outlive its maker), a test key does not see it.
const TABLE: &str = "
    operation                none garbage other full noscope scope ephemeral test admin socket
    listApiKeys              401  401     200   200  403     200   200       200  401   401
    createApiKey             401  401     201   201  403     201   403       201  401   401
    showApiKey               401  401     404   200  403     200   200       404  401   401
    updateApiKey             401  401     404   200  403     200   403       404  401   401
    revokeApiKey             401  401     404   200  403     200   403       404  401   401
    rotateApiKey             401  401     404   200  403     200   403       404  401   401
    disableApiKey            401  401     404   200  403     200   403       404  401   401
    enableApiKey             401  401     404   200  403     200   403       404  401   401
    showUsage                401  401     200   200  403     200   200       200  401   401
    listAlerts               401  401     200   200  403     200   200       200  401   401
    closeAlert               401  401     404   200  403     200   403       404  401   401
    adminListApis            401  401     401   401  401     401   401       401  200   200
    adminShowApi             401  401     401   401  401     401   401       401  200   200
    adminApplyApi            401  401     401   401  401     401   401       401  200   200
    adminListOrganizations   401  401     401   401  401     401   401       401  200   200
    adminCreateOrganization  401  401     401   401  401     401   401       401  201   201
    adminShowOrganization    401  401     401   401  401     401   401       401  200   200
    adminUpdateOrganization  401  401     401   401  401     401   401       401  200   200
    adminListSubscriptions   401  401     401   401  401     401   401       401  200   200
    adminShowSubscription    401  401     401   401  401     401   401       401  200   200
    adminSetSubscription     401  401     401   401  401     401   401       401  200   200
    adminListMembers         401  401     401   401  401     401   401       401  200   200
    adminShowMember          401  401     401   401  401     401   401       401  200   200
    adminUpdateMember        401  401     401   401  401     401   401       401  200   200
    adminListMemberKeys      401  401     401   401  401     401   401       401  200   200
    adminRemoveMember        401  401     401   401  401     401   401       401  200   200
    adminListInvitations     401  401     401   401  401     401   401       401  200   200
    adminInviteMember        401  401     401   401  401     401   401       401  201   201
    adminRevokeInvitation    401  401     401   401  401     401   401       401  200   200
    adminAcceptInvitation    401  401     401   401  401     401   401       401  201   201
    adminListKeys            401  401     401   401  401     401   401       401  200   200
    adminCreateKey           401  401     401   401  401     401   401       401  201   201
    adminShowKey             401  401     401   401  401     401   401       401  200   200
    adminUpdateKey           401  401     401   401  401     401   401       401  200   200
    adminRevokeKey           401  401     401   401  401     401   401       401  200   200
    adminRotateKey           401  401     401   401  401     401   401       401  200   200
    adminDisableKey          401  401     401   401  401     401   401       401  200   200
    adminEnableKey           401  401     401   401  401     401   401       401  200   200
    adminBulkRevokeKeys      401  401     401   401  401     401   401       401  200   200
    adminListAudit           401  401     401   401  401     401   401       401  200   200
    adminVerifyAudit         401  401     401   401  401     401   401       401  200   200
    adminExportAudit         401  401     401   401  401     401   401       401  200   200
    adminImportKeys          401  401     401   401  401     401   401       401  200   200
    adminShowUsage           401  401     401   401  401     401   401       401  200   200
    adminListOrganizationUsage 401 401    401   401  401     401   401       401  200   200
    adminListUnknownKeys       401 401    401   401  401     401   401       401  200   200
    adminExportUsage         401  401     401   401  401     401   401       401  200   200
    adminListAlerts          401  401     401   401  401     401   401       401  200   200
    adminShowAlert           401  401     401   401  401     401   401       401  200   200
    adminCloseAlert          401  401     401   401  401     401   401       401  200   200
    adminShowAlertSettings   401  401     401   401  401     401   401       401  200   200
    adminPutAlertSettings    401  401     401   401  401     401   401       401  200   200
    adminListVerifiers       401  401     401   401  401     401   401       401  200   200
    adminCreateVerifier      401  401     401   401  401     401   401       401  201   201
    adminRevokeVerifier      401  401     401   401  401     401   401       401  200   200
    adminListAdminTokens     401  401     401   401  401     401   401       401  200   200
    adminCreateAdminToken    401  401     401   401  401     401   401       401  201   201
    adminRevokeAdminToken    401  401     401   401  401     401   401       401  200   200
    adminListWebhooks          401  401     401   401  401     401   401       401  200   200
    adminCreateWebhook         401  401     401   401  401     401   401       401  201   201
    adminShowWebhook           401  401     401   401  401     401   401       401  200   200
    adminUpdateWebhook         401  401     401   401  401     401   401       401  200   200
    adminDeleteWebhook         401  401     401   401  401     401   401       401  200   200
    adminRotateWebhookSecret   401  401     401   401  401     401   401       401  200   200
    adminTestWebhook           401  401     401   401  401     401   401       401  200   200
    adminListWebhookDeliveries 401  401     401   401  401     401   401       401  200   200
    adminShowWebhookDelivery   401  401     401   401  401     401   401       401  200   200
    adminReplayWebhook         401  401     401   401  401     401   401       401  200   200
    adminTestMail              401  401     401   401  401     401   401       401  200   200
    verify                   401  401     401   401  401     401   401       401  401   200
    health                   200  200     200   200  200     200   200       200  200   200
    readiness                200  200     200   200  200     200   200       200  200   200
    metrics                  200  200     200   200  200     200   200       200  200   200
    openapi                  200  200     200   200  200     200   200       200  200   200
";

pub(crate) struct Row {
    pub(crate) operation: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) expected: Vec<(String, u16)>,
}

fn rows() -> Vec<Row> {
    rows_of(TABLE)
}

/// A table, together with the document.
pub(crate) fn rows_of(table: &'static str) -> Vec<Row> {
    let mut lines = table.lines().map(str::split_whitespace).filter(|line| line.clone().next().is_some());
    let callers: Vec<&str> = lines.next().unwrap().skip(1).collect();
    let operations = operations();
    let row = |mut line: std::str::SplitWhitespace<'static>| {
        let name = line.next().unwrap();
        let found = operations.iter().find(|(id, ..)| id == name);
        let (_, method, path) = found.unwrap_or_else(|| panic!("{name} is no operation of the document"));
        let statuses: Vec<u16> = line.map(|status| status.parse().unwrap()).collect();
        assert_eq!(statuses.len(), callers.len(), "{name}");
        let expected = callers.iter().map(|caller| (*caller).to_owned()).zip(statuses).collect();
        Row { operation: name.to_owned(), method: method.clone(), path: path.clone(), expected }
    };
    lines.map(row).collect()
}

#[test]
fn every_operation_has_a_row() {
    let rows: Vec<String> = rows().into_iter().map(|row| row.operation).collect();
    let unique: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(unique.len(), rows.len(), "an operation has two rows");
    let operations: BTreeSet<String> = operations().into_iter().map(|(id, ..)| id).collect();
    let missing: Vec<_> = operations.difference(&unique).collect();
    assert!(missing.is_empty(), "operations without a row: {missing:?}");
}

#[tokio::test]
async fn every_caller_gets_what_the_table_says() {
    let mut wrong = Vec::new();
    let deployment = Deployment::start().await;
    for row in rows() {
        for (caller, expected) in &row.expected {
            let reply = attempt(&deployment, &row, caller).await;
            if reply.status != *expected {
                wrong.push(format!("{} {caller}: {expected} expected, {reply:?}", row.operation));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A caller that may not is told so before anything else of the request is looked at.
#[tokio::test]
async fn a_bad_request_of_somebody_who_may_not_is_still_refused_for_that() {
    let deployment = Deployment::start().await;
    for row in rows().into_iter().filter(|row| row.operation != "verify") {
        for (caller, expected) in row.expected.iter().filter(|(_, status)| *status == 401) {
            let call = call(&deployment, &row, caller).await;
            let reply = call.header("if-match", "nonsense").header("content-type", "text/html").raw("{").send().await;
            assert_eq!(reply.status, *expected, "{} {caller}: {reply:?}", row.operation);
        }
    }
}

/// The request with the body that the operation wants.
pub(crate) async fn filled(deployment: &Deployment, row: &Row, call: Call) -> Call {
    let body = match row.operation.as_str() {
        "adminAcceptInvitation" => Some(json!({"token": deployment.invite(Role::Viewer).await.1, "name": "Eve"})),
        _ => body(deployment, row),
    };
    match body {
        Some(Value::String(text)) if row.operation == "adminImportKeys" => call.body("application/x-ndjson", text),
        Some(Value::String(text)) => call.body("application/toml", text),
        Some(body) => call.json(&body),
        None => call,
    }
}

async fn attempt(deployment: &Deployment, row: &Row, caller: &str) -> Reply {
    let call = filled(deployment, row, call(deployment, row, caller).await).await;
    if row.operation != "verify" {
        return call.send().await;
    }
    // Served by the gate, in front of the routers of this crate.
    let (_, request) = call.request();
    let gate = Verify::new(deployment.app.engine().clone(), deployment.app.clock().clone());
    let peer = *request.extensions().get::<Peer>().unwrap();
    let reply = Reply::read(gate.answer(peer, request).await).await;
    document::check(Listener::Internal, "POST /v1/verify", &reply);
    reply
}

/// The operation's request by the caller, about things that are there, without a body.
async fn call(deployment: &Deployment, row: &Row, caller: &str) -> Call {
    let is_customer = deployment_serves_publicly(&row.path);
    let target = target(deployment, row).await;
    let call = if is_customer {
        deployment.public(&format!("{} /v1{target}", row.method))
    } else {
        deployment.internal(&format!("{} {target}", row.method))
    };
    let needed = needed_scope(&row.operation);
    let secret = match caller {
        "none" => return call,
        "socket" => return call.peer(Some(Peer::Socket)),
        "garbage" => "pl_slive_0123456789abcdefghijklmnopqrstuv".to_owned(),
        "other" => deployment.create(deployment.theirs, blank()).await.secret,
        "full" => deployment.full().await.secret,
        "noscope" => {
            let scopes = [API_KEYS_READ, API_KEYS_WRITE, USAGE_READ, "things:read"];
            let others: Vec<&str> = scopes.into_iter().filter(|scope| *scope != needed).collect();
            deployment.restricted(&others).await.secret
        }
        "scope" => deployment.restricted(&[needed]).await.secret,
        "ephemeral" => {
            let parent_id = Some(deployment.full().await.id);
            deployment
                .create(deployment.mine, CreateKey { kind: Some(Kind::Ephemeral), parent_id, ..blank() })
                .await
                .secret
        }
        "test" => {
            let input = CreateKey { environment: Some(Environment::Test), ..blank() };
            deployment.create(deployment.mine, input).await.secret
        }
        "admin" => deployment.admin_token().await,
        other => panic!("{other} is no kind of caller"),
    };
    call.bearer(&secret)
}

pub(crate) fn deployment_serves_publicly(path: &str) -> bool {
    path.starts_with("/api-keys") || path.starts_with("/account")
}

/// The scope that the customer API asks for; elsewhere scopes mean nothing.
fn needed_scope(operation: &str) -> &'static str {
    match operation {
        "listApiKeys" | "showApiKey" | "listAlerts" => API_KEYS_READ,
        "showUsage" => USAGE_READ,
        _ => API_KEYS_WRITE,
    }
}

/// The operation's path, with a fresh thing for its id, and the query that it cannot do without.
pub(crate) async fn target(deployment: &Deployment, row: &Row) -> String {
    if row.path.contains("{api}") {
        deployment.define_with_plans().await;
    }
    let path = row
        .path
        .replace("{api}", "planned")
        .replace("{name}", if row.operation == "adminApplyApi" { "fresh" } else { "plain" });
    let id = match path.as_str() {
        _ if path.contains("keys/{id}") => {
            deployment.create(deployment.mine, restricted(&[API_KEYS_WRITE])).await.id.to_string()
        }
        _ if path.contains("alerts/{id}") => alert(deployment).await,
        _ if path.contains("organizations/{id}") => deployment.mine.to_string(),
        _ if path.contains("verifiers/{id}") => crate::deployment::commit(
            deployment.app.create_verifier(&claviger_app::Actor::operator(), "gone".parse().unwrap()),
        )
        .await
        .unwrap()
        .value
        .0
        .id
        .to_string(),
        _ if path.contains("admin-tokens/{id}") => crate::deployment::commit(
            deployment.app.create_admin_token(&claviger_app::Actor::operator(), "gone".parse().unwrap()),
        )
        .await
        .unwrap()
        .value
        .0
        .id
        .to_string(),
        _ if path.contains("webhooks/{id}") => deployment.webhook().await.to_string(),
        _ => String::new(),
    };
    let event =
        if path.contains("{event}") { deployment.ping(id.parse().unwrap()).await.to_string() } else { String::new() };
    let mut path = path.replace("{id}", &id).replace("{event}", &event);
    if path.contains("{member}") {
        path = path.replace("{member}", &deployment.member(Role::Viewer).await.to_string());
    }
    if path.contains("{invitation}") {
        path = path.replace("{invitation}", &deployment.invite(Role::Viewer).await.0.to_string());
    }
    match row.operation.as_str() {
        "adminShowUsage" => format!("{path}?organization={}&api=plain", deployment.mine),
        "adminListOrganizationUsage" => format!("{path}?api=plain"),
        "adminExportUsage" => format!("{path}?format=csv&period=2026-01"),
        "adminApplyApi" => format!("{path}?dry_run=true"),
        _ => path,
    }
}

/// An alert, of a key that whoever may write keys may change.
async fn alert(deployment: &Deployment) -> String {
    if let Some(id) = find_alert(deployment).await {
        return id;
    }
    deployment.restricted(&[API_KEYS_WRITE]).await;
    deployment.clock.advance_seconds(91 * 24 * 3600);
    deployment.app.evaluate_alerts().await.unwrap();
    find_alert(deployment).await.unwrap()
}

async fn find_alert(deployment: &Deployment) -> Option<String> {
    let (operator, filter) = (claviger_app::Actor::operator(), claviger_app::AlertFilter::default());
    let page = claviger_app::PageRequest { after: None, limit: 200 };
    for alert in deployment.app.list_alerts(&operator, &filter, page).await.unwrap().rows {
        let row = deployment.app.find_key(&operator, alert.key.unwrap()).await.unwrap();
        if row.key.scopes == restricted(&[API_KEYS_WRITE]).scopes.unwrap() && row.key.organization == deployment.mine {
            return Some(alert.id.to_string());
        }
    }
    None
}

fn body(deployment: &Deployment, row: &Row) -> Option<Value> {
    let new_key = json!({"name": "new", "kind": "restricted", "scopes": [API_KEYS_WRITE]});
    match row.operation.as_str() {
        "createApiKey" => Some(new_key),
        "updateApiKey" | "adminUpdateKey" | "adminUpdateOrganization" | "adminUpdateMember" => Some(json!({"name": "renamed"})),
        "adminCreateKey" => {
            let mut body = new_key;
            body["organization"] = deployment.mine.to_string().into();
            body["api"] = "plain".into();
            Some(body)
        }
        "adminInviteMember" => Some(json!({"email": "eve@example.com", "role": "viewer", "send_mail": false})),
        "adminSetSubscription" => Some(json!({"plan": "small"})),
        "adminPutAlertSettings" => Some(json!({"muted": ["key_age_90"]})),
        "adminBulkRevokeKeys" => Some(json!({"organization": deployment.theirs, "dry_run": true})),
        "adminCreateOrganization" | "adminCreateVerifier" | "adminCreateAdminToken" => Some(json!({"name": "new"})),
        "adminCreateWebhook" => Some(json!({"url": "https://example.com/hook", "events": ["*"]})),
        "adminUpdateWebhook" => Some(json!({"description": "renamed"})),
        "adminReplayWebhook" => Some(json!({"since": "2026-01-01T00:00:00Z"})),
        "adminTestMail" => Some(json!({"to": "ada@example.com"})),
        "adminApplyApi" => Some(Value::String(
            "name = \"fresh\"\ntitle = \"Fresh\"\nbase_path = \"/fresh\"\n[[keys]]\nprefix = \"other_\"\nkind = \"secret\"\n\
             environment = \"live\"\nalphabet = \"base62\"\nlength = 32\n"
                .to_owned(),
        )),
        "adminImportKeys" => {
            let digest = "0".repeat(64);
            let line = json!({"digest": digest, "organization": deployment.mine, "api": "plain", "name": "old", "prefix": "pl_slive_"});
            Some(Value::String(line.to_string()))
        }
        "verify" => Some(json!({"key": null, "method": "GET", "path": "/v1/things"})),
        _ => None,
    }
}
