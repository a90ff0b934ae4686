//! The server that a client command asks, and what to do when it does not answer or says no.

use std::io;
use std::path::Path;

use claviger_client::{Answer, Body, ClientError, Management, Place};
use claviger_domain::key::ApiName;
use claviger_domain::mask::masked;
use http::Method;
use serde_json::Value;

use crate::args::{ClientArgs, OnceArgs};
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::init::data_flag;
use crate::output;

/// Query parameters; those without a value are not sent.
type Query<'q> = &'q [(&'static str, Option<String>)];

/// Where verify is; it takes another sort of token than the rest.
pub(crate) const VERIFY_PATH: &str = "/v1/verify";

const IMPORT_PATH: &str = "/admin/v1/keys/import";
/// What to do after an import that did not come to its end.
pub(crate) const IMPORT_NEXT: &str = "run the same command again: what was imported already is passed over";

/// A server that can be asked.
pub(crate) struct Connection {
    management: Management,
    place: Place,
    /// How to start a server where this one was looked for.
    start_command: String,
}

impl Connection {
    /// Chooses the server: the one that was named, else the one on the data directory's socket.
    pub(crate) fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let place = match &args.server {
            Some(server) => server.parse().map_err(|error| {
                // It may be the token that should have followed.
                Failure::usage(format!("--server {}: {error}", masked(server)))
            })?,
            None => Place::Socket(DataDir::new(&args.data).socket()),
        };
        let management = Management::new(place.clone());
        let management = match (&place, &args.token) {
            // A token in the environment is for servers elsewhere: whoever may open the socket needs none.
            (Place::Socket(_), _) => management,
            (Place::Http(_), Some(token)) => {
                management.with_token(token).map_err(|error| Failure::usage(error.to_string()))?
            }
            (Place::Http(_), None) => {
                return Err(Failure::usage(format!("{place} asks for a token"))
                    .next("put one into CLAVIGER_TOKEN; `claviger admin-tokens create NAME` on the server's machine makes one"));
            }
        };
        Ok(Self { management, place, start_command: format!("claviger serve{}", data_flag(&args.data)) })
    }

    pub(crate) async fn get(&self, path: &str, query: Query<'_>) -> Result<Value, Failure> {
        self.ask(Method::GET, path, query, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        self.ask(Method::POST, path, &[], body.map(Body::Json)).await
    }

    /// The same for what takes longer the more there is to do.
    pub(crate) async fn post_at_length(&self, path: &str, body: Value) -> Result<Value, Failure> {
        let management = self.management.clone().with_timeout(None);
        let answer = management.request(Method::POST, path, &[], Some(Body::Json(body))).await;
        answer.and_then(|answer| document(&answer)).map_err(|error| self.failure(error, path))
    }

    /// Creates something: once, however often it is sent, where an Idempotency-Key was typed.
    pub(crate) async fn create(&self, path: &str, body: Value, once: &OnceArgs) -> Result<Value, Failure> {
        let Some(key) = &once.idempotency_key else { return self.post(path, Some(body)).await };
        let answer = self.management.post_once(path, Some(Body::Json(body)), key).await;
        let answer = answer.map_err(|error| self.failure(error, path))?;
        if answer.replayed {
            output::note("This was done before with the same key; the answer is the one that was given then.");
        }
        document(&answer).map_err(|error| self.failure(error, path))
    }

    /// Text that is not JSON.
    pub(crate) async fn get_text(&self, path: &str, query: Query<'_>) -> Result<Vec<u8>, Failure> {
        let query: Vec<_> = query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        let answer = self.management.request(Method::GET, path, &query, None).await;
        answer.map(|answer| answer.content().to_vec()).map_err(|error| self.failure(error, path))
    }

    /// A part of a text that is not JSON, and the query of the part after it.
    pub(crate) async fn get_part(&self, path: &str, query: Query<'_>) -> Result<(Vec<u8>, Option<String>), Failure> {
        let query: Vec<_> = query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        let answer = self.management.request(Method::GET, path, &query, None).await;
        let answer = answer.map_err(|error| self.failure(error, path))?;
        Ok((answer.content().to_vec(), answer.next_query))
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.ask(Method::PATCH, path, &[], Some(Body::Json(body))).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.ask(Method::PUT, path, &[], Some(Body::Json(body))).await
    }

    pub(crate) async fn delete(&self, path: &str, query: Query<'_>) -> Result<Value, Failure> {
        self.ask(Method::DELETE, path, query, None).await
    }

    /// Sends a definition file as it stands.
    pub(crate) async fn apply(&self, name: &ApiName, text: String, dry_run: bool) -> Result<Value, Failure> {
        let query = [("dry_run", dry_run.then(|| "true".to_owned()))];
        self.ask(Method::PUT, &format!("/admin/v1/apis/{name}"), &query, Some(Body::Toml(text))).await
    }

    /// Sends lines of keys to import. Whatever came of it, they can be sent again.
    pub(crate) async fn import(&self, lines: Vec<u8>, dry_run: bool, strict: bool) -> Result<Value, Failure> {
        let flag = |name, is_set: bool| is_set.then_some((name, "true"));
        let query: Vec<_> = [flag("dry_run", dry_run), flag("strict", strict)].into_iter().flatten().collect();
        let answer = self.management.request(Method::POST, IMPORT_PATH, &query, Some(Body::Ndjson(lines))).await;
        answer.and_then(|answer| document(&answer)).or_else(|error| match error {
            // Of a strict import nothing was taken in: which lines are to blame is the answer.
            ClientError::Refused { report: Some(report), .. } => Ok(*report),
            ClientError::BrokeOff { .. } | ClientError::TimedOut { .. } => {
                Err(Failure::new(error.to_string()).next(IMPORT_NEXT))
            }
            other => Err(self.failure(other, IMPORT_PATH)),
        })
    }

    async fn ask(&self, method: Method, path: &str, query: Query<'_>, body: Option<Body>) -> Result<Value, Failure> {
        let query: Vec<_> = query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        let answer = self.management.request(method, path, &query, body).await;
        answer.and_then(|answer| document(&answer)).map_err(|error| self.failure(error, path))
    }

    fn failure(&self, error: ClientError, path: &str) -> Failure {
        match error {
            ClientError::Unreachable { place, source } => self.unreachable(&place, &source),
            ClientError::Refused { status, message, field, .. } => refused(status, &message, field, path),
            ClientError::BrokeOff { .. } | ClientError::TimedOut { .. } => {
                Failure::new(error.to_string()).next("whether it was done is not known: look before you try again")
            }
            other => Failure::new(other.to_string()),
        }
    }

    fn unreachable(&self, place: &Place, source: &io::Error) -> Failure {
        match (place, source.kind()) {
            (Place::Socket(path), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Failure::new(format!(
                "no server runs on {}",
                path.parent().unwrap_or(Path::new(".")).display()
            ))
            .next(format!(
                "start one with `{}`, or name another with --data DIR or --server URL\n(looked for its socket {})",
                self.start_command,
                path.display()
            )),
            (Place::Socket(path), io::ErrorKind::PermissionDenied) => {
                Failure::new(format!("you may not open {}", path.display()))
                    .next("run this as the user that the server runs as, or use --server URL with a token")
            }
            _ => Failure::new(format!("no server answers at {}: {source}", self.place))
                .next("check the address; it must be the internal listener of a running `claviger serve`"),
        }
    }
}

fn document(answer: &Answer) -> Result<Value, ClientError> {
    if answer.content().is_empty() { Ok(Value::Null) } else { answer.json() }
}

fn refused(status: u16, message: &str, field: Option<String>, path: &str) -> Failure {
    // Most messages begin with the name of what is wrong; the others need it said.
    let said = match field.filter(|field| !message.starts_with(field.as_str())) {
        Some(field) => format!("{field}: {message}"),
        None => message.to_owned(),
    };
    let failure = Failure::new(said);
    match status {
        401 if path == VERIFY_PATH => failure.next(
            "verify takes a verifier's token; `claviger verifiers create NAME` on the server's machine makes one",
        ),
        401 => failure
            .next("check CLAVIGER_TOKEN; `claviger admin-tokens create NAME` on the server's machine makes a new one"),
        404 => match list_command(message) {
            Some(command) => failure.next(format!("see what there is with `{command}`")),
            None => failure,
        },
        500 => failure.next("this is a defect; the server's log says more"),
        503 => failure.next("try again shortly; the server's log says more"),
        _ => failure,
    }
}

/// How to find what there is, by what the server says there is not.
fn list_command(message: &str) -> Option<&'static str> {
    let commands = [
        ("API", "claviger apis"),
        ("organization", "claviger orgs list"),
        ("verifier", "claviger verifiers list"),
        ("admin token", "claviger admin-tokens list"),
        ("API key", "claviger keys list"),
        ("webhook endpoint", "claviger webhooks list"),
        ("alert", "claviger alerts list"),
        ("member", "claviger members list --org ORG"),
        ("invitation", "claviger invitations list --org ORG"),
    ];
    commands.into_iter().find(|(what, _)| message == format!("There is no such {what}.")).map(|(_, command)| command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(server: Option<&str>, token: Option<&str>) -> Result<Connection, Failure> {
        let owned = |text: &str| text.to_owned();
        let args =
            ClientArgs { data: "./here".into(), server: server.map(owned), token: token.map(owned), json: false };
        Connection::new(&args)
    }

    #[test]
    fn a_server_elsewhere_needs_a_token_and_the_socket_none() {
        assert!(connection(None, None).is_ok());
        assert!(connection(None, Some("bad\ntoken")).is_ok());
        assert!(connection(Some("http://127.0.0.1:1"), Some("t")).is_ok());
        assert!(connection(Some("/run/claviger.sock"), None).is_ok());
        for (server, token) in
            [("http://127.0.0.1:1", None), ("127.0.0.1:1", Some("t")), ("http://h", Some("bad\ntoken"))]
        {
            assert_eq!(
                connection(Some(server), token).err().unwrap().exit_code(),
                std::process::ExitCode::from(2),
                "{server}"
            );
        }
    }

    #[test]
    fn refusals_say_what_to_do_next() {
        let said =
            |status, field: Option<&str>, path| refused(status, "no", field.map(str::to_owned), path).to_string();
        assert_eq!(said(400, Some("name"), "/admin/v1/keys"), "error: name: no");
        assert_eq!(said(400, Some("n"), "/admin/v1/keys"), "error: no");
        assert_eq!(said(404, None, "/admin/v1/keys"), "error: no");
        assert_eq!(list_command("There is no such API."), Some("claviger apis"));
        assert!(said(401, None, VERIFY_PATH).contains("claviger verifiers create"));
        assert!(said(401, None, "/admin/v1/keys").contains("claviger admin-tokens create"));
    }
}
