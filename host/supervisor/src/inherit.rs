//! Goes on with what the program before this one had at rest.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;

use lectern_confinement::Warden;
use lectern_domain::worker::ExitStatus;
use nix::sys::signal::Signal;
use nix::unistd;
use tokio::net::unix::pipe::Receiver;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::capture::Capture;
use crate::connection;
use crate::identity::identity;
use crate::log::LogFile;
use crate::procs;
use crate::protocol::{Refusal, Usage};
use crate::registry::Registry;
use crate::resume::Descriptors;
use crate::spawn::{Hold, Process};
use crate::state::{CaptureRest, HoldRest, ProcessRest, State};
use crate::zygote::{Fork, Zygote};

/// Makes again what the program before this one had at rest; the socket for clients.
pub(crate) fn inherit(
    registry: &Arc<Registry>,
    state: State,
    descriptors: &mut Descriptors,
    refused: Option<Refusal>,
    shutdown: &CancellationToken,
) -> io::Result<UnixListener> {
    registry.inherit(&state);
    let (workers, connections) = (state.workers.len(), state.connections.len());
    let me = unistd::getpid().as_raw();
    let mut zygotes = HashMap::new();
    registry.zygotes.count_from(state.last_zygote);
    for mut rest in state.zygotes {
        let capture = captured(registry, rest.capture.take(), descriptors)?;
        let zygote = Zygote::again(registry, rest, capture, |number| descriptors.claim(number))?;
        zygotes.insert(zygote.number(), zygote);
    }
    for mut rest in state.workers {
        let process = match &mut rest.process {
            Some(process) => {
                let seen = procs::read(process.pid).map(|seen| (seen.parent, seen.started));
                if process.reaped.is_none() && !process.is(seen, me) {
                    tracing::error!(job = %rest.spec.job, process.pid, "the process is not the worker's; it counts as killed");
                    process.reaped = Some((ExitStatus::Signal(Signal::SIGKILL as i32), Usage::default()));
                }
                Some(process_again(registry, &rest.spec.socket, process, &zygotes, descriptors)?)
            }
            None => None,
        };
        registry.again(rest, process);
    }
    for zygote in zygotes.values() {
        zygote.settle();
    }
    let held: io::Result<Vec<_>> = state.held.0.iter().map(|number| descriptors.claim(*number)).collect();
    // The numbers stay the same, the giver's connection's, too.
    let giver = state.held.1.filter(|giver| state.connections.iter().any(|rest| rest.socket == *giver));
    registry.held.again(held?, giver);
    for rest in state.connections {
        let stream = std::os::unix::net::UnixStream::from(descriptors.claim(rest.socket)?);
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        tokio::spawn(connection::again(stream, rest, refused.clone(), registry.clone(), shutdown.clone()));
    }
    let listener = std::os::unix::net::UnixListener::from(descriptors.claim(state.listener)?);
    listener.set_nonblocking(true)?;
    tracing::info!(workers, connections, program = identity(), "the supervisor goes on with this program");
    UnixListener::from_std(listener)
}

/// Makes the process of a worker again.
fn process_again(
    registry: &Registry,
    socket: &Path,
    rest: &mut ProcessRest,
    zygotes: &HashMap<u64, Arc<Zygote>>,
    descriptors: &mut Descriptors,
) -> io::Result<Process> {
    let capture = captured(registry, rest.capture.take(), descriptors)?;
    let (hold, reaped) = match &rest.hold {
        HoldRest::Cell(cell) => {
            let warden = Warden::again(cell.clone(), |number| descriptors.claim(number))?;
            let reaped = match rest.reaped {
                None => registry.lead(rest.pid),
                // Nobody asks: it is known how it ended.
                Some(_) => oneshot::channel().1,
            };
            (Hold::Cell(warden), reaped)
        }
        HoldRest::Fork(fork) => {
            let zygote = zygotes.get(&fork.zygote);
            let zygote = zygote.ok_or_else(|| io::Error::other(format!("there is no zygote {}", fork.zygote)))?;
            let (fork, reaped) = Fork::again(registry, fork.clone(), zygote, |number| descriptors.claim(number))?;
            (Hold::Fork(Box::new(fork)), reaped)
        }
    };
    let ready = rest.ready.map(|number| descriptors.claim(number).and_then(Receiver::from_owned_fd)).transpose()?;
    Ok(Process { pid: rest.pid, reaped, capture, hold, group: rest.group.take(), socket: socket.to_owned(), ready })
}

/// Goes on carrying output.
fn captured(registry: &Registry, rest: Option<CaptureRest>, descriptors: &mut Descriptors) -> io::Result<Capture> {
    let Some(rest) = rest else { return Ok(Capture::ended()) };
    let mut stream = |number: Option<RawFd>| number.map(|number| descriptors.claim(number)).transpose();
    let (stdout, stderr) = (stream(rest.stdout)?, stream(rest.stderr)?);
    let log = LogFile::again(rest.log.clone(), descriptors.claim(rest.log.file)?)?;
    Capture::start(stdout, stderr, log, registry.freeze.watch())
}
