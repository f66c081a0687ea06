//! The cache of R packages, over the admin socket.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use lectern_domain::audit::Action;
use lectern_domain::r_packages::{is_package_name, is_version};
use lectern_metadata::{Database, DbError};
use lectern_runtimes::r::Cached;
use time::OffsetDateTime;

use super::protocol::{EvictPackage, EvictedView, PackageView};
use super::server::{Answer, Refusal, record, refuse};
use crate::runtimes::Runtimes;

/// The routes.
pub(super) fn routes(runtimes: Arc<Runtimes>, database: Database) -> Router {
    let evicting = Router::new().route("/packages/evict", post(evict)).with_state((Arc::clone(&runtimes), database));
    Router::new().route("/packages/list", post(list)).with_state(runtimes).merge(evicting)
}

fn shown(package: Cached) -> PackageView {
    let at = i64::try_from(package.built_at).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    PackageView {
        name: package.name,
        version: package.version,
        key: package.key,
        archive: package.archive,
        from: package.from,
        binary: package.binary,
        r_version: package.r_version,
        platform: package.platform,
        built_at: at.map_or_else(String::new, crate::moment::show),
    }
}

async fn list(State(runtimes): State<Arc<Runtimes>>) -> Answer<Vec<PackageView>> {
    let listed = tokio::task::spawn_blocking(move || runtimes.inner.r_packages().list()).await;
    let listed = listed.map_err(anyhow::Error::from)?.map_err(anyhow::Error::from)?;
    Ok(Json(listed.into_iter().map(shown).collect()))
}

async fn evict(
    State((runtimes, database)): State<(Arc<Runtimes>, Database)>,
    Json(ask): Json<EvictPackage>,
) -> Answer<EvictedView> {
    if !is_package_name(&ask.name) {
        return Err(refuse(format!("{:?} is no name of an R package", ask.name)));
    }
    if let Some(version) = ask.version.as_deref().filter(|version| !is_version(version)) {
        return Err(refuse(format!("{version:?} is no version of an R package, like 1.8.4")));
    }
    // Written down before it is done: of what was done something is known then, however it ends.
    let mut client = database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    record(&tx, &Action::RPackageEviction { package: &ask.name, version: ask.version.as_deref() }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    let evicted = runtimes.inner.r_packages().evict(&ask.name, ask.version.as_deref()).await;
    let evicted = evicted.map_err(anyhow::Error::from)?;
    if evicted.packages.is_empty() && evicted.archives == 0 {
        let version = ask.version.map_or_else(String::new, |version| format!(" {version}"));
        return Err(Refusal(StatusCode::NOT_FOUND, format!("the cache has no R package {}{version}", ask.name)));
    }
    for package in &evicted.packages {
        tracing::info!(package = package.name, version = package.version, key = package.key, "evicted an R package");
    }
    Ok(Json(EvictedView {
        packages: evicted.packages.into_iter().map(shown).collect(),
        archives: evicted.archives as u64,
    }))
}
