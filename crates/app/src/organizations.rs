//! Organizations: made, shown, renamed, suspended and active again.

use claviger_domain::change::Change;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::Name;
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_store::{Page, PageRequest, organizations};

use crate::{App, AppError, Mutated};

const NOT_FOUND: AppError = AppError::NotFound { what: "organization" };

impl App {
    /// Makes an organization. Only the operator may.
    pub async fn create_organization(&self, name: Name) -> Result<Mutated<Organization>, AppError> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let organization = Organization {
            id: OrganizationId::new(now, &*self.entropy),
            name,
            status: OrganizationStatus::Active,
            created_at: now.to_whole_seconds(),
        };
        organizations::put(&mut tx, &organization).await?;
        tx.publish(Change::Organization(organization.clone()));
        let revision = self.commit(tx).await?;
        Ok(Mutated { value: organization, revision })
    }

    /// Shows an organization.
    pub async fn find_organization(&self, id: OrganizationId) -> Result<Organization, AppError> {
        let mut reader = self.store.read().await?;
        organizations::find(&mut reader, id).await?.ok_or(NOT_FOUND)
    }

    /// Lists organizations, newest first.
    pub async fn list_organizations(&self, page: PageRequest<OrganizationId>) -> Result<Page<Organization>, AppError> {
        let mut reader = self.store.read().await?;
        Ok(organizations::list(&mut reader, page).await?)
    }

    /// Renames an organization, or suspends it or makes it active again, which acts on all its keys at once
    /// without touching them.
    pub async fn update_organization(
        &self,
        id: OrganizationId,
        name: Option<Name>,
        status: Option<OrganizationStatus>,
    ) -> Result<Mutated<Organization>, AppError> {
        let mut tx = self.store.begin().await?;
        let before = organizations::find(tx.connection(), id).await?.ok_or(NOT_FOUND)?;
        let mut organization = before.clone();
        organization.name = name.unwrap_or(organization.name);
        organization.status = status.unwrap_or(organization.status);
        if organization == before {
            let revision = self.settle(tx).await?;
            return Ok(Mutated { value: organization, revision });
        }
        organizations::put(&mut tx, &organization).await?;
        tx.publish(Change::Organization(organization.clone()));
        let revision = self.commit(tx).await?;
        Ok(Mutated { value: organization, revision })
    }
}
