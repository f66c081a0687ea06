//! Where things lie below the data directory: the only place that spells these names.

use std::path::{Path, PathBuf};

use lectern_domain::{BundleId, JobKey};

use crate::config::Data;

/// The layout of the data directory and the shared directory.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    dir: PathBuf,
    shared: PathBuf,
}

impl Paths {
    pub(crate) fn new(data: &Data) -> Self {
        Self { dir: data.dir.clone(), shared: data.shared_dir.clone() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.dir
    }

    /// Sockets, locks and workers' private directories; nothing in it outlives the processes.
    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.run().join("admin.sock")
    }

    pub(crate) fn handover_socket(&self) -> PathBuf {
        self.run().join("handover.sock")
    }

    pub(crate) fn server_lock(&self) -> PathBuf {
        self.run().join("server.lock")
    }

    pub(crate) fn supervisor_socket(&self) -> PathBuf {
        self.run().join("supervisor.sock")
    }

    /// The secret that the keys of content processes are made with.
    pub(crate) fn content_key(&self) -> PathBuf {
        self.run().join("content.key")
    }

    /// Shown to content: there is only the socket in it, by which this server is reached from inside.
    pub(crate) fn inside(&self) -> PathBuf {
        self.run().join("in")
    }

    /// Workers' private directories. Short: a Unix socket's path has at most 107 bytes.
    pub(crate) fn workers(&self) -> PathBuf {
        self.run().join("w")
    }

    /// One worker's private directory. Eight digits of the job key tell the few that live at a time apart.
    pub(crate) fn worker(&self, bundle: BundleId, job: &JobKey) -> PathBuf {
        self.workers().join(format!("{bundle}-{}", &job.as_str()[..8]))
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    /// The content-addressed store, on the shared file system.
    pub(crate) fn store(&self) -> PathBuf {
        self.shared.join("bundles")
    }

    /// The packages of plugins, on the shared file system.
    pub(crate) fn packages(&self) -> PathBuf {
        self.shared.join("plugins")
    }

    /// Verified copies of bundles on this node.
    pub(crate) fn bundle_cache(&self) -> PathBuf {
        self.dir.join("bundle-cache")
    }

    /// Unpacked bundles, named by hash.
    pub(crate) fn unpacked(&self) -> PathBuf {
        self.dir.join("unpacked")
    }

    pub(crate) fn environments(&self) -> PathBuf {
        self.dir.join("environments")
    }

    pub(crate) fn jobs(&self) -> PathBuf {
        self.dir.join("jobs")
    }

    pub(crate) fn job_log(&self, job: &JobKey) -> PathBuf {
        self.jobs().join(format!("{job}.log"))
    }
}
