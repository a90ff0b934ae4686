//! Writing many rows with few statements.

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow, Postgres, Sqlite};

use crate::dialect::in_time;
use crate::{Connection, StoreError};

/// Most rows of one statement for SQLite, which bounds its parameters.
const SQLITE_ROWS_MAX: usize = 512;

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

impl From<Option<Vec<u8>>> for Value {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Bytes(value)
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

/// Writes rows. `head` is the statement up to the rows, `INSERT INTO t (a, b)`, `tail` what follows them; each row has
/// as many values as `head` has columns, and a column has values of one sort. Returns how many rows it came to.
pub(crate) async fn write(
    connection: &mut Connection,
    head: &'static str,
    tail: &'static str,
    rows: Vec<Vec<Value>>,
) -> Result<u64, StoreError> {
    let width = rows.first().map_or(0, Vec::len);
    match connection {
        Connection::Sqlite(tx) => {
            let mut left = rows.len();
            let mut values = rows.into_iter();
            let mut written = 0;
            while left > 0 {
                // Powers of two: few texts, so that each is prepared once.
                let count = (1 << left.ilog2()).min(SQLITE_ROWS_MAX);
                left -= count;
                // Without numbers: SQLite looks for the name of a parameter that has one among all that have.
                let row = format!("({})", vec!["?"; width].join(", "));
                let text = format!("{head} VALUES {} {tail}", vec![row; count].join(", "));
                let query = sqlx::query::<Sqlite>(AssertSqlSafe(text));
                let chunk = values.by_ref().take(count).flatten();
                written += bind_all!(query, chunk).execute(&mut **tx).await?.rows_affected();
            }
            Ok(written)
        }
        Connection::Postgres { .. } if rows.is_empty() => Ok(0),
        Connection::Postgres { tx, is_silent } => {
            let (lists, columns) = in_columns(rows)?;
            let text = format!("{head} SELECT * FROM UNNEST({lists}) {tail}");
            let query = sqlx::query::<Postgres>(AssertSqlSafe(text));
            let query = columns.into_iter().fold(query, Column::bind);
            Ok(in_time(is_silent, query.execute(&mut **tx)).await?.rows_affected())
        }
    }
}

/// The values of a column, for PostgreSQL.
enum Column {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Bool(Vec<bool>),
}

impl Column {
    /// An empty column of such values.
    fn like(value: &Value) -> Self {
        match value {
            Value::Int(_) => Self::Int(Vec::new()),
            Value::Text(_) => Self::Text(Vec::new()),
            Value::Bytes(_) => Self::Bytes(Vec::new()),
            Value::Bool(_) => Self::Bool(Vec::new()),
        }
    }

    fn push(&mut self, value: Value) -> Result<(), sqlx::Error> {
        match (self, value) {
            (Self::Int(values), Value::Int(value)) => values.push(value),
            (Self::Text(values), Value::Text(value)) => values.push(value),
            (Self::Bytes(values), Value::Bytes(value)) => values.push(value),
            (Self::Bool(values), Value::Bool(value)) => values.push(value),
            _ => return Err(sqlx::Error::Encode("a column has values of two sorts".into())),
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Int(_) => "BIGINT",
            Self::Text(_) => "TEXT",
            Self::Bytes(_) => "BYTEA",
            Self::Bool(_) => "BOOLEAN",
        }
    }

    fn bind(query: PostgresQuery<'_>, column: Self) -> PostgresQuery<'_> {
        match column {
            Self::Int(values) => query.bind(values),
            Self::Text(values) => query.bind(values),
            Self::Bytes(values) => query.bind(values),
            Self::Bool(values) => query.bind(values),
        }
    }
}

type PostgresQuery<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;

/// What a statement about rows answers: `head` is its text up to the rows, `WITH wanted (a, b) AS (`, `tail` what follows
/// them.
pub(crate) async fn select_with<R>(
    connection: &mut Connection,
    head: &'static str,
    tail: &'static str,
    rows: Vec<Vec<Value>>,
) -> Result<Vec<R>, StoreError>
where
    R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let Some(width) = rows.first().map(Vec::len) else { return Ok(Vec::new()) };
    match connection {
        Connection::Sqlite(tx) => {
            let row = format!("({})", vec!["?"; width].join(", "));
            let mut found = Vec::new();
            for chunk in rows.chunks(SQLITE_ROWS_MAX) {
                let text = format!("{head} VALUES {} {tail}", vec![row.as_str(); chunk.len()].join(", "));
                let query = sqlx::query_as::<Sqlite, R>(AssertSqlSafe(text));
                let values = chunk.iter().flatten().cloned();
                found.extend(bind_all!(query, values).fetch_all(&mut **tx).await?);
            }
            Ok(found)
        }
        Connection::Postgres { tx, is_silent } => {
            let (lists, columns) = in_columns(rows)?;
            let text = format!("{head} SELECT * FROM UNNEST({lists}) {tail}");
            let query = sqlx::query_as::<Postgres, R>(AssertSqlSafe(text));
            let query = columns.into_iter().fold(query, |query, column| match column {
                Column::Int(values) => query.bind(values),
                Column::Text(values) => query.bind(values),
                Column::Bytes(values) => query.bind(values),
                Column::Bool(values) => query.bind(values),
            });
            Ok(in_time(is_silent, query.fetch_all(&mut **tx)).await?)
        }
    }
}

/// One list a column, so that the text is the same for any number of rows; and how the lists stand in it.
fn in_columns(rows: Vec<Vec<Value>>) -> Result<(String, Vec<Column>), StoreError> {
    let mut columns: Vec<Column> = rows[0].iter().map(Column::like).collect();
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value)?;
        }
    }
    let lists = columns.iter().enumerate().map(|(index, column)| format!("${}::{}[]", index + 1, column.name()));
    Ok((lists.collect::<Vec<_>>().join(", "), columns))
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
    for chunk in values.chunks(SQLITE_ROWS_MAX) {
        // Powers of two here too: the last value stands as often as it takes.
        let count = chunk.len().next_power_of_two();
        let marks = (1..=count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
        let text = heads.iter().map(|head| format!("{head} IN ({marks})")).collect::<Vec<_>>().join(" UNION ALL ");
        let padding = chunk.last().into_iter().cycle().take(count - chunk.len());
        let chunk = chunk.iter().chain(padding).cloned();
        match connection {
            Connection::Sqlite(tx) => {
                let query = sqlx::query_as::<Sqlite, R>(AssertSqlSafe(text));
                found.extend(bind_all!(query, chunk).fetch_all(&mut **tx).await?);
            }
            Connection::Postgres { tx, is_silent } => {
                let query = sqlx::query_as::<Postgres, R>(AssertSqlSafe(text));
                found.extend(in_time(is_silent, bind_all!(query, chunk).fetch_all(&mut **tx)).await?);
            }
        }
    }
    Ok(found)
}
