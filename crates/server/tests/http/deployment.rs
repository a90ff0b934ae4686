//! A deployment of its own for each test.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use claviger_app::{
    Actor, App, AppError, CreateKey, CreateWebhook, Database, DeliverySettings, KeyPlace, Mutated, Mutation,
};
use claviger_courier::{Authorities, Courier, Mailer, Patience, Reach};
use claviger_domain::address::{ForwardingHeader, TrustedProxies};
use claviger_domain::definition::Definition;
use claviger_domain::id::{EventId, InvitationId, KeyId, MemberId, OrganizationId, WebhookId};
use claviger_domain::key::{Environment, Kind, Metadata};
use claviger_domain::member::Role;
use claviger_domain::period::TimeZone;
use claviger_domain::random::PredictableEntropy;
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::PresentedSecret;
use claviger_domain::time::{Clock, ManualClock};
use claviger_engine::EngineOptions;
use claviger_server::{InFlight, ServerState};
use tempfile::TempDir;

use crate::wire::{Call, Listener};

/// Two apis that are the same but for their form: `/v1` answers with problems, `/e1` with envelopes.
pub(crate) const BASES: [&str; 2] = ["/v1", "/e1"];

pub(crate) struct Deployment {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) state: ServerState,
    pub(crate) public: Router,
    pub(crate) internal: Router,
    /// Two organizations.
    pub(crate) mine: OrganizationId,
    pub(crate) theirs: OrganizationId,
    directory: TempDir,
    people: AtomicUsize,
}

/// A key and its secret.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) id: KeyId,
    pub(crate) secret: String,
}

impl Deployment {
    pub(crate) async fn start() -> Self {
        Self::start_with(Reach::default(), Patience::default()).await
    }

    /// The same, with a courier that goes so far and waits so long.
    pub(crate) async fn start_with(reach: Reach, patience: Patience) -> Self {
        crate::log::capture();
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-01-15T10:30:00Z".parse().unwrap()));
        let options = Some(EngineOptions { usage_cells: 1024, keys: 0 });
        let app = App::open(
            &Database::Sqlite(directory.path().join("claviger.db")),
            None,
            options,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::new(PredictableEntropy::new(1)),
        )
        .await
        .unwrap();
        let courier = Courier::new(reach, patience, &Authorities::default());
        let mailer = Mailer::folder(directory.path().join("mail"), "keys@example.com".parse().unwrap());
        app.set_up_delivery(DeliverySettings { key: [9; 32].into(), courier, mailer, invitation_url: None });
        for text in [definition("plain", "/v1", "pl"), definition("envelope", "/e1", "en")] {
            commit(app.apply_definition(&Actor::operator(), text, false)).await.unwrap();
        }
        let mine = commit(app.create_organization(&Actor::operator(), "Mine".parse().unwrap(), TimeZone::UTC))
            .await
            .unwrap()
            .value
            .id;
        let theirs = commit(app.create_organization(&Actor::operator(), "Theirs".parse().unwrap(), TimeZone::UTC))
            .await
            .unwrap()
            .value
            .id;
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], ForwardingHeader::XForwardedFor);
        let state = ServerState {
            app: Arc::clone(&app),
            trusted_proxies: Arc::new(proxies),
            socket_secret: Arc::new([7; 32].into()),
            in_flight: InFlight::default(),
        };
        let public = claviger_server::public_router(state.clone(), None);
        let internal = claviger_server::internal_router(state.clone());
        Self { app, clock, state, public, internal, mine, theirs, directory, people: AtomicUsize::new(0) }
    }

    /// Adds an api.
    pub(crate) async fn define(&self, name: &str, base_path: &str, prefix: &str) {
        commit(self.app.apply_definition(&Actor::operator(), definition(name, base_path, prefix), false))
            .await
            .unwrap();
    }

    /// Adds the api `planned`, which has the plans `small`, the default, and `large`.
    pub(crate) async fn define_with_plans(&self) {
        let plans = "[subscriptions]\ndefault_plan = \"small\"\n[[plans]]\nname = \"small\"\ntitle = \"Small\"\nkeys = 2\n\
                     [[plans]]\nname = \"large\"\ntitle = \"Large\"\n";
        self.define_planned(plans).send().await.expect(200);
    }

    /// A request to define the api `planned` with these plans and rules about them.
    pub(crate) fn define_planned(&self, plans: &str) -> Call {
        let whole = format!("{}\n{plans}", text("planned", "/planned", "pn"));
        self.operator("PUT /admin/v1/apis/planned").body("application/toml", whole)
    }

    /// What the audit log has of one sort, newest first.
    pub(crate) async fn recorded(&self, action: &str) -> Vec<serde_json::Value> {
        let what = format!("GET /admin/v1/audit?action={action}&limit=200");
        self.operator(&what).send().await.expect(200)["data"].as_array().unwrap().clone()
    }

    /// Invites somebody whom nobody knows yet to the first organization.
    pub(crate) async fn invite(&self, role: Role) -> (InvitationId, String) {
        self.invite_to(self.mine, role).await
    }

    /// The same, to an organization.
    pub(crate) async fn invite_to(&self, organization: OrganizationId, role: Role) -> (InvitationId, String) {
        let number = self.people.fetch_add(1, Ordering::Relaxed);
        let email = format!("person{number}@example.com").parse().unwrap();
        let invited =
            commit(self.app.invite_member(&Actor::operator(), organization, &email, role, false)).await.unwrap().value;
        (invited.invitation.id, invited.token.unwrap().into_clear().to_string())
    }

    /// Makes somebody a member of the first organization.
    pub(crate) async fn member(&self, role: Role) -> MemberId {
        self.member_of(self.mine, role).await
    }

    /// The same, of an organization.
    pub(crate) async fn member_of(&self, organization: OrganizationId, role: Role) -> MemberId {
        let (_, token) = self.invite_to(organization, role).await;
        let token = PresentedSecret::new(&token);
        let name = "Somebody".parse().unwrap();
        commit(self.app.accept_invitation(&Actor::operator(), token, name)).await.unwrap().value.id
    }

    /// A request of somebody who acts for a member.
    pub(crate) fn as_member(&self, member: MemberId, what: &str) -> Call {
        self.operator(what).header("claviger-member", member.to_string())
    }

    /// Every byte that is on the disk: the database and its journal.
    pub(crate) fn files(&self) -> Vec<u8> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        entries.flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
    }

    /// A request to the public listener.
    pub(crate) fn public(&self, what: &str) -> Call {
        Call::new(&self.public, Listener::Public, what)
    }

    /// A request to the internal listener.
    pub(crate) fn internal(&self, what: &str) -> Call {
        Call::new(&self.internal, Listener::Internal, what)
    }

    /// A request by the unix socket.
    pub(crate) fn operator(&self, what: &str) -> Call {
        self.internal(what).peer(Some(claviger_domain::peer::Peer::Socket))
    }

    /// A live secret key of mine with full access.
    pub(crate) async fn full(&self) -> Held {
        self.create(self.mine, blank()).await
    }

    /// A live restricted key of mine.
    pub(crate) async fn restricted(&self, scopes: &[&str]) -> Held {
        self.create(self.mine, restricted(scopes)).await
    }

    pub(crate) async fn create(&self, organization: OrganizationId, input: CreateKey) -> Held {
        self.create_of("plain", organization, input).await
    }

    pub(crate) async fn create_of(&self, api: &str, organization: OrganizationId, input: CreateKey) -> Held {
        let place = KeyPlace { organization: Some(organization), api: Some(api.parse().unwrap()) };
        let issued = commit(self.app.create_key(&Actor::operator(), place, input)).await.unwrap().value;
        Held { id: issued.row.key.id, secret: issued.secret.into_clear().to_string() }
    }

    /// A webhook endpoint of nobody's in particular; each organization may have only some.
    pub(crate) async fn webhook(&self) -> WebhookId {
        let operator = Actor::operator();
        let organization = commit(self.app.create_organization(&operator, "Listens".parse().unwrap(), TimeZone::UTC))
            .await
            .unwrap()
            .value
            .id;
        let input = CreateWebhook {
            organization: Some(organization),
            url: "https://example.com/hook".to_owned(),
            description: None,
            events: serde_json::from_str(r#"["*"]"#).unwrap(),
        };
        commit(self.app.create_webhook(&operator, input)).await.unwrap().value.row.endpoint.id
    }

    /// The event of a ping that waits for an endpoint.
    pub(crate) async fn ping(&self, id: WebhookId) -> EventId {
        commit(self.app.test_webhook(&Actor::operator(), id)).await.unwrap().value.event
    }

    pub(crate) async fn admin_token(&self) -> String {
        let (_, token) =
            commit(self.app.create_admin_token(&Actor::operator(), "ops".parse().unwrap())).await.unwrap().value;
        token.into_clear().to_string()
    }
}

/// Does it and makes it durable. On the heap: what an operation remembers is much for the stack of a test.
pub(crate) fn commit<T>(
    mutation: impl Future<Output = Result<Mutation<T>, AppError>>,
) -> Pin<Box<impl Future<Output = Result<Mutated<T>, AppError>>>> {
    Box::pin(async move { mutation.await?.commit().await })
}

/// A live secret key with nothing special.
pub(crate) fn blank() -> CreateKey {
    CreateKey {
        name: "a key".parse().unwrap(),
        prefix: None,
        kind: Some(Kind::Secret),
        environment: Some(Environment::Live),
        scopes: None,
        restrictions: Restrictions::NONE,
        allow_any_ip: false,
        lifetime: None,
        metadata: Metadata::default(),
        parent_id: None,
    }
}

pub(crate) fn restricted(scopes: &[&str]) -> CreateKey {
    let names: Vec<String> = scopes.iter().copied().map(str::to_owned).collect();
    CreateKey { kind: Some(Kind::Restricted), scopes: Some(Scopes::try_from(names).unwrap()), ..blank() }
}

fn definition(name: &str, base_path: &str, prefix: &str) -> Definition {
    Definition::parse(&text(name, base_path, prefix)).unwrap()
}

fn text(name: &str, base_path: &str, prefix: &str) -> String {
    let form = if name == "envelope" { "envelope" } else { "problem" };
    let mut text = format!(
        "name = \"{name}\"\ntitle = \"{name}\"\nhosts = [\"{name}.example.com\"]\nbase_path = \"{base_path}\"\n\
         scopes = [{{ name = \"things:read\", description = \"Read things\" }}]\n\
         endpoints = [{{ endpoint = \"GET {base_path}/things\", scope = \"things:read\" }}]\n\
         errors = {{ form = \"{form}\" }}\n"
    );
    for (letter, kind) in [("s", "secret"), ("r", "restricted"), ("e", "ephemeral")] {
        for environment in ["live", "test"] {
            let default = kind == "secret" && environment == "live";
            text.extend([format!(
                "[[keys]]\nprefix = \"{prefix}_{letter}{environment}_\"\nkind = \"{kind}\"\nenvironment = \"{environment}\"\n\
                 alphabet = \"base62\"\nlength = 32\nchecksum = \"crc32\"\ndefault = {default}\n"
            )]);
        }
    }
    text
}
