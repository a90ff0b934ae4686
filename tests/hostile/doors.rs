//! The three doors at which every attack is tried alike, and what comes out of each.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use crate::corpus::{Case, Exception, Outcome, Report, fill};
use crate::support::http::{Request, Response};
use crate::support::server::Server;
use crate::support::world::{Key, with};
use crate::wire::try_exchange;

pub(crate) const HOST: &str = "api.example.com";

/// A running demo whose example api names each refusal by its own code, and an organization with keys on it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) organization: String,
    /// A key with full access.
    pub(crate) key: Key,
    restricted: Mutex<HashMap<String, Key>>,
}

static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());

impl World {
    /// The world that all tests share who want nothing in particular of it. It ends with the last of them.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&world);
            world
        })
    }

    /// A world of its own, with more arguments for the demo.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let server = Server::demo_with(arguments);
        let definition = include_str!("../../apis/example.toml");
        // As shipped, all refusals of a kind share one code. Here it must be seen which one it was.
        let exact = definition.replace("status_codes = { 401 = \"unauthorized\", 403 = \"forbidden\" }\n", "");
        assert_ne!(exact, definition);
        apply(&server, &exact);
        let organization = server.organization().id.clone();
        let key = make_key(&server, &organization, json!({}));
        Self { server, organization, key, restricted: Mutex::default() }
    }

    /// A new key of the organization.
    pub(crate) fn new_key(&self, wish: Value) -> Key {
        make_key(&self.server, &self.organization, wish)
    }

    /// The key that has these restrictions, made when it is first asked for.
    pub(crate) fn restricted(&self, restrictions: &Value) -> Key {
        let mut known = self.restricted.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || self.new_key(json!({"restrictions": restrictions}));
        known.entry(restrictions.to_string()).or_insert_with(make).clone()
    }

    /// What stands behind the two doors for customers.
    pub(crate) fn places(&self) -> [Place; 2] {
        [
            Place { door: Door::Customer, collection: "api-keys", id: self.key.id.clone() },
            Place { door: Door::Upstream, collection: "users", id: "usr_123".to_owned() },
        ]
    }

    /// An honest request must be answered at every door, whatever was done to the server before.
    pub(crate) fn must_serve(&self, door: Door, after: &str) {
        let status = match door {
            Door::Verify => {
                let question = json!({"key": self.key.secret, "method": "GET", "path": "/v1/users/usr_123"});
                let answer = self.server.verify(&question);
                assert_eq!(answer["valid"], true, "after {after}: {answer}");
                return;
            }
            Door::Customer => self.send(&Request::get("/v1/api-keys?limit=1")),
            Door::Upstream => self.send(&Request::get("/v1/users/usr_123")),
        };
        assert_eq!(status, 200, "after {after}, at {}", door.name());
    }

    fn send(&self, request: &Request) -> u16 {
        self.server.public(&request.clone().host(HOST).bearer(&self.key.secret)).status
    }
}

/// Defines the example api anew.
pub(crate) fn apply(server: &Server, definition: &str) {
    let request = Request::put("/admin/v1/apis/example").header("Content-Type", "application/toml");
    server.admin(request.body(definition)).expect(200);
}

fn make_key(server: &Server, organization: &str, wish: Value) -> Key {
    let body = with(json!({"organization": organization, "api": "example", "name": "Key"}), wish);
    Key::issued(&server.admin(Request::post("/admin/v1/keys").json(&body)).expect(201))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    Verify,
    Customer,
    Upstream,
}

impl Door {
    pub(crate) const ALL: [Self; 3] = [Self::Verify, Self::Customer, Self::Upstream];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Customer => "the customer API",
            Self::Upstream => "the upstream",
        }
    }

    pub(crate) fn address(self, server: &Server) -> SocketAddr {
        if self == Self::Verify { server.internal } else { server.public }
    }

    /// What the case says of this door in particular.
    fn exception(self, case: &Case) -> Option<&Exception> {
        let names: &[&str] = match self {
            Self::Verify => &["verify"],
            Self::Customer => &["customer", "public"],
            Self::Upstream => &["upstream", "public"],
        };
        names.iter().find_map(|name| case.doors.get(*name))
    }
}

/// Something that a key may be asked for.
pub(crate) struct Place {
    pub(crate) door: Door,
    collection: &'static str,
    id: String,
}

impl Place {
    pub(crate) fn path(&self) -> String {
        format!("/v1/{}/{}", self.collection, self.id)
    }

    /// The blanks of a target, for [`fill`].
    fn values(&self) -> HashMap<&'static str, String> {
        let (first, rest) = self.id.split_at(1);
        let byte = first.as_bytes()[0];
        let other = if self.collection == "users" { "api-keys" } else { "users" };
        HashMap::from([
            ("place", self.path()),
            ("collection", self.collection.to_owned()),
            ("other", other.to_owned()),
            ("id", self.id.clone()),
            ("id_escaped", format!("%{byte:02X}{rest}")),
            ("id_escaped_lower", format!("%{byte:02x}{rest}")),
            ("id_escaped_twice", format!("%25{byte:02X}{rest}")),
            ("id_upper", self.id.to_ascii_uppercase()),
        ])
    }
}

/// One attack on one place, ready to be sent.
pub(crate) struct Attack<'a> {
    pub(crate) case: &'a Case,
    /// The secret that goes along; none where the lines say who calls.
    pub(crate) secret: Option<&'a str>,
    /// More blanks to fill.
    pub(crate) values: HashMap<&'static str, String>,
    /// What verify is asked beside method and path, given what the case tells.
    pub(crate) question: fn(Option<&str>) -> Value,
    pub(crate) from: Ipv4Addr,
}

/// What came out of a door.
#[derive(Debug)]
struct Seen {
    status: u16,
    code: Option<String>,
    message: Option<String>,
    /// The id of what was shown.
    id: Option<String>,
}

impl Attack<'_> {
    /// Tries the attack on both places, at all doors, and notes what is not as it should be.
    pub(crate) fn run(&self, world: &World, report: &mut Report) {
        let known = ["verify", "customer", "upstream", "public"];
        assert!(self.case.doors.keys().all(|door| known.contains(&door.as_str())), "{:?}", self.case.doors);
        for place in world.places() {
            let mut values = self.values.clone();
            values.extend(place.values());
            let mut messages = Vec::new();
            for door in [Door::Verify, place.door] {
                let exception = door.exception(self.case);
                let Some(expected) = exception.map_or(Some(self.case.expect), |exception| exception.expect) else {
                    continue;
                };
                report.tried(door.name());
                let (sent, seen) = match door {
                    Door::Verify => self.ask(world, &values),
                    Door::Customer | Door::Upstream => self.send(world, &values),
                };
                let complain = |report: &mut Report, what: &str| {
                    let sent = String::from_utf8_lossy(&sent);
                    let sent: String = sent.chars().take(600).collect();
                    let what = format!("{} at {} (for {})\n    sent: {sent:?}", what, door.name(), place.path());
                    report.wrong(self.case, &what);
                };
                match seen {
                    Ok(seen) => {
                        if let Err(why) = check(expected, &seen, door, &place, world) {
                            complain(report, &format!("{why}, seen {seen:?}"));
                        } else if matches!(expected, Outcome::Denied(_)) && exception.is_none() {
                            messages.push(seen.message);
                        }
                    }
                    Err(why) => complain(report, &format!("expected {expected}, but {why}")),
                }
                world.must_serve(door, &self.case.name);
            }
            if messages.windows(2).any(|pair| pair[0] != pair[1]) {
                report.wrong(self.case, &format!("the doors say different things: {messages:?}"));
            }
        }
    }

    /// Sends it to the public listener.
    fn send(&self, world: &World, values: &HashMap<&str, String>) -> (Vec<u8>, Result<Seen, String>) {
        let mut bytes = format!("{} ", self.case.method).into_bytes();
        bytes.extend_from_slice(&fill(&self.case.target, values));
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        let lines: Vec<Vec<u8>> = self.case.lines.iter().map(|line| fill(line, values)).collect();
        if !lines.iter().any(|line| line.to_ascii_lowercase().starts_with(b"host:")) {
            bytes.extend_from_slice(format!("Host: {HOST}\r\n").as_bytes());
        }
        for line in lines {
            bytes.extend_from_slice(&line);
            bytes.extend_from_slice(b"\r\n");
        }
        if let Some(secret) = self.secret {
            bytes.extend_from_slice(format!("Authorization: Bearer {secret}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"Connection: close\r\n\r\n");
        let answers = try_exchange(world.server.public, self.from, &bytes);
        let seen = match answers.as_deref() {
            Ok([answer]) => Ok(seen_in(answer)),
            Ok(others) => Err(format!("{} answers came", others.len())),
            Err(why) => Err(why.clone()),
        };
        (bytes, seen)
    }

    /// Asks verify the same, with the same header lines on the question: they must make no difference there.
    fn ask(&self, world: &World, values: &HashMap<&str, String>) -> (Vec<u8>, Result<Seen, String>) {
        let text = |template: &str| {
            String::from_utf8(fill(template, values))
                .unwrap_or_else(|_| panic!("{:?}: not UTF-8, so say why it is not tried at verify", self.case.name))
        };
        let tells = self.case.tells.as_deref().map(text);
        let mut question = json!({"api": "example", "method": self.case.method, "path": text(&self.case.target)});
        if let Some(secret) = self.secret {
            question["key"] = secret.into();
        }
        let question = with(question, (self.question)(tells.as_deref())).to_string();
        let mut bytes = b"POST /v1/verify HTTP/1.1\r\nHost: localhost\r\n".to_vec();
        for line in self.case.lines.iter().map(|line| fill(line, values)).filter(|line| is_harmless(line)) {
            bytes.extend_from_slice(&line);
            bytes.extend_from_slice(b"\r\n");
        }
        let token = world.server.said["verifier_token"].as_str().unwrap();
        let rest = format!(
            "Authorization: Bearer {token}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{question}",
            question.len()
        );
        bytes.extend_from_slice(rest.as_bytes());
        let answers = try_exchange(world.server.internal, self.from, &bytes);
        let seen = match answers.as_deref() {
            Ok([answer]) if answer.status == 200 => Ok(seen_in_verdict(&answer.value())),
            Ok([answer]) => Ok(seen_in(answer)),
            Ok(others) => Err(format!("{} answers came", others.len())),
            Err(why) => Err(why.clone()),
        };
        (question.into_bytes(), seen)
    }
}

/// Whether a header line says nothing about the request that carries it as a request.
fn is_harmless(line: &[u8]) -> bool {
    let lower = line.to_ascii_lowercase();
    let telling = ["authorization", "host", "connection", "content-", "transfer-encoding", "expect", "upgrade"];
    line.contains(&b':')
        && line.iter().all(|byte| (0x20..0x7F).contains(byte))
        && !telling.iter().any(|name| lower.starts_with(name.as_bytes()))
}

fn seen_in(answer: &Response) -> Seen {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let error = if body["error"].is_object() { &body["error"] } else { &body };
    let message = text(&error["message"]).or_else(|| text(&error["detail"]));
    Seen { status: answer.status, code: text(&error["code"]), message, id: text(&body["data"]["id"]) }
}

fn seen_in_verdict(verdict: &Value) -> Seen {
    assert_eq!(verdict["valid"] == true, verdict["status"] == 200, "{verdict}");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Seen {
        status: verdict["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap(),
        code: text(&verdict["code"]),
        message: text(&verdict["message"]),
        id: text(&verdict["key"]["organization"]),
    }
}

fn check(expected: Outcome, seen: &Seen, door: Door, place: &Place, world: &World) -> Result<(), String> {
    let code = seen.code.as_deref();
    let is_right = match expected {
        Outcome::Allowed => {
            let shown = if door == Door::Verify { &world.organization } else { &place.id };
            seen.status == 200 && code.is_none() && seen.id.as_ref() == Some(shown)
        }
        Outcome::Denied(denial) => {
            let expected = if door == Door::Verify { denial.as_str() } else { denial.public_code() };
            seen.status == denial.status() && code == Some(expected)
        }
        Outcome::Refused(status) => seen.status == status,
    };
    if is_right { Ok(()) } else { Err(format!("expected {expected}")) }
}
