//! Zygotes, and the workers in their cells, over a change of the supervisor's program.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex};

use lectern_confinement::Warden;
use lectern_domain::worker::ExitStatus;
use nix::libc::SIGKILL;
use nix::unistd;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::begin::{self, Remains};
use super::fork::{self, Fork};
use super::{Life, Use, Zygote};
use crate::capture::Capture;
use crate::procs;
use crate::protocol::Usage;
use crate::registry::{Reaped, Registry};
use crate::state::{ForkRest, ZygoteRest};

impl Zygote {
    /// How it stands, once its output is at rest; `None` when its cell is gone.
    pub(super) async fn rest(&self, remains: &Remains) -> Option<ZygoteRest> {
        let capture = remains.capture.rest().await;
        let cell = self.words.lock().await.as_ref()?.rest();
        let life = self.life();
        Some(ZygoteRest {
            number: self.number,
            name: self.name.clone(),
            content: self.content,
            bundle: self.bundle,
            account: self.account,
            private: self.private.clone(),
            leader: self.leader,
            leader_started: procs::read(self.leader).map(|seen| seen.started),
            reaped: false,
            pid: self.pid,
            started_at: self.started_at,
            limits: self.limits,
            control: self.control.as_raw_fd(),
            cell,
            forks: life.forks,
            idle: life.last_used.elapsed(),
            retiring: life.retiring,
            capture,
            group: remains.group.clone(),
        })
    }

    /// Goes on with one, whose output `capture` carries; `claim` gives the descriptor of a number, once.
    pub(crate) fn again(
        registry: &Arc<Registry>,
        rest: ZygoteRest,
        capture: Capture,
        mut claim: impl FnMut(RawFd) -> io::Result<OwnedFd>,
    ) -> io::Result<Arc<Self>> {
        let seen = procs::read(rest.leader).map(|seen| (seen.parent, seen.started));
        let reaped = if rest.reaped || !rest.is(seen, unistd::getpid().as_raw()) {
            let (ended, reaped) = oneshot::channel();
            // It is held below.
            let _ = ended.send((ExitStatus::Signal(SIGKILL), Instant::now(), Usage::default()));
            reaped
        } else {
            registry.lead(rest.leader)
        };
        let control = StdUnixStream::from(claim(rest.control)?);
        control.set_nonblocking(true)?;
        let (words, reports) = Warden::again(rest.cell, claim)?.split();
        let now = Instant::now();
        let life = Life {
            workers: 0,
            forks: rest.forks,
            last_used: now.checked_sub(rest.idle).unwrap_or(now),
            retiring: rest.retiring,
            sweeps: VecDeque::new(),
        };
        let zygote = Arc::new(Self {
            number: rest.number,
            name: rest.name,
            content: rest.content,
            bundle: rest.bundle,
            account: rest.account,
            private: rest.private,
            leader: rest.leader,
            pid: rest.pid,
            started_at: rest.started_at,
            limits: rest.limits,
            control: UnixStream::from_std(control)?,
            words: tokio::sync::Mutex::new(Some(words)),
            life: Mutex::new(life),
            end: CancellationToken::new(),
            gone: CancellationToken::new(),
        });
        registry.zygotes.adopt(&zygote);
        let remains = Remains { capture, group: rest.group };
        let own = begin::own(Arc::clone(registry), Arc::clone(&zygote), reaped, reports, remains);
        registry.zygotes.tasks.spawn(own);
        Ok(zygote)
    }
}

impl Fork {
    /// How it stands. Nothing that was said to it or by it is half said: both are single words.
    pub(crate) fn rest(&self) -> ForkRest {
        let status: &UnixStream = self.orders.as_ref();
        ForkRest {
            zygote: self.place.0.number,
            keeper: self.keeper.as_raw_fd(),
            inside: self.inside,
            status: status.as_raw_fd(),
            socket: self.socket.clone(),
            home: self.home.clone(),
        }
    }

    /// Goes on with a worker in the cell of `zygote`; what answers when it has ended.
    pub(crate) fn again(
        registry: &Registry,
        rest: ForkRest,
        zygote: &Arc<Zygote>,
        mut claim: impl FnMut(RawFd) -> io::Result<OwnedFd>,
    ) -> io::Result<(Self, oneshot::Receiver<Reaped>)> {
        let (keeper, status) = (claim(rest.keeper)?, StdUnixStream::from(claim(rest.status)?));
        status.set_nonblocking(true)?;
        let (reports, orders) = UnixStream::from_std(status)?.into_split();
        let watched = fork::watched(&keeper)?;
        let (ended, reaped) = oneshot::channel();
        registry.zygotes.tasks.spawn(fork::watch(reports, watched, registry.freeze.watch(), ended));
        let place = Use::again(zygote);
        let fork = Self { place, keeper, inside: rest.inside, orders, socket: rest.socket, home: rest.home };
        Ok((fork, reaped))
    }
}
