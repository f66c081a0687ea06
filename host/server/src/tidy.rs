//! Removes what nobody refers to any more: stored bundles, unpacked trees, old tasks. Jobs have rules of their own (`joblog`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use lectern_domain::BundleHash;
use lectern_metadata::{Database, bundles, tasks};
use tokio_util::sync::CancellationToken;

use crate::trees::BundleFiles;
use crate::view::View;

/// How often. Listing the shared store is its most expensive operation, and nothing here is urgent.
const ROUND: Duration = Duration::from_secs(6 * 3600);
/// How long stored bytes without a row are kept: an upload's row follows its bytes within seconds, and a restored backup of
/// the database may refer again to what was deleted after it was made.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// How long finished tasks are kept, with their jobs.
const RECORDS: Duration = Duration::from_secs(90 * 24 * 3600);

/// Tidies until `stop`. Stopped in the middle it leaves nothing half done: each removal is one step.
pub(crate) async fn run(database: Database, files: BundleFiles, view: Arc<View>, stop: CancellationToken) {
    let rounds = async {
        loop {
            if let Err(error) = round(&database, &files, &view).await {
                tracing::warn!(error = crate::cli::chain(error.as_ref()), "tidy up; tried again later");
            }
            tokio::time::sleep(ROUND).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = rounds => {}
    }
}

async fn round(database: &Database, files: &BundleFiles, view: &Arc<View>) -> anyhow::Result<()> {
    // Listed before the rows are read: what is stored in between has its row, or is younger than the grace.
    let store = Arc::clone(&files.store);
    let stored = tokio::task::spawn_blocking(move || store.list()).await?.context("list the bundle store")?;
    let client = database.client().await.context("read the bundles")?;
    let referenced: HashSet<BundleHash> =
        bundles::referenced_hashes(&client).await.context("read the bundles")?.into_iter().collect();
    let pruned = tasks::prune_finished(&client, RECORDS).await.context("remove old tasks")?;
    drop(client);

    // A tree is in use as long as the view may start workers from it.
    let mut shown: HashSet<BundleHash> = referenced.clone();
    shown.extend(view.current().content.values().flat_map(|content| content.bundles.values().map(|b| b.hash)));
    let (store, trees) = (Arc::clone(&files.store), files.trees.clone());
    let work = move || -> anyhow::Result<(u64, u64)> {
        let before = SystemTime::now() - GRACE;
        let mut removed = 0;
        for bundle in stored.iter().filter(|b| !referenced.contains(&b.hash) && b.uploaded_at < before) {
            let gone = store.remove_idle(&bundle.hash, before).context("remove an unreferenced bundle")?;
            removed += u64::from(gone);
        }
        let trees = trees.collect(|hash| shown.contains(hash)).context("remove unpacked bundles")?;
        Ok((removed, trees))
    };
    let (bundles, trees) = tokio::task::spawn_blocking(work).await??;
    if bundles + trees + pruned > 0 {
        tracing::info!(bundles, trees, tasks = pruned, "removed what nobody refers to");
    }
    Ok(())
}
