//! What an organization wants to be told, and what is unusual to it.

use std::collections::BTreeSet;

use claviger_domain::alert::AlertKind;
use claviger_domain::audit::{Action, Audited};
use claviger_domain::id::OrganizationId;
use claviger_store::{Connection, alerts, organizations};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rules::Thresholds;
use crate::actor::Deed;
use crate::{Actor, App, AppError, Mutation};

/// Deviations, factors and shares are within these.
const FACTOR_MAX: f64 = 1_000_000.0;

/// What an organization wants to be told.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertSettings {
    /// Kinds that do not open. What is open of them closes.
    pub muted: BTreeSet<AlertKind>,
    /// What is unusual.
    pub thresholds: Thresholds,
}

impl AlertSettings {
    /// The thresholds that mean nothing, by their names.
    fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let Thresholds { spike_deviations, spike_factor, spike_calls, burst_denials, burst_share } = self.thresholds;
        let is_factor = |value: f64| (1.0..=FACTOR_MAX).contains(&value);
        if !is_factor(spike_deviations) {
            return Some(("thresholds.spike_deviations", "must be from 1 to 1000000"));
        }
        if !is_factor(spike_factor) {
            return Some(("thresholds.spike_factor", "must be from 1 to 1000000"));
        }
        if spike_calls == 0 {
            return Some(("thresholds.spike_calls", "must be at least 1"));
        }
        if burst_denials == 0 {
            return Some(("thresholds.burst_denials", "must be at least 1"));
        }
        (!(0.0..=1.0).contains(&burst_share)).then_some(("thresholds.burst_share", "must be from 0 to 1"))
    }
}

impl Audited for AlertSettings {
    fn audit_view(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(view)) => view,
            _ => Map::new(),
        }
    }
}

/// The settings of an organization: the defaults where it has none.
pub(super) async fn read(connection: &mut Connection, organization: OrganizationId) -> Result<AlertSettings, AppError> {
    let Some(body) = alerts::find_settings(connection, organization).await? else {
        return Ok(AlertSettings::default());
    };
    serde_json::from_str(&body)
        .map_err(|error| AppError::Internal { context: format!("alert settings of {organization}: {error}") })
}

impl App {
    /// Shows what an organization wants to be told. Only the operator may.
    pub async fn find_alert_settings(&self, actor: &Actor, id: OrganizationId) -> Result<AlertSettings, AppError> {
        actor.must_be_operator()?;
        let mut reader = self.store.read().await?;
        organizations::find(&mut reader, id).await?.ok_or(AppError::NotFound { what: "organization" })?;
        read(&mut reader, id).await
    }

    /// Sets what an organization wants to be told. Only the operator may.
    pub async fn put_alert_settings(
        &self,
        actor: &Actor,
        id: OrganizationId,
        settings: AlertSettings,
    ) -> Result<Mutation<AlertSettings>, AppError> {
        actor.must_be_operator()?;
        if let Some((field, message)) = settings.mistake() {
            return Err(AppError::invalid(field, message));
        }
        let mut work = self.begin(actor).await?;
        work.tx.find_organization(id).await?.ok_or(AppError::NotFound { what: "organization" })?;
        let before = read(work.tx.connection().await?, id).await?;
        if before == settings {
            let revision = work.tx.revision_before();
            return Ok(work.at(settings, revision));
        }
        let body = serde_json::to_string(&settings)
            .map_err(|error| AppError::Internal { context: format!("alert settings: {error}") })?;
        alerts::put_settings(&mut work.tx, id, &body).await?;
        work.record(Deed::new(Action::AlertSettingsUpdated, id, Some(&before), Some(&settings)).of(id));
        Ok(work.done(settings))
    }
}
