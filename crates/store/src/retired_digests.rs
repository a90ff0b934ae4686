//! The table of digests that a key had and no longer has. Nobody gets in with them; they are known so that an import does not
//! take them for new, also when their key is forgotten.

use claviger_domain::key::Key;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;

use crate::{StoreError, Tx, rows};

/// Keeps digests that a key has just lost, or that go with it. [`crate::keys::list_digest_owners`] finds them.
pub async fn create_all(tx: &mut Tx, key: &Key, digests: &[SecretDigest], now: Timestamp) -> Result<(), StoreError> {
    let row = |digest: &SecretDigest| {
        vec![
            digest.as_bytes().to_vec().into(),
            key.id.to_bytes().to_vec().into(),
            key.organization.to_bytes().to_vec().into(),
            key.api.as_str().into(),
            now.as_micros().into(),
        ]
    };
    let retired = digests.iter().map(row).collect();
    let head = "INSERT INTO retired_digests (digest, key_id, organization, api, retired_at)";
    rows::write(tx.writing().await?, head, "", retired).await?;
    Ok(())
}
