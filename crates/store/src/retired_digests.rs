//! The table of digests that a key had and no longer has. Nobody gets in with them; they are known so that an import does
//! not take them for new. They are kept as long as their key is.

use claviger_domain::id::KeyId;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;

use crate::{StoreError, Tx, rows};

/// Keeps digests that a key has just lost. [`crate::keys::list_digest_owners`] finds them.
pub async fn create_all(tx: &mut Tx, key: KeyId, digests: &[SecretDigest], now: Timestamp) -> Result<(), StoreError> {
    let row = |digest: &SecretDigest| {
        vec![digest.as_bytes().to_vec().into(), key.to_bytes().to_vec().into(), now.as_micros().into()]
    };
    let retired = digests.iter().map(row).collect();
    rows::write(tx.writing().await?, "INSERT INTO retired_digests (digest, key_id, retired_at)", "", retired).await?;
    Ok(())
}
