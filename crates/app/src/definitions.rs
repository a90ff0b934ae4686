//! Applying api definitions: the difference is shown, and nothing that would strand issued keys is done.

use std::collections::{BTreeMap, BTreeSet};

use claviger_domain::audit::Action;
use claviger_domain::change::Change;
use claviger_domain::definition::{Api, Definition, prefixes_clash};
use claviger_domain::format::KeyFormat;
use claviger_domain::key::ApiName;
use claviger_domain::limits;
use claviger_domain::scope::Scopes;
use claviger_domain::time::Timestamp;
use claviger_store::{Tx, apis, keys, subscriptions};
use serde_json::Value;

use crate::actor::Deed;
use crate::{Actor, App, AppError, Mutation};

/// What applying a definition did, or would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// What changes, a line each: `+` is new, `-` goes, `~` becomes something else. Empty when nothing does.
    pub differences: Vec<String>,
    /// Whether the api is new.
    pub created: bool,
    /// Whether it was done: false when there was nothing to do or it was a dry run.
    pub applied: bool,
}

impl App {
    /// Makes the deployment's api be what the definition says. Doing it again changes nothing.
    pub async fn apply_definition(
        &self,
        actor: &Actor,
        definition: Definition,
        dry_run: bool,
    ) -> Result<Mutation<Applied>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let all = apis::list(work.tx.connection().await?).await?;
        let before = all.iter().find(|api| api.definition.name() == definition.name());
        if before.is_none() && all.len() >= limits::APIS_MAX {
            return Err(AppError::conflict(format!(
                "There are {} APIs already, which is the limit.",
                limits::APIS_MAX
            )));
        }
        let mut mistakes: Vec<String> = all
            .iter()
            .filter(|api| api.definition.name() != definition.name())
            .flat_map(|other| definition.conflicts_with(other))
            .collect();
        let mut retired_formats = Vec::new();
        if let Some(before) = before {
            self.check_nothing_stranded(&mut work.tx, before, &definition, &mut mistakes).await?;
            check_plans_stay(&mut work.tx, before, &definition, &mut mistakes).await?;
            retired_formats = retire_formats(&mut work.tx, before, &definition, work.now, &mut mistakes).await?;
        }
        if !mistakes.is_empty() {
            return Err(AppError::conflict(mistakes.join("\n")));
        }
        let differences = differences(before.map(|api| &api.definition), &definition);
        let created = before.is_none();
        let api = Api { definition, retired_formats };
        let unchanged = before.is_some_and(|before| *before == api);
        if dry_run || unchanged {
            let revision = work.tx.revision_before();
            return Ok(work.at(Applied { differences, created, applied: false }, revision));
        }
        apis::put(&mut work.tx, &api).await?;
        let deed = Deed::new(Action::ApiApplied, api.definition.name(), before, Some(&api));
        work.tell(Change::Api(Box::new(api)), deed);
        Ok(work.done(Applied { differences, created, applied: true }))
    }

    /// Every api, by name.
    pub async fn list_apis(&self) -> Result<Vec<Api>, AppError> {
        let mut reader = self.store.read().await?;
        Ok(apis::list(&mut reader).await?)
    }

    /// Shows an api.
    pub async fn find_api(&self, name: &ApiName) -> Result<Api, AppError> {
        let mut reader = self.store.read().await?;
        apis::find(&mut reader, name).await?.ok_or(AppError::NotFound { what: "API" })
    }

    /// A scope that live keys hold cannot go, nor a base path below which they are restricted: they would lose what
    /// their holders count on.
    async fn check_nothing_stranded(
        &self,
        tx: &mut Tx,
        before: &Api,
        after: &Definition,
        mistakes: &mut Vec<String>,
    ) -> Result<(), AppError> {
        let kept: BTreeSet<_> = after.scopes().into_iter().map(|scope| scope.name).collect();
        let mut holders = BTreeMap::new();
        for (scopes, count) in
            keys::list_scope_sets(tx.connection().await?, before.definition.name(), self.now()).await?
        {
            if let Scopes::Named(names) = scopes {
                for name in names.into_iter().filter(|name| !kept.contains(name)) {
                    *holders.entry(name).or_insert(0) += count;
                }
            }
        }
        let base = format!("{}/", after.base_path());
        for restrictions in
            keys::list_restrictions(tx.connection().await?, before.definition.name(), self.now()).await?
        {
            for rule in restrictions.endpoint.iter().flatten().filter(|rule| !rule.path().starts_with(&base)) {
                mistakes.push(format!(
                    "base_path {:?} would strand live keys that are restricted to \"{rule}\"; lift that first",
                    after.base_path()
                ));
            }
        }
        for (scope, count) in holders {
            mistakes.push(format!("scope {:?} is held by {count} live keys; take it from them first", scope.as_str()));
        }
        Ok(())
    }
}

/// A plan that organizations have cannot go: their keys would be refused.
async fn check_plans_stay(
    tx: &mut Tx,
    before: &Api,
    after: &Definition,
    mistakes: &mut Vec<String>,
) -> Result<(), AppError> {
    for (plan, count) in subscriptions::count_by_plan(tx.connection().await?, before.definition.name()).await? {
        if after.find_plan(&plan).is_none() {
            mistakes.push(format!("plan {:?} is the plan of {count} organizations; move them first", plan.as_str()));
        }
    }
    Ok(())
}

/// The formats that the new definition no longer issues but under which keys were issued.
async fn retire_formats(
    tx: &mut Tx,
    before: &Api,
    after: &Definition,
    now: Timestamp,
    mistakes: &mut Vec<String>,
) -> Result<Vec<KeyFormat>, AppError> {
    let name = before.definition.name();
    let mut used: BTreeSet<String> = keys::list_prefixes(tx.connection().await?, name).await?.into_iter().collect();
    if keys::has_overlap(tx.connection().await?, name, now).await? {
        // The prefix of an old secret is not kept with its key, so while one works every format counts as used.
        used.extend(before.retired_formats.iter().map(|format| format.prefix.clone()));
    }
    let mut retired = Vec::new();
    let known = before.definition.formats().iter().chain(&before.retired_formats);
    for old in known.filter(|format| used.contains(&format.prefix)) {
        match after.formats().iter().find(|format| format.prefix == old.prefix) {
            Some(new) if !same_shape(old, new) => mistakes.push(format!(
                "keys were issued with prefix {:?}; its kind, environment, alphabet, length and checksum cannot change. \
                 Give the new keys a new prefix: the old ones go on working",
                old.prefix
            )),
            Some(_) => {}
            None => {
                if let Some(new) = after.formats().iter().find(|format| prefixes_clash(&format.prefix, &old.prefix)) {
                    mistakes.push(format!(
                        "key prefix {:?} cannot be told from {:?}, under which keys were issued",
                        new.prefix, old.prefix
                    ));
                }
                retired.push(old.clone());
            }
        }
    }
    Ok(retired)
}

fn same_shape(one: &KeyFormat, other: &KeyFormat) -> bool {
    (one.kind, one.environment, one.alphabet, one.length, one.checksum)
        == (other.kind, other.environment, other.alphabet, other.length, other.checksum)
}

fn differences(before: Option<&Definition>, after: &Definition) -> Vec<String> {
    let lines = |definition: &Definition| {
        let mut lines = BTreeMap::new();
        let value = serde_json::to_value(definition).expect("a definition can be written as JSON");
        flatten(String::new(), &value, &mut lines);
        lines
    };
    let (before, after) = (before.map(lines).unwrap_or_default(), lines(after));
    let places: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let line = |place: &String| match (before.get(place), after.get(place)) {
        (None, Some(new)) => Some(format!("+ {place} = {new}")),
        (Some(old), None) => Some(format!("- {place} = {old}")),
        (Some(old), Some(new)) if old != new => Some(format!("~ {place} = {old} -> {new}")),
        _ => None,
    };
    places.into_iter().filter_map(line).collect()
}

/// Every value of a JSON document under a readable place; tables in lists go by their own name.
fn flatten(place: String, value: &Value, lines: &mut BTreeMap<String, String>) {
    let below = |name: &str| {
        if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
    };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                flatten(below(name), member, lines);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (position, item) in items.iter().enumerate() {
                let own_name = ["prefix", "name", "endpoint"].iter().find_map(|name| item[*name].as_str());
                let name = own_name.map_or_else(|| position.to_string(), str::to_owned);
                flatten(format!("{place}[{name}]"), item, lines);
            }
        }
        other => {
            lines.insert(place, other.to_string());
        }
    }
}
