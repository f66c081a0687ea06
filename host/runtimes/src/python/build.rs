//! One build of an environment: what uv is asked, as whom, with which variables, and how the result is made safe.
//!
//! All builds run as the same account; see [`crate::workshop`].

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::environments::{RestoreError, RestoreRequest, Settings};
use super::requirements::{Requirements, Source};
use super::uv::Uv;
use crate::Log;
use crate::fence::{Fence, Yard};
use crate::interpreters;
use crate::process::{self, Order, Stream};
use crate::workshop::{self, BUNDLE, RECORD};

/// Lines of uv's last words that an error repeats.
const ERROR_LINES: usize = 40;

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
        let laid_out =
            tokio::task::spawn_blocking(move || workshop::lay_out(&work, local.then_some(&tree), account)).await;
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
        let finished = tokio::task::spawn_blocking(move || workshop::finish(&work, &target, &record, take)).await;
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
        Yard { fence, read_only, writable, urls, offline: false }
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

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
