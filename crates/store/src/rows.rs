//! Writing many rows with few statements.

use sqlx::{AssertSqlSafe, Postgres, Sqlite};

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
use bind_all;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_row_by_row() {
        let text = statement("INSERT INTO t (a, b)", "ON CONFLICT DO NOTHING", 2, 2);
        assert_eq!(text, "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING");
    }
}
