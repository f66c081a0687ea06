//! One client's connection: requests in, answers and events out.

use std::io::{self, Cursor};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, Chain};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::sync::CancellationToken;

use crate::freeze::frost;
use crate::identity::identity;
use crate::passing::{self, Incoming};
use crate::protocol::{
    Command, ErrorCode, Event, Greeting, Kept, Line, MAX_LINE_BYTES, OLDEST, Refusal, Request, VERSION, agree,
};
use crate::registry::{Registry, Upgrade};
use crate::state::ConnectionRest;

/// How long a client may take to say hello.
const HELLO: Duration = Duration::from_secs(10);

/// How long a client may take to read one line; one that takes longer is cut off, lists again when it is back.
const WRITE: Duration = Duration::from_secs(10);

/// Answers that may wait to be written. A client that sends without reading is no longer read from.
const OUTBOX: usize = 64;

enum Out {
    Line(Line),
    /// With descriptors.
    With(Line, Vec<OwnedFd>),
    Events(broadcast::Receiver<Arc<str>>),
    /// Answered when all before it is written.
    Flushed(oneshot::Sender<()>),
}

/// What a connection has come to.
#[derive(Default)]
struct Talk {
    /// The version that was agreed on, once it was.
    version: Option<u32>,
    watches: bool,
    /// The request to replace this program that it waits for.
    upgrade: Option<(u64, oneshot::Receiver<Refusal>)>,
}

/// What a connection is read from: what was read before this program took the place of another, and then the socket.
type Lines = FramedRead<Chain<Cursor<Vec<u8>>, Incoming>, LinesCodec>;

/// Serves one client until it leaves. `shutdown` is cancelled when it asks for the end of the supervisor.
pub(crate) async fn serve(stream: UnixStream, registry: Arc<Registry>, shutdown: CancellationToken) {
    let (out, outbox) = mpsc::channel(OUTBOX);
    converse(stream, Vec::new(), Talk::default(), (out, outbox), registry, shutdown).await;
}

/// Goes on with a connection of the program before this one; `refused`: why this one is not another.
pub(crate) async fn again(
    stream: UnixStream,
    rest: ConnectionRest,
    refused: Option<Refusal>,
    registry: Arc<Registry>,
    shutdown: CancellationToken,
) {
    let (out, outbox) = mpsc::channel(OUTBOX);
    if rest.watches {
        // It missed nothing yet, but there is no telling what was on its way: it lists.
        let _ = out.try_send(Out::Line(Line { event: Some(Event::Lagged { missed: 0 }), ..Line::default() }));
        let _ = out.try_send(Out::Events(registry.watch()));
    }
    if let Some(id) = rest.upgrade {
        let line = match refused {
            None => answer(id, to_value(greeting(&registry, rest.version.unwrap_or(VERSION)))),
            Some(refusal) => answer(id, Err(refusal)),
        };
        let _ = out.try_send(Out::Line(line));
    }
    let talk = Talk { version: rest.version, watches: rest.watches, upgrade: None };
    converse(stream, rest.unread, talk, (out, outbox), registry, shutdown).await;
}

async fn converse(
    stream: UnixStream,
    unread: Vec<u8>,
    mut talk: Talk,
    (out, outbox): (mpsc::Sender<Out>, mpsc::Receiver<Out>),
    registry: Arc<Registry>,
    shutdown: CancellationToken,
) {
    let _open = registry.freeze.open();
    let socket = stream.as_raw_fd();
    let (reader, writer) = stream.into_split();
    let reader = Cursor::new(unread).chain(Incoming::new(reader));
    let mut lines: Lines = FramedRead::new(reader, LinesCodec::new_with_max_length(MAX_LINE_BYTES));
    let mut freeze = registry.freeze.watch();
    let held = registry.clone();
    let answer = async move {
        loop {
            let line = tokio::select! {
                biased;
                () = frost(&mut freeze) => {
                    let (flushed, done) = oneshot::channel();
                    if out.send(Out::Flushed(flushed)).await.is_err() || done.await.is_err() {
                        return;
                    }
                    let rest = ConnectionRest {
                        socket,
                        unread: unread_of(&lines),
                        version: talk.version,
                        watches: talk.watches,
                        upgrade: talk.upgrade.as_ref().map(|(id, _)| *id),
                    };
                    if *freeze.borrow() {
                        registry.freeze.rest_connection(rest).await;
                    }
                    continue;
                }
                refusal = refused(&mut talk.upgrade) => {
                    let Some((id, refusal)) = refusal else { return };
                    if out.send(Out::Line(self::answer(id, Err(refusal)))).await.is_err() {
                        return;
                    }
                    continue;
                }
                line = next_line(&mut lines, talk.version.is_some()), if talk.upgrade.is_none() => line,
            };
            // What comes with a line that does not speak of it is closed.
            let arrived = lines.get_mut().get_mut().1.take();
            let reply = match line {
                Some(Ok(line)) => handle(&line, &mut talk, &registry, &shutdown, (socket, arrived)),
                Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                    let text = format!("a line may have {MAX_LINE_BYTES} bytes");
                    let refusal = Refusal::new(ErrorCode::LineTooLong, text);
                    Reply { last: true, ..Reply::refused(None, refusal) }
                }
                Some(Err(LinesCodecError::Io(_))) | None => return,
            };
            if let Some(line) = reply.line
                && out.send(Out::With(line, reply.descriptors)).await.is_err()
            {
                return;
            }
            if reply.last {
                return;
            }
            if let Some(events) = reply.events
                && out.send(Out::Events(events)).await.is_err()
            {
                return;
            }
        }
    };
    // Either end of the connection ends it: nobody answers a client that does not read.
    tokio::join!(answer, write_out(writer, outbox));
    held.held.left(socket);
}

/// The next line; `None` at the end, or when nobody says hello in time. May be dropped.
async fn next_line(lines: &mut Lines, greeted: bool) -> Option<Result<String, LinesCodecError>> {
    if greeted {
        return lines.next().await;
    }
    tokio::time::timeout(HELLO, lines.next()).await.unwrap_or(None)
}

/// What was read and is in no line yet.
fn unread_of(lines: &Lines) -> Vec<u8> {
    let (before, _) = lines.get_ref().get_ref();
    let mut unread = lines.read_buffer().to_vec();
    unread.extend_from_slice(before.get_ref().get(before.position() as usize..).unwrap_or_default());
    unread
}

/// Why this program is not replaced; `None` when nobody will say.
async fn refused(upgrade: &mut Option<(u64, oneshot::Receiver<Refusal>)>) -> Option<(u64, Refusal)> {
    match upgrade {
        None => std::future::pending().await,
        Some((id, refused)) => {
            let (id, refusal) = (*id, refused.await.ok());
            *upgrade = None;
            refusal.map(|refusal| (id, refusal))
        }
    }
}

struct Reply {
    /// `None`: the answer comes later.
    line: Option<Line>,
    /// Sent with the line.
    descriptors: Vec<OwnedFd>,
    /// Sent after the line.
    events: Option<broadcast::Receiver<Arc<str>>>,
    /// Whether the connection ends with it.
    last: bool,
}

impl Reply {
    fn refused(id: Option<u64>, error: Refusal) -> Self {
        let line = Some(Line { id, error: Some(error), ..Line::default() });
        Self { line, descriptors: Vec::new(), events: None, last: false }
    }
}

/// `arrived`: this connection, and the descriptors that came with the line.
fn handle(
    line: &str,
    talk: &mut Talk,
    registry: &Arc<Registry>,
    shutdown: &CancellationToken,
    (socket, arrived): (RawFd, Vec<OwnedFd>),
) -> Reply {
    let Request { id, command } = match Request::parse(line) {
        Ok(request) => request,
        Err((id, refusal)) => return Reply::refused(id, refusal),
    };
    let (mut events, mut descriptors) = (None, Vec::new());
    let result = match command {
        Command::Hello { version, oldest } => match agree(oldest.unwrap_or(version), version) {
            Some(agreed) => {
                talk.version = Some(agreed);
                if agreed < 3 && registry.held.is_orphaned() {
                    // A server that does not know of them has bound sockets of its own, and clients would be spread over both.
                    registry.held.release();
                }
                to_value(greeting(registry, agreed))
            }
            None => {
                let theirs = oldest.map_or_else(|| version.to_string(), |oldest| format!("{oldest} to {version}"));
                let text = format!("this supervisor speaks versions {OLDEST} to {VERSION}, not {theirs}");
                Err(Refusal::new(ErrorCode::Version, text))
            }
        },
        Command::Ping => Ok(json!({})),
        Command::Shutdown => {
            shutdown.cancel();
            Ok(json!({}))
        }
        Command::Upgrade { program } => {
            let (refused, waits) = oneshot::channel();
            match registry.upgrades.try_send(Upgrade { program, refused }) {
                Ok(()) => {
                    talk.upgrade = Some((id, waits));
                    return Reply { line: None, descriptors, events: None, last: false };
                }
                Err(_) => Err(Refusal::new(ErrorCode::Busy, "the supervisor is being replaced already, or is ending")),
            }
        }
        _ if talk.version.is_none() => Err(Refusal::new(ErrorCode::HelloFirst, "the first request must be hello")),
        Command::Start { spec } => registry.start(*spec).and_then(to_value),
        Command::Stop { job, grace } => registry.stop(&job, grace).and_then(to_value),
        Command::List => to_value(registry.list()),
        Command::Status { job } => registry.status(&job).and_then(to_value),
        Command::Keep => {
            registry.held.keep(arrived, socket);
            Ok(json!({}))
        }
        Command::Kept => match registry.held.copies() {
            Ok(copies) => {
                descriptors = copies;
                to_value(Kept { sockets: descriptors.len() })
            }
            Err(error) => Err(Refusal::new(ErrorCode::Other, format!("copy the listening sockets: {error}"))),
        },
        Command::Release => {
            registry.held.release();
            Ok(json!({}))
        }
        Command::Zygotes => to_value(registry.zygotes.list()),
        Command::EndZygote { name } => to_value(registry.zygotes.end(&name)),
        Command::Watch => {
            talk.watches = true;
            events = Some(registry.watch());
            Ok(json!({}))
        }
    };
    Reply { line: Some(answer(id, result)), descriptors, events, last: false }
}

fn answer(id: u64, result: Result<Value, Refusal>) -> Line {
    match result {
        Ok(ok) => Line { id: Some(id), ok: Some(ok), ..Line::default() },
        Err(refusal) => Line { id: Some(id), error: Some(refusal), ..Line::default() },
    }
}

fn greeting(registry: &Registry, version: u32) -> Greeting {
    let program = (version >= 3).then(identity);
    Greeting { version, pid: std::process::id(), started_at: registry.started_at, program }
}

fn to_value(answer: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer)
        .map_err(|error| Refusal::new(ErrorCode::Other, format!("cannot write the answer as JSON: {error}")))
}

/// Writes answers in order, and events between them once they are asked for.
async fn write_out(mut writer: OwnedWriteHalf, mut outbox: mpsc::Receiver<Out>) {
    let mut events: Option<broadcast::Receiver<Arc<str>>> = None;
    loop {
        let mut with = Vec::new();
        let line: Arc<str> = tokio::select! {
            out = outbox.recv() => match out {
                Some(Out::Line(line)) => to_line(&line),
                Some(Out::With(line, descriptors)) => {
                    with = descriptors;
                    to_line(&line)
                }
                Some(Out::Events(receiver)) => {
                    events = Some(receiver);
                    continue;
                }
                Some(Out::Flushed(flushed)) => {
                    let _ = flushed.send(());
                    continue;
                }
                None => return,
            },
            event = next(&mut events), if events.is_some() => match event {
                Ok(line) => line,
                Err(missed) => to_line(&Line { event: Some(Event::Lagged { missed }), ..Line::default() }),
            },
        };
        let written = if with.is_empty() {
            write_line(&mut writer, &line).await
        } else {
            write_with(&mut writer, &line, &with).await
        };
        if written.is_err() {
            return;
        }
    }
}

/// Writes one line with descriptors within [`WRITE`].
pub(crate) async fn write_with(writer: &mut OwnedWriteHalf, line: &str, descriptors: &[OwnedFd]) -> io::Result<()> {
    let sent = tokio::time::timeout(WRITE, passing::send(writer.as_ref(), line.as_bytes(), descriptors));
    let sent = sent.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    write_line(writer, line.get(sent..).unwrap_or_default()).await
}

/// The next event, or how many were missed.
async fn next(events: &mut Option<broadcast::Receiver<Arc<str>>>) -> Result<Arc<str>, u64> {
    match events {
        Some(receiver) => match receiver.recv().await {
            Ok(line) => Ok(line),
            Err(broadcast::error::RecvError::Lagged(missed)) => Err(missed),
            // The registry lives as long as the supervisor.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

fn to_line(line: &Line) -> Arc<str> {
    serde_json::to_string(line).expect("numbers, strings and JSON values are written as JSON").into()
}

/// Writes one line within [`WRITE`].
pub(crate) async fn write_line(writer: &mut (impl AsyncWrite + Unpin), line: &str) -> io::Result<()> {
    let write = async {
        writer.write_all(line.as_bytes()).await?;
        writer.write_all(b"\n").await
    };
    tokio::time::timeout(WRITE, write).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Refuses a connection before it is served.
pub(crate) async fn refuse(mut stream: UnixStream, refusal: Refusal) {
    let line = to_line(&Line { error: Some(refusal), ..Line::default() });
    let _ = write_line(&mut stream, &line).await;
}
