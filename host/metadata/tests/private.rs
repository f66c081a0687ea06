//! The suite on a private cluster, and what only a private cluster promises.
#![allow(clippy::unwrap_used, clippy::panic)]

mod suite;

use lectern_metadata::DatabaseConfig;
use lectern_metadata::testing::TestCluster;

async fn empty() -> DatabaseConfig {
    TestCluster::shared().await.empty().await
}

suite!(empty);
