//! Reading every key at once, for a follower that starts.
//!
//! With a million keys, what costs is not the database but handing each value of each row through the driver. So the
//! embedded database is asked for many keys in one value: *frames*, which are taken apart here. PostgreSQL's driver
//! hands out rows without copying their values, so it is asked for rows. Either way a [`Chunk`] is as the database
//! gave it, and [`Decoder`] makes changes of it on the thread that takes them in, while the database reads on.

use std::collections::HashMap;

use claviger_domain::change::Change;
use claviger_domain::id::{KeyId, OrganizationId};
use claviger_domain::key::{Key, Metadata, OldSecret, Revocation};
use claviger_domain::restriction::Restrictions;
use claviger_domain::time::Timestamp;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row as _, Sqlite, Transaction};

use crate::row::{digest, from_json, id_number, time, word};
use crate::{Connection, StoreError};

const TABLE: &str = "keys";
/// Few enough that a chunk and what is made of it stay in the processor's cache.
const KEYS_PER_CHUNK: usize = 512;
/// Texts of which the decoder remembers what they mean, of each sort.
const REMEMBERED_MAX: usize = 4096;

/// A part of a snapshot, as the database gave it.
pub struct Chunk(Part);

enum Part {
    Changes(Vec<Change>),
    Frames { frames: Vec<u8>, keys: i64 },
    Rows(Vec<PgRow>),
}

/// How many keys there are. Looks at all of them, as long as that takes.
pub async fn count_keys(connection: &mut Connection) -> Result<usize, StoreError> {
    const COUNT: &str = "SELECT COUNT(*) FROM keys";
    let count: i64 = match connection {
        Connection::Sqlite(tx) => sqlx::query_scalar(COUNT).fetch_one(&mut **tx).await?,
        Connection::Postgres { tx, .. } => sqlx::query_scalar(COUNT).fetch_one(&mut **tx).await?,
    };
    Ok(usize::try_from(count).unwrap_or(0))
}

impl Chunk {
    pub(crate) fn of(changes: Vec<Change>) -> Self {
        Self(Part::Changes(changes))
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunk").finish_non_exhaustive()
    }
}

/// Every key, in the order in which the database has them at hand.
pub(crate) fn stream_keys(connection: &mut Connection) -> BoxStream<'_, Result<Chunk, StoreError>> {
    match connection {
        Connection::Sqlite(tx) => stream_frames(tx).boxed(),
        Connection::Postgres { tx, .. } => stream_rows(tx).boxed(),
    }
}

/// The columns of a frame. First, as decimal numbers that are each followed by `;`, the lengths in bytes of the texts
/// and blobs, then the integers; after them the texts and blobs themselves, in the same order. What is NULL has
/// nothing before its `;`, which no length and no integer is. So a frame is never read in two ways, whatever is in it.
/// `concat` takes a NULL for an empty text, and puts bytes together as they are.
const FRAMES: &str = "
SELECT MAX(place), COUNT(*), group_concat(frame, '') FROM (
    SELECT rowid AS place, concat(
        octet_length(id), ';', octet_length(organization), ';', octet_length(digest), ';',
        octet_length(old_digest), ';', octet_length(parent_id), ';', octet_length(api), ';', octet_length(name), ';',
        octet_length(kind), ';', octet_length(environment), ';', octet_length(prefix), ';', octet_length(hint), ';',
        octet_length(scopes), ';', octet_length(restrictions), ';', octet_length(metadata), ';',
        octet_length(revoked_reason), ';', octet_length(created_by), ';',
        overlap_ends_at, ';', disabled, ';', revoked_at, ';', created_at, ';', expires_at, ';', rotated_at, ';',
        id, organization, digest, old_digest, parent_id, api, name, kind, environment, prefix, hint, scopes,
        restrictions, metadata, revoked_reason, created_by
    ) AS frame
    FROM keys WHERE rowid > $1 ORDER BY rowid LIMIT $2
)";
const FRAME_LENGTHS: usize = 16;
const FRAME_INTEGERS: usize = 6;

fn stream_frames<'t>(
    tx: &'t mut Transaction<'static, Sqlite>,
) -> impl stream::Stream<Item = Result<Chunk, StoreError>> + 't {
    stream::try_unfold((tx, i64::MIN), |(tx, place)| async move {
        let query = sqlx::query_as(FRAMES).bind(place).bind(KEYS_PER_CHUNK as i64);
        let (last, keys, frames): (Option<i64>, i64, Option<Vec<u8>>) = query.fetch_one(&mut **tx).await?;
        let next = |last| (Chunk(Part::Frames { frames: frames.unwrap_or_default(), keys }), (tx, last));
        Ok(last.map(next))
    })
}

fn stream_rows<'t>(
    tx: &'t mut Transaction<'static, Postgres>,
) -> impl stream::Stream<Item = Result<Chunk, StoreError>> + 't {
    let rows = sqlx::query(
        "SELECT id, organization, digest, old_digest, parent_id, api, name, kind, environment, prefix, hint, scopes,
             restrictions, metadata, revoked_reason, created_by, overlap_ends_at, disabled, revoked_at, created_at,
             expires_at, rotated_at FROM keys",
    );
    rows.fetch(&mut **tx).map_err(StoreError::from).try_chunks(KEYS_PER_CHUNK).map(|rows| match rows {
        Ok(rows) => Ok(Chunk(Part::Rows(rows))),
        Err(error) => Err(error.1),
    })
}

/// A row of the table, borrowed from what the database gave.
struct Columns<'a> {
    id: &'a [u8],
    organization: &'a [u8],
    digest: &'a [u8],
    old_digest: Option<&'a [u8]>,
    parent_id: Option<&'a [u8]>,
    api: &'a str,
    name: &'a str,
    kind: &'a str,
    environment: &'a str,
    prefix: &'a str,
    hint: &'a str,
    scopes: &'a str,
    restrictions: Option<&'a str>,
    metadata: &'a str,
    revoked_reason: Option<&'a str>,
    created_by: &'a str,
    overlap_ends_at: Option<i64>,
    disabled: bool,
    revoked_at: Option<i64>,
    created_at: i64,
    expires_at: Option<i64>,
    rotated_at: Option<i64>,
}

/// Makes changes of chunks. It remembers what texts mean that many keys share.
#[derive(Debug, Default)]
pub struct Decoder {
    scopes: Remembered<claviger_domain::scope::Scopes>,
    restrictions: Remembered<Restrictions>,
}

impl Decoder {
    /// The changes of a chunk.
    ///
    /// # Errors
    /// [`StoreError::Row`] for a row that makes no sense.
    pub fn decode(&mut self, chunk: Chunk) -> Result<Vec<Change>, StoreError> {
        match chunk.0 {
            Part::Changes(changes) => Ok(changes),
            Part::Rows(rows) => rows.iter().map(|row| self.change(&Columns::of_row(row)?)).collect(),
            Part::Frames { frames, keys } => {
                let mut rest = &*frames;
                let changes = (0..keys).map(|_| self.change(&Columns::take(&mut rest)?)).collect::<Result<_, _>>()?;
                if rest.is_empty() { Ok(changes) } else { Err(no_frame()) }
            }
        }
    }

    fn change(&mut self, columns: &Columns<'_>) -> Result<Change, StoreError> {
        let old_secret = match (columns.old_digest, columns.overlap_ends_at) {
            (Some(old), Some(ends_at)) => {
                Some(OldSecret { digest: digest(TABLE, old)?, overlap_ends_at: Timestamp::from_micros(ends_at) })
            }
            (None, None) => None,
            _ => return Err(StoreError::Row { table: TABLE, reason: "half of an overlap".to_owned() }),
        };
        let restrictions = columns.restrictions.map(|text| self.restrictions.find_or_read(text)).transpose()?;
        let parent_id = columns.parent_id.map(|bytes| id_number(TABLE, bytes)).transpose()?;
        let metadata = columns.metadata;
        let key = Key {
            id: KeyId::from_u128(id_number(TABLE, columns.id)?),
            organization: OrganizationId::from_u128(id_number(TABLE, columns.organization)?),
            api: word(TABLE, columns.api)?,
            name: word(TABLE, columns.name)?,
            kind: word(TABLE, columns.kind)?,
            environment: word(TABLE, columns.environment)?,
            prefix: columns.prefix.to_owned(),
            hint: columns.hint.to_owned(),
            digest: digest(TABLE, columns.digest)?,
            old_secret,
            scopes: self.scopes.find_or_read(columns.scopes)?,
            restrictions: restrictions.unwrap_or(Restrictions::NONE),
            parent_id: parent_id.map(KeyId::from_u128),
            metadata: if metadata == "{}" { Metadata::default() } else { from_json(TABLE, metadata)? },
            disabled: columns.disabled,
            revocation: time(columns.revoked_at)
                .map(|at| Revocation { at, reason: columns.revoked_reason.map(str::to_owned) }),
            created_at: Timestamp::from_micros(columns.created_at),
            created_by: word(TABLE, columns.created_by)?,
            expires_at: time(columns.expires_at),
            rotated_at: time(columns.rotated_at),
        };
        Ok(Change::Key(Box::new(key)))
    }
}

/// What JSON texts mean, as far as they were seen.
#[derive(Debug)]
struct Remembered<T>(HashMap<Box<str>, T>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: DeserializeOwned + Clone> Remembered<T> {
    fn find_or_read(&mut self, text: &str) -> Result<T, StoreError> {
        if let Some(known) = self.0.get(text) {
            return Ok(known.clone());
        }
        let read: T = from_json(TABLE, text)?;
        if self.0.len() < REMEMBERED_MAX {
            self.0.insert(text.into(), read.clone());
        }
        Ok(read)
    }
}

impl<'a> Columns<'a> {
    fn of_row(row: &'a PgRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.try_get(0)?,
            organization: row.try_get(1)?,
            digest: row.try_get(2)?,
            old_digest: row.try_get(3)?,
            parent_id: row.try_get(4)?,
            api: row.try_get(5)?,
            name: row.try_get(6)?,
            kind: row.try_get(7)?,
            environment: row.try_get(8)?,
            prefix: row.try_get(9)?,
            hint: row.try_get(10)?,
            scopes: row.try_get(11)?,
            restrictions: row.try_get(12)?,
            metadata: row.try_get(13)?,
            revoked_reason: row.try_get(14)?,
            created_by: row.try_get(15)?,
            overlap_ends_at: row.try_get(16)?,
            disabled: row.try_get(17)?,
            revoked_at: row.try_get(18)?,
            created_at: row.try_get(19)?,
            expires_at: row.try_get(20)?,
            rotated_at: row.try_get(21)?,
        })
    }

    /// Takes the frame at the beginning of `rest` away from it.
    fn take(rest: &mut &'a [u8]) -> Result<Self, StoreError> {
        let mut lengths = [None; FRAME_LENGTHS];
        for length in &mut lengths {
            *length = take_number(rest)?;
        }
        let mut integers = [None; FRAME_INTEGERS];
        for integer in &mut integers {
            *integer = take_number(rest)?;
        }
        let mut lengths = lengths.into_iter();
        let mut bytes = || match lengths.next().flatten() {
            Some(length) => take_bytes(rest, length).map(Some),
            None => Ok(None),
        };
        let [overlap_ends_at, disabled, revoked_at, created_at, expires_at, rotated_at] = integers;
        Ok(Self {
            id: present(bytes()?)?,
            organization: present(bytes()?)?,
            digest: present(bytes()?)?,
            old_digest: bytes()?,
            parent_id: bytes()?,
            api: text(present(bytes()?)?)?,
            name: text(present(bytes()?)?)?,
            kind: text(present(bytes()?)?)?,
            environment: text(present(bytes()?)?)?,
            prefix: text(present(bytes()?)?)?,
            hint: text(present(bytes()?)?)?,
            scopes: text(present(bytes()?)?)?,
            restrictions: bytes()?.map(text).transpose()?,
            metadata: text(present(bytes()?)?)?,
            revoked_reason: bytes()?.map(text).transpose()?,
            created_by: text(present(bytes()?)?)?,
            overlap_ends_at,
            disabled: present(disabled)? != 0,
            revoked_at,
            created_at: present(created_at)?,
            expires_at,
            rotated_at,
        })
    }
}

/// The decimal number before the next `;`, or none if nothing is there.
fn take_number(rest: &mut &[u8]) -> Result<Option<i64>, StoreError> {
    let is_negative = rest.first() == Some(&b'-');
    let mut number: Option<i64> = None;
    for (position, byte) in rest.iter().enumerate().skip(usize::from(is_negative)) {
        let digit = match byte {
            b'0'..=b'9' => i64::from(byte - b'0'),
            b';' if number.is_some() || !is_negative => {
                *rest = &rest[position + 1..];
                return Ok(number);
            }
            _ => break,
        };
        // Built from below zero, where there is one number more.
        let signed = if is_negative { -digit } else { digit };
        number = number.unwrap_or(0).checked_mul(10).and_then(|tens| tens.checked_add(signed));
        if number.is_none() {
            break;
        }
    }
    Err(no_frame())
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: i64) -> Result<&'a [u8], StoreError> {
    let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (taken, left) = split.ok_or_else(no_frame)?;
    *rest = left;
    Ok(taken)
}

fn present<T>(value: Option<T>) -> Result<T, StoreError> {
    value.ok_or_else(|| StoreError::Row { table: TABLE, reason: "a column without a value".to_owned() })
}

fn text(bytes: &[u8]) -> Result<&str, StoreError> {
    str::from_utf8(bytes).map_err(|error| StoreError::Row { table: TABLE, reason: error.to_string() })
}

fn no_frame() -> StoreError {
    StoreError::Row { table: TABLE, reason: "the database did not write a row as it was asked to".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_up_to_their_end() {
        let good = [
            ("0;", Some(0)),
            (";", None),
            ("12;x", Some(12)),
            ("-5;", Some(-5)),
            ("9223372036854775807;", Some(i64::MAX)),
            ("-9223372036854775808;", Some(i64::MIN)),
        ];
        for (text, expected) in good {
            assert_eq!(take_number(&mut text.as_bytes()).unwrap(), expected, "{text}");
        }
        for text in ["", "1", "-;", "1x;", "--1;", "9223372036854775808;", " 1;"] {
            assert!(take_number(&mut text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_frame_that_is_cut_short_is_an_error() {
        let frame = b"3;;";
        assert!(Columns::take(&mut &frame[..]).is_err());
        assert!(take_bytes(&mut &b"ab"[..], 3).is_err() && take_bytes(&mut &b"ab"[..], -1).is_err());
    }
}
