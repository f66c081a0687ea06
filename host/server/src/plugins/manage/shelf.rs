//! Where packages lie: on the shared file system, named by their hash, like bundles.

use std::path::Path;

use anyhow::Context as _;
use lectern_bundles::Store;
use lectern_domain::BundleHash;
use lectern_domain::plugin::PackageDigest;
use lectern_packages::PACKAGE_BYTES;

/// The store of packages.
#[derive(Debug, Clone)]
pub(crate) struct Shelf(Store);

impl Shelf {
    /// Opens the store at a directory of its own.
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        Store::open(root).map(Self).context("open the store of plugin packages")
    }

    /// Keeps a package; the same bytes are kept once.
    pub(crate) async fn put(&self, bytes: Vec<u8>) -> anyhow::Result<PackageDigest> {
        let store = self.0.clone();
        let kept = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            let mut upload =
                store.begin(u64::try_from(PACKAGE_BYTES).unwrap_or(u64::MAX)).context("keep a plugin package")?;
            upload.write(&bytes).context("keep a plugin package")?;
            Ok(PackageDigest(upload.commit().context("keep a plugin package")?.hash.0))
        });
        kept.await.context("keep a plugin package")?
    }

    /// Reads a package; wrong bytes are an error, never data.
    pub(crate) async fn get(&self, digest: PackageDigest) -> anyhow::Result<Vec<u8>> {
        let store = self.0.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            store.copy_to(&BundleHash(digest.0), &mut bytes).map(|_| bytes)
        });
        read.await.context("read a plugin package")?.with_context(|| format!("read the plugin package {digest}"))
    }

    /// Forgets a package that no row names.
    pub(crate) async fn remove(&self, digest: PackageDigest) -> anyhow::Result<()> {
        let store = self.0.clone();
        let removed = tokio::task::spawn_blocking(move || store.remove(&BundleHash(digest.0)).map(drop));
        removed.await.context("remove a plugin package")?.with_context(|| format!("remove the plugin package {digest}"))
    }
}
