//! Listening sockets that the supervisor keeps for the next server: given and asked for on a connection of their own.

use std::os::fd::OwnedFd;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;

use super::{ANSWER, ClientError, connect};
use crate::connection::{write_line, write_with};
use crate::passing::Incoming;
use crate::protocol::{Command, ErrorCode, Greeting, Kept, Line, MAX_LINE_BYTES, Request, VERSION};

/// Sockets that are kept. When this is dropped without [`Keeping::release`], as by a crash, they are kept for another minute, for
/// the next server.
#[derive(Debug)]
pub struct Keeping {
    talk: Talk,
}

impl Keeping {
    /// Gives copies of `sockets` to the supervisor on `socket`, in place of what it keeps. Fails with
    /// [`ErrorCode::Version`] where it is too old to keep any. At most 250.
    pub async fn begin(socket: &Path, sockets: &[OwnedFd]) -> Result<Self, ClientError> {
        let mut talk = Talk::begin(socket).await?;
        let _: Value = talk.ask(Command::Keep, sockets).await?;
        Ok(Self { talk })
    }

    /// Has them let go: nobody will come for them.
    pub async fn release(mut self) -> Result<(), ClientError> {
        self.talk.ask::<Value>(Command::Release, &[]).await.map(drop)
    }
}

/// Copies of the sockets that the supervisor on `socket` keeps: none also where no supervisor runs, or one that is too old.
pub async fn kept_sockets(socket: &Path) -> Result<Vec<OwnedFd>, ClientError> {
    let mut talk = match Talk::begin(socket).await {
        Err(ClientError::NotRunning { .. } | ClientError::Refused { code: ErrorCode::Version, .. }) => {
            return Ok(Vec::new());
        }
        begun => begun?,
    };
    let Kept { sockets } = talk.ask(Command::Kept, &[]).await?;
    let arrived = talk.reader.get_mut().take();
    if arrived.len() == sockets { Ok(arrived) } else { Err(ClientError::Gone) }
}

/// Lets go what the supervisor on `socket` keeps, if it keeps anything.
pub async fn release_sockets(socket: &Path) -> Result<(), ClientError> {
    let mut talk = Talk::begin(socket).await?;
    talk.ask::<Value>(Command::Release, &[]).await.map(drop)
}

/// One question after the other.
#[derive(Debug)]
struct Talk {
    reader: BufReader<Incoming>,
    writer: OwnedWriteHalf,
    asked: u64,
}

impl Talk {
    async fn begin(socket: &Path) -> Result<Self, ClientError> {
        let (reader, writer) = connect(socket).await?.into_split();
        let mut talk = Self { reader: BufReader::new(Incoming::new(reader)), writer, asked: 0 };
        // The version that these words came with, so that an older supervisor refuses.
        let _: Greeting = talk.ask(Command::Hello { version: VERSION, oldest: Some(3) }, &[]).await?;
        Ok(talk)
    }

    async fn ask<T: DeserializeOwned>(&mut self, command: Command, descriptors: &[OwnedFd]) -> Result<T, ClientError> {
        self.asked += 1;
        let line = serde_json::to_string(&Request { id: self.asked, command }).map_err(ClientError::Protocol)?;
        let exchange = async {
            let written = match descriptors {
                [] => write_line(&mut self.writer, &line).await,
                some => write_with(&mut self.writer, &line, some).await,
            };
            written.map_err(|_| ClientError::Gone)?;
            let mut answer = String::new();
            let most = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
            let read = (&mut self.reader).take(most).read_line(&mut answer).await.map_err(|_| ClientError::Gone)?;
            if read == 0 {
                return Err(ClientError::Gone);
            }
            let line: Line = serde_json::from_str(&answer).map_err(ClientError::Protocol)?;
            match line.error {
                Some(refusal) => Err(ClientError::Refused { code: refusal.code, message: refusal.message }),
                None => serde_json::from_value(line.ok.unwrap_or_default()).map_err(ClientError::Protocol),
            }
        };
        let answer = tokio::time::timeout(ANSWER, exchange).await;
        answer.map_err(|_| ClientError::Timeout { what: "wait for an answer", limit: ANSWER })?
    }
}
