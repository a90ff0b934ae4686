//! Who came to the admin API: the first use of a credential from somewhere, and who was turned away.
//!
//! There are no sessions: using a credential is signing in. What is worth an audit event is decided at once and in memory
//! (`memory`), which is bounded whoever comes; it is written by a task of its own, so that no answer waits for it and no request
//! fails because of it. What could not be written is not lost sight of: a sign-in is told with the next use, a refusal is counted.

mod memory;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use claviger_domain::audit::{Action, AuditEvent, Author, Source};
use claviger_domain::change::Revision;
use claviger_domain::id::{AdminTokenId, MemberId, OrganizationId};
use claviger_domain::time::Timestamp;
use claviger_store::{Connection, members};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::{Actor, App, AppError};
use memory::{Refusals, SignIns};

/// Events that wait to be written.
const QUEUE_MAX: usize = 1024;
/// Of those, as many are written in one transaction.
const WRITTEN_AT_ONCE: usize = 128;
/// The target of an event where no admin token is known: what somebody came to.
const ADMIN_API: &str = "admin_api";

/// Who came, as far as that is known. The same visitor comes again with the same credential from the same place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Visitor {
    /// The admin token that was presented, revoked or not. Nobody at the socket presents one.
    pub token: Option<AdminTokenId>,
    /// The member whom they say they act for. There may be no such member.
    pub member: Option<MemberId>,
    /// From where.
    pub source: Source,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// Why somebody was turned away.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum RefusalReason {
            $($(#[$doc])* $name,)+
        }

        impl RefusalReason {
            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// No credential was presented.
    NoToken = "no_token",
    /// What was presented is no credential, or several.
    MalformedToken = "malformed_token",
    /// There never was such an admin token.
    UnknownToken = "unknown_token",
    /// The admin token is revoked.
    RevokedToken = "revoked_token",
    /// There is no such member as the one who is acted for, or no longer.
    UnknownMember = "unknown_member",
    /// Whoever it is may not do this.
    Forbidden = "forbidden",
}

/// A request that was refused because of who sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Who sent it.
    pub visitor: Visitor,
    /// Why it was refused.
    pub reason: RefusalReason,
    /// Its method, one that is known.
    pub method: &'static str,
    /// The template of the route that it was for: never the path, which is the caller's.
    pub route: Arc<str>,
}

/// What is remembered, and the way to whoever writes.
pub(crate) struct Visits {
    memory: Mutex<(SignIns, Refusals)>,
    queue: mpsc::Sender<Entry>,
}

/// Something to be written.
pub(crate) enum Entry {
    SignedIn {
        visitor: Visitor,
        at: Timestamp,
    },
    Refused {
        refused: Refused,
        at: Timestamp,
        suppressed: u64,
    },
    /// Whoever waits is told when all before it is written.
    Mark(oneshot::Sender<()>),
}

/// Nothing remembered, and the end of the queue at which to write.
pub(crate) fn open() -> (Visits, mpsc::Receiver<Entry>) {
    let (queue, entries) = mpsc::channel(QUEUE_MAX);
    (Visits { memory: Mutex::default(), queue }, entries)
}

/// Writes what comes until the app is dropped.
pub(crate) fn start(app: &Arc<App>, mut entries: mpsc::Receiver<Entry>) {
    let app: Weak<App> = Arc::downgrade(app);
    tokio::spawn(async move {
        let mut batch = Vec::new();
        while entries.recv_many(&mut batch, WRITTEN_AT_ONCE).await > 0 {
            let Some(app) = app.upgrade() else { return };
            app.write_batch(std::mem::take(&mut batch)).await;
        }
    });
}

impl Visits {
    fn memory(&self) -> MutexGuard<'_, (SignIns, Refusals)> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues what is to be told; without room it was not told.
    fn queue(&self, entry: Entry) {
        if let Err(full) = self.queue.try_send(entry) {
            self.was_not_written(full.into_inner());
        }
    }

    fn was_not_written(&self, entry: Entry) {
        let (sign_ins, refusals) = &mut *self.memory();
        match entry {
            Entry::SignedIn { visitor, .. } => sign_ins.forget(&visitor),
            Entry::Refused { refused, at, suppressed } => refusals.put_back(refused, at, suppressed),
            Entry::Mark(_) => {}
        }
    }
}

impl App {
    /// Notes that a credential was used. The first use from somewhere in twelve hours becomes an audit event, unless the
    /// member who is acted for does not exist. Never waits.
    pub fn note_signed_in(&self, visitor: Visitor) {
        let at = self.now();
        let is_first = self.visits.memory().0.is_first(visitor, at);
        if is_first {
            self.visits.queue(Entry::SignedIn { visitor, at });
        }
    }

    /// Notes that a request was refused. At most so many refusals become audit events in a minute; the next event says how
    /// many did not. Never waits.
    pub fn note_refused(&self, refused: Refused) {
        let at = self.now();
        let told = self.visits.memory().1.take(refused, at);
        if let Some((refused, suppressed)) = told {
            self.visits.queue(Entry::Refused { refused, at, suppressed });
        }
    }

    /// Writes everything that was noted so far and is to become an audit event, and returns when that is done. Refusals that
    /// were only counted are told of as one, once their minute is over, or now if this `is_the_end`.
    pub async fn write_visits(&self, is_the_end: bool) {
        let left = self.visits.memory().1.take_untold(self.now(), is_the_end);
        if let Some((refused, at, suppressed)) = left {
            self.visits.queue(Entry::Refused { refused, at, suppressed });
        }
        let (mark, written) = oneshot::channel();
        if self.visits.queue.send(Entry::Mark(mark)).await.is_ok() {
            // Where the task is gone, so is what it would have written.
            let _ = written.await;
        }
    }

    async fn write_batch(&self, batch: Vec<Entry>) {
        let (marks, entries): (Vec<_>, Vec<_>) = batch.into_iter().partition(|entry| matches!(entry, Entry::Mark(_)));
        if let Err(error) = self.write_entries(&entries).await {
            tracing::error!(%error, events = entries.len(), "who came to the admin API could not be written");
            for entry in entries {
                self.visits.was_not_written(entry);
            }
        }
        for mark in marks {
            if let Entry::Mark(mark) = mark {
                // Nobody may be waiting any more.
                let _ = mark.send(());
            }
        }
    }

    async fn write_entries(&self, entries: &[Entry]) -> Result<(), AppError> {
        let mut events = Vec::with_capacity(entries.len());
        if !entries.is_empty() {
            // Not in the transaction, in which others wait for their turn.
            let mut reader = self.store.read().await?;
            for entry in entries {
                events.extend(event(&mut reader, entry).await?);
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        let mut work = self.begin(&Actor::system()).await?;
        for event in events {
            work.tx.record(event);
        }
        work.done(()).commit().await.map(drop)
    }
}

/// What the audit log will say, if anything.
async fn event(reader: &mut Connection, entry: &Entry) -> Result<Option<AuditEvent>, AppError> {
    match entry {
        Entry::SignedIn { visitor, at } => {
            let known = Known::find(reader, visitor, true).await?;
            // Nobody signs in for a member who does not exist, whatever else became of the request.
            let is_nobody = visitor.member.is_some() && known.organization.is_none();
            Ok((!is_nobody).then(|| known.event(Action::AdminSignedIn, *at, None)))
        }
        Entry::Refused { refused, at, suppressed } => {
            let Refused { visitor, reason, method, route } = refused;
            let is_recognised = matches!(reason, RefusalReason::UnknownMember | RefusalReason::Forbidden);
            let known = Known::find(reader, visitor, is_recognised).await?;
            let mut after: Map<String, Value> = [
                ("method".to_owned(), json!(method)),
                ("route".to_owned(), json!(route)),
                ("reason".to_owned(), json!(reason.as_str())),
                ("suppressed".to_owned(), json!(suppressed)),
            ]
            .into_iter()
            .collect();
            if let Some(member) = visitor.member.filter(|_| known.organization.is_none()) {
                after.insert("member".to_owned(), json!(member));
            }
            Ok(Some(known.event(Action::AdminRefused, *at, Some(after))))
        }
        Entry::Mark(_) => Ok(None),
    }
}

/// A visitor, looked up.
struct Known {
    author: Author,
    source: Source,
    target: String,
    /// That of the member who is acted for, where there is such a member.
    organization: Option<OrganizationId>,
}

impl Known {
    /// Whoever is not recognised by a live credential acts for nobody, whatever they say.
    async fn find(reader: &mut Connection, visitor: &Visitor, is_recognised: bool) -> Result<Self, AppError> {
        let Visitor { token, member, source } = *visitor;
        let member = match member.filter(|_| is_recognised) {
            Some(id) => members::find(reader, id).await?,
            None => None,
        };
        let author = match (&member, token, source) {
            (Some(member), ..) => Author::Member(member.id),
            (None, Some(token), _) => Author::AdminToken(token),
            (None, None, Source::Socket) => Author::Operator,
            (None, None, _) => Author::Unknown,
        };
        let organization = member.map(|member| member.organization);
        let target = token.map_or_else(|| ADMIN_API.to_owned(), |token| token.to_string());
        Ok(Self { author, source, target, organization })
    }

    fn event(self, action: Action, at: Timestamp, after: Option<Map<String, Value>>) -> AuditEvent {
        let Self { author, source, target, organization } = self;
        let (before, revision) = (None, Revision::default());
        AuditEvent { number: 0, at, actor: author, source, action, target, organization, before, after, revision }
    }
}
