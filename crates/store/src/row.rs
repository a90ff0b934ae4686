//! Conversions that every table's rows share.

use claviger_domain::secret::SecretDigest;
use claviger_domain::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("domain values can be written as JSON")
}

pub(crate) fn from_json<T: DeserializeOwned>(table: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Row { table, reason: error.to_string() })
}

pub(crate) fn id_number(table: &'static str, bytes: &[u8]) -> Result<u128, StoreError> {
    let bytes =
        bytes.try_into().map_err(|_| StoreError::Row { table, reason: format!("an id of {} bytes", bytes.len()) })?;
    Ok(u128::from_be_bytes(bytes))
}

pub(crate) fn digest(table: &'static str, bytes: &[u8]) -> Result<SecretDigest, StoreError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| StoreError::Row { table, reason: format!("a digest of {} bytes", bytes.len()) })?;
    Ok(SecretDigest::from_bytes(bytes))
}

pub(crate) fn word<T: std::str::FromStr<Err: std::fmt::Display>>(
    table: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Row { table, reason: format!("{text:?} {error}") })
}

pub(crate) fn time(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}
