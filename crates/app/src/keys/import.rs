//! Taking in keys that were issued elsewhere, by the digests of their secrets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use claviger_domain::audit::Action;
use claviger_domain::change::Change;
use claviger_domain::definition::Api;
use claviger_domain::format::KeyFormat;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Creator, Key, Kind, Metadata, Name};
use claviger_domain::restriction::Restrictions;
use claviger_domain::scope::Scopes;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;
use claviger_store::{Tx, keys};
use serde_json::json;

use super::create::choose_scopes;
use super::room::{Class, Place};
use super::{check, find_api};
use crate::actor::Deed;
use crate::mutation::Work;
use crate::{Actor, App, AppError, Mutation};

/// A key that was issued elsewhere.
#[derive(Clone, Debug)]
pub struct ImportKey {
    /// Digest of its secret.
    pub digest: SecretDigest,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The api it opens.
    pub api: ApiName,
    /// The name people will see.
    pub name: Name,
    /// The format, by its prefix: one that the api issues, or has issued.
    pub prefix: String,
    /// The last four characters of its secret; empty where they are not known.
    pub hint: String,
    /// What it may do. Secret keys get full access; restricted keys must say.
    pub scopes: Option<Scopes>,
    /// Where, from where and for what it may be used.
    pub restrictions: Restrictions,
    /// Says that a network of all addresses is meant.
    pub allow_any_ip: bool,
    /// What the holder keeps beside it.
    pub metadata: Metadata,
    /// When it was issued; `None` is now.
    pub created_at: Option<Timestamp>,
    /// When it dies by itself; `None` is never, whatever is the default for new keys.
    pub expires_at: Option<Timestamp>,
    /// Whether it is switched off for now.
    pub disabled: bool,
}

/// Keys to take in, and how.
#[derive(Clone, Debug)]
pub struct ImportKeys {
    /// The keys, each with the number of the line that it was read from, in order.
    pub lines: Vec<(usize, ImportKey)>,
    /// Whether other lines were refused already, which matters to `strict`.
    pub has_refused_lines: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Take in all of them or none.
    pub strict: bool,
}

/// What became of the keys.
#[derive(Debug)]
pub struct ImportedKeys {
    /// How many were taken in, or would be.
    pub imported: usize,
    /// How many were there already, in the same organization and api.
    pub existing: usize,
    /// The lines that were refused, and why, in order.
    pub refused: Vec<(usize, AppError)>,
    /// Where new keys would go. Only for a dry run, which takes no room and so cannot count over several requests.
    pub places: Vec<ImportPlace>,
}

/// The new keys of one organization in one api.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportPlace {
    /// The organization.
    pub organization: OrganizationId,
    /// The api.
    pub api: ApiName,
    /// How many would be new.
    pub new: i64,
    /// How many there is room for, at least.
    pub left: i64,
}

impl App {
    /// Takes in keys that were issued elsewhere, in one transaction with one revision and one audit event. What is there
    /// already is passed over, whatever became of it since, so that an import can be repeated. That a key was given
    /// another secret since is one of those things: the one that it had is not taken for a new key.
    ///
    /// A line that is refused keeps no other from being taken in, unless `strict` is asked for.
    pub async fn import_keys(&self, actor: &Actor, import: ImportKeys) -> Result<Mutation<ImportedKeys>, AppError> {
        actor.must_be_operator()?;
        let mut work = self.begin(actor).await?;
        let now = work.now;
        let mut sorted = sort(&mut work.tx, import.lines, now).await?;
        let places = self.keep_within_room(&mut work.tx, &mut sorted, now).await?;
        sorted.refused.sort_by_key(|(number, _)| *number);
        let Sorted { new, existing, refused } = sorted;
        let is_refused = import.strict && (import.has_refused_lines || !refused.is_empty());
        let imported = if is_refused && !import.dry_run { 0 } else { new.len() };
        if import.dry_run || is_refused || new.is_empty() {
            let places = if import.dry_run { places } else { Vec::new() };
            let revision = work.tx.revision_before();
            return Ok(work.at(ImportedKeys { imported, existing, refused, places }, revision));
        }
        for place in places {
            self.room.use_up(place.organization, &place.api, Class::Standing, place.new);
        }
        self.write(&mut work, new);
        Ok(work.done(ImportedKeys { imported, existing, refused, places: Vec::new() }))
    }

    /// Refuses what goes beyond an organization's limit, and says where the rest goes.
    async fn keep_within_room(
        &self,
        tx: &mut Tx,
        sorted: &mut Sorted,
        now: Timestamp,
    ) -> Result<Vec<ImportPlace>, AppError> {
        let mut places: HashMap<(OrganizationId, ApiName), ImportPlace> = HashMap::new();
        for (_, key) in &sorted.new {
            let (organization, api) = (key.organization, key.api.clone());
            let place = ImportPlace { organization, api: api.clone(), new: 0, left: 0 };
            places.entry((organization, api)).or_insert(place).new += 1;
        }
        let mut rooms = HashMap::new();
        for ((organization, name), place) in &mut places {
            let api = find_api(tx, name).await?;
            let at = Place { organization: *organization, api: &api, class: Class::Standing };
            let left = self.room.left(tx, at, place.new, now).await?;
            place.left = left.keys;
            rooms.insert((*organization, name.clone()), left);
        }
        if places.values().any(|place| place.new > place.left) {
            for place in places.values_mut() {
                place.new = 0;
            }
            let all = std::mem::take(&mut sorted.new);
            for (number, key) in all {
                let of = (key.organization, key.api.clone());
                match (places.get_mut(&of), rooms.get(&of)) {
                    (Some(place), _) if place.new < place.left => {
                        place.new += 1;
                        sorted.new.push((number, key));
                    }
                    (_, Some(left)) => sorted.refused.push((number, left.refusal())),
                    (_, None) => {}
                }
            }
        }
        Ok(places.into_values().collect())
    }

    fn write(&self, work: &mut Work, new: Vec<(usize, Key)>) {
        let mut ids: Vec<KeyId> = new.iter().map(|_| KeyId::new(work.now, &*self.entropy)).collect();
        // In the order of the lines, which lists then show.
        ids.sort_unstable();
        let keys: Vec<Key> = new.into_iter().zip(ids).map(|((_, key), id)| Key { id, ..key }).collect();
        keys::create_all(&mut work.tx, &keys);
        for deed in deeds(&keys) {
            work.record(deed);
        }
        for key in keys {
            work.tx.publish(Change::Key(Box::new(key)));
        }
    }
}

/// Lines by what becomes of them.
#[derive(Default)]
struct Sorted {
    /// Keys that may be taken in, without their ids.
    new: Vec<(usize, Key)>,
    existing: usize,
    refused: Vec<(usize, AppError)>,
}

async fn sort(tx: &mut Tx, lines: Vec<(usize, ImportKey)>, now: Timestamp) -> Result<Sorted, AppError> {
    let digests: Vec<SecretDigest> = lines.iter().map(|(_, line)| line.digest).collect();
    let owners = keys::list_digest_owners(tx.connection().await?, &digests).await?;
    let owners: HashMap<[u8; 32], _> = owners.into_iter().map(|owner| (*owner.digest.as_bytes(), owner)).collect();
    let places = Places::find(tx, &lines).await?;
    let mut first_lines: HashMap<[u8; 32], usize> = HashMap::with_capacity(lines.len());
    let mut sorted = Sorted::default();
    for (number, line) in lines {
        let digest = *line.digest.as_bytes();
        if let Some(first) = first_lines.get(&digest) {
            let message = format!("stands in line {first} already");
            sorted.refused.push((number, AppError::invalid("digest", message)));
            continue;
        }
        first_lines.insert(digest, number);
        match owners.get(&digest) {
            Some(owner) if owner.organization == line.organization && owner.api == line.api => sorted.existing += 1,
            Some(_) => {
                let message = "belongs, or belonged, to a key of another organization or API";
                sorted.refused.push((number, AppError::invalid("digest", message)));
            }
            None => match places.key(line, now) {
                Ok(key) => sorted.new.push((number, key)),
                Err(error) => sorted.refused.push((number, error)),
            },
        }
    }
    Ok(sorted)
}

/// The organizations and apis that the lines name, of those that there are.
struct Places {
    organizations: HashSet<OrganizationId>,
    apis: HashMap<ApiName, Arc<Api>>,
}

impl Places {
    async fn find(tx: &mut Tx, lines: &[(usize, ImportKey)]) -> Result<Self, AppError> {
        let mut places = Self { organizations: HashSet::new(), apis: HashMap::new() };
        let named: HashSet<OrganizationId> = lines.iter().map(|(_, line)| line.organization).collect();
        for id in named {
            if tx.find_organization(id).await?.is_some() {
                places.organizations.insert(id);
            }
        }
        let named: HashSet<&ApiName> = lines.iter().map(|(_, line)| &line.api).collect();
        for name in named {
            if let Some(api) = tx.find_api(name).await? {
                places.apis.insert(name.clone(), api);
            }
        }
        Ok(places)
    }

    /// The key that a line describes, if there may be such a key. It gets its id when it is written.
    fn key(&self, line: ImportKey, now: Timestamp) -> Result<Key, AppError> {
        if !self.organizations.contains(&line.organization) {
            return Err(AppError::invalid("organization", "there is no such organization"));
        }
        let api = self.apis.get(&line.api).ok_or_else(|| AppError::invalid("api", "there is no such API"))?;
        let format = find_format(api, &line.prefix)?;
        let created_at = line.created_at.unwrap_or(now);
        if created_at > now || created_at.as_micros() < 0 {
            return Err(AppError::invalid("created_at", "must not be in the future, nor before 1970"));
        }
        // An imported key has no more time ahead of it than a new one.
        check::expiry("expires_at", line.expires_at, Some(format), now, now)?;
        let scopes = choose_scopes(line.scopes, format.kind, None)?;
        check::scopes(&scopes, format.kind, api)?;
        check::restrictions(&line.restrictions, line.allow_any_ip, api)?;
        let key = Key {
            id: KeyId::from_u128(0),
            organization: line.organization,
            api: line.api,
            name: line.name,
            kind: format.kind,
            environment: format.environment,
            prefix: line.prefix,
            hint: line.hint,
            digest: line.digest,
            old_secret: None,
            scopes,
            restrictions: line.restrictions,
            parent_id: None,
            metadata: line.metadata,
            disabled: line.disabled,
            revocation: None,
            created_at: created_at.to_whole_seconds(),
            created_by: Creator::Operator,
            expires_at: line.expires_at,
            rotated_at: None,
        };
        check::not_contradictory(&key, api)?;
        Ok(key)
    }
}

fn find_format<'a>(api: &'a Api, prefix: &str) -> Result<&'a KeyFormat, AppError> {
    let formats = || api.definition.formats().iter().chain(&api.retired_formats);
    let Some(format) = formats().find(|format| format.prefix == prefix) else {
        let known = formats().filter(|format| format.kind != Kind::Ephemeral).map(|format| format.prefix.as_str());
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(AppError::invalid("prefix", format!("is of no key format of this API; there are {known}")));
    };
    if format.kind == Kind::Ephemeral {
        return Err(AppError::invalid("prefix", "is of ephemeral keys, which are not imported"));
    }
    Ok(format)
}

/// What the audit log says: one event an organization, which names its first and its last key.
fn deeds(keys: &[Key]) -> Vec<Deed> {
    let mut by_organization: BTreeMap<OrganizationId, Vec<KeyId>> = BTreeMap::new();
    for key in keys {
        by_organization.entry(key.organization).or_default().push(key.id);
    }
    let deed = |(organization, ids): (OrganizationId, Vec<KeyId>)| {
        let (count, first, last) = (ids.len(), ids[0].to_string(), ids[ids.len() - 1].to_string());
        let target = format!("{count} keys, {first} to {last}");
        let after = [("keys", json!(count)), ("first", json!(first)), ("last", json!(last))];
        let after = after.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        Deed { action: Action::KeysImported, target, organization: None, before: None, after: Some(after) }
            .of(organization)
    };
    by_organization.into_iter().map(deed).collect()
}
