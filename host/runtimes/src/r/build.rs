//! One build of a package: what R is asked, as whom, behind which walls, and how the result is made safe.
//!
//! A build sees R, its archive and the packages that it needs, read-only; a directory of its own; and no network. All builds
//! run as the same account, so nothing below the build's directory is touched by the server until it has been taken back.

use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lectern_domain::launch::{Account, Interpreter};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use super::find::Found;
use super::hints;
use super::library::link_tree;
use crate::fence::{Fence, Yard};
use crate::interpreters;
use crate::process::{self, Order, RunError};
use crate::seal::seal;

/// Lines of a failed build that an error repeats: enough for the compiler's words and what R makes of them.
const ERROR_LINES: usize = 60;

/// A package could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// R, or what it called, refused.
    #[error("{step} {package} failed ({status}):\n{words}{}", hint.as_ref().map_or(String::new(), |hint| format!("\n{hint}")))]
    Refused {
        /// What was being done.
        step: &'static str,
        /// With which package.
        package: String,
        /// How it ended.
        status: String,
        /// Its last words.
        words: String,
        /// What to do, if it can be told.
        hint: Option<String>,
    },
    /// A binary that cannot be installed or loaded here.
    #[error("the binary of {package} does not load here:\n{words}")]
    Useless {
        /// Which package.
        package: String,
        /// The BLAKE3 of its archive.
        archive: String,
        /// What R said.
        words: String,
    },
    /// It did not run to its end.
    #[error("{step} {package} was not finished")]
    Unfinished {
        /// What was being done.
        step: &'static str,
        /// With which package.
        package: String,
        /// Why not.
        #[source]
        cause: RunError,
    },
    /// A directory or file of ours could not be used.
    #[error("{what} the directory of the build of {package}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// For which package.
        package: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

/// One build, in a directory that only the server can enter yet.
pub(super) struct Build<'a> {
    pub(super) account: Option<Account>,
    pub(super) fence: Option<&'a Fence>,
    pub(super) interpreter: &'a Interpreter,
    pub(super) found: &'a Found,
    pub(super) archive: PathBuf,
    /// Built packages that it needs: their names and their directories.
    pub(super) needs: Vec<(String, PathBuf)>,
    /// Libraries of the host that it may use as well.
    pub(super) host_libraries: Vec<PathBuf>,
    /// Held for reading while links to packages are made.
    pub(super) linking: &'a RwLock<()>,
    pub(super) work: &'a Path,
    pub(super) timeout: Duration,
}

impl Build<'_> {
    /// Builds; answers the directory that holds the package, sealed.
    pub(super) async fn run(&self, cancel: &CancellationToken) -> Result<PathBuf, BuildError> {
        let (own, deps, archive) = (self.own(), self.deps(), self.sealed_archive());
        let (needs, from, account) = (self.needs.clone(), self.archive.clone(), self.account);
        let work = self.work.to_owned();
        let linking = self.linking.read().await;
        self.blocking("lay out", move || lay_out(&work, &own, &deps, &needs, (&from, &archive), account)).await?;
        drop(linking);

        let (own, archive) = (self.own(), self.sealed_archive());
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let source = own.join("src").join(&self.found.description.top).join(self.found.subdir.as_deref().unwrap_or(""));
        let library = text(&own.join("lib"));
        let unpack = ["--no-same-owner".into(), "-xzf".into(), text(&archive), "-C".into(), text(&own.join("src"))];
        self.step("unpacking", Path::new("/usr/bin/tar"), &unpack, cancel).await?;
        let install =
            ["CMD".into(), "INSTALL".into(), "--no-multiarch".into(), format!("--library={library}"), text(&source)];
        self.step("building", &self.interpreter.path, &install, cancel).await?;
        if self.found.description.built.is_some() {
            // R tries what it compiled itself; a binary was compiled elsewhere, against libraries that may not be here.
            // Attached and not only loaded: that asks for all that an installed package has.
            let name = &self.found.description.name;
            let script = format!("suppressPackageStartupMessages(library('{name}', lib.loc = '{library}'))");
            let load = ["--no-echo".into(), "--no-save".into(), "--no-restore".into(), "-e".into(), script];
            self.step("loading", &self.interpreter.path, &load, cancel).await?;
        }
        let (out, name, take) = (self.work.join("out"), self.found.description.name.clone(), self.account.is_some());
        let target = out.clone();
        self.blocking("take over", move || take_over(&own, &target, &name, take)).await?;
        Ok(out)
    }

    fn package(&self) -> String {
        format!("{} {}", self.found.description.name, self.found.description.version)
    }

    /// The account's own part of the build's directory.
    fn own(&self) -> PathBuf {
        self.work.join("own")
    }

    fn deps(&self) -> PathBuf {
        self.work.join("deps")
    }

    fn sealed_archive(&self) -> PathBuf {
        self.work.join("archive.tar.gz")
    }

    async fn blocking(
        &self,
        what: &'static str,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), BuildError> {
        let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|cause| BuildError::Io { what, package: self.package(), cause })
    }

    async fn step(
        &self,
        step: &'static str,
        program: &Path,
        args: &[String],
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        let order = Order {
            program,
            args: args.iter().map(Into::into).collect(),
            env: self.variables(),
            directory: self.own(),
            account: self.account,
            timeout: self.timeout,
            yard: self.fence.map(|fence| self.yard(fence)),
        };
        let mut words = VecDeque::new();
        // Paths that exist only during the build say nothing to the publisher.
        let hidden = [format!("{}/", self.own().display()), format!("{}/", self.work.display())];
        let mut on_line = |_, line: &str| {
            words.push_back(hidden.iter().fold(line.to_owned(), |line, path| line.replace(path.as_str(), "")));
            if words.len() > ERROR_LINES {
                words.pop_front();
            }
        };
        let status = process::run_to_the_last_word(order, cancel, &mut on_line).await;
        let words = words.into_iter().collect::<Vec<_>>().join("\n");
        let status = match status {
            Ok(status) => status,
            // What it did last is what it hangs in.
            Err(cause @ RunError::TimedOut { .. }) if !words.is_empty() => {
                let (package, status) = (self.package(), cause.to_string());
                let hint = Some("Packages that were built before it are kept; deploy again to go on, or ask the administrator to raise r.restore_timeout_seconds".into());
                return Err(BuildError::Refused { step, package, status, words, hint });
            }
            Err(cause) => return Err(BuildError::Unfinished { step, package: self.package(), cause }),
        };
        if status.success() {
            return Ok(());
        }
        let hint = hints::hint(&words, self.found.description.system.as_deref());
        if self.found.description.built.is_some() {
            let words = hint.map_or(words.clone(), |hint| format!("{words}\n{hint}"));
            return Err(BuildError::Useless { package: self.package(), archive: self.found.blake3.clone(), words });
        }
        Err(BuildError::Refused { step, package: self.package(), status: status.to_string(), words, hint })
    }

    /// What a build sees of this host.
    fn yard<'f>(&self, fence: &'f Fence) -> Yard<'f> {
        let mut read_only = interpreters::trees(&self.interpreter.path);
        read_only.extend([self.deps(), self.sealed_archive()]);
        read_only.extend(self.host_libraries.iter().filter(|path| path.is_dir()).cloned());
        Yard { fence, read_only, writable: vec![self.own()], urls: Vec::new(), offline: true }
    }

    /// R's whole environment.
    fn variables(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let deps = text(self.deps());
        let own = [
            ("HOME", text(self.own().join("home"))),
            ("TMPDIR", text(self.own().join("tmp"))),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("LANG", "C.UTF-8".into()),
            ("TZ", "UTC".into()),
            ("R_LIBS", deps.clone()),
            ("R_LIBS_USER", deps.clone()),
        ];
        let mut env: Vec<_> = own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if self.host_libraries.is_empty() {
            // Or R would add the libraries of the site, which the key says nothing of.
            env.push(("R_LIBS_SITE".into(), deps));
        }
        env
    }
}

/// Lays out a build's directory: the packages it needs and its archive, which are the server's; then the account's own part.
fn lay_out(
    work: &Path,
    own: &Path,
    deps: &Path,
    needs: &[(String, PathBuf)],
    (from, archive): (&Path, &Path),
    account: Option<Account>,
) -> io::Result<()> {
    fs::create_dir(deps)?;
    for (name, built) in needs {
        link_tree(built, &deps.join(name))?;
    }
    if fs::hard_link(from, archive).is_err() {
        fs::copy(from, archive)?;
    }
    fs::set_permissions(archive, Permissions::from_mode(0o644))?;
    for path in [work, deps] {
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
    }
    // The whole comes last: then the server has written all it will.
    for name in ["home", "tmp", "src", "lib", ""] {
        let path = own.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        if let Some(account) = account {
            chown(&path, Some(account.uid), Some(account.gid))?;
        }
    }
    Ok(())
}

/// Takes what was built back from the account and puts it into `out`, alone.
fn take_over(own: &Path, out: &Path, name: &str, take: bool) -> io::Result<()> {
    let library = own.join("lib");
    if take {
        chown(own, Some(0), Some(0))?;
    }
    for path in [&library, &library.join(name)] {
        if !fs::symlink_metadata(path)?.is_dir() {
            return Err(io::Error::other("the build left no directory"));
        }
        if take {
            // From now on the account can swap nothing in it.
            chown(path, Some(0), Some(0))?;
        }
    }
    let package = library.join(name);
    seal(&package, take)?;
    if !package.join("DESCRIPTION").is_file() {
        return Err(io::Error::other("the build left no package"));
    }
    fs::create_dir(out)?;
    fs::rename(package, out.join(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn follows_no_link_that_a_build_left() {
        let root = tempfile::tempdir().unwrap();
        let take = nix::unistd::geteuid().is_root();
        let victim = root.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("DESCRIPTION"), "Package: x").unwrap();
        let own = root.path().join("own");
        fs::create_dir_all(own.join("lib")).unwrap();
        std::os::unix::fs::symlink(&victim, own.join("lib/glue")).unwrap();
        let error = take_over(&own, &root.path().join("out"), "glue", take).unwrap_err();
        assert_eq!(error.to_string(), "the build left no directory");
        fs::remove_dir_all(own.join("lib")).unwrap();
        std::os::unix::fs::symlink(&victim, own.join("lib")).unwrap();
        let error = take_over(&own, &root.path().join("out"), "glue", take).unwrap_err();
        assert_eq!(error.to_string(), "the build left no directory");
        assert!(victim.join("DESCRIPTION").is_file());
    }
}
