//! The operator's own credentials: verifiers for API servers and proxies, admin tokens for the admin API.

use claviger_domain::audit::Action;
use claviger_domain::change::{Change, Verifier};
use claviger_domain::format::issue_operator_token;
use claviger_domain::id::{AdminTokenId, VerifierId};
use claviger_domain::key::Name;
use claviger_domain::secret::{IssuedSecret, SecretDigest};
use claviger_store::{admin_tokens, verifiers};

use crate::actor::Deed;
use crate::{Actor, AdminToken, App, AppError, Mutation};

/// The head of every verifier token.
pub const VERIFIER_TOKEN_PREFIX: &str = "claviger_verifier_";
/// The head of every admin token.
pub const ADMIN_TOKEN_PREFIX: &str = "claviger_admin_";

/// What somebody presented as an admin token. Only the first kind is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PresentedAdminToken {
    /// It works.
    Live(AdminTokenId),
    /// It worked once.
    Revoked(AdminTokenId),
    /// Nobody was ever given it.
    Unknown,
}

impl App {
    /// Makes a verifier and its token, which is shown once.
    pub async fn create_verifier(
        &self,
        actor: &Actor,
        name: Name,
    ) -> Result<Mutation<(Verifier, IssuedSecret)>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let token = issue_operator_token(VERIFIER_TOKEN_PREFIX, &*self.entropy);
        let verifier = Verifier {
            id: VerifierId::new(work.now, &*self.entropy),
            name,
            digest: token.digest(),
            created_at: work.now.to_whole_seconds(),
            revoked_at: None,
        };
        verifiers::put(&mut work.tx, &verifier).await?;
        let deed = Deed::new(Action::VerifierCreated, verifier.id, None, Some(&verifier));
        work.tell(Change::Verifier(verifier.clone()), deed);
        Ok(work.done((verifier, token)))
    }

    /// Lists verifiers, newest first, the revoked ones too.
    pub async fn list_verifiers(&self) -> Result<Vec<Verifier>, AppError> {
        let mut reader = self.store.read().await?;
        Ok(verifiers::list(&mut reader).await?)
    }

    /// Ends a verifier for ever. Doing it again changes nothing.
    pub async fn revoke_verifier(&self, actor: &Actor, id: VerifierId) -> Result<Mutation<Verifier>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let found = verifiers::find(work.tx.connection().await?, id).await?;
        let before = found.ok_or(AppError::NotFound { what: "verifier" })?;
        if before.revoked_at.is_some() {
            let revision = work.tx.revision_before();
            return Ok(work.at(before, revision));
        }
        let verifier = Verifier { revoked_at: Some(work.now.to_whole_seconds()), ..before.clone() };
        verifiers::put(&mut work.tx, &verifier).await?;
        let deed = Deed::new(Action::VerifierRevoked, id, Some(&before), Some(&verifier));
        work.tell(Change::Verifier(verifier.clone()), deed);
        Ok(work.done(verifier))
    }

    /// Makes an admin token, which is shown once.
    pub async fn create_admin_token(
        &self,
        actor: &Actor,
        name: Name,
    ) -> Result<Mutation<(AdminToken, IssuedSecret)>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let secret = issue_operator_token(ADMIN_TOKEN_PREFIX, &*self.entropy);
        let token = AdminToken {
            id: AdminTokenId::new(work.now, &*self.entropy),
            name,
            created_at: work.now.to_whole_seconds(),
            revoked_at: None,
        };
        admin_tokens::create(&mut work.tx, &token, &secret.digest()).await?;
        work.record(Deed::new(Action::AdminTokenCreated, token.id, None, Some(&token)));
        Ok(work.done((token, secret)))
    }

    /// Lists admin tokens, newest first, the revoked ones too.
    pub async fn list_admin_tokens(&self) -> Result<Vec<AdminToken>, AppError> {
        let mut reader = self.store.read().await?;
        Ok(admin_tokens::list(&mut reader).await?)
    }

    /// Ends an admin token for ever. Doing it again changes nothing.
    pub async fn revoke_admin_token(&self, actor: &Actor, id: AdminTokenId) -> Result<Mutation<AdminToken>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let found = admin_tokens::find(work.tx.connection().await?, id).await?;
        let before = found.ok_or(AppError::NotFound { what: "admin token" })?;
        if before.revoked_at.is_some() {
            let revision = work.tx.revision_before();
            return Ok(work.at(before, revision));
        }
        let now = work.now.to_whole_seconds();
        let token = AdminToken { revoked_at: Some(now), ..before.clone() };
        admin_tokens::revoke(&mut work.tx, id, now).await?;
        work.record(Deed::new(Action::AdminTokenRevoked, id, Some(&before), Some(&token)));
        Ok(work.done(token))
    }

    /// What was presented as an admin token. Asked of the store each time: admin calls are rare, and a revoked token must be
    /// dead on every node at once. All three answers take one look.
    pub async fn recognise_admin_token(&self, digest: &SecretDigest) -> Result<PresentedAdminToken, AppError> {
        let mut reader = self.store.read().await?;
        Ok(match admin_tokens::find_by_digest(&mut reader, digest).await? {
            Some(AdminToken { id, revoked_at: None, .. }) => PresentedAdminToken::Live(id),
            Some(AdminToken { id, .. }) => PresentedAdminToken::Revoked(id),
            None => PresentedAdminToken::Unknown,
        })
    }
}
