//! Removes what nobody refers to any more: stored bundles, unpacked trees, logs of old jobs, old tasks.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use lectern_domain::BundleHash;
use lectern_metadata::{Database, bundles, jobs, tasks};
use tokio_util::sync::CancellationToken;

use crate::paths::Paths;
use crate::trees::BundleFiles;
use crate::view::View;

/// How often. Listing the shared store is its most expensive operation, and nothing here is urgent.
const ROUND: Duration = Duration::from_secs(6 * 3600);
/// How long stored bytes without a row are kept: an upload's row follows its bytes within seconds, and a restored backup of
/// the database may refer again to what was deleted after it was made.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// How long finished tasks and logs of processes that ended are kept.
const RECORDS: Duration = Duration::from_secs(90 * 24 * 3600);

/// Tidies until `stop`. Stopped in the middle it leaves nothing half done: each removal is one step.
pub(crate) async fn run(
    database: Database,
    files: BundleFiles,
    view: Arc<View>,
    paths: Paths,
    stop: CancellationToken,
) {
    let rounds = async {
        loop {
            if let Err(error) = round(&database, &files, &view, &paths).await {
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

async fn round(database: &Database, files: &BundleFiles, view: &Arc<View>, paths: &Paths) -> anyhow::Result<()> {
    // Listed before the rows are read: what is stored in between has its row, or is younger than the grace.
    let store = Arc::clone(&files.store);
    let stored = tokio::task::spawn_blocking(move || store.list()).await?.context("list the bundle store")?;
    let client = database.client().await.context("read the bundles")?;
    let referenced: HashSet<BundleHash> =
        bundles::referenced_hashes(&client).await.context("read the bundles")?.into_iter().collect();
    let pruned = tasks::prune_finished(&client, RECORDS).await.context("remove old tasks")?;
    // Their logs are as old, and go below.
    jobs::prune_ended(&client, RECORDS).await.context("remove old jobs")?;
    drop(client);

    // A tree is in use as long as the view may start workers from it.
    let mut shown: HashSet<BundleHash> = referenced.clone();
    shown.extend(view.current().content.values().flat_map(|content| content.bundles.values().map(|b| b.hash)));
    let (store, trees, jobs) = (Arc::clone(&files.store), files.trees.clone(), paths.jobs());
    let work = move || -> anyhow::Result<(u64, u64, u64)> {
        let before = SystemTime::now() - GRACE;
        let mut removed = 0;
        for bundle in stored.iter().filter(|b| !referenced.contains(&b.hash) && b.uploaded_at < before) {
            let gone = store.remove_idle(&bundle.hash, before).context("remove an unreferenced bundle")?;
            removed += u64::from(gone);
        }
        let trees = trees.collect(|hash| shown.contains(hash)).context("remove unpacked bundles")?;
        let logs = remove_old_logs(&jobs, SystemTime::now() - RECORDS).context("remove old logs")?;
        Ok((removed, trees, logs))
    };
    let (bundles, trees, logs) = tokio::task::spawn_blocking(work).await??;
    if bundles + trees + logs + pruned > 0 {
        tracing::info!(bundles, trees, logs, tasks = pruned, "removed what nobody refers to");
    }
    Ok(())
}

/// Removes logs that were last written before `before`. Blocking.
fn remove_old_logs(jobs: &std::path::Path, before: SystemTime) -> std::io::Result<u64> {
    let mut removed = 0;
    for entry in jobs.read_dir()? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_file() && meta.modified()? < before {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_old_logs_go() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old.log"), dir.path().join("new.log"));
        for path in [&old, &new] {
            std::fs::write(path, "x").unwrap();
        }
        let long_ago = SystemTime::now() - Duration::from_secs(1000);
        std::fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(remove_old_logs(dir.path(), SystemTime::now() - Duration::from_secs(500)).unwrap(), 1);
        assert!(new.exists() && !old.exists());
    }
}
