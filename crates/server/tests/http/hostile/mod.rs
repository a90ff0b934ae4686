//! What attackers, races and careless callers do, across operations.

mod alerts;
mod limits;
mod members;
mod roles;
mod subscriptions;
mod usage;
mod webhooks;

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::wire::Call;

/// Sends all at once, and counts the answers by status, the least first.
async fn statuses(calls: impl IntoIterator<Item = Call>) -> Vec<(u16, usize)> {
    let mut counts = BTreeMap::new();
    for reply in join_all(calls.into_iter().map(Call::send)).await {
        *counts.entry(reply.status.as_u16()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}
