//! One Claviger a database: whoever finds that another has started there says no to everything.

use std::sync::{Arc, Weak};
use std::time::Duration;

use claviger_store::{Store, StoreError};

use crate::follower::Follower;

/// About so long a process that was cut off from its database may go on with what it knew when another took over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks until the follower is dropped.
pub(crate) fn start(store: Store, follower: &Arc<Follower>) {
    let follower: Weak<Follower> = Arc::downgrade(follower);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(follower) = follower.upgrade() else { return };
            if let Err(StoreError::Superseded) = store.stand_guard().await {
                follower.give_up();
                tracing::error!(
                    "another Claviger has started on this database: this one answers 503 from now on; stop it"
                );
                return;
            }
        }
    });
}
