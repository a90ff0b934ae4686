//! What the demo says: calls that can be pasted, each with a line on what it shows.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::seed::Deployment;
use crate::data_dir::DataDir;
use crate::init::{program, shown};
use crate::node::Node;
use crate::serve::addresses;

/// Everything in one document, for programs.
pub(super) fn json(node: &Node, deployment: &Deployment) -> Value {
    let Deployment { tork, toksta, example, .. } = deployment;
    json!({
        "public_url": node.public_url(),
        "internal_url": node.internal_url(),
        "socket": node.socket(),
        "admin_token": deployment.admin_token,
        "verifier_token": deployment.verifier_token,
        "apis": {
            "tork": {
                "organization": tork.organization,
                "keys": {
                    "secret": tork.secret, "restricted": tork.restricted, "ephemeral": tork.ephemeral, "live": tork.live,
                },
            },
            "toksta": {
                "organization": toksta.organization,
                "keys": {"live": toksta.live, "scoped": toksta.scoped},
            },
            "example": {
                "organization": example.organization,
                "keys": {"test": example.test, "live": example.live},
            },
        },
    })
}

/// The same for people.
pub(super) fn text(node: &Node, directory: &DataDir, deployment: &Deployment, is_temporary: bool) -> String {
    let mut guide = Guide::new(node);
    guide.line("Claviger demo: three APIs as their documents describe them, with working keys.");
    guide.line("");
    guide.line(&addresses(node));
    guide.line("");
    if deployment.is_older {
        guide.line("This directory was used before: the keys below are new, and the earlier ones go on working.");
    }
    guide.line(if is_temporary {
        "Press Ctrl-C to end it; everything is removed then. Paste any of these into another terminal:"
    } else {
        "Press Ctrl-C to end it; the data directory stays. Paste any of these into another terminal:"
    });
    guide.tork(deployment);
    guide.toksta(deployment);
    guide.example(deployment);
    guide.operator(directory, deployment);
    guide.text
}

struct Guide {
    public: String,
    internal: String,
    text: String,
}

impl Guide {
    fn new(node: &Node) -> Self {
        Self { public: node.public_url(), internal: node.internal_url(), text: String::new() }
    }

    fn tork(&mut self, deployment: &Deployment) {
        let keys = &deployment.tork;
        let url = format!("{}/api/v1/evaluate", self.public);
        let evaluate = |key: &str| {
            call("POST", &url, key, Some(r#"{"content": "Hello world, I am ada@example.com", "checks": ["pii"]}"#))
        };
        self.title("Tork");
        self.step("A secret key has full access.", &evaluate(&keys.secret));
        self.step("A restricted key that holds only `evaluate` may do the same …", &evaluate(&keys.restricted));
        let list = call("GET", &format!("{}/api/v1/api-keys", self.public), &keys.restricted, None);
        self.step("… and nothing else: 403 insufficient_permissions.", &list);
        self.step(
            "An ephemeral key works for an hour, and dies with the key it was made with.",
            &evaluate(&keys.ephemeral),
        );
        self.step("A key that does not exist: 401 invalid_api_key.", &evaluate("tork_sk_your_api_key_here"));
    }

    fn toksta(&mut self, deployment: &Deployment) {
        let keys = &deployment.toksta;
        let usage = format!("{}/v1/account/usage", self.public);
        self.title("Toksta");
        self.step("The usage of the account, with a key of full access.", &call("GET", &usage, &keys.live, None));
        self.step("A key that holds only `usage:read` may read it too …", &call("GET", &usage, &keys.scoped, None));
        let list = call("GET", &format!("{}/v1/api-keys", self.public), &keys.scoped, None);
        self.step("… but a route outside its scopes is 403 FORBIDDEN.", &list);
    }

    fn example(&mut self, deployment: &Deployment) {
        let keys = &deployment.example;
        let user = format!("{}/v1/users/usr_123", self.public);
        let list = format!("{}/v1/api-keys", self.public);
        let (spare_id, spare) = &keys.spare;
        self.title("Example");
        self.step("A live key reads a user.", &call("GET", &user, &keys.live, None));
        let create = call(
            "POST",
            &format!("{}/v1/users", self.public),
            &keys.test,
            Some(r#"{"name": "Grace Hopper", "email": "grace@example.com"}"#),
        );
        self.step("A test key may write: it is answered alike, and nothing is kept or billed.", &create);
        self.step("The account's keys: never a secret, only prefix and hint.", &call("GET", &list, &keys.live, None));
        self.step("Revoke a key …", &call("DELETE", &format!("{list}/{spare_id}"), &keys.live, None));
        self.step("… and it is refused from that answer on: 401.", &call("GET", &user, spare, None));
    }

    fn operator(&mut self, directory: &DataDir, deployment: &Deployment) {
        let question =
            format!(r#"{{"key": "{}", "method": "POST", "path": "/api/v1/evaluate"}}"#, deployment.tork.restricted);
        let verify = call("POST", &format!("{}/v1/verify", self.internal), &deployment.verifier_token, Some(&question));
        let data = shown(directory.path());
        self.title("The API server's and the operator's side");
        self.step("May this key make this call? Asked by an API server, with its verifier token.", &verify);
        let keys = format!("{} keys list --data {data} --org {}", program(), deployment.tork.organization);
        self.step("The same deployment from the command line, over the socket.", &keys);
        let url = format!("{}/admin/v1/organizations", self.internal);
        self.step("And over HTTP, with an admin token.", &call("GET", &url, &deployment.admin_token, None));
    }

    fn title(&mut self, title: &str) {
        let _ = write!(self.text, "\n{title}\n{}\n", "─".repeat(title.chars().count()));
    }

    /// The comment is one in a shell as well, so that a whole group can be pasted.
    fn step(&mut self, shows: &str, command: &str) {
        let _ = write!(self.text, "\n# {shows}\n{command}\n");
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// A call in the form in which the documents write theirs.
fn call(method: &str, url: &str, key: &str, body: Option<&str>) -> String {
    let method = if method == "GET" { String::new() } else { format!("-X {method} ") };
    let mut command = format!("curl -sS -w '\\n' {method}{url} \\\n  -H \"Authorization: Bearer {key}\"");
    if let Some(body) = body {
        let _ = write!(command, " \\\n  -H \"Content-Type: application/json\" \\\n  -d '{body}'");
    }
    command
}
