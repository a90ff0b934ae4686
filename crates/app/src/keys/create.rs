//! Making keys.

use std::sync::Arc;

use claviger_domain::audit::Action;
use claviger_domain::change::Change;
use claviger_domain::definition::Api;
use claviger_domain::format::KeyFormat;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Creator, Environment, Key, Kind, Metadata, Name};
use claviger_domain::limits;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::subscription;
use claviger_domain::time::Timestamp;
use claviger_store::{Tx, keys};

use super::room::{Class, Place};
use super::{Issued, check, find_api, find_visible, must_not_be_final};
use crate::actor::{Acting, Deed, old_secret};
use crate::{Actor, App, AppError, KeyRow, Mutation};

/// Whose key it will be. The operator names both; a key that acts makes keys of its own place.
#[derive(Clone, Debug, Default)]
pub struct KeyPlace {
    /// The organization.
    pub organization: Option<OrganizationId>,
    /// The api.
    pub api: Option<ApiName>,
}

/// What a caller asks of a new key.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// The name people will see.
    pub name: Name,
    /// The format, by its prefix.
    pub prefix: Option<String>,
    /// The format, by its kind.
    pub kind: Option<Kind>,
    /// The format, by its environment.
    pub environment: Option<Environment>,
    /// What it may do. Secret keys get full access and ephemeral keys what their parent has; restricted keys must say.
    pub scopes: Option<Scopes>,
    /// Where, from where and for what it may be used. What is left open is taken from the key that acts.
    pub restrictions: Restrictions,
    /// Says that a network of all addresses is meant.
    pub allow_any_ip: bool,
    /// How long it lives.
    pub lifetime: Option<Lifetime>,
    /// What the holder keeps beside it.
    pub metadata: Metadata,
    /// The key an ephemeral key is made with. Only the operator names one; a key that acts is it.
    pub parent_id: Option<KeyId>,
}

/// How long a key lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// Until this instant.
    ExpiresAt(Timestamp),
    /// For so many seconds from now.
    TtlSeconds(i64),
}

impl App {
    /// Makes a key. Its secret is in the answer and nowhere else.
    pub async fn create_key(
        &self,
        actor: &Actor,
        place: KeyPlace,
        input: CreateKey,
    ) -> Result<Mutation<Issued>, AppError> {
        let mut work = self.begin(actor).await?;
        let now = work.now;
        let acting = actor.look_up_to_write(&mut work.tx, now).await?;
        let (organization, api) = find_place(&mut work.tx, &acting, place).await?;
        let format = choose_format(&api, &acting, &input)?;
        plan_must_allow(&mut work.tx, organization, &api, format.kind).await?;
        let parent = find_parent(&mut work.tx, &acting, format, &input, organization, &api, now).await?;
        // The key that the new one must stay within, and takes from what the caller left open.
        let limiter = match (&parent, &acting) {
            (Some(parent), _) => Some(parent),
            (None, Acting::Key { key, .. }) => Some(&**key),
            (None, Acting::Operator | Acting::Member(_)) => None,
        };
        let secret = format.issue(&*self.entropy);
        let key = Key {
            id: KeyId::new(now, &*self.entropy),
            organization,
            api: api.definition.name().clone(),
            name: input.name,
            kind: format.kind,
            environment: format.environment,
            prefix: format.prefix.clone(),
            hint: secret.hint(),
            digest: secret.digest(),
            old_secret: None,
            scopes: choose_scopes(input.scopes, format.kind, parent.as_ref())?,
            restrictions: inherit(input.restrictions, limiter),
            parent_id: parent.as_ref().map(|parent| parent.id),
            metadata: input.metadata,
            disabled: false,
            revocation: None,
            created_at: now.to_whole_seconds(),
            created_by: match &acting {
                Acting::Operator => Creator::Operator,
                Acting::Key { key, .. } => Creator::Key(key.id),
                Acting::Member(member) => Creator::Member(member.id),
            },
            expires_at: choose_expiry(input.lifetime, format, limiter, &acting, now)?,
            rotated_at: None,
        };
        check::scopes(&key.scopes, key.kind, &api)?;
        check::restrictions(&key.restrictions, input.allow_any_ip || limiter.is_some_and(allows_any_ip), &api)?;
        check::not_contradictory(&key, &api)?;
        acting.must_outrank(&key)?;
        if let Some(parent) = &parent
            && !key.is_within(parent)
        {
            return Err(AppError::forbidden("An ephemeral key cannot have more access than the key it is made with."));
        }
        // Last: what is refused for another reason takes no room.
        let place = Place { organization, api: &api, class: Class::of(key.kind) };
        self.room.take(&mut work.tx, place, now).await?;
        keys::create(&mut work.tx, &key);
        let deed = Deed::new(Action::KeyCreated, key.id, None, Some(&key)).of(organization);
        work.tell(Change::Key(Box::new(key.clone())), deed);
        let revision = work.tx.revision();
        Ok(work.done(Issued { row: KeyRow { key, last_used: None, revision }, secret }))
    }
}

async fn find_place(tx: &mut Tx, acting: &Acting, place: KeyPlace) -> Result<(OrganizationId, Arc<Api>), AppError> {
    let (organization, api) = match acting {
        Acting::Key { key, .. } => (key.organization, key.api.clone()),
        Acting::Operator => {
            let organization = place.organization.ok_or(AppError::invalid("organization", "is missing"))?;
            (organization, place.api.ok_or(AppError::invalid("api", "is missing"))?)
        }
        Acting::Member(member) => {
            if place.organization.is_some_and(|organization| organization != member.organization) {
                return Err(AppError::NotFound { what: "organization" });
            }
            (member.organization, place.api.ok_or(AppError::invalid("api", "is missing"))?)
        }
    };
    tx.find_organization(organization).await?.ok_or(AppError::NotFound { what: "organization" })?;
    Ok((organization, find_api(tx, &api).await?))
}

fn choose_format<'a>(api: &'a Api, acting: &Acting, input: &CreateKey) -> Result<&'a KeyFormat, AppError> {
    let mut environment = input.environment;
    if let Acting::Key { key, .. } = acting {
        if key.kind == Kind::Ephemeral {
            return Err(AppError::forbidden("An ephemeral key cannot create keys. Use a secret or restricted key."));
        }
        // Keys made with a test key are test keys unless the caller says otherwise, which is refused below.
        if input.prefix.is_none() && environment.is_none() {
            environment = Some(key.environment);
        }
    }
    let format = api.definition.choose_format(input.prefix.as_deref(), input.kind, environment);
    let Some(format) = format else {
        let offered = api
            .definition
            .formats()
            .iter()
            .map(|format| format!("{} {} ({})", format.environment, format.kind, format.prefix));
        let field = match (&input.prefix, input.kind) {
            (Some(_), _) => "prefix",
            (None, Some(_)) => "kind",
            (None, None) => "environment",
        };
        let offered = offered.collect::<Vec<_>>().join(", ");
        return Err(AppError::invalid(field, format!("this API has no such keys; it has {offered}")));
    };
    if let Acting::Key { by_old_secret: true, .. } = acting
        && format.kind != Kind::Ephemeral
    {
        return Err(old_secret());
    }
    if let Acting::Key { key, .. } = acting
        && format.environment > key.environment
    {
        return Err(AppError::forbidden("A test key can only create test keys."));
    }
    Ok(format)
}

/// Refuses kinds of keys that the organization's plan does not have.
pub(super) async fn plan_must_allow(
    tx: &mut Tx,
    organization: OrganizationId,
    api: &Api,
    kind: Kind,
) -> Result<(), AppError> {
    if api.definition.plans().is_empty() {
        return Ok(());
    }
    let subscription = tx.find_subscription(organization, api.definition.name()).await?;
    let (_, plan) = subscription::terms(&api.definition, subscription.as_ref());
    match plan {
        Some(plan) if plan.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&kind)) => Err(AppError::limit_reached(
            format!("The {} plan ({}) has no {kind} keys. Move to a plan that has them.", plan.title, plan.name),
        )),
        _ => Ok(()),
    }
}

/// The key that a new ephemeral key is made with: the acting key, or the one the operator names.
async fn find_parent(
    tx: &mut Tx,
    acting: &Acting,
    format: &KeyFormat,
    input: &CreateKey,
    organization: OrganizationId,
    api: &Api,
    now: Timestamp,
) -> Result<Option<Key>, AppError> {
    if format.kind != Kind::Ephemeral {
        return match input.parent_id {
            Some(_) => Err(AppError::invalid("parent_id", "is only for ephemeral keys")),
            None => Ok(None),
        };
    }
    let parent = match (acting, input.parent_id) {
        (Acting::Key { .. }, Some(_)) => {
            return Err(AppError::invalid("parent_id", "is the key that makes the request; leave it out"));
        }
        (Acting::Key { key, .. }, None) => (**key).clone(),
        (Acting::Operator | Acting::Member(_), None) => {
            return Err(AppError::invalid("parent_id", "is missing: an ephemeral key is made with another key"));
        }
        (Acting::Operator | Acting::Member(_), Some(id)) => find_visible(tx.connection().await?, acting, id).await?.key,
    };
    if parent.organization != organization || parent.api != *api.definition.name() {
        return Err(AppError::NotFound { what: "API key" });
    }
    if parent.kind == Kind::Ephemeral {
        return Err(AppError::invalid("parent_id", "is an ephemeral key, which cannot have keys of its own"));
    }
    must_not_be_final(&parent, now)?;
    if parent.disabled {
        return Err(AppError::conflict("The key that the ephemeral key is made with is disabled."));
    }
    Ok(Some(parent))
}

pub(super) fn choose_scopes(scopes: Option<Scopes>, kind: Kind, parent: Option<&Key>) -> Result<Scopes, AppError> {
    match (scopes, kind, parent) {
        (Some(scopes), _, _) => Ok(scopes),
        (None, _, Some(parent)) => Ok(parent.scopes.clone()),
        // A secret key is full access by its kind.
        (None, Kind::Secret, None) => Ok(Scopes::Full),
        (None, _, None) => Err(AppError::invalid(
            "scopes",
            "must name what the key may do; only secret keys have full access by default",
        )),
    }
}

/// What the caller leaves unrestricted is as restricted as the key in hand.
fn inherit(asked: Restrictions, limiter: Option<&Key>) -> Restrictions {
    let Some(limiter) = limiter else { return asked };
    let mine = &limiter.restrictions;
    Restrictions {
        ip: asked.ip.or_else(|| mine.ip.clone()),
        referrer: asked.referrer.or_else(|| mine.referrer.clone()),
        endpoint: asked.endpoint.or_else(|| mine.endpoint.clone()),
    }
}

fn allows_any_ip(key: &Key) -> bool {
    key.restrictions.ip.iter().flatten().any(claviger_domain::address::IpRule::is_any)
}

fn choose_expiry(
    lifetime: Option<Lifetime>,
    format: &KeyFormat,
    limiter: Option<&Key>,
    acting: &Acting,
    now: Timestamp,
) -> Result<Option<Timestamp>, AppError> {
    let limit = limiter.and_then(|limiter| limiter.expires_at);
    let test_life = acting.is_test_key().then_some(limits::MADE_WITH_TEST_KEY_TTL_SECONDS_MAX);
    let (field, expires_at) = match lifetime {
        Some(Lifetime::ExpiresAt(at)) => ("expires_at", Some(at)),
        Some(Lifetime::TtlSeconds(seconds)) => {
            if seconds < 1 {
                return Err(AppError::invalid("ttl_seconds", "must be at least 1"));
            }
            let longest = format.ttl_seconds_max().unwrap_or(limits::TTL_SECONDS_MAX);
            let at = (seconds <= longest).then(|| now.plus_seconds(seconds)).flatten();
            ("ttl_seconds", Some(at.ok_or_else(|| AppError::invalid("ttl_seconds", check::too_long(longest)))?))
        }
        None => {
            let fallback = (format.kind == Kind::Ephemeral).then_some(3600);
            let ttl = format.default_ttl_seconds.or(fallback).or(format.ttl_seconds_max());
            let by_default = ttl.and_then(|seconds| now.plus_seconds(seconds));
            let as_test_data = test_life.and_then(|seconds| now.to_whole_seconds().plus_seconds(seconds));
            // Left open, a key lives no longer than the one in hand.
            ("expires_at", [by_default, limit, as_test_data].into_iter().flatten().min())
        }
    };
    check::expiry(field, expires_at, Some(format), now, now)?;
    if let Some(seconds) = test_life
        && expires_at > now.plus_seconds(seconds)
    {
        return Err(check::lives_too_long_for_test_data(field));
    }
    match (expires_at, limit) {
        (Some(at), Some(limit)) if at > limit => Err(AppError::forbidden(format!(
            "The key in hand expires at {limit}; a key made with it cannot live longer."
        ))),
        _ => Ok(expires_at),
    }
}
