//! One build of an environment: what uv is asked, as whom, with which variables, and how the result is made safe.
//!
//! All builds run as the same account, and packages may run code of their own while they are built. So the directory of a
//! build is closed to the account until everything in it is laid out, and root touches nothing below it until it has been
//! taken back.

use std::collections::VecDeque;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use lectern_domain::launch::Account;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::environments::{RestoreError, RestoreRequest, Settings};
use super::requirements::{Requirements, Source};
use super::uv::Uv;
use crate::Log;
use crate::fence::{Fence, Yard};
use crate::interpreters;
use crate::process::{self, Order, Stream};
use crate::seal::seal;

/// Lines of uv's last words that an error repeats.
const ERROR_LINES: usize = 40;
/// What is written into each environment about itself.
const RECORD: &str = "lectern-environment.json";

/// What an environment says about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) python_version: String,
    interpreter: PathBuf,
    uv_version: String,
    requirements: String,
}

impl Record {
    /// Reads the record of the environment in `directory`, if it is one.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        fs::read(directory.join(RECORD)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }
}

/// One build, in a directory of its own that only the server can enter yet.
pub(super) struct Build<'a> {
    pub(super) settings: &'a Settings,
    pub(super) uv: &'a Uv,
    pub(super) work: &'a Path,
    pub(super) request: RestoreRequest<'a>,
    pub(super) wanted: &'a Requirements,
    pub(super) server: Option<&'static str>,
}

impl Build<'_> {
    /// Has uv make the environment and install into it.
    pub(super) async fn run(&self, log: Log<'_>, cancel: &CancellationToken) -> Result<(), RestoreError> {
        let (work, tree, local, account) =
            (self.work.to_owned(), self.request.tree.to_owned(), self.wanted.local, self.settings.account);
        let laid_out = tokio::task::spawn_blocking(move || lay_out(&work, local.then_some(&tree), account)).await;
        let laid_out = laid_out.unwrap_or_else(|error| Err(io::Error::other(error)));
        laid_out.map_err(|cause| RestoreError::Io { what: "prepare", path: self.work.to_owned(), cause })?;

        let environment = self.work.join("env");
        let interpreter = text(&self.request.interpreter.path);
        let place = text(&environment);
        // Relocatable, because it is renamed when it is whole.
        let venv =
            ["venv", "--no-config", "--no-project", "--relocatable", "--quiet", "--python", &interpreter, &place];
        self.uv("creating the environment", &venv, log, cancel).await?;

        let python = text(&environment.join("bin/python"));
        let mut install = vec!["pip", "install", "--no-config", "--compile-bytecode", "--python", &python];
        let exported = text(&self.work.join("home/requirements.txt"));
        match &self.wanted.source {
            Source::Nothing => {}
            Source::File(name) => install.extend(["-r", name]),
            Source::Lock(name) => {
                let project = Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty());
                let project = text(project.unwrap_or(Path::new(".")));
                let mut export = vec!["export", "--quiet", "--frozen", "--no-emit-project", "--no-dev", "--no-header"];
                export.extend(["--no-annotate", "--python", &interpreter, "--project", &project]);
                export.extend(["--output-file", &exported]);
                self.uv("reading uv.lock", &export, log, cancel).await?;
                install.extend(["-r", &exported]);
            }
        }
        install.extend(self.server);
        if self.wanted.source == Source::Nothing && self.server.is_none() {
            return Ok(());
        }
        self.uv("installing packages", &install, log, cancel).await
    }

    /// Seals what was built, writes its record and gives it its name.
    pub(super) async fn finish(&self, target: &Path) -> io::Result<()> {
        let record = serde_json::to_vec_pretty(&Record {
            python_version: self.request.interpreter.version.clone(),
            interpreter: self.request.interpreter.path.clone(),
            uv_version: self.uv.version.clone(),
            requirements: self.wanted.text.clone(),
        })?;
        let (work, target, take) = (self.work.to_owned(), target.to_owned(), self.settings.account.is_some());
        let finished = tokio::task::spawn_blocking(move || finish(&work, &target, &record, take)).await;
        finished.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    async fn uv(
        &self,
        step: &'static str,
        args: &[&str],
        log: Log<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), RestoreError> {
        let order = Order {
            program: &self.uv.path,
            args: args.iter().map(Into::into).collect(),
            env: self.variables(),
            directory: if self.wanted.local { self.work.join(BUNDLE) } else { self.request.tree.to_owned() },
            account: self.settings.account,
            timeout: self.settings.timeout,
            yard: self.settings.fence.as_ref().map(|fence| self.yard(fence)),
        };
        let mut words = VecDeque::new();
        let hidden = [text(&self.work.join("env/")), text(&self.work.join(BUNDLE)), text(self.work)];
        let mut on_line = |stream, line: &str| {
            // Paths that exist only during the build say nothing to the publisher.
            let line = hidden.iter().fold(line.to_owned(), |line, path| line.replace(path.as_str(), ""));
            if line.starts_with("Using Python ") {
                return;
            }
            log(&line);
            if stream == Stream::Stderr {
                words.push_back(line);
                if words.len() > ERROR_LINES {
                    words.pop_front();
                }
            }
        };
        let status = process::run(order, cancel, &mut on_line).await;
        let status = status.map_err(|cause| RestoreError::Unfinished { step, cause })?;
        if status.success() {
            return Ok(());
        }
        let words = words.into_iter().collect::<Vec<_>>().join("\n");
        Err(RestoreError::Refused { step, status: status.to_string(), words })
    }

    /// What a build sees of this host.
    fn yard<'f>(&self, fence: &'f Fence) -> Yard<'f> {
        let mut read_only = interpreters::trees(&self.request.interpreter.path);
        read_only.extend([self.uv.path.clone(), self.request.tree.to_owned()]);
        // Where the index's certificates or packages are, if they are files.
        let files = self.settings.variables.iter().map(|(_, value)| PathBuf::from(value));
        read_only.extend(files.filter(|path| path.is_absolute() && path.exists()));
        let writable = vec![self.work.to_owned(), self.settings.directory.join(".uv-cache")];
        let variables = self.settings.variables.iter().map(|(_, value)| value);
        let urls = variables.chain(&self.settings.index_url).filter(|value| value.contains("://")).cloned().collect();
        Yard { fence, read_only, writable, urls }
    }

    /// uv's whole environment.
    fn variables(&self) -> Vec<(String, String)> {
        let own = [
            ("HOME", text(&self.work.join("home"))),
            ("TMPDIR", text(&self.work.join("tmp"))),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("LANG", "C.UTF-8".into()),
            ("NO_COLOR", "1".into()),
            ("UV_CACHE_DIR", text(&self.settings.directory.join(".uv-cache"))),
            // Environments are given to root when they are done, and must not share files with the account's cache.
            ("UV_LINK_MODE", "copy".into()),
            // The copy of the bundle that is built from does not last.
            ("UV_NO_EDITABLE", "1".into()),
            ("UV_NO_PROGRESS", "1".into()),
            ("UV_PYTHON_DOWNLOADS", "never".into()),
            // The host's certificates, under the new and the old name.
            ("UV_SYSTEM_CERTS", "1".into()),
            ("UV_NATIVE_TLS", "1".into()),
        ];
        let mut env = self.settings.variables.clone();
        if let Some(url) = &self.settings.index_url {
            env.retain(|(name, _)| name != "UV_INDEX_URL");
            env.push(("UV_DEFAULT_INDEX".into(), url.clone()));
        }
        env.extend(own.map(|(name, value)| (name.to_owned(), value)));
        env
    }
}

/// Where a copy of the bundle is, inside a build's directory.
const BUNDLE: &str = "bundle";

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Lays out a build's directory and then opens it to the account: home, temporary files, and, when packages of the bundle
/// itself are installed, a copy of the bundle, because building writes beside the sources.
fn lay_out(work: &Path, bundle: Option<&PathBuf>, account: Option<Account>) -> io::Result<()> {
    if let Some(bundle) = bundle {
        copy_tree(bundle, &work.join(BUNDLE), account)?;
    }
    // The whole comes last: then root has written all it will.
    for name in ["home", "tmp", ""] {
        let path = work.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        if let Some(account) = account {
            chown(&path, Some(account.uid), Some(account.gid))?;
        }
    }
    Ok(())
}

/// Copies a tree, writable for its new owner.
fn copy_tree(from: &Path, to: &Path, account: Option<Account>) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
    } else if meta.is_dir() {
        fs::create_dir(to)?;
        for entry in from.read_dir()? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()), account)?;
        }
    } else {
        fs::copy(from, to)?;
        let executable = meta.permissions().mode() & 0o100 != 0;
        fs::set_permissions(to, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    }
    match account {
        Some(account) => lchown(to, Some(account.uid), Some(account.gid)),
        None => Ok(()),
    }
}

fn finish(work: &Path, target: &Path, record: &[u8], take: bool) -> io::Result<()> {
    let environment = work.join("env");
    if take {
        chown(work, Some(0), Some(0))?;
    }
    if !fs::symlink_metadata(&environment)?.is_dir() {
        return Err(io::Error::other("the build left no directory"));
    }
    seal(&environment, take)?;
    let path = environment.join(RECORD);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create_new(&path)?.write_all(record)?;
    fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    // A power cut after the rename must not leave empty files under a good name.
    nix::unistd::syncfs(File::open(&environment)?.as_fd())?;
    fs::rename(&environment, target)?;
    match target.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn writes_through_no_link_that_a_build_left() {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let work = root.path().join("work");
        fs::create_dir_all(work.join("env")).unwrap();
        std::os::unix::fs::symlink(&victim, work.join("env").join(RECORD)).unwrap();
        let take = nix::unistd::geteuid().is_root();
        finish(&work, &root.path().join("done"), b"{}", take).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(root.path().join("done").join(RECORD)).unwrap(), "{}");

        std::os::unix::fs::symlink(root.path(), work.join("env")).unwrap();
        let swapped = finish(&work, &root.path().join("other"), b"{}", take).unwrap_err();
        assert_eq!(swapped.to_string(), "the build left no directory");
    }
}
