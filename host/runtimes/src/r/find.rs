//! Finds the archive of a package: in the cache, or in the operator's repositories.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use lectern_domain::manifest::RRemote;
use lectern_domain::r_packages::{Origin, Refused, Repository, Resolution, Wanted};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::archive::{self, ArchiveError, Description};
use super::fetch::{FetchError, Fetcher, shown};
use super::index::{self, Index, IndexError};
use super::packages::RestoreError;
use super::store::Store;

/// The archive of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) description: Description,
    /// Names the archive.
    pub(super) blake3: String,
    /// The name of the repository, or the kind of source host.
    pub(super) from: String,
    /// Where it was fetched, without a password.
    pub(super) url: String,
    /// Where the package is inside the archive, below its top.
    pub(super) subdir: Option<String>,
}

/// A repository did not give what it should.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It could not be asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Its index is no use.
    #[error("{url}: {cause}")]
    Index {
        /// Which.
        url: String,
        /// Why.
        cause: IndexError,
    },
    /// What it gave is not what it should be.
    #[error("the archive {url} cannot be used: {cause}")]
    Archive {
        /// Which, without a password.
        url: String,
        /// Why.
        cause: ArchiveError,
    },
    /// The cache on this host.
    #[error("keep what was fetched")]
    Keep(#[source] std::io::Error),
}

impl PlaceError {
    /// Whether another repository may be asked instead: this one could not be asked. What was tampered with or damaged is
    /// never passed over.
    fn is_absence(&self) -> bool {
        matches!(self, Self::Fetch(FetchError::Failed { .. } | FetchError::Status { .. }))
    }
}

/// Finds archives for one restore.
pub(super) struct Finder<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) store: &'a Store,
    pub(super) repositories: &'a [Repository],
    pub(super) remotes: &'a [(String, String)],
    pub(super) resolution: Resolution,
    /// Which R the packages are for.
    pub(super) r_version: &'a str,
    pub(super) platform: &'a str,
    /// One per repository, fetched when first wanted.
    pub(super) indexes: Vec<OnceCell<Arc<Index>>>,
    /// Binaries that do not load here, by their BLAKE3.
    pub(super) refused: BTreeSet<String>,
}

/// What came of asking one repository.
enum Asked {
    Found(Box<Found>),
    /// Why not, in words for the publisher.
    Absent(String),
}

impl Finder<'_> {
    /// The `User-Agent` that repositories of Linux binaries choose by, as R sets it there.
    fn agent(&self) -> String {
        let (arch, os) = self.platform.split_once('-').unwrap_or((self.platform, ""));
        let os = os.split_once('-').map_or(os, |(_, os)| os);
        format!("R/{0} R ({0} {1} {arch} {os}) lectern", self.r_version, self.platform)
    }

    /// Finds a package. `notes` receives what the publisher should know although it was found.
    pub(super) async fn find(&self, wanted: &Wanted, notes: &mut Vec<String>) -> Result<Found, RestoreError> {
        match &wanted.origin {
            Origin::Elsewhere(word) => {
                Err(RestoreError::Elsewhere { package: wanted.to_string(), place: word.chars().take(80).collect() })
            }
            Origin::Remote(remote) => self.remote(wanted, remote).await,
            Origin::Repository { .. } => self.in_repositories(wanted, notes).await,
        }
    }

    async fn in_repositories(&self, wanted: &Wanted, notes: &mut Vec<String>) -> Result<Found, RestoreError> {
        let places = self.resolution.places(wanted, self.repositories).map_err(|error: Refused| error)?;
        let urls = places.iter().map(|place| format!("{} {}", place.binary, place.url));
        let question = self.question(wanted, urls);
        if let Some(found) = self.known(wanted, &question) {
            return Ok(found);
        }
        let (mut reasons, mut unreachable) = (Vec::new(), false);
        for place in places {
            match self.ask(place, wanted).await {
                Ok(Asked::Found(found)) => {
                    notes.append(&mut reasons);
                    if wanted.version.is_some() {
                        self.keep(&question, &found)?;
                    }
                    return Ok(*found);
                }
                Ok(Asked::Absent(reason)) => reasons.push(reason),
                Err(error) if error.is_absence() => {
                    unreachable = true;
                    reasons.push(format!("{}: {error}", place.name));
                }
                Err(cause) => return Err(RestoreError::Place { package: wanted.to_string(), cause }),
            }
        }
        let (package, reasons) = (wanted.to_string(), reasons.join("; "));
        Err(if unreachable {
            RestoreError::Unreachable { package, reasons }
        } else {
            RestoreError::Absent { package, reasons }
        })
    }

    async fn remote(&self, wanted: &Wanted, remote: &RRemote) -> Result<Found, RestoreError> {
        let template = self.remotes.iter().find(|(kind, _)| *kind == remote.kind);
        let Some((kind, template)) = template else {
            return Err(RestoreError::RemoteRefused { package: wanted.to_string(), kind: remote.kind.clone() });
        };
        let url =
            template.replace("{user}", &remote.user).replace("{repo}", &remote.repo).replace("{sha}", &remote.sha);
        let question = self.question(wanted, std::iter::once(format!("{url} {:?}", remote.subdir)));
        if let Some(found) = self.known(wanted, &question) {
            return Ok(found);
        }
        let failed = |cause| RestoreError::Place { package: wanted.to_string(), cause };
        let subdir = remote.subdir.clone();
        let found = self.fetch(&url, wanted, kind, subdir, None, None).await.map_err(failed)?;
        self.keep(&question, &found)?;
        Ok(found)
    }

    /// Asks one repository: its index, then `src/contrib`, then its archive of older versions.
    async fn ask(&self, place: &Repository, wanted: &Wanted) -> Result<Asked, PlaceError> {
        let index = self.index(place).await?;
        let contrib = format!("{}/src/contrib", place.url);
        let name = &wanted.name;
        let file = |version: &str| format!("{name}_{version}.tar.gz");
        let entry = match &wanted.version {
            Some(version) => index.exactly(name, version),
            None => index.newest(name),
        };
        if let Some(entry) = entry {
            let path = entry.path.as_ref().map(|path| format!("/{path}")).unwrap_or_default();
            let url = format!("{contrib}{path}/{}", file(&entry.version));
            let exact = Wanted { version: Some(entry.version.clone()), ..wanted.clone() };
            let (md5, sha256) = (entry.md5.as_deref(), entry.sha256.as_deref());
            match self.fetch(&url, &exact, &place.name, None, md5, sha256).await {
                // Listed, and moved to the archive since.
                Err(PlaceError::Fetch(FetchError::Absent(_))) => {}
                found => return found.map(|found| self.fitting(found, place)),
            }
        }
        if let Some(version) = &wanted.version {
            let url = format!("{contrib}/Archive/{name}/{}", file(version));
            match self.fetch(&url, wanted, &place.name, None, None, None).await {
                Err(PlaceError::Fetch(FetchError::Absent(_))) => {}
                found => return found.map(|found| self.fitting(found, place)),
            }
        }
        let newest = index.newest(name).map_or_else(
            || "does not have it".to_owned(),
            |newest| format!("has {}, and not this version among the older ones", newest.version),
        );
        Ok(Asked::Absent(format!("{} ({}) {newest}", place.name, shown(&place.url))))
    }

    /// A binary counts only if this R can load it.
    fn fitting(&self, found: Found, place: &Repository) -> Asked {
        match &found.description.built {
            Some(_) if self.refused.contains(&found.blake3) => Asked::Absent(format!(
                "the binary of {} {} from {} does not load here",
                found.description.name, found.description.version, place.name
            )),
            Some(built) if !built.fits(self.r_version, self.platform) => Asked::Absent(format!(
                "{} has {} {} built for R {} {}, not for R {} {}",
                place.name,
                found.description.name,
                found.description.version,
                built.r,
                built.platform,
                self.r_version,
                self.platform
            )),
            _ => Asked::Found(Box::new(found)),
        }
    }

    async fn index(&self, place: &Repository) -> Result<Arc<Index>, PlaceError> {
        let at = self.repositories.iter().position(|one| one == place).unwrap_or(0);
        let fetch = || async {
            let directory = self.store.fetching().map_err(PlaceError::Keep)?;
            let target = directory.path().join("PACKAGES");
            let url = |name: &str| format!("{}/src/contrib/{name}", place.url);
            let agent = self.agent();
            let zipped = self.fetcher.fetch(&url("PACKAGES.gz"), &agent, index::MOST_FETCHED, &target).await;
            let zipped = match zipped {
                Err(FetchError::Absent(_)) => {
                    let plain = directory.path().join("PACKAGES.txt");
                    self.fetcher.fetch(&url("PACKAGES"), &agent, index::MOST_READ, &plain).await?;
                    std::fs::rename(plain, &target).map_err(PlaceError::Keep)?;
                    false
                }
                fetched => fetched.map(|_| true)?,
            };
            let path = target.clone();
            let read = tokio::task::spawn_blocking(move || read_index(&path, zipped)).await;
            let read = read.unwrap_or_else(|error| Err(IndexError::Damaged(std::io::Error::other(error))));
            let failed =
                |cause| PlaceError::Index { url: shown(&url(if zipped { "PACKAGES.gz" } else { "PACKAGES" })), cause };
            Ok(Arc::new(read.map_err(failed)?))
        };
        match self.indexes.get(at) {
            Some(cell) => cell.get_or_try_init(fetch).await.cloned(),
            None => fetch().await,
        }
    }

    /// Fetches an archive, checks it and keeps it under its hash.
    async fn fetch(
        &self,
        url: &str,
        wanted: &Wanted,
        from: &str,
        subdir: Option<String>,
        md5: Option<&str>,
        sha256: Option<&str>,
    ) -> Result<Found, PlaceError> {
        let directory = self.store.fetching().map_err(PlaceError::Keep)?;
        let target = directory.path().join("archive");
        self.fetcher.fetch(url, &self.agent(), archive::MOST_BYTES, &target).await?;
        let (store, wanted, subdir_) = (self.store.clone(), wanted.clone(), subdir.clone());
        let (md5, sha256) = (md5.map(str::to_owned), sha256.map(str::to_owned));
        let checked = move || {
            let _directory = directory;
            let hashes = archive::hashes(&target).map_err(ArchiveError::Damaged)?;
            archive::check_hashes(&hashes, md5.as_deref(), sha256.as_deref())?;
            let description = archive::inspect(&target, subdir_.as_deref())?;
            archive::check_identity(&description, &wanted.name, wanted.version.as_deref())?;
            store.keep_archive(&target, &hashes.blake3).map_err(ArchiveError::Damaged)?;
            Ok((description, hashes.blake3))
        };
        let checked = tokio::task::spawn_blocking(checked).await;
        let checked = checked.unwrap_or_else(|error| Err(ArchiveError::Damaged(std::io::Error::other(error))));
        let url = shown(url);
        let (description, blake3) = checked.map_err(|cause| PlaceError::Archive { url: url.clone(), cause })?;
        Ok(Found { description, blake3, from: from.to_owned(), url, subdir })
    }

    /// The answer to a question that was asked before, if its archive is still here.
    fn known(&self, wanted: &Wanted, question: &str) -> Option<Found> {
        wanted.version.as_ref()?;
        self.store
            .answer::<Found>(question)
            .filter(|found| !self.refused.contains(&found.blake3) && self.store.archive(&found.blake3).is_file())
    }

    fn keep(&self, question: &str, found: &Found) -> Result<(), RestoreError> {
        let failed = |cause| RestoreError::Io { what: "write in", path: self.store.directory().to_owned(), cause };
        self.store.keep_answer(question, found).map_err(failed)
    }

    /// Names a question by all that its answer depends on.
    fn question(&self, wanted: &Wanted, places: impl Iterator<Item = String>) -> String {
        let mut hash = blake3::Hasher::new_derive_key("lectern r question 1");
        let minor: Vec<&str> = self.r_version.split('.').take(2).collect();
        let fixed = [
            wanted.name.clone(),
            wanted.version.clone().unwrap_or_default(),
            minor.join("."),
            self.platform.to_owned(),
        ];
        for value in fixed.into_iter().chain(places) {
            hash.update(&(value.len() as u64).to_le_bytes()).update(value.as_bytes());
        }
        hash.finalize().to_hex()[..32].to_owned()
    }
}

fn read_index(path: &Path, zipped: bool) -> Result<Index, IndexError> {
    let file = std::io::BufReader::new(std::fs::File::open(path).map_err(IndexError::Damaged)?);
    if zipped {
        Index::read(std::io::BufReader::new(flate2::bufread::MultiGzDecoder::new(file)))
    } else {
        Index::read(file)
    }
}
