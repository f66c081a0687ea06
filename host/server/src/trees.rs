//! The files of a bundle on this node: fetched from the shared store, verified, unpacked, when they are not there.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lectern_bundles::{Cache, Store, TreeError, Trees};
use lectern_domain::BundleHash;
use lectern_domain::snapshot::BundleEntry;
use lectern_edge::Unavailable;

/// Where bundles are stored, and where they are unpacked.
#[derive(Clone)]
pub(crate) struct BundleFiles {
    pub(crate) store: Arc<Store>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) trees: Trees,
    /// The runtime whose blocking threads unpack.
    pub(crate) runtime: tokio::runtime::Handle,
}

impl BundleFiles {
    /// The unpacked tree of a bundle.
    pub(crate) async fn tree(&self, hash: BundleHash) -> Result<PathBuf, TreeError> {
        if let Some(path) = self.trees.get(&hash)? {
            return Ok(path);
        }
        let Self { store, cache, trees, runtime } = self.clone();
        let unpack = move || trees.get_or_unpack(&hash, || cache.fetch(&store, &hash)?.open());
        match runtime.spawn_blocking(unpack).await {
            Ok(done) => done,
            Err(error) => Err(TreeError::Io {
                action: "unpack on a blocking thread",
                path: PathBuf::new(),
                cause: std::io::Error::other(error),
            }),
        }
    }
}

#[async_trait]
impl lectern_edge::Trees for BundleFiles {
    async fn tree(&self, bundle: &BundleEntry) -> Result<PathBuf, Unavailable> {
        BundleFiles::tree(self, bundle.hash)
            .await
            .map_err(|error| Unavailable { what: format!("unpack bundle {}", bundle.id), cause: Some(Box::new(error)) })
    }
}
