//! The operator's own credentials: verifiers for API servers and proxies, admin tokens for the admin API.

use claviger_domain::change::{Change, Revision, Verifier};
use claviger_domain::format::issue_operator_token;
use claviger_domain::id::{AdminTokenId, VerifierId};
use claviger_domain::key::Name;
use claviger_domain::secret::{IssuedSecret, SecretDigest};
use claviger_store::{admin_tokens, verifiers};

use crate::{AdminToken, App, AppError, Mutated};

/// The head of every verifier token.
pub const VERIFIER_TOKEN_PREFIX: &str = "claviger_verifier_";
/// The head of every admin token.
pub const ADMIN_TOKEN_PREFIX: &str = "claviger_admin_";

impl App {
    /// Makes a verifier and its token, which is shown once.
    pub async fn create_verifier(&self, name: Name) -> Result<(Mutated<Verifier>, IssuedSecret), AppError> {
        let now = self.now();
        let token = issue_operator_token(VERIFIER_TOKEN_PREFIX, &*self.entropy);
        let verifier = Verifier {
            id: VerifierId::new(now, &*self.entropy),
            name,
            digest: token.digest(),
            created_at: now.to_whole_seconds(),
            revoked_at: None,
        };
        let mut tx = self.store.begin().await?;
        verifiers::put(&mut tx, &verifier).await?;
        tx.publish(Change::Verifier(verifier.clone()));
        let revision = self.commit(tx).await?;
        Ok((Mutated { value: verifier, revision }, token))
    }

    /// Lists verifiers, newest first, the revoked ones too.
    pub async fn list_verifiers(&self) -> Result<Vec<Verifier>, AppError> {
        let mut reader = self.store.read().await?;
        Ok(verifiers::list(&mut reader).await?)
    }

    /// Ends a verifier for ever. Doing it again changes nothing.
    pub async fn revoke_verifier(&self, id: VerifierId) -> Result<Mutated<Verifier>, AppError> {
        let mut tx = self.store.begin().await?;
        let found = verifiers::find(tx.connection(), id).await?;
        let mut verifier = found.ok_or(AppError::NotFound { what: "verifier" })?;
        if verifier.revoked_at.is_some() {
            let revision = self.settle(tx).await?;
            return Ok(Mutated { value: verifier, revision });
        }
        verifier.revoked_at = Some(self.now().to_whole_seconds());
        verifiers::put(&mut tx, &verifier).await?;
        tx.publish(Change::Verifier(verifier.clone()));
        let revision = self.commit(tx).await?;
        Ok(Mutated { value: verifier, revision })
    }

    /// Makes an admin token, which is shown once.
    pub async fn create_admin_token(&self, name: Name) -> Result<(Mutated<AdminToken>, IssuedSecret), AppError> {
        let now = self.now();
        let secret = issue_operator_token(ADMIN_TOKEN_PREFIX, &*self.entropy);
        let token = AdminToken {
            id: AdminTokenId::new(now, &*self.entropy),
            name,
            created_at: now.to_whole_seconds(),
            revoked_at: None,
        };
        let mut tx = self.store.begin().await?;
        admin_tokens::create(&mut tx, &token, &secret.digest()).await?;
        let revision = self.commit(tx).await?;
        Ok((Mutated { value: token, revision }, secret))
    }

    /// Lists admin tokens, newest first, the revoked ones too.
    pub async fn list_admin_tokens(&self) -> Result<Vec<AdminToken>, AppError> {
        let mut reader = self.store.read().await?;
        Ok(admin_tokens::list(&mut reader).await?)
    }

    /// Ends an admin token for ever. Doing it again changes nothing.
    pub async fn revoke_admin_token(&self, id: AdminTokenId) -> Result<Mutated<AdminToken>, AppError> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let revoked = admin_tokens::revoke(&mut tx, id, now.to_whole_seconds()).await?;
        let token = revoked.ok_or(AppError::NotFound { what: "admin token" })?;
        let revision: Revision = self.commit(tx).await?;
        Ok(Mutated { value: token, revision })
    }

    /// Whether a presented admin token is live. Asked of the store each time: admin calls are rare, and a
    /// revoked token must be dead on every node at once.
    pub async fn is_admin_token(&self, digest: &SecretDigest) -> Result<bool, AppError> {
        let mut reader = self.store.read().await?;
        Ok(admin_tokens::is_live(&mut reader, digest).await?)
    }
}
