//! How others are told: events by webhook, mails.
//!
//! What is accepted is written in the mutation's own transaction and is sent afterwards, by a task of its own, until it has
//! arrived or three days are over. A process that is killed has lost nothing; it may send once more what it had just sent,
//! with the same id. Order is not promised.
//!
//! Sending never holds up anybody: nothing is sent inside a transaction, what came of it is written in short ones, and so
//! many requests are under way at once, to one endpoint so many of them, so that one that is slow keeps no other waiting.
//!
//! Reading order: `announce` and `mails` (what is accepted), `webhooks` (where to, and the log), `schedule` (when),
//! `worker` (the sending), `seal` (how secrets are kept).

mod announce;
mod log;
mod mails;
mod schedule;
mod seal;
mod tidy;
mod webhooks;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use claviger_courier::{Courier, Mailer};
use claviger_domain::id::{EventId, MailId, WebhookId};
use claviger_domain::member::InvitationUrl;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

pub use log::{ReplayedWebhook, ShownDelivery};
pub use webhooks::{CreateWebhook, IssuedWebhook, UpdateWebhook};

use crate::{App, AppError};
use seal::Seal;

/// What it takes to send.
pub struct DeliverySettings {
    /// Under this, signing secrets and mails are encrypted in the database. It must stay the same.
    pub key: Zeroizing<[u8; 32]>,
    /// Sends events.
    pub courier: Courier,
    /// Sends mails.
    pub mailer: Mailer,
    /// Where the links of invitations lead; without it, mails have the token alone.
    pub invitation_url: Option<InvitationUrl>,
}

/// The sending of events and mails.
pub(crate) struct Delivery {
    seal: Seal,
    courier: Courier,
    mailer: Mailer,
    pub(crate) invitation_url: Option<InvitationUrl>,
    under_way: Mutex<UnderWay>,
    /// The endpoint that was served last. Whoever holds it chooses what to send next.
    last_served: tokio::sync::Mutex<Option<WebhookId>>,
    stop: watch::Sender<bool>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

/// What is being sent at the moment.
#[derive(Clone, Default)]
struct UnderWay {
    events: HashMap<WebhookId, HashSet<EventId>>,
    mails: HashSet<MailId>,
}

impl UnderWay {
    fn count_events(&self) -> usize {
        self.events.values().map(HashSet::len).sum()
    }
}

/// Something that is being sent, until it is dropped.
enum Place {
    Event(Arc<Delivery>, WebhookId, EventId),
    Mail(Arc<Delivery>, MailId),
}

impl Drop for Place {
    fn drop(&mut self) {
        match self {
            Self::Event(delivery, endpoint, event) => {
                let mut under_way = delivery.under_way();
                if let Some(events) = under_way.events.get_mut(endpoint) {
                    events.remove(event);
                    if events.is_empty() {
                        under_way.events.remove(endpoint);
                    }
                }
            }
            Self::Mail(delivery, mail) => {
                delivery.under_way().mails.remove(mail);
            }
        }
    }
}

impl Delivery {
    fn under_way(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter_event(self: &Arc<Self>, endpoint: WebhookId, event: EventId) -> Place {
        self.under_way().events.entry(endpoint).or_default().insert(event);
        Place::Event(Arc::clone(self), endpoint, event)
    }

    fn enter_mail(self: &Arc<Self>, mail: MailId) -> Place {
        self.under_way().mails.insert(mail);
        Place::Mail(Arc::clone(self), mail)
    }

    /// Sends nothing more, and waits a moment for what is under way.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            // It ends by itself, and soon.
            let _ = worker.await;
        }
    }
}

impl App {
    /// Says how events and mails are sent. Until then none can be accepted. Nothing is sent before
    /// [`App::start_delivery`].
    pub fn set_up_delivery(&self, settings: DeliverySettings) {
        let DeliverySettings { key, courier, mailer, invitation_url } = settings;
        let delivery = Delivery {
            seal: Seal::new(&key),
            courier,
            mailer,
            invitation_url,
            under_way: Mutex::default(),
            last_served: tokio::sync::Mutex::default(),
            stop: watch::Sender::new(false),
            worker: Mutex::default(),
        };
        // The first word stands: what is sealed under one key does not open under another.
        let _ = self.delivery.set(Arc::new(delivery));
    }

    /// Sends what is due, now and from now on, until the app is closed or dropped.
    pub fn start_delivery(self: &Arc<Self>) {
        let Some(delivery) = self.delivery.get() else { return };
        if let Some(folder) = delivery.mailer.folder_path() {
            tracing::info!(folder = %folder.display(), "no SMTP server is configured: mails are written into a folder");
        }
        let worker = tokio::spawn(worker::run(Arc::downgrade(self), Arc::clone(delivery)));
        *delivery.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
    }

    fn delivery(&self) -> Result<&Arc<Delivery>, AppError> {
        self.delivery.get().ok_or_else(not_set_up)
    }
}

fn not_set_up() -> AppError {
    AppError::Unavailable { context: "delivery is not set up".to_owned() }
}
