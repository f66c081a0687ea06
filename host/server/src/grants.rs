//! Removes what has ended of others' access: codes, grants and access tokens of programs, registrations that nobody uses, visitors'
//! keys for content, and ways to providers that nobody came back from.

use std::time::Duration;

use lectern_metadata::integrations::visitor_keys;
use lectern_metadata::{Database, DbError, oauth};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// How often: codes end within a quarter of an hour, and their number is bounded by those that have not.
const SWEEP: Duration = Duration::from_secs(600);
/// How long a registration is kept after its last grant has ended: programs keep their registration, and sign in with it again.
const IDLE: time::Duration = time::Duration::days(400);

/// Sweeps until `stop`. Servers that sweep the same database at the same time do no harm.
pub(crate) async fn sweep(database: Database, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        let swept = async {
            let client = database.client().await?;
            Ok::<_, DbError>(
                oauth::sweep(&client, OffsetDateTime::now_utc() - IDLE).await? + visitor_keys::sweep(&client).await?,
            )
        };
        tokio::select! {
            () = stop.cancelled() => return,
            swept = swept => match swept {
                Ok(rows) => tracing::debug!(rows, "access that ended was removed"),
                Err(error) => tracing::debug!(error = crate::cli::chain(&error), "remove access that ended"),
            },
        }
    }
}
