//! Organizations: made, shown, renamed, suspended and active again.

use claviger_domain::audit::Action;
use claviger_domain::change::Change;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::Name;
use claviger_domain::organization::{Organization, OrganizationStatus};
use claviger_domain::period::TimeZone;
use claviger_store::{Page, PageRequest, apis, organizations, subscriptions};

use crate::actor::Deed;
use crate::usage::report::calendar;
use crate::{Actor, App, AppError, Mutation};

const NOT_FOUND: AppError = AppError::NotFound { what: "organization" };

/// What to change of an organization. `None` leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub struct UpdateOrganization {
    /// The name.
    pub name: Option<Name>,
    /// Where its days and billing periods begin.
    pub time_zone: Option<TimeZone>,
    /// Whether its keys work.
    pub status: Option<OrganizationStatus>,
}

impl App {
    /// Makes an organization. Only the operator may.
    pub async fn create_organization(
        &self,
        actor: &Actor,
        name: Name,
        time_zone: TimeZone,
    ) -> Result<Mutation<Organization>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let organization = Organization {
            id: OrganizationId::new(work.now, &*self.entropy),
            name,
            status: OrganizationStatus::Active,
            time_zone,
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

    /// Renames an organization, moves it to another time zone, or suspends it or makes it active again, which acts on all
    /// its keys at once without touching them.
    pub async fn update_organization(
        &self,
        actor: &Actor,
        id: OrganizationId,
        input: UpdateOrganization,
    ) -> Result<Mutation<Organization>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let before = organizations::find(work.tx.connection().await?, id).await?.ok_or(NOT_FOUND)?;
        let mut organization = before.clone();
        organization.name = input.name.unwrap_or(organization.name);
        organization.time_zone = input.time_zone.unwrap_or(organization.time_zone);
        organization.status = input.status.unwrap_or(organization.status);
        if organization == before {
            let revision = work.tx.revision_before();
            return Ok(work.at(organization, revision));
        }
        if organization.time_zone != before.time_zone {
            for api in apis::list(work.tx.connection().await?).await? {
                let account = (id, api.definition.name().clone());
                let reader = work.tx.connection().await?;
                let subscription = subscriptions::find(reader, id, &account.1).await?;
                let [old, new] = [&before, &organization].map(|one| calendar(one, subscription.as_ref()));
                work.keep_period(&account, &old, &new).await?;
            }
        }
        organizations::put(&mut work.tx, &organization).await?;
        let deed = Deed::new(Action::OrganizationUpdated, id, Some(&before), Some(&organization));
        work.tell(Change::Organization(organization.clone()), deed.of(id));
        Ok(work.done(organization))
    }
}
