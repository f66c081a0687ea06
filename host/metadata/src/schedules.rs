//! When variants are rendered again. Rules are kept as the protocol writes them, and read by `lectern_domain::schedule`.

use std::collections::HashSet;

use lectern_domain::schedule::{Rule, Schedule, Zone};
use lectern_domain::{ContentGuid, ContentId, ScheduleId, UserId, VariantId};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::hits::OF_ITEMS;
use crate::row;

/// The schedule of a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Row number.
    pub id: ScheduleId,
    /// The variant.
    pub variant: VariantId,
    /// The variant's content item.
    pub content: ContentId,
    /// When it runs.
    pub schedule: Schedule,
    /// Whether visitors see what it made.
    pub activate: bool,
    /// Whether what it made is sent by mail.
    pub email: bool,
}

/// A schedule with the names of what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSchedule {
    /// The schedule.
    pub row: ScheduleRow,
    /// GUID of the content item.
    pub guid: ContentGuid,
    /// Name of the content item.
    pub name: String,
    /// Its title, when set.
    pub title: Option<String>,
    /// User name of who owns the item.
    pub owner_username: String,
    /// The variant's key.
    pub variant_key: String,
}

const COLUMNS: &str =
    "s.id, s.variant_id, v.content_id, s.kind, s.parameters, s.start_at, s.time_zone, s.activate, s.email";

impl ScheduleRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let (kind, parameters): (&str, &str) = (row::get(row, "kind")?, row::get(row, "parameters")?);
        let zone: &str = row::get(row, "time_zone")?;
        let corrupt = |value: &str| DbError::Corrupt { what: "schedule", value: value.to_owned() };
        let rule = Rule::parse(kind, parameters).map_err(|_| corrupt(parameters))?;
        let zone = Zone::parse(zone).map_err(|_| corrupt(zone))?;
        let schedule = Schedule::new(rule, row::get(row, "start_at")?, zone).map_err(|_| corrupt(kind))?;
        Ok(Self {
            id: ScheduleId(row::get(row, "id")?),
            variant: VariantId(row::get(row, "variant_id")?),
            content: ContentId(row::get(row, "content_id")?),
            schedule,
            activate: row::get(row, "activate")?,
            email: row::get(row, "email")?,
        })
    }
}

/// Makes a variant's schedule. [`DbError::AlreadyScheduled`] when it has one.
pub async fn create(
    client: &impl GenericClient,
    variant: VariantId,
    schedule: &Schedule,
    activate: bool,
    email: bool,
) -> Result<ScheduleRow, DbError> {
    let sql = format!(
        "WITH s AS (INSERT INTO schedules (variant_id, kind, parameters, start_at, time_zone, activate, email) \
           VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *) \
         SELECT {COLUMNS} FROM s JOIN variants v ON v.id = s.variant_id"
    );
    let rule = schedule.rule();
    let (kind, parameters, zone) = (rule.kind(), rule.parameters(), schedule.zone().name());
    let params: row::Params<'_> = &[&variant.0, &kind, &parameters, &schedule.start(), &zone, &activate, &email];
    ScheduleRow::from_row(&row::query_one(client, &sql, params).await?)
}

/// Puts another schedule in the place of one. [`DbError::NotFound`] when there is none.
pub async fn replace(
    client: &impl GenericClient,
    id: ScheduleId,
    schedule: &Schedule,
    activate: bool,
    email: bool,
) -> Result<ScheduleRow, DbError> {
    let sql = format!(
        "WITH s AS (UPDATE schedules SET kind = $2, parameters = $3, start_at = $4, time_zone = $5, activate = $6, \
           email = $7, updated_at = now() WHERE id = $1 RETURNING *) \
         SELECT {COLUMNS} FROM s JOIN variants v ON v.id = s.variant_id"
    );
    let rule = schedule.rule();
    let (kind, parameters, zone) = (rule.kind(), rule.parameters(), schedule.zone().name());
    let params: row::Params<'_> = &[&id.0, &kind, &parameters, &schedule.start(), &zone, &activate, &email];
    let row = row::query_opt(client, &sql, params).await?;
    ScheduleRow::from_row(&row.ok_or(DbError::NotFound("schedule"))?)
}

/// One schedule.
pub async fn get(client: &impl GenericClient, id: ScheduleId) -> Result<Option<ScheduleRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM schedules s JOIN variants v ON v.id = s.variant_id WHERE s.id = $1");
    row::query_opt(client, &sql, &[&id.0]).await?.as_ref().map(ScheduleRow::from_row).transpose()
}

/// The schedule of a variant, if it has one.
pub async fn of_variant(client: &impl GenericClient, variant: VariantId) -> Result<Option<ScheduleRow>, DbError> {
    let sql =
        format!("SELECT {COLUMNS} FROM schedules s JOIN variants v ON v.id = s.variant_id WHERE s.variant_id = $1");
    row::query_opt(client, &sql, &[&variant.0]).await?.as_ref().map(ScheduleRow::from_row).transpose()
}

/// Removes a schedule; `false` when there is none.
pub async fn delete(client: &impl GenericClient, id: ScheduleId) -> Result<bool, DbError> {
    Ok(row::execute(client, "DELETE FROM schedules WHERE id = $1", &[&id.0]).await? > 0)
}

/// The schedules of items that `editor` owns or may change; of all items for `None`. In the order they were made, at most `limit`.
pub async fn list(
    client: &impl GenericClient,
    editor: Option<UserId>,
    limit: i64,
) -> Result<Vec<NamedSchedule>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS}, v.key, c.guid, c.name, c.title, u.username FROM schedules s \
         JOIN variants v ON v.id = s.variant_id JOIN content c ON c.id = v.content_id JOIN users u ON u.id = c.owner_id \
         WHERE {OF_ITEMS} ORDER BY s.id LIMIT $3"
    );
    let read = |row: &Row| {
        Ok(NamedSchedule {
            row: ScheduleRow::from_row(row)?,
            guid: ContentGuid(row::get(row, "guid")?),
            name: row::get(row, "name")?,
            title: row::get(row, "title")?,
            owner_username: row::get(row, "username")?,
            variant_key: row::get(row, "key")?,
        })
    };
    let everywhere: &[Uuid] = &[];
    let params: row::Params<'_> = &[&everywhere, &editor.map(|user| user.0), &limit.max(0)];
    row::query(client, &sql, params).await?.iter().map(read).collect()
}

/// Which of these items have a schedule. One query, however many items.
pub async fn scheduled(client: &impl GenericClient, items: &[ContentId]) -> Result<HashSet<ContentId>, DbError> {
    let sql = "SELECT DISTINCT v.content_id FROM schedules s JOIN variants v ON v.id = s.variant_id \
               WHERE v.content_id = ANY ($1)";
    let items: Vec<i64> = items.iter().map(|item| item.0).collect();
    row::query(client, sql, &[&items]).await?.iter().map(|row| Ok(ContentId(row::get(row, "content_id")?))).collect()
}
