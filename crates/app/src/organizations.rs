//! Organizations: made, shown, renamed, suspended and active again.

use claviger_domain::audit::Action;
use claviger_domain::change::Change;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::Name;
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::period::TimeZone;
use claviger_store::{Page, PageRequest, organizations};

use crate::actor::Deed;
use crate::{Actor, App, AppError, Mutation};

const NOT_FOUND: AppError = AppError::NotFound { what: "organization" };

impl App {
    /// Makes an organization. Only the operator may.
    pub async fn create_organization(&self, actor: &Actor, name: Name) -> Result<Mutation<Organization>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let organization = Organization {
            id: OrganizationId::new(work.now, &*self.entropy),
            name,
            status: OrganizationStatus::Active,
            time_zone: TimeZone::UTC,
            created_at: work.now.to_whole_seconds(),
        };
        organizations::put(&mut work.tx, &organization).await?;
        let deed = Deed::new(Action::OrganizationCreated, organization.id, None, Some(&organization));
        work.tell(Change::Organization(organization.clone()), deed.of(organization.id));
        Ok(work.done(organization))
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
        actor: &Actor,
        id: OrganizationId,
        name: Option<Name>,
        status: Option<OrganizationStatus>,
    ) -> Result<Mutation<Organization>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let before = organizations::find(work.tx.connection().await?, id).await?.ok_or(NOT_FOUND)?;
        let mut organization = before.clone();
        organization.name = name.unwrap_or(organization.name);
        organization.status = status.unwrap_or(organization.status);
        if organization == before {
            let revision = work.tx.revision_before();
            return Ok(work.at(organization, revision));
        }
        organizations::put(&mut work.tx, &organization).await?;
        let deed = Deed::new(Action::OrganizationUpdated, id, Some(&before), Some(&organization));
        work.tell(Change::Organization(organization.clone()), deed.of(id));
        Ok(work.done(organization))
    }
}
