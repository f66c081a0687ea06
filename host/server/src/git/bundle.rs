//! From a repository to a stored bundle.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use lectern_bundles::{Store, StoreError, Stored, UnpackError, Upload, repack};
use lectern_domain::git::{Branch, Commit, Directory};
use lectern_metadata::repositories::Source;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::failure::GitFailure;
use super::{Repositories, turn};

/// Between tries of a fetch that failed for a passing reason: a commit is taken once, and must not be lost to a short break.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// A bundle that was made of a commit, and has no record yet.
pub(crate) struct Made {
    pub(crate) stored: Stored,
    pub(crate) commit: Commit,
    /// What its record says of where it is from.
    pub(crate) metadata: Map<String, Value>,
}

impl Repositories {
    /// Makes a bundle of a place in a repository and stores it; `say` takes what the publisher reads. Dropped, it leaves nothing
    /// but what the sweep of the store removes.
    pub(crate) async fn make_bundle(
        &self,
        source: &Source,
        store: &Arc<Store>,
        say: &mut (dyn FnMut(String) + Send),
    ) -> Result<Made, GitFailure> {
        let target = self.target(&source.url)?;
        let (branch, directory): (Branch, Directory) = (source.branch.parse()?, source.directory.parse()?);
        let _permit = turn(&self.makers).await?;
        say(format!("# Fetching {} from {}", source.branch, source.url));
        let git = self.runtimes.inner.git();
        let place = git.workplace()?;
        let mut pauses = PAUSES.iter();
        let packed = loop {
            match self.fetch(&target, &branch, &place.pack()).await {
                Err(failure) if failure.is_passing() => match pauses.next() {
                    Some(pause) => {
                        say(format!("{}; trying again.", crate::cli::chain(&failure)));
                        tokio::time::sleep(*pause).await;
                    }
                    None => return Err(failure),
                },
                fetched => break fetched?,
            }
        };
        say(format!("It is at commit {} ({} bytes).", packed.commit, packed.bytes));
        let cancel = CancellationToken::new();
        let what = (&directory, self.limits.max_entries, self.limits.max_total_bytes);
        let listing = git.read(&place, (packed.commit, &packed.shallow), what, &cancel).await?;
        listing.check()?;
        let archive = git.archive(&place, packed.commit, &directory, &cancel).await?;
        let (store, limits, most) = (Arc::clone(store), self.limits.clone(), self.max_bundle_bytes);
        let packing = tokio::task::spawn_blocking(move || {
            let mut upload = Keeping { upload: store.begin(most)?, failed: None };
            let packed = repack(archive, &limits, &mut upload);
            match (upload.failed, packed) {
                (Some(failed), _) => Err(failed.into()),
                (None, Err(refused)) => Err(GitFailure::Packing(refused)),
                (None, Ok(())) => Ok(upload.upload.commit()?),
            }
        });
        let stored = packing.await.unwrap_or_else(|error| {
            let cause = io::Error::other(error);
            Err(GitFailure::Packing(UnpackError::Io { action: "pack on a blocking thread", path: "".into(), cause }))
        })?;
        let metadata = [
            ("source", "git".to_owned()),
            ("source_repo", source.url.clone()),
            ("source_branch", source.branch.clone()),
            ("source_commit", packed.commit.to_string()),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))).collect();
        Ok(Made { stored, commit: packed.commit, metadata })
    }
}

/// An upload as something to write to. Remembers what went wrong.
struct Keeping {
    upload: Upload,
    failed: Option<StoreError>,
}

impl Write for Keeping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.upload.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                let shown = io::Error::other(error.to_string());
                self.failed = Some(error);
                Err(shown)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
