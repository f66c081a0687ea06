//! Certificates are renewed while the server runs: changed files are read again, and used if they are right.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lectern_edge::TlsSlot;
use tokio_util::sync::CancellationToken;

use super::{load, paths};
use crate::cli::chain;
use crate::config::{Finding, Tls};

/// How often the files are looked at. Renewals come weeks before the old certificate ends; this is for whoever waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How one file looks without being read; `None`: it is not there. Tools write beside it and rename, or write into it.
type Mark = Option<(u64, u64, u64, i64, i64)>;

fn mark(path: &Path) -> Mark {
    let facts = fs::metadata(path).ok()?;
    Some((facts.dev(), facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec()))
}

/// When files that changed are read. Pure: sees marks only.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Changes<M> {
    /// How the files looked that are in use.
    used: M,
    /// How they looked last, when that is different, and whether they were read so.
    last: Option<(M, bool)>,
}

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Read them; `again`: they looked so when they were last read.
    Read {
        again: bool,
    },
}

impl<M: PartialEq> Changes<M> {
    fn new(used: M) -> Self {
        Self { used, last: None }
    }

    /// The files look like this now. They are read when they have looked so twice, since a certificate and its key are not exchanged
    /// at one moment; and again at every look until they can be used.
    fn look(&mut self, now: M) -> Step {
        if now == self.used {
            self.last = None;
            return Step::Nothing;
        }
        match &mut self.last {
            Some((last, read)) if *last == now => Step::Read { again: std::mem::replace(read, true) },
            last => {
                *last = Some((now, false));
                Step::Nothing
            }
        }
    }

    /// What was read is in use.
    fn took(&mut self) {
        if let Some((used, _)) = self.last.take() {
            self.used = used;
        }
    }
}

/// Keeps the listener's certificate in step with its files.
#[derive(Debug)]
pub(crate) struct Renewal {
    tls: Tls,
    slot: Arc<TlsSlot>,
    files: Vec<PathBuf>,
    changes: Changes<Vec<Mark>>,
}

impl Renewal {
    /// Reads the files for the first time.
    pub(crate) fn begin(tls: &Tls) -> anyhow::Result<Self> {
        let files = paths(tls);
        // Before they are read: what changes meanwhile is seen at the next look.
        let marks: Vec<Mark> = files.iter().map(|path| mark(path)).collect();
        let (config, _) = load(tls).context("read the files of server.tls")?;
        let slot = Arc::new(TlsSlot::new(config));
        Ok(Self { tls: tls.clone(), slot, files, changes: Changes::new(marks) })
    }

    /// What the listener takes for each connection.
    pub(crate) fn slot(&self) -> Arc<TlsSlot> {
        Arc::clone(&self.slot)
    }

    /// Looks after the files until `stop`. May be dropped at any time.
    pub(crate) async fn follow(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            // The files may lie on a slow disk.
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(renewal) => self = renewal,
                Err(error) => return tracing::error!(%error, "certificates are not renewed any more"),
            }
        }
    }

    fn look(&mut self) {
        let now = self.files.iter().map(|path| mark(path)).collect();
        let Step::Read { again } = self.changes.look(now) else { return };
        match load(&self.tls) {
            Ok((config, warnings)) => {
                tracing::info!(
                    certificate.subject = config.subject(),
                    certificate.sha256 = config.sha256(),
                    certificate.valid_until = config.valid_until(),
                    "new connections get the changed certificate"
                );
                for Finding { key, value, text } in warnings {
                    tracing::warn!("{key} = {value}: {text}");
                }
                self.slot.replace(config);
                self.changes.took();
            }
            Err(error) if !again => {
                tracing::error!(error = chain(&error), "the changed certificate is not used; the one before still is");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_read_when_they_have_settled() {
        let mut changes = Changes::new(1);
        let mut looks = |marks: &[i32]| marks.iter().map(|now| changes.look(*now)).collect::<Vec<_>>();
        const READ: Step = Step::Read { again: false };
        const AGAIN: Step = Step::Read { again: true };
        use Step::Nothing;
        assert_eq!(looks(&[1, 1, 1]), [Nothing; 3]);
        assert_eq!(looks(&[2, 3, 4, 1, 1]), [Nothing; 5], "in motion, and back");
        assert_eq!(looks(&[2, 2, 2, 2]), [Nothing, READ, AGAIN, AGAIN], "read, and not usable");
        assert_eq!(looks(&[3, 3]), [Nothing, READ]);
        changes.took();
        let mut looks = |marks: &[i32]| marks.iter().map(|now| changes.look(*now)).collect::<Vec<_>>();
        assert_eq!(looks(&[3, 3]), [Nothing; 2], "in use");
        assert_eq!(looks(&[1, 1]), [Nothing, READ], "the first files are new files now");
    }
}
