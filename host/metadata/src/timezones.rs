//! The time zones that the database knows: the ones that schedules can be kept in.

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timezone {
    /// Its name in the IANA database, `Europe/Berlin`.
    pub name: String,
    /// What is added to UTC now, in seconds.
    pub offset_seconds: i32,
}

/// All of them by name, without names that only stand for others' copies.
pub async fn list(client: &impl GenericClient) -> Result<Vec<Timezone>, DbError> {
    let sql = "SELECT name, extract(epoch FROM utc_offset)::integer AS seconds FROM pg_timezone_names \
               WHERE (name LIKE '%/%' OR name = 'UTC') AND name NOT LIKE 'posix/%' AND name NOT LIKE 'right/%' \
               AND name NOT LIKE 'Etc/%' AND name NOT LIKE 'SystemV/%' ORDER BY name COLLATE \"C\"";
    let read = |row: &tokio_postgres::Row| {
        Ok(Timezone { name: row::get(row, "name")?, offset_seconds: row::get(row, "seconds")? })
    };
    row::query(client, sql, &[]).await?.iter().map(read).collect()
}
