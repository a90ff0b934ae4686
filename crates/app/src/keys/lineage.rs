//! Which keys come from which: whoever had a secret may have made keys with it, and more with those.

use std::collections::{HashMap, HashSet};

use claviger_domain::key::Creator;
use claviger_domain::time::Timestamp;
use claviger_store::Connection;
use claviger_store::keys::{self, Made};

use crate::AppError;

/// Who made what, wherever somebody made keys. It is read once, however much there is to be found in it.
pub(crate) struct Lineage {
    made: HashMap<Creator, Vec<Made>>,
}

impl Lineage {
    /// Reads it for the organizations and apis in which `creator` made keys: keys make others in their own only.
    pub(crate) async fn of(connection: &mut Connection, creator: Creator, now: Timestamp) -> Result<Self, AppError> {
        let mut made: HashMap<Creator, Vec<Made>> = HashMap::new();
        for (organization, api) in keys::list_places_of_made(connection, creator).await? {
            for key in keys::list_made(connection, organization, &api, now).await? {
                made.entry(key.created_by).or_default().push(key);
            }
        }
        Ok(Self { made })
    }

    /// All keys that come from these makers, dead ones included, in the order of their ids.
    pub(crate) fn descendants(&self, makers: impl IntoIterator<Item = Creator>) -> Vec<Made> {
        let mut makers: Vec<Creator> = makers.into_iter().collect();
        // Whatever a damaged row says, nothing is gone through twice.
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        while let Some(maker) = makers.pop() {
            for key in self.made.get(&maker).into_iter().flatten().filter(|key| seen.insert(key.id)) {
                found.push(*key);
                makers.push(Creator::Key(key.id));
            }
        }
        found.sort_unstable_by_key(|key| key.id);
        found
    }
}
