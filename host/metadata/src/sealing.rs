//! Sealing stored secrets anew under another key, in parts, while servers go on reading and writing them.

use lectern_domain::integrations::Place;
use lectern_domain::{ContentGuid, ContentId, IntegrationGuid, OAuthSessionGuid};

use crate::database::{Client, Database, GenericClient, Transaction};
use crate::error::DbError;
use crate::hidden::Hidden;
use crate::row;

/// Held by transactions that write what they seal, and taken alone by whoever waits for these: `lectern`, `s`, 1.
const WRITERS: i64 = 0x6c65_6374_7301;

/// Held by whoever rotates the key: `lectern`, `s`, 2.
const ROTATION: i64 = 0x6c65_6374_7302;

/// To be called in a transaction before it seals what it writes: a rotation that begins later waits for its end before it
/// looks for values that are sealed with the old key.
pub async fn begin_write(tx: &Transaction<'_>) -> Result<(), DbError> {
    row::query_one(tx, "SELECT pg_advisory_xact_lock_shared($1)", &[&WRITERS]).await.map(drop)
}

/// Returns when every transaction that had called [`begin_write`] is over.
pub async fn wait_for_writers(client: &mut Client) -> Result<(), DbError> {
    let tx = client.transaction().await?;
    row::query_one(&tx, "SELECT pg_advisory_xact_lock($1)", &[&WRITERS]).await?;
    Ok(tx.commit().await?)
}

/// The right to rotate the key: one server has it at a time, until this value is dropped.
pub struct RotationLock {
    /// Not the pool's any more: the lock ends with the connection.
    _connection: deadpool_postgres::ClientWrapper,
}

impl std::fmt::Debug for RotationLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RotationLock")
    }
}

/// Takes the right to rotate; `None` when another server has it.
pub async fn lock_rotation(database: &Database) -> Result<Option<RotationLock>, DbError> {
    let connection = Client::take(database.client().await?);
    let row = connection.query_one("SELECT pg_try_advisory_lock($1) AS taken", &[&ROTATION]).await?;
    let taken: bool = row::get(&row, "taken")?;
    Ok(taken.then_some(RotationLock { _connection: connection }))
}

/// A sealed variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedVariable {
    /// The content item.
    pub content: ContentId,
    /// Its GUID.
    pub guid: ContentGuid,
    /// The variable's name.
    pub name: String,
    /// Its sealed value.
    pub sealed: Vec<u8>,
}

/// The variables after `after` in the order of items and names, at most `most`.
pub async fn variables_after(
    client: &impl GenericClient,
    after: Option<(ContentId, &str)>,
    most: i64,
) -> Result<Vec<SealedVariable>, DbError> {
    let sql = "SELECT v.content_id, c.guid, v.name, v.sealed FROM content_variables v JOIN content c ON c.id = v.content_id \
               WHERE (v.content_id, v.name) > ($1, $2) ORDER BY v.content_id, v.name LIMIT $3";
    let (content, name) = after.map_or((0, ""), |(content, name)| (content.0, name));
    let read = |row: &tokio_postgres::Row| {
        Ok(SealedVariable {
            content: ContentId(row::get(row, "content_id")?),
            guid: ContentGuid(row::get(row, "guid")?),
            name: row::get(row, "name")?,
            sealed: row::get(row, "sealed")?,
        })
    };
    row::query(client, sql, &[&content, &name, &most]).await?.iter().map(read).collect()
}

/// Replaces sealed values, each only where it is still the one that was read: a publisher's change meanwhile counts.
pub async fn replace_variables(
    client: &impl GenericClient,
    values: &[(SealedVariable, Vec<u8>)],
) -> Result<u64, DbError> {
    let sql = "UPDATE content_variables v SET sealed = new.sealed \
               FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[]) AS new (content_id, name, was, sealed) \
               WHERE v.content_id = new.content_id AND v.name = new.name AND v.sealed = new.was";
    let ids: Vec<i64> = values.iter().map(|(old, _)| old.content.0).collect();
    let names: Vec<&str> = values.iter().map(|(old, _)| old.name.as_str()).collect();
    let was: Vec<&[u8]> = values.iter().map(|(old, _)| old.sealed.as_slice()).collect();
    let new: Vec<&[u8]> = values.iter().map(|(_, new)| new.as_slice()).collect();
    row::execute(client, sql, &[&ids, &names, &Hidden(was), &Hidden(new)]).await
}

/// Replaces a plugin's secret where it is still the one that was read. It is the same secret: the history is not told.
pub async fn replace_secret(
    client: &impl GenericClient,
    plugin: &str,
    name: &str,
    was: &[u8],
    new: &[u8],
) -> Result<u64, DbError> {
    let sql = "UPDATE plugin_secrets SET sealed = $4 WHERE plugin = $1 AND name = $2 AND sealed = $3";
    row::execute(client, sql, &[&plugin, &name, &Hidden(was), &Hidden(new)]).await
}

/// A table of integrations with a sealed column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedTable {
    /// Secret parts of configurations.
    Integrations,
    /// Tokens of users.
    Sessions,
    /// Verifiers of those who are signing in.
    Logins,
}

impl SealedTable {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Integrations, Self::Sessions, Self::Logins];

    fn name(self) -> &'static str {
        match self {
            Self::Integrations => "oauth_integrations",
            Self::Sessions => "oauth_sessions",
            Self::Logins => "oauth_logins",
        }
    }

    fn place(self, guid: uuid::Uuid) -> Place {
        match self {
            Self::Integrations => Place::Integration(IntegrationGuid(guid)),
            Self::Sessions => Place::Session(OAuthSessionGuid(guid)),
            Self::Logins => Place::Login(guid),
        }
    }
}

/// A sealed value of integrations.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedPlace {
    /// Row number in its table.
    pub row: i64,
    /// What the value is bound to.
    pub place: Place,
    /// The value.
    pub sealed: Vec<u8>,
}

/// The sealed values of a table in rows after `after`, in their order, at most `most`.
pub async fn places_after(
    client: &impl GenericClient,
    table: SealedTable,
    after: i64,
    most: i64,
) -> Result<Vec<SealedPlace>, DbError> {
    let name = table.name();
    let sql = format!("SELECT id, guid, sealed FROM {name} WHERE id > $1 AND sealed IS NOT NULL ORDER BY id LIMIT $2");
    let read = |row: &tokio_postgres::Row| {
        Ok(SealedPlace {
            row: row::get(row, "id")?,
            place: table.place(row::get(row, "guid")?),
            sealed: row::get(row, "sealed")?,
        })
    };
    row::query(client, &sql, &[&after, &most]).await?.iter().map(read).collect()
}

/// Replaces sealed values of a table, each only where it is still the one that was read.
pub async fn replace_places(
    client: &impl GenericClient,
    table: SealedTable,
    values: &[(SealedPlace, Vec<u8>)],
) -> Result<u64, DbError> {
    let sql = format!(
        "UPDATE {} t SET sealed = new.sealed FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS new (id, was, sealed) \
         WHERE t.id = new.id AND t.sealed = new.was",
        table.name()
    );
    let ids: Vec<i64> = values.iter().map(|(old, _)| old.row).collect();
    let was: Vec<&[u8]> = values.iter().map(|(old, _)| old.sealed.as_slice()).collect();
    let new: Vec<&[u8]> = values.iter().map(|(_, new)| new.as_slice()).collect();
    row::execute(client, &sql, &[&ids, &Hidden(was), &Hidden(new)]).await
}
