//! Writing many rows with few statements.

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow, Postgres, Sqlite};

use crate::{Connection, StoreError};

/// Most rows of one statement: both databases bound the parameters of one, and the text of each length is kept prepared.
const ROWS_PER_STATEMENT_MAX: usize = 512;

/// One value of a row.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Bool(bool),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}

macro_rules! bind_all {
    ($query:expr, $values:expr) => {
        $values.fold($query, |query, value| match value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
            Value::Bool(value) => query.bind(value),
        })
    };
}

/// Inserts rows. `head` is the statement up to the rows, `INSERT INTO t (a, b)`, `tail` what follows them; each row has
/// as many values as `head` has columns. Returns how many were inserted.
pub(crate) async fn insert(
    connection: &mut Connection,
    head: &'static str,
    tail: &'static str,
    rows: Vec<Vec<Value>>,
) -> Result<u64, StoreError> {
    let width = rows.first().map_or(0, Vec::len);
    let mut left = rows.len();
    let mut values = rows.into_iter();
    let mut inserted = 0;
    while left > 0 {
        // Powers of two: few texts, so that each is prepared once.
        let count = (1 << left.ilog2()).min(ROWS_PER_STATEMENT_MAX);
        left -= count;
        let text = statement(head, tail, width, count);
        let chunk = values.by_ref().take(count).flatten();
        inserted += match connection {
            Connection::Sqlite(tx) => {
                let query = sqlx::query::<Sqlite>(AssertSqlSafe(text));
                bind_all!(query, chunk).execute(&mut **tx).await?.rows_affected()
            }
            Connection::Postgres(tx) => {
                let query = sqlx::query::<Postgres>(AssertSqlSafe(text));
                bind_all!(query, chunk).execute(&mut **tx).await?.rows_affected()
            }
        };
    }
    Ok(inserted)
}

/// The rows of several queries whose last column is one of some values. Each of `heads` is a statement up to the
/// values, `SELECT a FROM t WHERE b`; all have the same columns.
pub(crate) async fn select_in<R>(
    connection: &mut Connection,
    heads: &[&'static str],
    values: Vec<Value>,
) -> Result<Vec<R>, StoreError>
where
    R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let mut found = Vec::new();
    for chunk in values.chunks(ROWS_PER_STATEMENT_MAX) {
        // Powers of two here too: the last value stands as often as it takes.
        let count = chunk.len().next_power_of_two();
        let text = selection(heads, count);
        let padding = chunk.last().into_iter().cycle().take(count - chunk.len());
        let chunk = chunk.iter().chain(padding).cloned();
        match connection {
            Connection::Sqlite(tx) => {
                let query = sqlx::query_as::<Sqlite, R>(AssertSqlSafe(text));
                found.extend(bind_all!(query, chunk).fetch_all(&mut **tx).await?);
            }
            Connection::Postgres(tx) => {
                let query = sqlx::query_as::<Postgres, R>(AssertSqlSafe(text));
                found.extend(bind_all!(query, chunk).fetch_all(&mut **tx).await?);
            }
        }
    }
    Ok(found)
}

fn statement(head: &str, tail: &str, width: usize, rows: usize) -> String {
    let mut text = String::with_capacity(head.len() + tail.len() + rows * width * 6);
    text.push_str(head);
    text.push_str(" VALUES ");
    for row in 0..rows {
        for column in 0..width {
            text.push_str(match (row, column) {
                (0, 0) => "($",
                (_, 0) => "), ($",
                _ => ", $",
            });
            text.push_str(&(row * width + column + 1).to_string());
        }
    }
    text.push_str(") ");
    text.push_str(tail);
    text
}

fn selection(heads: &[&str], count: usize) -> String {
    let list = (1..=count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
    heads.iter().map(|head| format!("{head} IN ({list})")).collect::<Vec<_>>().join(" UNION ALL ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_row_by_row() {
        let text = statement("INSERT INTO t (a, b)", "ON CONFLICT DO NOTHING", 2, 2);
        assert_eq!(text, "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING");
    }
}
