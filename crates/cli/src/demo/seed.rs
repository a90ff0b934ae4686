//! What the demo is made of: three APIs, a customer of each, and keys of every kind.

use claviger_app::{Actor, App, AppError, CreateKey, KeyPlace, Lifetime, PageRequest, SetSubscription};
use claviger_domain::definition::Definition;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Environment, Kind, Metadata, Name};
use claviger_domain::limits;
use claviger_domain::organization::Organization;
use claviger_domain::period::TimeZone;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::IssuedSecret;
use claviger_domain::subscription::BillingState;

use crate::failure::Failure;

const TORK: &str = include_str!("../../../../apis/tork.toml");
const TOKSTA: &str = include_str!("../../../../apis/toksta.toml");
const EXAMPLE: &str = include_str!("../../../../apis/example.toml");
const EPHEMERAL_TTL_SECONDS: i64 = 3600;

/// Everything that can be tried. Secrets are in clear here: this is the one answer that issues them.
pub(super) struct Deployment {
    pub(super) admin_token: String,
    pub(super) verifier_token: String,
    pub(super) tork: Tork,
    pub(super) toksta: Toksta,
    pub(super) example: Example,
    /// Whether an earlier demo left its organizations here.
    pub(super) is_older: bool,
}

pub(super) struct Tork {
    pub(super) organization: OrganizationId,
    pub(super) secret: String,
    pub(super) restricted: String,
    pub(super) ephemeral: String,
    pub(super) live: String,
}

pub(super) struct Toksta {
    pub(super) organization: OrganizationId,
    pub(super) live: String,
    pub(super) scoped: String,
}

pub(super) struct Example {
    pub(super) organization: OrganizationId,
    pub(super) test: String,
    pub(super) live: String,
    /// A key that may be revoked without ending the rest of the demo.
    pub(super) spare: (KeyId, String),
}

/// Defines the APIs, finds or makes the organizations, and makes new keys.
pub(super) async fn plant(app: &App) -> Result<Deployment, Failure> {
    planted(app).await.map_err(|error| {
        Failure::new(format!("the demo could not be set up: {error}"))
            .next("if the data directory holds something else, let the demo choose its own: leave --data out")
    })
}

async fn planted(app: &App) -> Result<Deployment, AppError> {
    let tork = define(app, TORK).await?;
    let toksta = define(app, TOKSTA).await?;
    let example = define(app, EXAMPLE).await?;
    let existing = list_organizations(app).await?;
    let operator = Actor::operator();
    let (_, admin_token) = app.create_admin_token(&operator, name("Demo")).await?.commit().await?.value;
    let (_, verifier_token) = app.create_verifier(&operator, name("Demo")).await?.commit().await?.value;
    Ok(Deployment {
        admin_token: clear(admin_token),
        verifier_token: clear(verifier_token),
        tork: plant_tork(Garden::new(app, tork, "Tork demo", &existing).await?).await?,
        toksta: plant_toksta(Garden::new(app, toksta, "Toksta demo", &existing).await?).await?,
        example: plant_example(Garden::new(app, example, "Example demo", &existing).await?).await?,
        is_older: existing.iter().any(|organization| organization.name == name("Tork demo")),
    })
}

async fn plant_tork(garden: Garden<'_>) -> Result<Tork, AppError> {
    let (secret_id, secret) = garden.grow("Server", Wish { prefix: Some("tork_sk_"), ..Wish::default() }).await?;
    let restricted = Wish { kind: Some(Kind::Restricted), scopes: Some(&["evaluate"]), ..Wish::default() };
    let ephemeral = Wish { kind: Some(Kind::Ephemeral), parent_id: Some(secret_id), ..Wish::default() };
    Ok(Tork {
        organization: garden.organization,
        secret,
        restricted: garden.grow("Integration that only evaluates", restricted).await?.1,
        ephemeral: garden.grow("Agent session", ephemeral).await?.1,
        live: garden.grow("Production Server", Wish { prefix: Some("tork_live_"), ..Wish::default() }).await?.1,
    })
}

async fn plant_toksta(garden: Garden<'_>) -> Result<Toksta, AppError> {
    let scoped = Wish { scopes: Some(&["usage:read"]), ..Wish::default() };
    Ok(Toksta {
        organization: garden.organization,
        live: garden.grow("Backend", Wish::default()).await?.1,
        scoped: garden.grow("Usage monitor", scoped).await?.1,
    })
}

async fn plant_example(garden: Garden<'_>) -> Result<Example, AppError> {
    let of = |environment| Wish { environment: Some(environment), ..Wish::default() };
    Ok(Example {
        organization: garden.organization,
        test: garden.grow("Development Key", of(Environment::Test)).await?.1,
        live: garden.grow("Production Key", of(Environment::Live)).await?.1,
        spare: garden.grow("Key to revoke", of(Environment::Live)).await?,
    })
}

/// Where keys of one organization on one api grow.
struct Garden<'a> {
    app: &'a App,
    api: ApiName,
    organization: OrganizationId,
}

/// How a key should differ from the api's default one.
#[derive(Default)]
struct Wish {
    prefix: Option<&'static str>,
    kind: Option<Kind>,
    environment: Option<Environment>,
    scopes: Option<&'static [&'static str]>,
    parent_id: Option<KeyId>,
}

impl<'a> Garden<'a> {
    async fn new(app: &'a App, api: ApiName, title: &str, existing: &[Organization]) -> Result<Self, AppError> {
        let title = name(title);
        let organization = match existing.iter().find(|organization| organization.name == title) {
            Some(organization) => organization.id,
            None => app.create_organization(&Actor::operator(), title, TimeZone::UTC).await?.commit().await?.value.id,
        };
        let definition = app.find_api(&api).await?.definition;
        // The largest plan is the last, and limits nothing: a demo may be started again and again.
        if let Some(plan) = definition.plans().last() {
            let said = SetSubscription {
                plan: Some(plan.name.clone()),
                state: Some(BillingState::Active),
                api_access: None,
                anchor_day: None,
                event_at: None,
            };
            app.set_subscription(&Actor::operator(), organization, &api, said).await?.commit().await?;
        }
        Ok(Self { app, api, organization })
    }

    async fn grow(&self, title: &str, wish: Wish) -> Result<(KeyId, String), AppError> {
        let place = KeyPlace { organization: Some(self.organization), api: Some(self.api.clone()) };
        let scopes = wish.scopes.map(|names| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Scopes::try_from(names).expect("the demo's scopes are scopes")
        });
        let input = CreateKey {
            name: name(title),
            prefix: wish.prefix.map(str::to_owned),
            kind: wish.kind,
            environment: wish.environment,
            scopes,
            restrictions: Restrictions::NONE,
            allow_any_ip: false,
            lifetime: wish.parent_id.map(|_| Lifetime::TtlSeconds(EPHEMERAL_TTL_SECONDS)),
            metadata: Metadata::default(),
            parent_id: wish.parent_id,
        };
        let issued = self.app.create_key(&Actor::operator(), place, input).await?.commit().await?.value;
        Ok((issued.row.key.id, clear(issued.secret)))
    }
}

async fn define(app: &App, text: &str) -> Result<ApiName, AppError> {
    let definition = Definition::parse(text).expect("a test reads the three definitions");
    let api = definition.name().clone();
    app.apply_definition(&Actor::operator(), definition, false).await?.commit().await?;
    Ok(api)
}

async fn list_organizations(app: &App) -> Result<Vec<Organization>, AppError> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|organization: &Organization| organization.id);
        let page = app.list_organizations(PageRequest { after, limit: limits::PAGE_ROWS_MAX }).await?;
        all.extend(page.rows);
        if !page.more {
            return Ok(all);
        }
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("the demo's names are names")
}

fn clear(secret: IssuedSecret) -> String {
    secret.into_clear().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_good_and_stand_beside_each_other() {
        use claviger_domain::definition::Api;
        let definitions = [TORK, TOKSTA, EXAMPLE].map(|text| Definition::parse(text).unwrap());
        for definition in &definitions {
            for other in definitions.iter().filter(|other| other.name() != definition.name()) {
                let other = Api { definition: other.clone(), retired_formats: Vec::new() };
                assert_eq!(definition.conflicts_with(&other), Vec::<String>::new());
            }
        }
    }
}
