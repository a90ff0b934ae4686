//! What callers send: bodies and query parameters of the customer and the admin API.

#![expect(clippy::option_option, reason = "absent, null and a value are three things")]

pub(crate) mod alerts;
pub(crate) mod usage;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use claviger_app::{
    CreateKey, KeyFilter, KeyPlace, Lifetime, PageRequest, RemoveMember, Rest, SetSubscription, UpdateKey,
    UpdateMember, UpdateOrganization,
};
use claviger_domain::address::IpRule;
use claviger_domain::alert::AlertKind;
use claviger_domain::endpoint::EndpointPattern;
use claviger_domain::id::{KeyId, MemberId, OrganizationId};
use claviger_domain::key::{ApiName, Environment, Kind, Metadata, Name, State};
use claviger_domain::limits;
use claviger_domain::mail::EmailAddress;
use claviger_domain::member::Role;
use claviger_domain::organization::OrganizationStatus;
use claviger_domain::period::TimeZone;
use claviger_domain::plan::PlanName;
use claviger_domain::referrer::ReferrerRule;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::subscription::{AnchorDay, BillingState};
use claviger_domain::time::Timestamp;
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use crate::error::Failure;
use crate::json::{not_null, object, present};
use crate::openapi::words;
use crate::query::{FromQuery, Parameters};

/// The body of a request for a new key: what only this one has, and what all of them have.
macro_rules! new_key_body {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields, expecting = "an object")]
        pub(crate) struct $name {
            $($own)*
            /// The name that people see.
            #[schema(value_type = String, min_length = 1, max_length = 100, example = "Production server")]
            name: Name,
            /// The format, by its kind.
            #[schema(value_type = Option<words::Kind>)]
            kind: Option<Kind>,
            /// The format, by its environment. Left out, the api's default; made with a test key, `test`.
            #[schema(value_type = Option<words::Environment>)]
            environment: Option<Environment>,
            /// The format, by its prefix.
            prefix: Option<String>,
            /// What it may do. Secret keys get `["*"]`, ephemeral keys what their parent has; restricted keys must say.
            #[schema(value_type = Option<Vec<String>>)]
            scopes: Option<Scopes>,
            /// Where, from where and for what it may be used. Made with a key, what is left open is as restricted as that one.
            #[schema(value_type = words::RestrictionsInput)]
            #[serde(default, deserialize_with = "object")]
            restrictions: Restrictions,
            /// Says that a network of all addresses is meant.
            #[serde(default)]
            allow_any_ip: bool,
            /// When it dies by itself. A key that is made with a test key does after a day at the latest.
            #[schema(value_type = Option<String>, format = DateTime)]
            expires_at: Option<Timestamp>,
            /// How long it lives from now, instead of `expires_at`.
            #[schema(minimum = 1)]
            ttl_seconds: Option<i64>,
            /// What the holder keeps beside it: at most 4096 bytes and 16 levels of JSON.
            #[schema(value_type = Object)]
            #[serde(default, deserialize_with = "Metadata::deserialize_new")]
            metadata: Metadata,
        }

        impl $name {
            fn into_input(self, parent_id: Option<KeyId>) -> Result<CreateKey, Failure> {
                Ok(CreateKey {
                    name: self.name,
                    prefix: self.prefix,
                    kind: self.kind,
                    environment: self.environment,
                    scopes: self.scopes,
                    restrictions: self.restrictions,
                    allow_any_ip: self.allow_any_ip,
                    lifetime: lifetime(self.expires_at, self.ttl_seconds)?,
                    metadata: self.metadata,
                    parent_id,
                })
            }
        }
    };
}

new_key_body! {
    /// A new key.
    CreateKeyBody {}
}

new_key_body! {
    /// A new key in an organization.
    AdminCreateKeyBody {
        /// The organization that it will be of.
        #[schema(value_type = String)]
        organization: OrganizationId,
        /// The api that it opens.
        #[schema(value_type = String, example = "tork")]
        api: ApiName,
        /// The key that an ephemeral key is made with.
        #[schema(value_type = Option<String>)]
        parent_id: Option<KeyId>,
    }
}

impl TryFrom<CreateKeyBody> for CreateKey {
    type Error = Failure;

    fn try_from(body: CreateKeyBody) -> Result<Self, Failure> {
        body.into_input(None)
    }
}

impl TryFrom<AdminCreateKeyBody> for (KeyPlace, CreateKey) {
    type Error = Failure;

    fn try_from(body: AdminCreateKeyBody) -> Result<Self, Failure> {
        let place = KeyPlace { organization: Some(body.organization), api: Some(body.api.clone()) };
        let parent_id = body.parent_id;
        Ok((place, body.into_input(parent_id)?))
    }
}

fn lifetime(expires_at: Option<Timestamp>, ttl_seconds: Option<i64>) -> Result<Option<Lifetime>, Failure> {
    match (expires_at, ttl_seconds) {
        (Some(_), Some(_)) => Err(Failure::invalid_field("ttl_seconds", "send either this or expires_at")),
        (Some(at), None) => Ok(Some(Lifetime::ExpiresAt(at))),
        (None, Some(seconds)) => Ok(Some(Lifetime::TtlSeconds(seconds))),
        (None, None) => Ok(None),
    }
}

/// What to change of a key. What is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct UpdateKeyBody {
    /// The name that people see.
    #[schema(value_type = String, min_length = 1, max_length = 100, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    name: Option<Name>,
    /// What it may do, replaced as a whole.
    #[schema(value_type = Vec<String>, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    scopes: Option<Scopes>,
    /// The lists to replace or lift.
    #[schema(value_type = words::RestrictionsInput, required = false)]
    #[serde(default, deserialize_with = "object")]
    restrictions: UpdateRestrictions,
    /// Says that a network of all addresses is meant.
    #[serde(default)]
    allow_any_ip: bool,
    /// When it dies by itself; `null` is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Option<Timestamp>>,
    /// What the holder keeps beside it, replaced as a whole.
    #[schema(value_type = Object, required = false)]
    #[serde(default, deserialize_with = "new_metadata")]
    metadata: Option<Metadata>,
}

fn new_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Metadata>, D::Error> {
    Metadata::deserialize_new(deserializer).map(Some)
}

/// The restrictions to change: an absent list stays, `null` lifts.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct UpdateRestrictions {
    #[serde(default, deserialize_with = "present")]
    ip: Option<Option<Vec<IpRule>>>,
    #[serde(default, deserialize_with = "present")]
    referrer: Option<Option<Vec<ReferrerRule>>>,
    #[serde(default, deserialize_with = "present")]
    endpoint: Option<Option<Vec<EndpointPattern>>>,
}

impl From<UpdateKeyBody> for UpdateKey {
    fn from(body: UpdateKeyBody) -> Self {
        Self {
            name: body.name,
            scopes: body.scopes,
            ip: body.restrictions.ip,
            referrer: body.restrictions.referrer,
            endpoint: body.restrictions.endpoint,
            allow_any_ip: body.allow_any_ip,
            expires_at: body.expires_at,
            metadata: body.metadata,
        }
    }
}

/// How to rotate. No body at all is an overlap of zero.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct RotateKeyBody {
    /// For how long the old secret goes on working; 0 ends it at once.
    #[schema(minimum = 0, maximum = 604_800, default = 0)]
    #[serde(default)]
    pub(crate) overlap_seconds: i64,
}

/// Which keys to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of KeyList")]
pub(crate) struct KeyListParameters {
    /// Only keys in this state.
    #[param(value_type = Option<words::State>)]
    state: Option<State>,
    /// Only keys of this kind.
    #[param(value_type = Option<words::Kind>)]
    kind: Option<Kind>,
    /// Only keys of this environment.
    #[param(value_type = Option<words::Environment>)]
    environment: Option<Environment>,
    /// Most rows of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which keys of the deployment to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of AdminKeyList")]
pub(crate) struct AdminKeyListParameters {
    /// Only keys of this organization.
    organization: Option<String>,
    /// Only keys of this api.
    api: Option<String>,
    /// Only keys that were made with this key.
    parent_id: Option<String>,
}

/// A filter and a page of keys.
pub(crate) struct KeyList {
    pub(crate) filter: KeyFilter,
    pub(crate) page: PageRequest<KeyId>,
}

impl FromQuery for KeyList {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        let filter = KeyFilter {
            state: parameters.take("state")?,
            kind: parameters.take("kind")?,
            environment: parameters.take("environment")?,
            ..KeyFilter::default()
        };
        Ok(Self { filter, page: page(parameters)? })
    }
}

impl KeyList {
    /// Path and query of the page after the one that ends with this key.
    pub(crate) fn next_page(&self, path: &str, cursor: &str) -> String {
        let filter = &self.filter;
        next_page(
            path,
            self.page.limit,
            cursor,
            [
                ("organization", filter.organization.map(|id| id.to_string())),
                ("api", filter.api.as_ref().map(ApiName::to_string)),
                ("parent_id", filter.parent_id.map(|id| id.to_string())),
                ("state", filter.state.map(|state| state.to_string())),
                ("kind", filter.kind.map(|kind| kind.to_string())),
                ("environment", filter.environment.map(|environment| environment.to_string())),
            ],
        )
    }
}

/// Path and query of the page after the one that ends with a cursor. Ids, names of apis and words need no encoding.
fn next_page<'n>(
    path: &str,
    limit: u32,
    cursor: &str,
    filter: impl IntoIterator<Item = (&'n str, Option<String>)>,
) -> String {
    let mut next = format!("{path}?limit={limit}&cursor={cursor}");
    for (name, value) in filter.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        // Writing to a String does not fail.
        let _ = write!(next, "&{name}={value}");
    }
    next
}

/// Like [`KeyList`], over all organizations and apis.
pub(crate) struct AdminKeyList(pub(crate) KeyList);

impl FromQuery for AdminKeyList {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        let mut list = KeyList::from_query(parameters)?;
        list.filter.organization = parameters.take("organization")?;
        list.filter.api = parameters.take("api")?;
        list.filter.parent_id = parameters.take("parent_id")?;
        Ok(Self(list))
    }
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's side of OrganizationList")]
pub(crate) struct PageParameters {
    /// Most rows of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of organizations.
pub(crate) struct OrganizationList(pub(crate) PageRequest<OrganizationId>);

impl FromQuery for OrganizationList {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        page(parameters).map(Self)
    }
}

/// Takes the page.
pub(crate) fn page<C: std::str::FromStr<Err: std::fmt::Display>>(
    parameters: &mut Parameters,
) -> Result<PageRequest<C>, Failure> {
    let limit = limit(parameters, limits::PAGE_ROWS_DEFAULT, limits::PAGE_ROWS_MAX)?;
    Ok(PageRequest { after: parameters.take("cursor")?, limit })
}

/// How many rows at most.
pub(crate) fn limit(parameters: &mut Parameters, default: u32, most: u32) -> Result<u32, Failure> {
    let limit = parameters.take("limit")?.unwrap_or(default);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Failure::invalid_field("limit", &format!("must be from 1 to {most}")))
}

/// Why a key is revoked.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RevokeQuery {
    /// For the record, in the caller's words.
    #[param(min_length = 1, max_length = 200)]
    pub(crate) reason: Option<String>,
}

impl FromQuery for RevokeQuery {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self { reason: parameters.take_text("reason")? })
    }
}

/// Whether only to look.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ApplyQuery {
    /// `true` shows the differences and changes nothing.
    #[param(default = false)]
    pub(crate) dry_run: Option<bool>,
}

impl FromQuery for ApplyQuery {
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self { dry_run: parameters.take("dry_run")? })
    }
}

/// A new thing that has only a name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct NameBody {
    /// The name that people see.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    pub(crate) name: Name,
}

/// A new organization.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct CreateOrganizationBody {
    /// The name that people see.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    pub(crate) name: Name,
    /// Where its days and billing periods begin, by its name in the IANA database.
    #[schema(value_type = String, required = false, default = "UTC", example = "Europe/Berlin")]
    #[serde(default)]
    pub(crate) time_zone: TimeZone,
}

/// What to change of an organization. What is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct UpdateOrganizationBody {
    /// The name that people see.
    #[schema(value_type = String, min_length = 1, max_length = 100, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    name: Option<Name>,
    /// Where its days and billing periods begin, by its name in the IANA database.
    #[schema(value_type = String, required = false, example = "Europe/Berlin")]
    #[serde(default, deserialize_with = "not_null")]
    time_zone: Option<TimeZone>,
    /// Whether its keys work.
    #[schema(value_type = words::OrganizationStatus, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    status: Option<OrganizationStatus>,
}

impl From<UpdateOrganizationBody> for UpdateOrganization {
    fn from(body: UpdateOrganizationBody) -> Self {
        let UpdateOrganizationBody { name, time_zone, status } = body;
        Self { name, time_zone, status }
    }
}

/// What the billing system says of an organization's subscription. What is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct SetSubscriptionBody {
    /// The name of a plan of the api. At first, the api's default plan.
    #[schema(value_type = String, required = false, example = "pro")]
    #[serde(default, deserialize_with = "not_null")]
    plan: Option<PlanName>,
    /// How it stands with the bill. At first, `active`.
    #[schema(value_type = words::BillingState, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    state: Option<BillingState>,
    /// Whether keys work at all. At first, they do.
    #[schema(value_type = bool, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    api_access: Option<bool>,
    /// The day of the month on which billing periods begin, 1 to 31; in a shorter month it is the last day. `null` is
    /// calendar months.
    #[schema(value_type = Option<u8>, required = false, minimum = 1, maximum = 31)]
    #[serde(default, deserialize_with = "present")]
    anchor_day: Option<Option<AnchorDay>>,
    /// When it happened, by the clock of whoever says it; now when absent. What happened before the newest thing that is
    /// known changes nothing.
    #[schema(value_type = String, format = DateTime, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    event_at: Option<Timestamp>,
}

impl From<SetSubscriptionBody> for SetSubscription {
    fn from(body: SetSubscriptionBody) -> Self {
        let SetSubscriptionBody { plan, state, api_access, anchor_day, event_at } = body;
        Self { plan, state, api_access, anchor_day, event_at }
    }
}

/// Somebody to invite.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct InviteBody {
    /// Where the link goes.
    #[schema(value_type = String, format = Email, example = "ada@example.com")]
    pub(crate) email: EmailAddress,
    /// What they will be.
    #[schema(value_type = words::Role)]
    pub(crate) role: Role,
    /// Whether a mail takes the token to them. If not, the answer has it, and you do.
    #[schema(required = false, default = true)]
    #[serde(default = "yes")]
    pub(crate) send_mail: bool,
}

const fn yes() -> bool {
    true
}

/// Somebody accepts an invitation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct AcceptBody {
    /// The token that the invitation's link holds.
    pub(crate) token: String,
    /// The name that people will see.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    pub(crate) name: Name,
}

/// What to change of a member. What is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct UpdateMemberBody {
    /// The name that people see.
    #[schema(value_type = String, min_length = 1, max_length = 100, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    name: Option<Name>,
    /// What they may do.
    #[schema(value_type = words::Role, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    role: Option<Role>,
    /// The kinds of alerts that they are mailed; `null` is what their role has. Members may say it for themselves.
    #[schema(value_type = Option<Vec<String>>, example = json!(["usage_spike", "quota_100"]))]
    #[serde(default, deserialize_with = "present")]
    alert_mails: Option<Option<BTreeSet<AlertKind>>>,
}

impl From<UpdateMemberBody> for UpdateMember {
    fn from(body: UpdateMemberBody) -> Self {
        let UpdateMemberBody { name, role, alert_mails } = body;
        Self { name, role, alert_mails }
    }
}

/// What becomes of the keys of somebody who leaves.
#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct RemoveMemberBody {
    /// Keys to revoke, and with them what was made with them.
    #[schema(value_type = Vec<String>, required = false, max_items = 1000)]
    #[serde(default)]
    revoke: Vec<KeyId>,
    /// Keys to hand over.
    #[schema(value_type = Vec<String>, required = false, max_items = 1000)]
    #[serde(default)]
    hand_over: Vec<KeyId>,
    /// What to do with all other live keys that they made. Must be said if there are any. Members below developer who leave by
    /// themselves can only say keep.
    #[schema(value_type = words::Rest, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    rest: Option<RestWord>,
    /// The member who gets what is handed over.
    #[schema(value_type = String, required = false)]
    #[serde(default, deserialize_with = "not_null")]
    to: Option<MemberId>,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// See [`Rest`].
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum RestWord {
    Revoke,
    HandOver,
    Keep,
}

impl From<RemoveMemberBody> for RemoveMember {
    fn from(body: RemoveMemberBody) -> Self {
        let rest = body.rest.map(|rest| match rest {
            RestWord::Revoke => Rest::Revoke,
            RestWord::HandOver => Rest::HandOver,
            RestWord::Keep => Rest::Keep,
        });
        Self { revoke: body.revoke, hand_over: body.hand_over, rest, to: body.to, dry_run: body.dry_run }
    }
}
