//! The books of a deployment over all servers that ever ran on it: what was answered, and so must be so.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::load::{KEYS, Load, Tally, USER, call, create};
use crate::support::http::{Request, Response};
use crate::support::server::Server;
use crate::support::world::{Key, Organization};

/// A caller whose key is verified, a manager whose key makes and revokes others, each in an organization of its own.
pub(crate) struct Books {
    verifier: String,
    caller: Account,
    manager: Account,
    created: Vec<Key>,
    revoked: Vec<Key>,
    names: BTreeSet<String>,
    loads: u32,
}

/// An organization with one key to call with, and how many of its calls are known to be counted.
struct Account {
    organization: String,
    key: Key,
    counted: u64,
    /// Whether all its calls cost something, which those to the customer API do not.
    is_billed: bool,
}

/// What became of a load's calls.
#[derive(Default, Debug)]
pub(crate) struct Calls {
    /// Calls that were answered.
    pub(crate) answered: u64,
    /// Calls without an answer.
    pub(crate) lost: u64,
    /// Of those, the ones that are counted.
    pub(crate) lost_but_counted: u64,
}

impl Books {
    /// Opens an account for each.
    pub(crate) fn open(server: &Server) -> Self {
        let verifier =
            server.admin(Request::post("/admin/v1/verifiers").json(&json!({"name": "Verifier"}))).expect(201);
        let account = |is_billed| {
            let organization = server.organization();
            let key = organization.key("example", json!({"name": "First"}));
            Account { organization: organization.id, key, counted: 0, is_billed }
        };
        Self {
            verifier: verifier["token"].as_str().unwrap().to_owned(),
            caller: account(true),
            manager: account(false),
            created: Vec::new(),
            revoked: Vec::new(),
            names: BTreeSet::from(["First".to_owned()]),
            loads: 0,
        }
    }

    /// Callers for this server.
    pub(crate) fn load(&mut self, server: &Server) -> Load {
        self.loads += 1;
        Load::new(server, &self.verifier, &self.caller.key, &self.manager.key, format!("load {}", self.loads))
    }

    /// Holds a server against what callers were answered by the one before it.
    pub(crate) fn check(&mut self, server: &Server, tally: Tally) -> Calls {
        // First of all: whoever was shut out stays out.
        for key in &tally.revoked {
            must_be(server, key, &json!("revoked"));
        }
        let caller = self.caller.check(server, tally.verdicts, tally.lost_verdicts);
        let manager = self.manager.check(server, tally.calls, tally.lost_calls);
        for key in tally.created {
            self.must_pass(server, &key);
            self.created.push(key);
        }
        self.revoked.extend(tally.revoked);
        self.check_doubtful(server, tally.maybe_created, tally.maybe_revoked);
        Calls {
            answered: caller.answered + manager.answered,
            lost: caller.lost + manager.lost,
            lost_but_counted: caller.lost_but_counted + manager.lost_but_counted,
        }
    }

    /// A call of the manager that reads from the database.
    pub(crate) fn look_up(&mut self, server: &Server, check: impl FnOnce(Response)) {
        check(call(server.public, &self.manager.key.secret, &Request::get(KEYS)).unwrap());
        self.manager.counted += 1;
    }

    /// What was not answered is wholly there or not at all: repeating it makes it so, once.
    fn check_doubtful(&mut self, server: &Server, created: Vec<String>, revoked: Vec<Key>) {
        for name in created {
            let answer = call(server.public, &self.manager.key.secret, &create(&name)).unwrap().expect(201);
            self.manager.counted += 1;
            let key = Key::issued(&answer);
            self.must_pass(server, &key);
            self.created.push(key);
        }
        for key in revoked {
            let code = code(server, &key);
            if code.is_null() {
                self.manager.counted += 1;
            } else {
                assert_eq!(code, "revoked");
            }
            let target = format!("{KEYS}/{}", key.id);
            call(server.public, &self.manager.key.secret, &Request::delete(&target)).unwrap().expect(200);
            self.manager.counted += 1;
            must_be(server, &key, &json!("revoked"));
            self.revoked.push(key);
        }
    }

    fn must_pass(&mut self, server: &Server, key: &Key) {
        must_be(server, key, &Value::Null);
        self.manager.counted += 1;
        let name = key.body["name"].as_str().unwrap().to_owned();
        assert!(self.names.insert(name), "made twice: {}", key.body);
    }

    /// Everything that was ever answered, looked at once more.
    pub(crate) fn close(mut self, server: &Server) {
        for key in &self.revoked {
            must_be(server, key, &json!("revoked"));
        }
        for key in &self.created {
            must_be(server, key, &Value::Null);
            self.manager.counted += 1;
        }
        self.caller.check(server, 0, 0);
        self.manager.check(server, 0, 0);
        let gone = self.revoked.iter().map(|key| key.body["name"].as_str().unwrap().to_owned());
        self.names.extend(gone);
        let listed = names(server, &self.manager.organization);
        assert_eq!(listed.len(), self.names.len(), "keys that nobody asked for, or two of one name");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), self.names);
        let log = server.admin(Request::get("/admin/v1/audit/verification")).expect(200);
        assert_eq!(log["first_bad"], Value::Null, "{log}");
    }
}

impl Account {
    /// Every answered call is counted once, every lost one at most once.
    fn check(&mut self, server: &Server, answered: u64, lost: u64) -> Calls {
        let target = format!("/admin/v1/usage?organization={}&api=example", self.organization);
        let usage = server.admin(Request::get(&target)).expect(200)["organization"].clone();
        let allowed = usage["allowed"].as_u64().unwrap();
        let least = self.counted + answered;
        assert!(
            (least..=least + lost).contains(&allowed),
            "{allowed} calls are counted; {least} were answered, {lost} more were in flight: {usage}"
        );
        let billable = usage["billable"].as_u64().unwrap();
        assert!(if self.is_billed { billable == allowed } else { billable <= allowed }, "{usage}");
        self.counted = allowed;
        Calls { answered, lost, lost_but_counted: allowed - least }
    }
}

/// The code of the verdict on a call with a key, null when it is allowed.
pub(crate) fn code(server: &Server, key: &Key) -> Value {
    server.verify(&json!({"key": key.secret, "method": "GET", "path": USER}))["code"].clone()
}

#[track_caller]
fn must_be(server: &Server, key: &Key, expected: &Value) {
    assert_eq!(code(server, key), *expected, "{}", key.body);
}

/// The names of all keys of an organization.
fn names(server: &Server, organization: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut target = format!("/admin/v1/keys?organization={organization}&limit=200");
    loop {
        let page = server.admin(Request::get(&target)).expect(200);
        let rows = page["data"].as_array().unwrap();
        names.extend(rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { return names };
        target = format!("/admin/v1/keys?organization={organization}&limit=200&cursor={next}");
    }
}

/// An organization's key of the example api, for tests with few calls.
pub(crate) fn key(organization: &Organization<'_>) -> Key {
    organization.key("example", json!({}))
}
