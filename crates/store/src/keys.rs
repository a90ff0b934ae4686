//! The table of keys.

use claviger_domain::change::Revision;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{ApiName, Creator, Environment, Key, Kind, OldSecret, Revocation, State};
use claviger_domain::restriction::Restrictions;
use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;

use crate::dialect::on_either;
use crate::row::{digest, from_json, id_number, time, to_json, word};
use crate::rows::{self, Value};
use crate::{Connection, Page, PageRequest, StoreError, Tx};

pub(crate) const TABLE: &str = "keys";

/// A key with what the table knows beyond it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRow {
    /// The key.
    pub key: Key,
    /// When it was last used, to the minute.
    pub last_used: Option<Timestamp>,
    /// The revision of its last change.
    pub revision: Revision,
}

/// Which keys to list. What is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Of this organization.
    pub organization: Option<OrganizationId>,
    /// Of this api.
    pub api: Option<ApiName>,
    /// In this state at the instant of the call.
    pub state: Option<State>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Of this environment.
    pub environment: Option<Environment>,
    /// Made with this key.
    pub parent_id: Option<KeyId>,
}

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    id: Vec<u8>,
    organization: Vec<u8>,
    api: String,
    name: String,
    kind: String,
    environment: String,
    prefix: String,
    hint: String,
    digest: Vec<u8>,
    old_digest: Option<Vec<u8>>,
    overlap_ends_at: Option<i64>,
    scopes: String,
    restrictions: Option<String>,
    parent_id: Option<Vec<u8>>,
    metadata: String,
    disabled: bool,
    revoked_at: Option<i64>,
    revoked_reason: Option<String>,
    created_at: i64,
    created_by: String,
    expires_at: Option<i64>,
    rotated_at: Option<i64>,
    last_used: Option<i64>,
    revision: i64,
}

impl TryFrom<Row> for KeyRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let old_secret = match (&row.old_digest, row.overlap_ends_at) {
            (Some(old), Some(ends_at)) => {
                Some(OldSecret { digest: digest(TABLE, old)?, overlap_ends_at: Timestamp::from_micros(ends_at) })
            }
            (None, None) => None,
            _ => {
                return Err(StoreError::Row { table: TABLE, reason: "half of an overlap".to_owned() });
            }
        };
        let restrictions = row.restrictions.as_deref().map(|text| from_json(TABLE, text)).transpose()?;
        let parent_id = row.parent_id.as_deref().map(|bytes| id_number(TABLE, bytes)).transpose()?;
        let key = Key {
            id: KeyId::from_u128(id_number(TABLE, &row.id)?),
            organization: OrganizationId::from_u128(id_number(TABLE, &row.organization)?),
            api: word(TABLE, &row.api)?,
            name: word(TABLE, &row.name)?,
            kind: word(TABLE, &row.kind)?,
            environment: word(TABLE, &row.environment)?,
            prefix: row.prefix,
            hint: row.hint,
            digest: digest(TABLE, &row.digest)?,
            old_secret,
            scopes: from_json(TABLE, &row.scopes)?,
            restrictions: restrictions.unwrap_or(Restrictions::NONE),
            parent_id: parent_id.map(KeyId::from_u128),
            metadata: from_json(TABLE, &row.metadata)?,
            disabled: row.disabled,
            revocation: time(row.revoked_at).map(|at| Revocation { at, reason: row.revoked_reason }),
            created_at: Timestamp::from_micros(row.created_at),
            created_by: word(TABLE, &row.created_by)?,
            expires_at: time(row.expires_at),
            rotated_at: time(row.rotated_at),
        };
        Ok(Self { key, last_used: time(row.last_used), revision: Revision(row.revision) })
    }
}

fn restrictions_column(restrictions: &Restrictions) -> Option<String> {
    (!restrictions.is_none()).then(|| to_json(restrictions))
}

/// Writes a new key, see [`create_all`].
pub fn create(tx: &mut Tx, key: &Key) {
    create_all(tx, std::slice::from_ref(key));
}

/// Writes new keys. They are sent to the database when the transaction is read or committed, which then fails if their
/// organization or api does not exist or a digest is taken: look first.
pub fn create_all(tx: &mut Tx, keys: &[Key]) {
    let revision = tx.revision().0;
    tx.add_keys(keys.iter().map(|key| row_of(key, revision)));
}

/// Sends rows that [`create_all`] made.
pub(crate) async fn insert(connection: &mut Connection, rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
    rows::write(
        connection,
        "INSERT INTO keys (id, organization, api, name, kind, environment, prefix, hint, digest, old_digest,
             overlap_ends_at, scopes, restrictions, parent_id, metadata, disabled, revoked_at, revoked_reason,
             created_at, created_by, expires_at, rotated_at, revision)",
        "",
        rows,
    )
    .await?;
    Ok(())
}

fn row_of(key: &Key, revision: i64) -> Vec<Value> {
    vec![
        key.id.to_bytes().to_vec().into(),
        key.organization.to_bytes().to_vec().into(),
        key.api.as_str().into(),
        key.name.as_str().into(),
        key.kind.as_str().into(),
        key.environment.as_str().into(),
        key.prefix.clone().into(),
        key.hint.clone().into(),
        key.digest.as_bytes().to_vec().into(),
        Value::Bytes(key.old_secret.map(|old| old.digest.as_bytes().to_vec())),
        Value::Int(key.old_secret.map(|old| old.overlap_ends_at.as_micros())),
        to_json(&key.scopes).into(),
        Value::Text(restrictions_column(&key.restrictions)),
        Value::Bytes(key.parent_id.map(|id| id.to_bytes().to_vec())),
        key.metadata.to_json().into(),
        Value::Bool(key.disabled),
        Value::Int(key.revocation.as_ref().map(|revocation| revocation.at.as_micros())),
        Value::Text(key.revocation.as_ref().and_then(|revocation| revocation.reason.clone())),
        key.created_at.as_micros().into(),
        key.created_by.to_string().into(),
        Value::Int(key.expires_at.map(Timestamp::as_micros)),
        Value::Int(key.rotated_at.map(Timestamp::as_micros)),
        revision.into(),
    ]
}

/// Writes what may change of a key. Its id, owner, api, kind, environment, parent and time of creation never do.
pub async fn update(tx: &mut Tx, key: &Key) -> Result<(), StoreError> {
    let revision = tx.revision().0;
    on_either!(
        tx.writing().await?,
        sqlx::query(
            "UPDATE keys SET name = $2, prefix = $3, hint = $4, digest = $5, old_digest = $6, overlap_ends_at = $7,
             scopes = $8, restrictions = $9, metadata = $10, disabled = $11, revoked_at = $12, revoked_reason = $13,
             expires_at = $14, rotated_at = $15, created_by = $16, revision = $17
         WHERE id = $1",
        )
        .bind(key.id.to_bytes().to_vec())
        .bind(key.name.as_str())
        .bind(&key.prefix)
        .bind(&key.hint)
        .bind(key.digest.as_bytes().to_vec())
        .bind(key.old_secret.map(|old| old.digest.as_bytes().to_vec()))
        .bind(key.old_secret.map(|old| old.overlap_ends_at.as_micros()))
        .bind(to_json(&key.scopes))
        .bind(restrictions_column(&key.restrictions))
        .bind(key.metadata.to_json())
        .bind(key.disabled)
        .bind(key.revocation.as_ref().map(|revocation| revocation.at.as_micros()))
        .bind(key.revocation.as_ref().and_then(|revocation| revocation.reason.as_deref()),)
        .bind(key.expires_at.map(Timestamp::as_micros))
        .bind(key.rotated_at.map(Timestamp::as_micros))
        .bind(key.created_by.to_string())
        .bind(revision),
        execute
    )?;
    Ok(())
}

/// The key of that id.
pub async fn find(connection: &mut Connection, id: KeyId) -> Result<Option<KeyRow>, StoreError> {
    let row: Option<Row> = on_either!(
        connection,
        sqlx::query_as("SELECT * FROM keys WHERE id = $1").bind(id.to_bytes().to_vec()),
        fetch_optional
    )?;
    row.map(KeyRow::try_from).transpose()
}

/// The same list for three breadths, so that each has a query plan of its own: an index leads straight to an
/// organization's keys only when the query says for certain that it is about one.
macro_rules! list_keys {
    ($place:literal) => {
        concat!(
            "SELECT * FROM keys WHERE ",
            $place,
            " AND (CAST($3 AS TEXT) IS NULL OR kind = $3)
              AND (CAST($4 AS TEXT) IS NULL OR environment = $4)
              AND ($5 IS NULL OR parent_id = $5)
              AND (CAST($6 AS TEXT) IS NULL OR $6 = CASE
                      WHEN revoked_at IS NOT NULL THEN 'revoked'
                      WHEN expires_at <= $7 THEN 'expired'
                      WHEN disabled THEN 'disabled'
                      ELSE 'active' END)
              AND ($8 IS NULL OR id < $8)
            ORDER BY id DESC LIMIT $9"
        )
    };
}

/// Whose key a digest belongs to: as its secret, as the one that it had before, or as one that is
/// [retired](crate::retired_digests).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DigestOwner {
    /// The digest.
    pub digest: SecretDigest,
    /// The key's organization.
    pub organization: OrganizationId,
    /// The key's api.
    pub api: ApiName,
}

/// Those of these digests that belong or belonged to a key, dead or alive.
pub async fn list_digest_owners(
    connection: &mut Connection,
    digests: &[SecretDigest],
) -> Result<Vec<DigestOwner>, StoreError> {
    let bytes = digests.iter().map(|digest| digest.as_bytes().to_vec().into()).collect();
    let found: Vec<(Vec<u8>, Vec<u8>, String)> = rows::select_in(
        connection,
        &[
            "SELECT digest, organization, api FROM keys WHERE digest",
            "SELECT old_digest, organization, api FROM keys WHERE old_digest",
            "SELECT digest, organization, api FROM retired_digests WHERE digest",
        ],
        bytes,
    )
    .await?;
    let owner = |(found, organization, api): (Vec<u8>, Vec<u8>, String)| {
        Ok(DigestOwner {
            digest: digest(TABLE, &found)?,
            organization: OrganizationId::from_u128(id_number(TABLE, &organization)?),
            api: word(TABLE, &api)?,
        })
    };
    found.into_iter().map(owner).collect()
}

/// A page of keys, newest first.
pub async fn list(
    connection: &mut Connection,
    filter: &KeyFilter,
    now: Timestamp,
    page: PageRequest<KeyId>,
) -> Result<Page<KeyRow>, StoreError> {
    let query = match (filter.organization, &filter.api) {
        (Some(_), Some(_)) => list_keys!("organization = $1 AND api = $2"),
        (Some(_), None) => list_keys!("organization = $1 AND CAST($2 AS TEXT) IS NULL"),
        (None, _) => list_keys!("$1 IS NULL AND (CAST($2 AS TEXT) IS NULL OR api = $2)"),
    };
    let rows: Vec<Row> = on_either!(
        connection,
        sqlx::query_as(query)
            .bind(filter.organization.map(|id| id.to_bytes().to_vec()))
            .bind(filter.api.as_ref().map(ApiName::as_str))
            .bind(filter.kind.map(Kind::as_str))
            .bind(filter.environment.map(Environment::as_str))
            .bind(filter.parent_id.map(|id| id.to_bytes().to_vec()))
            .bind(filter.state.map(State::as_str))
            .bind(now.as_micros())
            .bind(page.after.map(|id| id.to_bytes().to_vec()))
            .bind(i64::from(page.limit) + 1),
        fetch_all
    )?;
    let rows = rows.into_iter().map(KeyRow::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, page.limit))
}

/// The prefixes under which an api's keys were issued, those of dead keys included.
pub async fn list_prefixes(connection: &mut Connection, api: &ApiName) -> Result<Vec<String>, StoreError> {
    let distinct = "SELECT DISTINCT prefix FROM keys WHERE api = $1 ORDER BY prefix";
    Ok(on_either!(connection, sqlx::query_scalar(distinct).bind(api.as_str()), fetch_all)?)
}

/// Whether some old secret of an api's keys still works.
pub async fn has_overlap(connection: &mut Connection, api: &ApiName, now: Timestamp) -> Result<bool, StoreError> {
    let found: Option<i64> = on_either!(
        connection,
        sqlx::query_scalar("SELECT created_at FROM keys WHERE api = $1 AND overlap_ends_at > $2 LIMIT 1")
            .bind(api.as_str())
            .bind(now.as_micros()),
        fetch_optional
    )?;
    Ok(found.is_some())
}

/// The distinct restrictions of an api's keys that are neither revoked nor expired, of those that have any.
pub async fn list_restrictions(
    connection: &mut Connection,
    api: &ApiName,
    now: Timestamp,
) -> Result<Vec<Restrictions>, StoreError> {
    let rows: Vec<String> = on_either!(
        connection,
        sqlx::query_scalar(
            "SELECT DISTINCT restrictions FROM keys
             WHERE api = $1 AND restrictions IS NOT NULL AND revoked_at IS NULL
               AND (expires_at IS NULL OR expires_at > $2)",
        )
        .bind(api.as_str())
        .bind(now.as_micros()),
        fetch_all
    )?;
    rows.iter().map(|text| from_json(TABLE, text)).collect()
}

/// The distinct scope lists of an api's keys that are neither revoked nor expired, with how many hold each.
pub async fn list_scope_sets(
    connection: &mut Connection,
    api: &ApiName,
    now: Timestamp,
) -> Result<Vec<(claviger_domain::scope::Scopes, i64)>, StoreError> {
    let rows: Vec<(String, i64)> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT scopes, COUNT(*) FROM keys
         WHERE api = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
         GROUP BY scopes",
        )
        .bind(api.as_str())
        .bind(now.as_micros()),
        fetch_all
    )?;
    rows.into_iter().map(|(scopes, count)| Ok((from_json(TABLE, &scopes)?, count))).collect()
}

/// Which keys to end together. What is `None` does not matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Of this organization.
    pub organization: Option<OrganizationId>,
    /// Of this api.
    pub api: Option<ApiName>,
    /// Made by the operator, or with this key itself. Who made that one is another question.
    pub created_by: Option<Creator>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Of this environment.
    pub environment: Option<Environment>,
    /// Made before this instant, as far as whole seconds tell.
    pub issued_before: Option<Timestamp>,
}

/// `$1` to `$6` are the selection. As with [`list_keys`], there is a query for each breadth.
macro_rules! selected {
    ($selection:expr, $head:literal, $tail:literal) => {
        match ($selection.organization, &$selection.api) {
            (Some(_), Some(_)) => selected!(@ "organization = $1 AND api = $2", $head, $tail),
            (Some(_), None) => selected!(@ "organization = $1 AND CAST($2 AS TEXT) IS NULL", $head, $tail),
            (None, _) => selected!(@ "$1 IS NULL AND (CAST($2 AS TEXT) IS NULL OR api = $2)", $head, $tail),
        }
    };
    (@ $place:literal, $head:literal, $tail:literal) => {
        concat!(
            $head,
            " FROM keys
              WHERE ",
            $place,
            " AND (CAST($3 AS TEXT) IS NULL OR created_by = $3)
                AND (CAST($4 AS TEXT) IS NULL OR kind = $4)
                AND (CAST($5 AS TEXT) IS NULL OR environment = $5)
                AND (CAST($6 AS BIGINT) IS NULL OR created_at < $6) ",
            $tail
        )
    };
}

macro_rules! bind_selection {
    ($query:expr, $selection:expr) => {
        $query
            .bind($selection.organization.map(|id| id.to_bytes().to_vec()))
            .bind($selection.api.as_ref().map(ApiName::as_str))
            .bind($selection.created_by.map(|creator| creator.to_string()))
            .bind($selection.kind.map(Kind::as_str))
            .bind($selection.environment.map(Environment::as_str))
            .bind($selection.issued_before.map(Timestamp::as_micros))
    };
}

/// Selected keys that are neither revoked nor expired, in the order of their ids, past one of them, at most `limit`.
pub async fn list_selected(
    connection: &mut Connection,
    selection: &Selection,
    now: Timestamp,
    past: Option<KeyId>,
    limit: u32,
) -> Result<Vec<KeyRow>, StoreError> {
    let text = selected!(
        selection,
        "SELECT *",
        "AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $7) AND ($8 IS NULL OR id > $8)
         ORDER BY id LIMIT $9"
    );
    let rows: Vec<Row> = on_either!(
        connection,
        bind_selection!(sqlx::query_as(text), selection)
            .bind(now.as_micros())
            .bind(past.map(|id| id.to_bytes().to_vec()))
            .bind(i64::from(limit)),
        fetch_all
    )?;
    rows.into_iter().map(KeyRow::try_from).collect()
}

/// How many selected keys are neither revoked nor expired, and how many are revoked.
pub async fn count_selected(
    connection: &mut Connection,
    selection: &Selection,
    now: Timestamp,
) -> Result<(i64, i64), StoreError> {
    let text = selected!(
        selection,
        "SELECT COUNT(CASE WHEN revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $7) THEN 1 END),
                COUNT(revoked_at)",
        ""
    );
    Ok(on_either!(connection, bind_selection!(sqlx::query_as(text), selection).bind(now.as_micros()), fetch_one)?)
}

/// As much of a key as it takes to find what comes from what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Made {
    /// The key.
    pub id: KeyId,
    /// Who made it, or was handed it over.
    pub created_by: Creator,
    /// Whether it is neither revoked nor expired.
    pub is_alive: bool,
}

/// The keys of an organization and api that somebody other than the operator made, dead or alive.
pub async fn list_made(
    connection: &mut Connection,
    organization: OrganizationId,
    api: &ApiName,
    now: Timestamp,
) -> Result<Vec<Made>, StoreError> {
    let rows: Vec<(Vec<u8>, String, bool)> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT id, created_by, revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3) FROM keys
             WHERE organization = $1 AND api = $2 AND created_by <> 'operator'",
        )
        .bind(organization.to_bytes().to_vec())
        .bind(api.as_str())
        .bind(now.as_micros()),
        fetch_all
    )?;
    let made = |(id, creator, is_alive): (Vec<u8>, String, bool)| {
        Ok(Made { id: KeyId::from_u128(id_number(TABLE, &id)?), created_by: word(TABLE, &creator)?, is_alive })
    };
    rows.into_iter().map(made).collect()
}

/// The organizations and apis in which somebody other than the operator made keys.
pub async fn list_places_of_made(
    connection: &mut Connection,
    creator: Creator,
) -> Result<Vec<(OrganizationId, ApiName)>, StoreError> {
    let found: Vec<(Vec<u8>, String)> = on_either!(
        connection,
        sqlx::query_as(
            "SELECT DISTINCT organization, api FROM keys WHERE created_by = $1 AND created_by <> 'operator' ORDER BY api"
        )
        .bind(creator.to_string()),
        fetch_all
    )?;
    let place = |(organization, api): (Vec<u8>, String)| {
        Ok((OrganizationId::from_u128(id_number(TABLE, &organization)?), word(TABLE, &api)?))
    };
    found.into_iter().map(place).collect()
}

/// Those of these keys that there are, in the order of their ids.
pub async fn list_by_id(connection: &mut Connection, ids: &[KeyId]) -> Result<Vec<KeyRow>, StoreError> {
    let ids = ids.iter().map(|id| id.to_bytes().to_vec().into()).collect();
    let rows: Vec<Row> = rows::select_in(connection, &["SELECT * FROM keys WHERE id"], ids).await?;
    let mut rows = rows.into_iter().map(KeyRow::try_from).collect::<Result<Vec<_>, _>>()?;
    rows.sort_unstable_by_key(|row| row.key.id);
    Ok(rows)
}

/// Forgets a key.
pub async fn delete(tx: &mut Tx, id: KeyId) -> Result<(), StoreError> {
    on_either!(
        tx.writing().await?,
        sqlx::query("DELETE FROM keys WHERE id = $1").bind(id.to_bytes().to_vec()),
        execute
    )?;
    Ok(())
}
