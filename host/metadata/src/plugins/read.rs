//! Readers of the columns that plugin tables share.

use lectern_domain::plugin::{Actor, Document, ReleaseHash};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_postgres::Row;

use crate::error::DbError;
use crate::row;

/// Longest part of a value shown in an error.
const SHOWN: usize = 200;

fn corrupt(what: &'static str, value: &str) -> DbError {
    DbError::Corrupt { what, value: value.chars().take(SHOWN).collect() }
}

/// Reads a column that holds a JSON object as text (`column::text`), byte by byte.
pub(super) fn document(row: &Row, column: &str) -> Result<Document, DbError> {
    let text: String = row::get(row, column)?;
    Document::stored(text.clone()).map_err(|_| corrupt("JSON object", &text))
}

/// Reads a column of type json.
pub(super) fn json<T: DeserializeOwned>(row: &Row, column: &str, what: &'static str) -> Result<T, DbError> {
    let value: Value = row::get(row, column)?;
    serde_json::from_value(value.clone()).map_err(|_| corrupt(what, &value.to_string()))
}

/// Writes a value for a column of type json.
pub(super) fn to_json(value: &impl Serialize) -> Result<Value, DbError> {
    serde_json::to_value(value).map_err(|cause| DbError::Other(Box::new(cause)))
}

pub(super) fn actor(row: &Row, column: &str) -> Result<Actor, DbError> {
    let text: &str = row::get(row, column)?;
    Actor::parse(text).ok_or_else(|| corrupt("actor", text))
}

/// Reads a column of words with the function that understands them.
pub(super) fn word<T>(
    row: &Row,
    column: &str,
    what: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, DbError> {
    let text: &str = row::get(row, column)?;
    parse(text).ok_or_else(|| corrupt(what, text))
}

/// Like [`row::parsed`], for a column that may be NULL.
pub(super) fn parsed_opt<T: std::str::FromStr>(
    row: &Row,
    column: &str,
    what: &'static str,
) -> Result<Option<T>, DbError> {
    let text: Option<&str> = row::get(row, column)?;
    text.map(|text| text.parse().map_err(|_| corrupt(what, text))).transpose()
}

/// Like [`row::hash32`], for a column that may be NULL.
pub(super) fn hash32_opt(row: &Row, column: &str) -> Result<Option<[u8; 32]>, DbError> {
    let bytes: Option<&[u8]> = row::get(row, column)?;
    bytes.map(|bytes| bytes.try_into().map_err(|_| corrupt("hash of length", &bytes.len().to_string()))).transpose()
}

pub(super) fn release_opt(row: &Row, column: &str) -> Result<Option<ReleaseHash>, DbError> {
    Ok(hash32_opt(row, column)?.map(ReleaseHash))
}

/// Reads a count, which the schema keeps from being negative.
pub(super) fn count(row: &Row, column: &str) -> Result<u64, DbError> {
    let count: i64 = row::get(row, column)?;
    u64::try_from(count).map_err(|_| corrupt("count", &count.to_string()))
}
