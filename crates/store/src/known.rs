//! What every mutation needs and hardly any alters, kept from one transaction to the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use claviger_domain::audit::Head;
use claviger_domain::change::Revision;
use claviger_domain::definition::Api;
use claviger_domain::id::OrganizationId;
use claviger_domain::key::ApiName;
use claviger_domain::organization::Organization;
use claviger_domain::subscription::Subscription;

use crate::webhooks::Listener;

/// Organizations, subscriptions, and organizations' webhook endpoints, that are remembered; beyond it all are forgotten.
const ORGANIZATIONS_MAX: usize = 10_000;

/// Apis, organizations, subscriptions, webhook endpoints and the end of the audit log as they are inside a transaction.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) apis: HashMap<ApiName, Arc<Api>>,
    pub(crate) organizations: HashMap<OrganizationId, Organization>,
    pub(crate) subscriptions: HashMap<(OrganizationId, ApiName), Option<Subscription>>,
    pub(crate) audit: Option<Head>,
    /// Whether there is any webhook endpoint that may be told something.
    pub(crate) has_webhooks: Option<bool>,
    /// Those of an organization, and the operator's.
    pub(crate) listeners: HashMap<Option<OrganizationId>, Arc<[Listener]>>,
}

/// What the last transaction knew, with the revision that it made.
///
/// Whatever alters an api, an organization, a subscription or a webhook endpoint, or is told in the audit log, raises the revision, in whichever process it happens. So a transaction
/// that begins at this very revision sees what the last one saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastKnown(Arc<Mutex<Option<(Revision, Known)>>>);

impl LastKnown {
    /// What is known at this revision.
    pub(crate) fn take(&self, revision: Revision) -> Known {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        last.filter(|(made, _)| *made == revision).map(|(_, known)| known).unwrap_or_default()
    }

    /// Remembers what a committed transaction knew at its end.
    pub(crate) fn put(&self, revision: Revision, mut known: Known) {
        if known.organizations.len() > ORGANIZATIONS_MAX {
            known.organizations.clear();
        }
        if known.subscriptions.len() > ORGANIZATIONS_MAX {
            known.subscriptions.clear();
        }
        if known.listeners.len() > ORGANIZATIONS_MAX {
            known.listeners.clear();
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((revision, known));
    }
}
