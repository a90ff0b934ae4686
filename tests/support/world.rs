//! Short words for what every test needs: an organization, its keys, a call, a verdict.

use claviger_domain::time::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::http::{Request, Response};
use super::server::Server;

impl Server {
    /// Sends to the public listener.
    pub(crate) fn public(&self, request: &Request) -> Response {
        request.send(self.public)
    }

    /// Sends to the internal listener as the operator.
    pub(crate) fn admin(&self, request: Request) -> Response {
        match self.said["admin_token"].as_str() {
            Some(token) => request.bearer(token).send(self.internal),
            None => request.send_to_socket(&self.socket()),
        }
    }

    /// Comes as the operator for the first time, and waits until the log says so: that takes a revision of its own.
    pub(crate) fn sign_in(&self) {
        let signed_in = || self.admin(Request::get("/admin/v1/audit?action=admin.signed_in")).expect(200);
        let is_written = (0..200).any(|_| signed_in()["data"].as_array().is_some_and(|events| !events.is_empty()));
        assert!(is_written, "the sign-in is not in the log");
    }

    /// Asks for a verdict as an API server would.
    pub(crate) fn verify(&self, question: &Value) -> Value {
        let request = Request::post("/v1/verify").json(question);
        let response = match self.said["verifier_token"].as_str() {
            Some(token) => request.bearer(token).send(self.internal),
            None => request.send_to_socket(&self.socket()),
        };
        response.expect(200)
    }

    /// Makes an organization that no other test knows of.
    pub(crate) fn organization(&self) -> Organization<'_> {
        let created =
            self.admin(Request::post("/admin/v1/organizations").json(&json!({"name": "Customer"}))).expect(201);
        let organization = Organization { server: self, id: created["id"].as_str().unwrap().to_owned() };
        // Of the apis that have plans, the plans that limit nothing: most tests are about something else.
        for (api, plan) in [("tork", "enterprise"), ("toksta", "saas")] {
            organization.try_subscribe(api, json!({"plan": plan}));
        }
        organization
    }
}

/// A customer account.
pub(crate) struct Organization<'s> {
    server: &'s Server,
    pub(crate) id: String,
}

impl Organization<'_> {
    /// Makes a key on behalf of the organization: whatever `wish` says beside a name.
    pub(crate) fn key(&self, api: &str, wish: Value) -> Key {
        Key::issued(&self.try_key(api, wish).expect(201))
    }

    /// Like [`key`](Self::key), where the answer may be no.
    pub(crate) fn try_key(&self, api: &str, wish: Value) -> Response {
        let body = with(json!({"organization": self.id, "api": api, "name": "Key"}), wish);
        self.server.admin(Request::post("/admin/v1/keys").json(&body))
    }

    pub(crate) fn usage(&self, api: &str) -> Value {
        let target = format!("/admin/v1/usage?organization={}&api={api}", self.id);
        self.server.admin(Request::get(&target)).expect(200)["organization"].clone()
    }

    /// Says what the billing system would say.
    pub(crate) fn subscribe(&self, api: &str, said: Value) -> Value {
        self.try_subscribe(api, said).expect(200)
    }

    /// Like [`subscribe`](Self::subscribe), where the answer may be no.
    pub(crate) fn try_subscribe(&self, api: &str, said: Value) -> Response {
        let path = format!("/admin/v1/organizations/{}/subscriptions/{api}", self.id);
        self.server.admin(Request::put(&path).json(&said))
    }

    pub(crate) fn set_status(&self, status: &str) {
        let request = Request::patch(&format!("/admin/v1/organizations/{}", self.id)).json(&json!({"status": status}));
        self.server.admin(request).expect(200);
    }
}

/// A key that was just made or rotated.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
    /// The answer that issued it, without an envelope.
    pub(crate) body: Value,
}

impl Key {
    /// Reads the answer that shows the secret, with or without an envelope.
    #[track_caller]
    pub(crate) fn issued(answer: &Value) -> Self {
        let body = if answer["data"].is_object() { &answer["data"] } else { answer };
        let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned();
        Self { id: text("id"), secret: text("secret"), body: body.clone() }
    }
}

/// An instant so many days from now, to the second, as answers write it.
pub(crate) fn in_days(days: i64) -> String {
    let now = SystemClock.now().as_micros();
    Timestamp::from_micros(now - now % 1_000_000).plus_seconds(days * 24 * 3600).unwrap().to_string()
}

/// An object with the members of another on top.
pub(crate) fn with(mut object: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more} is not an object") };
    object.as_object_mut().unwrap().extend(more);
    object
}

/// Whether the bytes are somewhere in the others.
pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
