//! Mails: accepted in the transaction that is their reason, and kept encrypted until they have gone.

use claviger_domain::audit::Action;
use claviger_domain::id::MailId;
use claviger_domain::limits;
use claviger_domain::mail::{EmailAddress, Mail};
use claviger_domain::time::Timestamp;
use claviger_domain::webhook::DeliveryState;
use claviger_store::mails::{self, MailRow};
use serde_json::{Map, json};
use zeroize::Zeroizing;

use super::schedule::next_attempt;
use super::seal::Bound;
use super::{Delivery, not_set_up};
use crate::actor::Deed;
use crate::mutation::Work;
use crate::{Actor, App, AppError, Mutation};

const TEST_SUBJECT: &str = "Claviger can send mail";
const TEST_TEXT: &str = "This is a test. Somebody who runs Claviger asked for it; there is nothing to do.\n";

impl Work {
    /// Queues a mail, to be sent when this transaction is durable. Refused where too many wait already.
    pub(crate) async fn mail(&mut self, mail: &Mail) -> Result<MailId, AppError> {
        let delivery = self.delivery.clone().ok_or_else(not_set_up)?;
        if mails::count_pending(self.tx.connection().await?).await? >= limits::MAIL_QUEUE_MAX {
            let context = format!("{} mails wait to be sent already", limits::MAIL_QUEUE_MAX);
            return Err(AppError::Unavailable { context });
        }
        let id = MailId::new(self.now, &*self.entropy);
        let text = Zeroizing::new(serde_json::to_vec(mail).expect("a mail can be written as JSON"));
        let content = delivery.seal.seal(&*self.entropy, Bound::Mail(id), &text);
        mails::create(&mut self.tx, id, content, self.now).await?;
        Ok(id)
    }
}

impl App {
    /// Queues a mail that says that mails arrive. Only the operator may.
    pub async fn send_test_mail(&self, actor: &Actor, to: EmailAddress) -> Result<Mutation<MailId>, AppError> {
        actor.must_be_operator()?;
        let mail = Mail::new(to, None, TEST_SUBJECT, TEST_TEXT).expect("the texts are a mail's");
        let mut work = self.begin(actor).await?;
        let id = work.mail(&mail).await?;
        let after = Map::from_iter([("to".to_owned(), json!(mail.to()))]);
        let target = id.to_string();
        work.record(Deed { action: Action::MailTested, target, organization: None, before: None, after: Some(after) });
        Ok(work.done(id))
    }

    /// Tries to send a mail, and says what becomes of it.
    pub(super) async fn try_mail(&self, delivery: &Delivery, mail: MailRow) -> MailRow {
        let now = self.now();
        let content = mail.content.as_deref().and_then(|sealed| delivery.seal.open(Bound::Mail(mail.id), sealed));
        let opened: Option<Mail> = content.and_then(|text| serde_json::from_slice(&text).ok());
        let attempts = mail.attempts + 1;
        let Some(opened) = opened else {
            // The file with the key is another one now: no attempt will change that.
            return finished(
                mail,
                attempts,
                DeliveryState::Failed,
                Some("the mail cannot be decrypted".to_owned()),
                now,
            );
        };
        let seconds = mail.created_at.as_micros().div_euclid(1_000_000);
        match delivery.mailer.send(&mail.id.to_string(), seconds, &opened).await {
            Ok(()) => finished(mail, attempts, DeliveryState::Delivered, None, now),
            Err(failure) => {
                let now = self.now();
                let next_at = next_attempt(attempts, now, None, &*self.entropy).filter(|_| !failure.is_permanent);
                tracing::warn!(mail = %mail.id, reason = failure.reason, is_given_up = next_at.is_none(), "a mail was not sent");
                match next_at {
                    Some(_) => MailRow { attempts, next_at, reason: Some(failure.reason), ..mail },
                    None => finished(mail, attempts, DeliveryState::Failed, Some(failure.reason), now),
                }
            }
        }
    }

    pub(super) async fn record_mail(&self, mail: &MailRow) -> Result<(), AppError> {
        let mut work = self.begin(&Actor::system()).await?;
        mails::update(&mut work.tx, mail).await?;
        let revision = work.tx.revision_before();
        work.at((), revision).commit().await?;
        Ok(())
    }
}

fn finished(mail: MailRow, attempts: i64, state: DeliveryState, reason: Option<String>, now: Timestamp) -> MailRow {
    MailRow { content: None, attempts, state, reason, next_at: None, finished_at: Some(now), ..mail }
}
