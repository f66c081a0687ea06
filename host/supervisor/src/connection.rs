//! One client's connection: requests in, answers and events out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{broadcast, mpsc};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::sync::CancellationToken;

use crate::protocol::{Command, ErrorCode, Event, Greeting, Line, MAX_LINE_BYTES, Refusal, Request, VERSION};
use crate::registry::Registry;

/// How long a client may take to say hello.
const HELLO: Duration = Duration::from_secs(10);

/// How long a client may take to read one line; one that takes longer is cut off, lists again when it is back.
const WRITE: Duration = Duration::from_secs(10);

/// Answers that may wait to be written. A client that sends without reading is no longer read from.
const OUTBOX: usize = 64;

enum Out {
    Line(Line),
    Events(broadcast::Receiver<Arc<str>>),
}

/// Serves one client until it leaves. `shutdown` is cancelled when it asks for the end of the supervisor.
pub(crate) async fn serve(stream: UnixStream, registry: Arc<Registry>, shutdown: CancellationToken) {
    let (reader, writer) = stream.into_split();
    let (out, outbox) = mpsc::channel(OUTBOX);
    let mut lines = FramedRead::new(reader, LinesCodec::new_with_max_length(MAX_LINE_BYTES));
    let answer = async move {
        let mut greeted = false;
        loop {
            let line = if greeted {
                lines.next().await
            } else {
                match tokio::time::timeout(HELLO, lines.next()).await {
                    Ok(line) => line,
                    Err(_) => return,
                }
            };
            let reply = match line {
                Some(Ok(line)) => handle(&line, &mut greeted, &registry, &shutdown),
                Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                    let text = format!("a line may have {MAX_LINE_BYTES} bytes");
                    let refusal = Refusal::new(ErrorCode::LineTooLong, text);
                    Reply { last: true, ..Reply::refused(None, refusal) }
                }
                Some(Err(LinesCodecError::Io(_))) | None => return,
            };
            if out.send(Out::Line(reply.line)).await.is_err() || reply.last {
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
}

struct Reply {
    line: Line,
    /// Sent after the line.
    events: Option<broadcast::Receiver<Arc<str>>>,
    /// Whether the connection ends with it.
    last: bool,
}

impl Reply {
    fn refused(id: Option<u64>, error: Refusal) -> Self {
        Self { line: Line { id, error: Some(error), ..Line::default() }, events: None, last: false }
    }
}

fn handle(line: &str, greeted: &mut bool, registry: &Arc<Registry>, shutdown: &CancellationToken) -> Reply {
    let Request { id, command } = match Request::parse(line) {
        Ok(request) => request,
        Err((id, refusal)) => return Reply::refused(id, refusal),
    };
    let mut events = None;
    let result = match command {
        Command::Hello { version } if version == VERSION => {
            *greeted = true;
            let (pid, started_at) = (std::process::id(), registry.started_at);
            to_value(Greeting { version: VERSION, pid, started_at })
        }
        Command::Hello { version } => {
            let text = format!("this supervisor speaks version {VERSION}, not {version}");
            Err(Refusal::new(ErrorCode::Version, text))
        }
        Command::Ping => Ok(json!({})),
        Command::Shutdown => {
            shutdown.cancel();
            Ok(json!({}))
        }
        _ if !*greeted => Err(Refusal::new(ErrorCode::HelloFirst, "the first request must be hello")),
        Command::Start { spec } => registry.start(*spec).and_then(to_value),
        Command::Stop { job, grace } => registry.stop(&job, grace).and_then(to_value),
        Command::List => to_value(registry.list()),
        Command::Status { job } => registry.status(&job).and_then(to_value),
        Command::Watch => {
            events = Some(registry.watch());
            Ok(json!({}))
        }
    };
    match result {
        Ok(ok) => Reply { line: Line { id: Some(id), ok: Some(ok), ..Line::default() }, events, last: false },
        Err(refusal) => Reply::refused(Some(id), refusal),
    }
}

fn to_value(answer: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer)
        .map_err(|error| Refusal::new(ErrorCode::Other, format!("cannot write the answer as JSON: {error}")))
}

/// Writes answers in order, and events between them once they are asked for.
async fn write_out(mut writer: OwnedWriteHalf, mut outbox: mpsc::Receiver<Out>) {
    let mut events: Option<broadcast::Receiver<Arc<str>>> = None;
    loop {
        let line: Arc<str> = tokio::select! {
            out = outbox.recv() => match out {
                Some(Out::Line(line)) => to_line(&line),
                Some(Out::Events(receiver)) => {
                    events = Some(receiver);
                    continue;
                }
                None => return,
            },
            event = next(&mut events), if events.is_some() => match event {
                Ok(line) => line,
                Err(missed) => to_line(&Line { event: Some(Event::Lagged { missed }), ..Line::default() }),
            },
        };
        if write_line(&mut writer, &line).await.is_err() {
            return;
        }
    }
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
