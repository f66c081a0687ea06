//! The cache on disk: archives, what is known of them, built packages, locks; listing and eviction.
//!
//! | below the directory | is |
//! |---|---|
//! | `archives/HASH.tar.gz` | an archive, named by its BLAKE3; kept, so that a package can be built again for another R |
//! | `found/QUESTION.json` | which archive answers a question: name, version, repositories, R |
//! | `built/KEY/NAME` | a built package, read-only; there completely or not at all |
//! | `.locks/KEY` | one build at a time, over all servers that share the directory |
//! | `.building-KEY-…`, `.fetching-…`, `.removing-…` | what is unfinished; swept at the next start |

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// How often a wanted lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// What a built package says about itself, beside it.
const RECORD: &str = "lectern-package.json";

/// A built package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The hash of all that determines it.
    pub key: String,
    /// Names this build of it: after an eviction the next one has another.
    pub build: String,
    /// The BLAKE3 of its archive.
    pub archive: String,
    /// The name of the repository, or the kind of source host, that it was fetched from.
    pub from: String,
    /// Whether it came built.
    pub binary: bool,
    /// The R it was built for.
    pub r_version: String,
    /// That R's platform.
    pub platform: String,
    /// When, in seconds since 1970.
    pub built_at: u64,
}

/// What an eviction removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evicted {
    /// The builds.
    pub packages: Vec<Cached>,
    /// How many archives are forgotten; each is fetched again when it is wanted again.
    pub archives: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Makes the directories and removes what was left unfinished, except for builds that go on in another server.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        let store = Self { directory };
        let parts = [("", 0o755), ("archives", 0o700), ("found", 0o700), ("built", 0o700), (".locks", 0o700)];
        for (name, mode) in parts {
            let path = store.directory.join(name);
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        for entry in store.directory.read_dir()? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".removing-") || (name.starts_with(".fetching-") && is_old(&entry.path())) {
                fs::remove_dir_all(entry.path())?;
            } else if let Some((key, _)) = name.strip_prefix(".building-").and_then(|rest| rest.split_once('-')) {
                let lock = store.lock_file(key)?;
                if lock.try_lock().is_ok() {
                    fs::remove_dir_all(entry.path())?;
                }
            }
        }
        Ok(store)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn archive(&self, blake3: &str) -> PathBuf {
        self.directory.join("archives").join(format!("{blake3}.tar.gz"))
    }

    /// Where the built package with `key` is: a library that holds it alone.
    pub(super) fn built(&self, key: &str) -> PathBuf {
        self.directory.join("built").join(key)
    }

    /// The record of the built package with `key`, if there is one.
    pub(super) fn record(&self, key: &str) -> Option<Cached> {
        read(&self.built(key).join(RECORD))
    }

    /// A place for a file that is being fetched.
    pub(super) fn fetching(&self) -> io::Result<TempDir> {
        // A directory, because the file is made by whoever writes it.
        tempfile::Builder::new().prefix(".fetching-").tempdir_in(&self.directory)
    }

    /// Gives an archive its name.
    pub(super) fn keep_archive(&self, file: &Path, blake3: &str) -> io::Result<()> {
        File::open(file)?.sync_all()?;
        fs::rename(file, self.archive(blake3))
    }

    /// A directory for the build of `key`, whose lock is held; what an interrupted build left is removed.
    pub(super) fn workplace(&self, key: &str) -> io::Result<TempDir> {
        let prefix = format!(".building-{key}-");
        for entry in self.directory.read_dir()? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.directory)
    }

    /// What answers a question, if it was answered before and the archive is still there.
    pub(super) fn answer<T: for<'de> Deserialize<'de>>(&self, question: &str) -> Option<T> {
        read(&self.question(question))
    }

    pub(super) fn keep_answer(&self, question: &str, answer: &impl Serialize) -> io::Result<()> {
        write_whole(&self.question(question), &serde_json::to_vec_pretty(answer)?)
    }

    fn question(&self, question: &str) -> PathBuf {
        self.directory.join("found").join(format!("{question}.json"))
    }

    /// Writes the record of a finished build into `library` and gives that its name.
    pub(super) fn finish(&self, library: &Path, record: &Cached) -> io::Result<()> {
        fs::set_permissions(library, Permissions::from_mode(0o755))?;
        write_whole(&library.join(RECORD), &serde_json::to_vec_pretty(record)?)?;
        // A power cut after the rename must not leave empty files under a good name.
        nix::unistd::syncfs(File::open(library)?)?;
        fs::rename(library, self.built(&record.key))?;
        File::open(self.directory.join("built"))?.sync_all()
    }

    /// Takes the lock of `key`; `None` when it was cancelled. `wait` is called once, when somebody else has it.
    pub(super) async fn lock(
        &self,
        key: &str,
        cancel: &CancellationToken,
        wait: impl FnOnce(),
    ) -> io::Result<Option<File>> {
        let file = self.lock_file(key)?;
        let mut wait = Some(wait);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(cause)) => return Err(cause),
            }
            if let Some(wait) = wait.take() {
                wait();
            }
            tokio::select! {
                () = tokio::time::sleep(LOCK_POLL) => {}
                () = cancel.cancelled() => return Ok(None),
            }
        }
    }

    fn lock_file(&self, key: &str) -> io::Result<File> {
        File::create(self.directory.join(".locks").join(key))
    }

    /// The built packages, by name, version and age.
    pub(super) fn list(&self) -> io::Result<Vec<Cached>> {
        let mut found: Vec<Cached> = Vec::new();
        for entry in self.directory.join("built").read_dir()? {
            found.extend(read(&entry?.path().join(RECORD)));
        }
        found.sort_by(|one: &Cached, other| {
            let by_version = lectern_domain::r_packages::compare(&one.version, &other.version);
            one.name.cmp(&other.name).then(by_version).then(one.built_at.cmp(&other.built_at))
        });
        Ok(found)
    }

    /// Removes the builds of a package, in one version or all, with what is known of its archives and the archives themselves.
    pub(super) fn evict(&self, name: &str, version: Option<&str>) -> io::Result<Evicted> {
        let is_meant = |its_name: &str, its_version: &str| {
            let same = |version| lectern_domain::r_packages::same_version(version, its_version);
            its_name == name && version.is_none_or(same)
        };
        let mut evicted = Evicted::default();
        for cached in self.list()?.into_iter().filter(|one| is_meant(&one.name, &one.version)) {
            // Out of sight first: a removal that is cut short leaves no half package under a good name.
            let aside = tempfile::Builder::new().prefix(".removing-").tempdir_in(&self.directory)?;
            match fs::rename(self.built(&cached.key), aside.path().join("package")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => aside.close()?,
            }
            evicted.packages.push(cached);
        }
        for entry in self.directory.join("found").read_dir()? {
            let path = entry?.path();
            let Some(found) = read::<super::find::Found>(&path) else { continue };
            if !is_meant(&found.description.name, &found.description.version) {
                continue;
            }
            for gone in [&path, &self.archive(&found.blake3)] {
                match fs::remove_file(gone) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            evicted.archives += 1;
        }
        Ok(evicted)
    }
}

/// Whether nobody can be fetching into a directory any more: a server that is being replaced may still be.
fn is_old(path: &Path) -> bool {
    const AGE: Duration = Duration::from_secs(3600);
    let modified = path.symlink_metadata().and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > AGE))
}

/// Names a build, unlike any before it on this host.
pub(super) fn build_name(key: &str) -> (String, u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut hash = blake3::Hasher::new_derive_key("lectern r build 1");
    hash.update(key.as_bytes()).update(&now.as_nanos().to_le_bytes()).update(&std::process::id().to_le_bytes());
    (hash.finalize().to_hex()[..16].to_owned(), now.as_secs())
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
}

/// Writes a file beside its place and puts it there whole.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cached(name: &str, version: &str, key: &str) -> Cached {
        let (build, built_at) = build_name(key);
        let [name, version, key, archive, from] = [name, version, key, "a", "CRAN"].map(str::to_owned);
        let (r_version, platform) = ("4.2.2".to_owned(), "x86_64-pc-linux-gnu".to_owned());
        Cached { name, version, key, build, archive, from, binary: false, r_version, platform, built_at }
    }

    fn finish(store: &Store, record: &Cached) {
        let work = store.workplace(&record.key).unwrap();
        let library = work.path().join("out");
        fs::create_dir_all(library.join(&record.name)).unwrap();
        store.finish(&library, record).unwrap();
    }

    #[test]
    fn what_is_finished_is_listed_and_what_is_not_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().join("r-packages")).unwrap();
        for (name, version, key) in [("glue", "1.10.0", "k1"), ("glue", "1.6.2", "k2"), ("R6", "2.5.1", "k3")] {
            finish(&store, &cached(name, version, key));
        }
        fs::create_dir(store.directory().join(".building-k9-x")).unwrap();
        fs::create_dir(store.directory().join(".removing-x")).unwrap();
        let busy = store.lock_file("k8").unwrap();
        busy.try_lock().unwrap();
        fs::create_dir(store.directory().join(".building-k8-x")).unwrap();
        let store = Store::open(store.directory().to_owned()).unwrap();
        let shown = |store: &Store| -> Vec<String> {
            store.list().unwrap().iter().map(|one| format!("{} {}", one.name, one.version)).collect()
        };
        assert_eq!(shown(&store), ["R6 2.5.1", "glue 1.6.2", "glue 1.10.0"]);
        let left: Vec<bool> =
            ["k9", "k8"].map(|key| store.directory().join(format!(".building-{key}-x")).exists()).into();
        assert_eq!(left, [false, true]);

        assert_eq!(store.evict("glue", Some("1.6-2")).unwrap().packages[0].key, "k2");
        assert_eq!(shown(&store), ["R6 2.5.1", "glue 1.10.0"]);
        assert_eq!(store.evict("glue", None).unwrap().packages.len(), 1);
        assert_eq!(store.evict("glue", None).unwrap(), Evicted::default());
        assert!(store.record("k3").is_some() && store.record("k1").is_none());
    }
}
