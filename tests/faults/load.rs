//! Callers at work while something breaks: some ask for verdicts, some make and revoke keys through the customer API.
//! Each notes what it was answered and what it was not.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{Request, Response};
use crate::support::server::Server;
use crate::support::world::Key;

pub(crate) const KEYS: &str = "/v1/api-keys";
pub(crate) const USER: &str = "/v1/users/usr_123";
const VERIFYING: usize = 2;
const MANAGING: usize = 2;

/// What callers were answered.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    /// Verdicts on the caller's key, all of them yes.
    pub(crate) verdicts: u64,
    /// Verdicts that were asked for and did not arrive.
    pub(crate) lost_verdicts: u64,
    /// Calls of the customer API that were answered, whatever the answer: each was let in, and so is counted.
    pub(crate) calls: u64,
    /// Calls of the customer API without an answer.
    pub(crate) lost_calls: u64,
    /// Keys whose creation was answered, and whose revocation was not asked for.
    pub(crate) created: Vec<Key>,
    /// Keys whose revocation was answered.
    pub(crate) revoked: Vec<Key>,
    /// Names of keys whose creation was not answered, or with 503.
    pub(crate) maybe_created: Vec<String>,
    /// Keys whose revocation was not answered, or with 503.
    pub(crate) maybe_revoked: Vec<Key>,
    /// Answers that were 503.
    pub(crate) unavailable: u64,
    /// The longest that a mutation waited for its answer.
    pub(crate) longest: Duration,
    /// Answers that broke off in the middle.
    pub(crate) torn: Vec<String>,
}

/// How a mutation ended.
enum Managed {
    Done(Value),
    /// With 503.
    Refused,
    Unanswered,
}

impl Tally {
    fn add(&mut self, mut other: Self) {
        self.verdicts += other.verdicts;
        self.lost_verdicts += other.lost_verdicts;
        self.calls += other.calls;
        self.lost_calls += other.lost_calls;
        self.created.append(&mut other.created);
        self.revoked.append(&mut other.revoked);
        self.maybe_created.append(&mut other.maybe_created);
        self.maybe_revoked.append(&mut other.maybe_revoked);
        self.unavailable += other.unavailable;
        self.longest = self.longest.max(other.longest);
        self.torn.append(&mut other.torn);
    }
}

/// Callers and what they call with.
pub(crate) struct Load {
    public: SocketAddr,
    internal: SocketAddr,
    verifier: String,
    caller: String,
    manager: String,
    /// Goes before the names of keys, so that no two loads make keys of one name.
    name: String,
    /// Set before the server is ended: from then on callers may be left without an answer.
    is_ending: AtomicBool,
    is_over: AtomicBool,
    verdicts: AtomicU64,
    done: AtomicU64,
    unavailable: AtomicU64,
    /// Held while one of the counts above is raised, and told of it.
    progress: (Mutex<()>, Condvar),
}

impl Load {
    pub(crate) fn new(server: &Server, verifier: &str, caller: &Key, manager: &Key, name: String) -> Self {
        Self {
            public: server.public,
            internal: server.internal,
            verifier: verifier.to_owned(),
            caller: caller.secret.clone(),
            manager: manager.secret.clone(),
            name,
            is_ending: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            verdicts: AtomicU64::new(0),
            done: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            progress: Default::default(),
        }
    }

    /// Runs the callers while something is done to the server or its database, until that has returned.
    pub(crate) fn run<T>(&self, fault: impl FnOnce(&Self) -> T) -> (T, Tally) {
        let mut tally = Tally::default();
        let outcome = thread::scope(|scope| {
            let verifying = (0..VERIFYING).map(|_| scope.spawn(|| self.verify_on()));
            let managing = (0..MANAGING).map(|number| scope.spawn(move || self.manage_on(number)));
            let callers: Vec<_> = verifying.chain(managing).collect();
            let outcome = {
                // However it ends, the callers end too.
                let _over = Over(&self.is_over);
                fault(self)
            };
            for caller in callers {
                tally.add(caller.join().unwrap());
            }
            outcome
        });
        (outcome, tally)
    }

    /// From here on callers may be left without an answer, and stop then.
    pub(crate) fn expect_the_end(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
    }

    /// Waits until the callers have come so far, and fails when it takes too long.
    #[track_caller]
    #[expect(clippy::disallowed_methods, reason = "a bound on how long the test waits")]
    pub(crate) fn until(&self, what: &str, patience: Duration, is_so: impl Fn() -> bool) -> Duration {
        let begin = Instant::now();
        let (lock, progress) = &self.progress;
        let (_held, waited) = progress.wait_timeout_while(lock.lock().unwrap(), patience, |()| !is_so()).unwrap();
        assert!(!waited.timed_out(), "{what}: not within {patience:?}");
        begin.elapsed()
    }

    /// Waits until so many calls were answered.
    #[track_caller]
    pub(crate) fn until_answered(&self, calls: u64) {
        self.until("callers are answered", Duration::from_secs(30), || self.verdicts() + self.done() >= calls);
    }

    fn count(&self, counter: &AtomicU64) {
        let (lock, progress) = &self.progress;
        let _held = lock.lock().unwrap();
        counter.fetch_add(1, Ordering::SeqCst);
        progress.notify_all();
    }

    /// Verdicts so far.
    pub(crate) fn verdicts(&self) -> u64 {
        self.verdicts.load(Ordering::SeqCst)
    }

    /// Mutations so far that were done.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Mutations so far that were answered with 503.
    pub(crate) fn unavailable(&self) -> u64 {
        self.unavailable.load(Ordering::SeqCst)
    }

    fn verify_on(&self) -> Tally {
        let mut tally = Tally::default();
        let question = json!({"key": self.caller, "method": "GET", "path": USER});
        let request = Request::post("/v1/verify").bearer(&self.verifier).json(&question);
        while !self.is_over.load(Ordering::SeqCst) {
            match request.try_send(self.internal) {
                Ok(answer) => {
                    assert_eq!(answer.expect(200)["valid"], true, "{}", answer.text());
                    tally.verdicts += 1;
                    self.count(&self.verdicts);
                }
                Err(error) => {
                    tally.lost_verdicts += self.must_be_the_end(&error, &mut tally.torn);
                    break;
                }
            }
        }
        tally
    }

    fn manage_on(&self, number: usize) -> Tally {
        let mut tally = Tally::default();
        for turn in 0.. {
            if self.is_over.load(Ordering::SeqCst) {
                break;
            }
            let name = format!("{} {number}.{turn}", self.name);
            match self.manage(&create(&name), 201, &mut tally) {
                Managed::Done(answer) => tally.created.push(Key::issued(&answer)),
                Managed::Refused => tally.maybe_created.push(name),
                Managed::Unanswered => {
                    tally.maybe_created.push(name);
                    break;
                }
            }
            if turn % 2 == 0 {
                continue;
            }
            let Some(key) = tally.created.pop() else { continue };
            match self.manage(&Request::delete(&format!("{KEYS}/{}", key.id)), 200, &mut tally) {
                Managed::Done(_) => tally.revoked.push(key),
                Managed::Refused => tally.maybe_revoked.push(key),
                Managed::Unanswered => {
                    tally.maybe_revoked.push(key);
                    break;
                }
            }
        }
        tally
    }

    #[expect(clippy::disallowed_methods, reason = "a bound on how long a caller waits")]
    fn manage(&self, request: &Request, expected: u16, tally: &mut Tally) -> Managed {
        let begin = Instant::now();
        let answer = call(self.public, &self.manager, request);
        match answer {
            Ok(answer) => {
                tally.longest = tally.longest.max(begin.elapsed());
                tally.calls += 1;
                if answer.status == 503 {
                    must_ask_to_come_back(&answer);
                    tally.unavailable += 1;
                    self.count(&self.unavailable);
                    return Managed::Refused;
                }
                self.count(&self.done);
                Managed::Done(answer.expect(expected))
            }
            Err(error) => {
                tally.lost_calls += self.must_be_the_end(&error, &mut tally.torn);
                Managed::Unanswered
            }
        }
    }

    /// One, if the request may have arrived.
    fn must_be_the_end(&self, error: &io::Error, torn: &mut Vec<String>) -> u64 {
        assert!(self.is_ending.load(Ordering::SeqCst), "a caller was left without an answer: {error}");
        if error.kind() == io::ErrorKind::InvalidData {
            torn.push(error.to_string());
        }
        u64::from(error.kind() != io::ErrorKind::ConnectionRefused)
    }
}

/// The creation of a key, which can be repeated.
pub(crate) fn create(name: &str) -> Request {
    let key = name.replace(' ', "-");
    Request::post(KEYS).header("Idempotency-Key", key).json(&json!({"name": name}))
}

/// Sends to the example api with a key.
pub(crate) fn call(public: SocketAddr, secret: &str, request: &Request) -> io::Result<Response> {
    request.clone().host("api.example.com").bearer(secret).try_send(public)
}

/// A 503 is said in the form of the api, and says when to come back.
#[track_caller]
pub(crate) fn must_ask_to_come_back(answer: &Response) {
    let body = answer.expect(503);
    assert_eq!((&body["success"], &body["error"]["code"]), (&json!(false), &json!("unavailable")), "{body}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}

struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
