//! From a received archive to a bundle's record: everything that can be told of it without running it is checked first,
//! so that a publisher learns at once and not from a task.

use std::sync::Arc;

use axum::extract::Request;
use lectern_bundles::{Cache, ManifestError, Store, Stored, inspect};
use lectern_domain::app_mode::AppMode;
use lectern_domain::audit::Action;
use lectern_domain::ids::{BundleHash, ContentId, UserId};
use lectern_domain::manifest::Manifest;
use lectern_metadata::DbError;
use lectern_metadata::bundles::{self, BundleRow, NewBundle};
use lectern_metadata::content::{ContentRow, Traits};
use lectern_metadata::{Database, repositories};
use serde_json::{Map, Value};

use crate::Services;
use crate::access::Changeable;
use crate::audit::{item, record};
use crate::bundles::fetch_refusal;
use crate::error::{ApiError, Code};
use crate::upload::{self, Received};

/// Receives, stores, checks and records a bundle for the item at hand.
pub(crate) async fn take_in(services: &Services, at: Changeable, request: Request) -> Result<BundleRow, ApiError> {
    if repositories::get(&at.client().await?, at.row.id).await?.is_some() {
        let message = "this content is managed by git: commit and push, or take its repository away first";
        return Err(ApiError::new(Code::GitUpload, message));
    }
    let Changeable { row, caller, .. } = at;
    let Received { stored, metadata } = upload::receive(services, request).await?;
    let metadata = metadata.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
    let arrived = Arrived { content: row.id, stored, metadata, created_by: caller.user };
    let bundle = examine(&services.database, &services.store, &services.cache, arrived).await?;
    let mut client = services.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let made = bundles::create(&tx, &bundle).await?;
    record(&tx, &caller, &Action::BundleUploaded { item: item(&row), bundle: made.id }).await?;
    tx.commit().await.map_err(DbError::from)?;
    tracing::info!(
        content.guid = %row.guid,
        bundle.id = %made.id,
        bundle.hash = %made.hash,
        bundle.size_bytes = made.size_bytes,
        user.name = caller.username,
        "bundle uploaded"
    );
    Ok(made)
}

/// A bundle that is stored and has no record yet.
#[derive(Debug)]
pub struct Arrived {
    /// The content item it is for.
    pub content: ContentId,
    /// Its bytes.
    pub stored: Stored,
    /// What is said about it.
    pub metadata: Map<String, Value>,
    /// Whose it is.
    pub created_by: UserId,
}

/// Reads a stored bundle to its end and decides whether it may become a version of its item; answers what is to be recorded.
/// One that is at fault itself is removed from the store, unless another item has the same. The error is for the publisher.
pub async fn examine(
    database: &Database,
    store: &Arc<Store>,
    cache: &Arc<Cache>,
    arrived: Arrived,
) -> Result<NewBundle, ApiError> {
    let stored = arrived.stored;
    let (manifest, as_sent) = match read_manifest(store, cache, stored).await {
        Ok(read) => read,
        Err(refusal) => {
            if refusal.status().is_client_error() {
                remove_unreferenced(database, store, cache, stored.hash).await;
            }
            return Err(refusal);
        }
    };
    // The item may have been deployed while the bytes arrived.
    let client = database.client().await?;
    let row = lectern_metadata::content::get(&client, arrived.content)
        .await?
        .ok_or_else(|| ApiError::new(Code::Missing, "there is no such content any more"))?;
    fits(&row, &manifest)?;
    Ok(NewBundle {
        content: row.id,
        hash: stored.hash,
        size_bytes: stored.size_bytes,
        metadata: arrived.metadata,
        app_mode: manifest.mode,
        category: manifest.content_category.clone().unwrap_or_default(),
        parameterized: manifest.has_parameters,
        traits: Traits {
            py_version: manifest.python.as_ref().and_then(|python| python.version.clone()),
            r_version: manifest.r_version.clone(),
            quarto_version: manifest.quarto_version.clone(),
            node_version: manifest.node_version.clone(),
            py_environment_management: manifest.management.python,
            r_environment_management: manifest.management.r,
        },
        manifest: Some(as_sent),
        created_by: arrived.created_by,
    })
}

/// Reads the stored archive to its end and takes its manifest out.
async fn read_manifest(store: &Arc<Store>, cache: &Arc<Cache>, stored: Stored) -> Result<(Manifest, Value), ApiError> {
    let (store, cache) = (Arc::clone(store), Arc::clone(cache));
    let read = tokio::task::spawn_blocking(move || {
        let file = cache.fetch(&store, &stored.hash).and_then(|bundle| bundle.open()).map_err(fetch_refusal)?;
        let bytes = inspect(file).map_err(archive_refusal)?;
        let bad = |error: &dyn std::fmt::Display| ApiError::new(Code::BadManifest, error.to_string());
        let manifest = Manifest::parse(&bytes).map_err(|error| bad(&error))?;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let as_sent = serde_json::from_slice(text).map_err(|error| bad(&error))?;
        Ok((manifest, as_sent))
    });
    read.await.map_err(ApiError::internal)?
}

fn archive_refusal(error: ManifestError) -> ApiError {
    if !error.is_bad_archive() {
        return ApiError::internal(error);
    }
    let code = match &error {
        ManifestError::Archive(_) => Code::BadArchive,
        _ => Code::BadManifest,
    };
    ApiError::new(code, format!("the bundle cannot be used: {error}"))
}

/// Whether a bundle of this manifest may become a version of the item.
fn fits(row: &ContentRow, manifest: &Manifest) -> Result<(), ApiError> {
    if row.app_mode != AppMode::Unknown && row.app_mode != manifest.mode {
        let (old, new) = (row.app_mode.as_str(), manifest.mode.as_str());
        let message = format!("this content is {old} since its first deployment and cannot become {new}");
        return Err(ApiError::new(Code::ModeFixed, message));
    }
    let category = manifest.content_category.as_deref().unwrap_or_default();
    if row.app_mode != AppMode::Unknown && row.category != category {
        let old = &row.category;
        let message = format!("this content's category is {old:?} since its first deployment, not {category:?}");
        return Err(ApiError::new(Code::CategoryFixed, message));
    }
    if row.app_mode != AppMode::Unknown && row.parameterized != manifest.has_parameters {
        let (old, new) = if row.parameterized { ("has", "has none") } else { ("has no", "has some") };
        let message = format!("this content {old} parameters since its first deployment, and the bundle {new}");
        return Err(ApiError::new(Code::ParametersFixed, message));
    }
    Ok(())
}

/// Removes a bundle that is good for nobody: what is wrong with it is wrong with the same bytes for every item. Where
/// that cannot be done now, collection does it later.
async fn remove_unreferenced(database: &Database, store: &Arc<Store>, cache: &Arc<Cache>, hash: BundleHash) {
    let referenced = async {
        let client = database.client().await?;
        bundles::referenced_hashes(&client).await
    };
    match referenced.await {
        Ok(hashes) if !hashes.contains(&hash) => {}
        Ok(_) => return,
        Err(error) => {
            tracing::warn!(bundle.hash = %hash, %error, "refused bundle is left to collection");
            return;
        }
    }
    let (store, cache) = (Arc::clone(store), Arc::clone(cache));
    let removed = tokio::task::spawn_blocking(move || {
        let removed = store.remove(&hash).map(drop);
        cache
            .remove(&hash)
            .map(drop)
            .map_err(|error| tracing::warn!(bundle.hash = %hash, %error, "local copy stays"))
            .ok();
        removed
    });
    match removed.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(bundle.hash = %hash, %error, "refused bundle is left to collection"),
        Err(error) => tracing::warn!(bundle.hash = %hash, %error, "refused bundle is left to collection"),
    }
}
