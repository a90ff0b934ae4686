//! Webhook endpoints: made, shown, changed, given another secret, taken away.

use claviger_courier::Target;
use claviger_domain::audit::Action;
use claviger_domain::event::EventFilter;
use claviger_domain::id::{OrganizationId, WebhookId};
use claviger_domain::key::Name;
use claviger_domain::limits;
use claviger_domain::secret::IssuedSecret;
use claviger_domain::webhook::{DisabledReason, WebhookEndpoint, issue_webhook_secret};
use claviger_store::webhooks::{self, WebhookRow};
use claviger_store::{Connection, Page, PageRequest};

use super::seal::Bound;
use crate::actor::Deed;
use crate::mutation::Work;
use crate::{Actor, App, AppError, Mutation};

const NOT_FOUND: AppError = AppError::NotFound { what: "webhook endpoint" };

/// A new endpoint.
#[derive(Clone, Debug)]
pub struct CreateWebhook {
    /// Whose events it is told; `None` makes an endpoint of the operator, which is told everybody's.
    pub organization: Option<OrganizationId>,
    /// Where it is.
    pub url: String,
    /// What people call it.
    pub description: Option<Name>,
    /// What it is told.
    pub events: EventFilter,
}

/// What to change of an endpoint. `None` leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub struct UpdateWebhook {
    /// Where it is.
    pub url: Option<String>,
    /// What people call it.
    pub description: Option<Option<Name>>,
    /// What it is told.
    pub events: Option<EventFilter>,
    /// Whether it is told anything.
    pub enabled: Option<bool>,
}

/// An endpoint with a signing secret that was just made. In clear it exists nowhere else.
pub struct IssuedWebhook {
    /// The endpoint.
    pub row: WebhookRow,
    /// Its new secret.
    pub secret: IssuedSecret,
}

impl App {
    /// Makes an endpoint. Only the operator may.
    pub async fn create_webhook(
        &self,
        actor: &Actor,
        input: CreateWebhook,
    ) -> Result<Mutation<IssuedWebhook>, AppError> {
        actor.must_be_operator()?;
        let delivery = self.delivery()?;
        let url = self.read_url(&input.url)?;
        let mut work = self.begin(actor).await?;
        if let Some(id) = input.organization {
            work.tx.find_organization(id).await?.ok_or(AppError::NotFound { what: "organization" })?;
        }
        if webhooks::count(work.tx.connection().await?, input.organization).await?
            >= limits::WEBHOOKS_PER_ORGANIZATION_MAX
        {
            let most = limits::WEBHOOKS_PER_ORGANIZATION_MAX;
            return Err(AppError::conflict(format!("There are {most} webhook endpoints already. Delete one first.")));
        }
        let id = WebhookId::new(work.now, &*self.entropy);
        let (secret, key) = issue_webhook_secret(&*self.entropy);
        let endpoint = WebhookEndpoint {
            id,
            organization: input.organization,
            url,
            description: input.description,
            events: input.events,
            disabled: None,
            created_at: work.now.to_whole_seconds(),
            rotated_at: None,
            overlap_ends_at: None,
        };
        let sealed = delivery.seal.seal(&*self.entropy, Bound::Webhook(id), &*key);
        let row = WebhookRow { endpoint, secret: sealed, old_secret: None, failing_since: None };
        put(&mut work, Action::WebhookCreated, None, &row).await?;
        Ok(work.done(IssuedWebhook { row, secret }))
    }

    /// Shows an endpoint.
    pub async fn find_webhook(&self, id: WebhookId) -> Result<WebhookRow, AppError> {
        find(&mut self.store.read().await?, id).await
    }

    /// Lists endpoints, of one organization or all, newest first.
    pub async fn list_webhooks(
        &self,
        organization: Option<OrganizationId>,
        page: PageRequest<WebhookId>,
    ) -> Result<Page<WebhookRow>, AppError> {
        Ok(webhooks::list(&mut self.store.read().await?, organization, page).await?)
    }

    /// Changes an endpoint. One that is switched on again begins anew.
    pub async fn update_webhook(
        &self,
        actor: &Actor,
        id: WebhookId,
        input: UpdateWebhook,
    ) -> Result<Mutation<WebhookRow>, AppError> {
        actor.must_be_operator()?;
        let url = input.url.as_deref().map(|url| self.read_url(url)).transpose()?;
        let mut work = self.begin(actor).await?;
        let before = find(work.tx.connection().await?, id).await?;
        let mut row = before.clone();
        let endpoint = &mut row.endpoint;
        endpoint.url = url.unwrap_or_else(|| endpoint.url.clone());
        endpoint.description = input.description.unwrap_or_else(|| endpoint.description.clone());
        endpoint.events = input.events.unwrap_or_else(|| endpoint.events.clone());
        match input.enabled {
            Some(true) => endpoint.disabled = None,
            Some(false) => endpoint.disabled = endpoint.disabled.or(Some(DisabledReason::Operator)),
            None => {}
        }
        if before.endpoint == row.endpoint {
            let revision = work.tx.revision_before();
            return Ok(work.at(row, revision));
        }
        if before.endpoint.disabled.is_some() && row.endpoint.disabled.is_none() {
            row.failing_since = None;
        }
        put(&mut work, Action::WebhookUpdated, Some(&before), &row).await?;
        Ok(work.done(row))
    }

    /// Gives an endpoint a new secret. For so many seconds what is sent is signed with both; an overlap that still runs
    /// ends: of three secrets, the oldest signs no more.
    pub async fn rotate_webhook_secret(
        &self,
        actor: &Actor,
        id: WebhookId,
        overlap_seconds: i64,
    ) -> Result<Mutation<IssuedWebhook>, AppError> {
        actor.must_be_operator()?;
        let delivery = self.delivery()?;
        if !(0..=limits::WEBHOOK_OVERLAP_SECONDS_MAX).contains(&overlap_seconds) {
            let message = format!("must be from 0 to {} (seven days)", limits::WEBHOOK_OVERLAP_SECONDS_MAX);
            return Err(AppError::invalid("overlap_seconds", message));
        }
        let mut work = self.begin(actor).await?;
        let before = find(work.tx.connection().await?, id).await?;
        let (secret, key) = issue_webhook_secret(&*self.entropy);
        let mut row = before.clone();
        let has_overlap = overlap_seconds > 0;
        row.endpoint.overlap_ends_at = work.now.plus_seconds(overlap_seconds).filter(|_| has_overlap);
        row.endpoint.rotated_at = Some(work.now.to_whole_seconds());
        row.old_secret = Some(before.secret.clone()).filter(|_| has_overlap);
        row.secret = delivery.seal.seal(&*self.entropy, Bound::Webhook(id), &*key);
        put(&mut work, Action::WebhookRotated, Some(&before), &row).await?;
        Ok(work.done(IssuedWebhook { row, secret }))
    }

    /// Takes an endpoint away, with its log. What waits for it is not sent.
    pub async fn delete_webhook(&self, actor: &Actor, id: WebhookId) -> Result<Mutation<WebhookRow>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let row = find(work.tx.connection().await?, id).await?;
        let now = work.now;
        webhooks::delete(&mut work.tx, id, now).await?;
        let deed = Deed::new(Action::WebhookDeleted, id, Some(&row.endpoint), None);
        work.record(of(deed, row.endpoint.organization));
        Ok(work.done(row))
    }

    /// The URL in the form that is kept, if it may be sent to as far as its text tells.
    fn read_url(&self, text: &str) -> Result<String, AppError> {
        let target = Target::parse(text, self.delivery()?.courier.reach());
        let target = target.map_err(|error| AppError::invalid("url", error.to_string()))?;
        Ok(target.as_str().to_owned())
    }
}

/// The endpoint of that id.
pub(super) async fn find(connection: &mut Connection, id: WebhookId) -> Result<WebhookRow, AppError> {
    webhooks::find(connection, id).await?.ok_or(NOT_FOUND)
}

/// Writes an endpoint and tells the audit log.
pub(super) async fn put(
    work: &mut Work,
    action: Action,
    before: Option<&WebhookRow>,
    row: &WebhookRow,
) -> Result<(), AppError> {
    webhooks::put(&mut work.tx, row).await?;
    let deed = Deed::new(action, row.endpoint.id, before.map(|before| &before.endpoint), Some(&row.endpoint));
    work.record(of(deed, row.endpoint.organization));
    Ok(())
}

/// The deed, with whose thing it was done to.
pub(super) fn of(deed: Deed, organization: Option<OrganizationId>) -> Deed {
    Deed { organization, ..deed }
}
