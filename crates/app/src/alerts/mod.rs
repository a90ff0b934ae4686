//! Alerts: what is unusual about live keys, or about to happen to them.
//!
//! They are judged in the background, from tables, and never while somebody waits for a verdict. Of an account, a key and a
//! kind one alert is open at a time. It is told of at most once a day, and closes when what it is about is over, or
//! when a person closes it: then it is quiet about the same cause.
//!
//! Reading order: [`rules`] (what is unusual, without any I/O), `evaluate` (from tables to alerts), [`settings`], this
//! file (what people do with them).

mod evaluate;
pub mod rules;
pub mod settings;

use claviger_domain::alert::{Alert, AlertKind};
use claviger_domain::audit::{Action, Audited as _, Author};
use claviger_domain::event::{Event, EventType};
use claviger_domain::id::{AlertId, EventId};
use claviger_domain::limits;
use claviger_domain::mail::Mail;
use claviger_domain::time::Timestamp;
use claviger_store::alerts::{self, AlertFilter};
use claviger_store::{Connection, Page, PageRequest, keys, mails, members, organizations};
use serde_json::{Map, Value};

use crate::actor::{Acting, Deed, Need};
use crate::mutation::Work;
use crate::{Actor, App, AppError, Mutation};

const NOT_FOUND: AppError = AppError::NotFound { what: "alert" };

/// What became of an alert.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AlertChange {
    /// It is new.
    Opened,
    /// It is told of once more.
    Repeated,
    /// It is over.
    Closed,
}

impl App {
    /// Lists alerts, newest first. A key that acts sees those of its own organization and api; a test key none, for they are
    /// about live keys.
    pub async fn list_alerts(
        &self,
        actor: &Actor,
        filter: &AlertFilter,
        page: PageRequest<AlertId>,
    ) -> Result<Page<Alert>, AppError> {
        let mut reader = self.store.read().await?;
        let acting = actor.look_up(&mut reader, Need::ReadKeys, self.now()).await?;
        let mut filter = filter.clone();
        match &acting {
            Acting::Operator => {}
            Acting::Member(member) => filter.organization = Some(member.organization),
            Acting::Key { .. } if acting.is_test_key() => return Ok(Page { rows: Vec::new(), more: false }),
            Acting::Key { key, .. } => {
                filter.organization = Some(key.organization);
                filter.api = Some(key.api.clone());
            }
        }
        Ok(alerts::list(&mut reader, &filter, page).await?)
    }

    /// Shows an alert.
    pub async fn find_alert(&self, actor: &Actor, id: AlertId) -> Result<Alert, AppError> {
        let mut reader = self.store.read().await?;
        let acting = actor.look_up(&mut reader, Need::ReadKeys, self.now()).await?;
        find_visible(&mut reader, &acting, id).await
    }

    /// Closes an alert, so that it is quiet about the same cause. One that is closed stays as it is. Whoever may not change a
    /// key may not quiet what is told of it either.
    pub async fn close_alert(&self, actor: &Actor, id: AlertId) -> Result<Mutation<Alert>, AppError> {
        let mut work = self.begin(actor).await?;
        let acting = actor.look_up_to_write(&mut work.tx, work.now).await?;
        let reader = work.tx.connection().await?;
        let before = find_visible(reader, &acting, id).await?;
        let about = match before.key {
            Some(key) => keys::find(reader, key).await?,
            None => None,
        };
        match about {
            Some(row) => acting.may_change(&row.key, false)?,
            None => acting.may_manage()?,
        }
        if before.closed.is_some() {
            let revision = work.tx.revision_before();
            return Ok(work.at(before, revision));
        }
        let alert = Alert { closed: Some((work.now, actor.author())), ..before };
        alerts::put(&mut work.tx, &alert).await?;
        Self::alert_changed(&mut work, &alert, AlertChange::Closed).await?;
        Ok(work.done(alert))
    }

    /// The one place that every change of an alert comes through: it is recorded here, and whoever is to be told of it is
    /// told from here.
    pub(crate) async fn alert_changed(work: &mut Work, alert: &Alert, change: AlertChange) -> Result<(), AppError> {
        let told = match change {
            AlertChange::Opened => Some((Action::AlertOpened, EventType::AlertOpened)),
            AlertChange::Closed => Some((Action::AlertClosed, EventType::AlertClosed)),
            // Nothing about it has changed.
            AlertChange::Repeated => None,
        };
        if let Some((action, kind)) = told {
            let open = Alert { closed: None, ..alert.clone() };
            let before = (change == AlertChange::Closed).then_some(&open);
            work.record(Deed::new(action, alert.id, before, Some(alert)).of(alert.organization));
            work.announce(|id, at| event(id, kind, at, alert));
            if kind == EventType::AlertOpened && matches!(alert.kind, AlertKind::Quota80 | AlertKind::Quota100) {
                work.announce(|id, at| event(id, EventType::QuotaReached, at, alert));
            }
        }
        if change == AlertChange::Closed || work.delivery.is_none() {
            return Ok(());
        }
        let reader = work.tx.connection().await?;
        if mails::count_pending(reader).await? >= limits::MAIL_QUEUE_MAX / 2 {
            tracing::warn!("too many mails wait to be sent: members are not told of an alert");
            return Ok(());
        }
        let organization = organizations::find(reader, alert.organization).await?;
        let members = members::list(reader, alert.organization).await?;
        for member in members.into_iter().filter(|member| member.is_mailed(alert.kind)) {
            let (subject, text) = words(alert, organization.as_ref().map_or("", |one| one.name.as_str()));
            if let Ok(mail) = Mail::new(member.email, Some(member.name), subject, text)
                && let Err(error) = work.mail(&mail).await
            {
                tracing::warn!(%error, "a member is not told of an alert");
            }
        }
        Ok(())
    }
}

/// The alert, if there is one that the actor may know of.
async fn find_visible(connection: &mut Connection, acting: &Acting, id: AlertId) -> Result<Alert, AppError> {
    alerts::find(connection, id).await?.filter(|alert| acting.sees_alert(alert)).ok_or(NOT_FOUND)
}

fn event(id: EventId, kind: EventType, at: Timestamp, alert: &Alert) -> Event {
    let mut view = alert.audit_view();
    view.insert("id".to_owned(), alert.id.to_string().into());
    let data = Map::from_iter([("alert".to_owned(), Value::Object(view))]);
    Event { id, kind, at, organization: Some(alert.organization), api: Some(alert.api.clone()), data }
}

/// What a mail says of an alert.
fn words(alert: &Alert, organization: &str) -> (String, String) {
    let about = |name: &str| alert.detail.get(name).and_then(Value::as_str).unwrap_or_default();
    let key = match alert.key {
        Some(id) => format!("Key: {} ({}…{}, {id})\n", about("name"), about("prefix"), about("hint")),
        None => String::new(),
    };
    let kind = alert.kind.as_str();
    let text = format!(
        "Alert: {kind}\nOrganization: {organization}\nAPI: {}\n{key}Since: {}\n\n{}\n",
        alert.api,
        alert.opened_at,
        Value::Object(alert.detail.clone())
    );
    (format!("Alert: {kind} ({})", alert.api), text)
}

/// Whether a person closed it.
fn is_closed_by_person_after(alert: &Alert, since: Timestamp) -> bool {
    alert.closed.is_some_and(|(at, by)| by != Author::System && at >= since)
}
