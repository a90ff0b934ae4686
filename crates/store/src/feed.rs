//! The feed: revisions, the changes past one, and the snapshot that a follower starts from.

use claviger_domain::change::{Change, Revision};
use claviger_domain::time::Timestamp;
use futures_util::stream::{self, Stream, StreamExt as _};

use crate::dialect::on_either;
use crate::row::{from_json, to_json};
use crate::{Connection, StoreError, apis, organizations, rows, snapshot, subscriptions, verifiers};

/// What one transaction changed.
#[derive(Clone, PartialEq, Debug)]
pub struct Transaction {
    /// Its revision.
    pub revision: Revision,
    /// Its changes, in order.
    pub changes: Vec<Change>,
}

/// The revision of the last committed transaction, held until this one ends: nobody else writes meanwhile. Beside it,
/// the incarnation that was begun last.
pub(crate) async fn lock_revision(connection: &mut Connection) -> Result<(Revision, i64), StoreError> {
    let lock = "UPDATE deployment SET revision = revision RETURNING revision, incarnation";
    let (revision, incarnation) = on_either!(connection, sqlx::query_as::<_, (i64, i64)>(lock), fetch_one)?;
    Ok((Revision(revision), incarnation))
}

/// The incarnation that was begun last.
pub(crate) async fn find_incarnation(connection: &mut Connection) -> Result<i64, StoreError> {
    Ok(on_either!(connection, sqlx::query_scalar("SELECT incarnation FROM deployment"), fetch_one)?)
}

/// The text in which changes are kept, which was read back: one that is not what it was would stop every follower.
pub(crate) fn readable_body(changes: &[Change]) -> Result<String, StoreError> {
    let body = to_json(changes);
    if from_json::<Vec<Change>>("changes", &body)? == changes {
        return Ok(body);
    }
    Err(StoreError::Row { table: "changes", reason: "a change does not read back as it was".to_owned() })
}

/// Writes the [bodies](readable_body) of transactions, oldest first, and raises the revision to that of the last.
pub(crate) async fn insert_bodies(
    connection: &mut Connection,
    now: Timestamp,
    bodies: Vec<(Revision, String)>,
) -> Result<(), StoreError> {
    let Some((last, _)) = bodies.last() else { return Ok(()) };
    let last = last.0;
    let row = |(revision, body): (Revision, String)| vec![revision.0.into(), now.as_micros().into(), body.into()];
    let values = bodies.into_iter().map(row).collect();
    rows::write(connection, "INSERT INTO changes (revision, at, body)", "", values).await?;
    on_either!(connection, sqlx::query("UPDATE deployment SET revision = $1").bind(last), execute)?;
    Ok(())
}

/// The revision of the last committed transaction.
pub async fn find_revision(connection: &mut Connection) -> Result<Revision, StoreError> {
    Ok(Revision(on_either!(connection, sqlx::query_scalar("SELECT revision FROM deployment"), fetch_one)?))
}

/// Transactions past a revision, oldest first, at most `limit` of them.
pub async fn list_transactions(
    connection: &mut Connection,
    past: Revision,
    limit: u32,
) -> Result<Vec<Transaction>, StoreError> {
    let rows: Vec<(i64, String)> = on_either!(
        connection,
        sqlx::query_as("SELECT revision, body FROM changes WHERE revision > $1 ORDER BY revision LIMIT $2")
            .bind(past.0)
            .bind(i64::from(limit)),
        fetch_all
    )?;
    rows.into_iter()
        .map(|(revision, body)| Ok(Transaction { revision: Revision(revision), changes: from_json("changes", &body)? }))
        .collect()
}

/// Forgets transactions that were committed before an instant, the oldest first and at most `limit` of them. Followers
/// that are further behind start from a snapshot. The newest transaction always stays.
pub async fn delete_transactions_before(tx: &mut crate::Tx, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let own = tx.revision().0;
    let deleted = on_either!(
        tx.writing().await?,
        sqlx::query(
            "DELETE FROM changes WHERE at < $1 AND revision < $2 - 1
             AND revision < (SELECT MIN(revision) FROM changes) + $3",
        )
        .bind(before.as_micros())
        .bind(own)
        .bind(i64::from(limit)),
        execute
    )?;
    Ok(deleted)
}

/// Everything that matters to verdicts: apis, organizations, subscriptions, verifiers, then the keys, children perhaps before their
/// parents. A [`Decoder`](snapshot::Decoder) makes changes of it. The connection's view must not move: use that of
/// [`crate::Store::read`].
pub async fn stream_snapshot(
    connection: &mut Connection,
) -> Result<impl Stream<Item = Result<snapshot::Chunk, StoreError>> + '_, StoreError> {
    let mut head: Vec<Change> = Vec::new();
    head.extend(apis::list(connection).await?.into_iter().map(|api| Change::Api(Box::new(api))));
    head.extend(organizations::list_all(connection).await?.into_iter().map(Change::Organization));
    let subscriptions = subscriptions::list_all(connection).await?;
    head.extend(subscriptions.into_iter().map(|subscription| Change::Subscription(Box::new(subscription))));
    head.extend(verifiers::list(connection).await?.into_iter().map(Change::Verifier));
    let head = snapshot::Chunk::of(head);
    Ok(stream::once(std::future::ready(Ok(head))).chain(snapshot::stream_keys(connection)))
}
