//! Small readers of columns, and queries through the connection's statement cache.

use lectern_domain::{AccessType, AppMode, UserRole, access::PermissionRole};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use crate::database::GenericClient;
use crate::error::DbError;

/// The parameters of a query.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Runs a query whose text is constant, so that it is prepared once per connection.
pub(crate) async fn query(client: &impl GenericClient, sql: &str, params: Params<'_>) -> Result<Vec<Row>, DbError> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, params).await?)
}

/// Like [`query`], for at most one row.
pub(crate) async fn query_opt(
    client: &impl GenericClient,
    sql: &str,
    params: Params<'_>,
) -> Result<Option<Row>, DbError> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query_opt(&statement, params).await?)
}

/// Like [`query`], for exactly one row.
pub(crate) async fn query_one(client: &impl GenericClient, sql: &str, params: Params<'_>) -> Result<Row, DbError> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query_one(&statement, params).await?)
}

/// Like [`query`], answering the number of rows changed.
pub(crate) async fn execute(client: &impl GenericClient, sql: &str, params: Params<'_>) -> Result<u64, DbError> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.execute(&statement, params).await?)
}

/// Reads a column.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, DbError> {
    Ok(row.try_get(column)?)
}

/// Reads a column of words with the function that understands them.
fn word<T>(row: &Row, column: &str, what: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, DbError> {
    let text: &str = get(row, column)?;
    parse(text).ok_or_else(|| DbError::Corrupt { what, value: text.to_owned() })
}

pub(crate) fn user_role(row: &Row, column: &str) -> Result<UserRole, DbError> {
    word(row, column, "user role", UserRole::parse)
}

pub(crate) fn access_type(row: &Row, column: &str) -> Result<AccessType, DbError> {
    word(row, column, "access type", AccessType::parse)
}

pub(crate) fn app_mode(row: &Row, column: &str) -> Result<AppMode, DbError> {
    word(row, column, "application mode", AppMode::parse)
}

pub(crate) fn permission_role(row: &Row, column: &str) -> Result<PermissionRole, DbError> {
    word(row, column, "permission", |text| match text {
        "viewer" => Some(PermissionRole::Viewer),
        "owner" => Some(PermissionRole::Owner),
        _ => None,
    })
}

/// The word a permission is stored as.
pub(crate) fn permission_word(role: PermissionRole) -> &'static str {
    match role {
        PermissionRole::Viewer => "viewer",
        PermissionRole::Owner => "owner",
    }
}

/// Reads a column that holds a 32-byte hash.
pub(crate) fn hash32(row: &Row, column: &str) -> Result<[u8; 32], DbError> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map_err(|_| DbError::Corrupt { what: "hash of length", value: bytes.len().to_string() })
}

/// Reads a column of text in a type's printed form.
pub(crate) fn parsed<T: std::str::FromStr>(row: &Row, column: &str, what: &'static str) -> Result<T, DbError> {
    word(row, column, what, |text| text.parse().ok())
}
