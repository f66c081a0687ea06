//! The outer end: brings a process that was just started behind its walls to work, and learns how it ends.

use std::fs::File;
use std::io::{self, Cursor};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Chain};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::Cell;
use crate::cgroup::Group;
use crate::order::{Ended, MAX_LINE_BYTES, Report, Word};
use crate::uplink::Uplink;

/// Why a process did not come to work.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The walls could not be put up.
    #[error("put up the walls: {step}{}", if .words.is_empty() { String::new() } else { format!(" ({words})") })]
    Walls {
        /// What was tried.
        step: &'static str,
        /// What was said meanwhile, by bubblewrap above all.
        words: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// The walls stand, and the program does not run.
    #[error("{step}: {cause}")]
    Inside {
        /// What was tried.
        step: String,
        /// Why it failed.
        cause: String,
        /// Whether a file was not there.
        not_found: bool,
    },
    /// All this took too long.
    #[error("the process did not begin within {limit:?}")]
    TimedOut {
        /// How long it was given.
        limit: Duration,
    },
}

impl EnterError {
    fn walls(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Walls { step, words: String::new(), cause }
    }

    /// With what was said.
    fn with_words(mut self, said: &File) -> Self {
        if let Self::Walls { words, .. } = &mut self {
            let mut bytes = vec![0; MOST_WORDS];
            let length = said.read_at(&mut bytes, 0).unwrap_or(0);
            *words = String::from_utf8_lossy(&bytes[..length]).trim().replace('\n', "; ");
        }
        self
    }
}

/// Most bytes of what was said that are repeated.
const MOST_WORDS: usize = 2048;

/// What was heard before this program took the place of another, and then the socket.
type Heard = BufReader<Chain<Cursor<Vec<u8>>, OwnedReadHalf>>;

/// Watches one process. Dropping it ends the process inside, and its way out of the namespace.
#[derive(Debug)]
pub struct Warden {
    reader: Heard,
    writer: OwnedWriteHalf,
    ended: Option<Ended>,
    uplink: Option<Uplink>,
}

/// A warden at rest: what another program that takes the place of this one, and keeps its descriptors, goes on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// The socket to the first process inside.
    pub control: RawFd,
    /// What was read from it and not understood yet.
    pub heard: Vec<u8>,
    /// The last word, if it has been said.
    pub ended: Option<Ended>,
    /// The way out of the network namespace.
    pub uplink: Option<UplinkRest>,
}

/// An uplink at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkRest {
    /// It lives as long as this is open.
    pub alive: RawFd,
    /// Its process.
    pub pid: u32,
    /// Names the process.
    pub handle: Option<RawFd>,
}

impl UplinkRest {
    /// `None` when it is being ended.
    fn of(uplink: &Uplink) -> Option<Self> {
        let (alive, handle) = uplink.descriptors();
        let (alive, handle) = (alive?.as_raw_fd(), handle.map(|handle| handle.as_raw_fd()));
        Some(Self { alive, pid: uplink.pid(), handle })
    }
}

impl Rest {
    /// The descriptors that are to stay open.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> + '_ {
        let uplink = self.uplink.iter().flat_map(|uplink| std::iter::once(uplink.alive).chain(uplink.handle));
        std::iter::once(self.control).chain(uplink)
    }
}

/// What bubblewrap says of the first process inside.
#[derive(Debug, Deserialize)]
struct Info {
    #[serde(rename = "child-pid")]
    child_pid: u32,
}

impl Warden {
    /// Has the process `pid`, spawned from `cell`, finish its walls and start its program; returns when that runs. It is
    /// put into `group` first, with all that it has started.
    pub async fn enter(cell: Cell, pid: u32, group: Option<&Group>, limit: Duration) -> Result<Self, EnterError> {
        let words = cell.words.try_clone().map_err(EnterError::walls("keep what is said"))?;
        let enter = Self::enter_slowly(cell, pid, group);
        let entered = tokio::time::timeout(limit, enter).await.map_err(|_| EnterError::TimedOut { limit })?;
        entered.map_err(|error| error.with_words(&words))
    }

    async fn enter_slowly(cell: Cell, pid: u32, group: Option<&Group>) -> Result<Self, EnterError> {
        let Cell { command, control, info, order, plan, words, given } = cell;
        drop((command, given, words));
        let first = match info {
            Some(info) => Some(first_inside(info).await.map_err(EnterError::walls("wait for bubblewrap"))?),
            None => None,
        };
        let add = |pid: u32| group.map_or(Ok(()), |group| group.add(pid));
        for pid in [Some(pid), first].into_iter().flatten() {
            add(pid).map_err(EnterError::walls("put the process into its control group"))?;
        }
        let talk = || EnterError::walls("talk to the first process inside");
        let (reader, writer) = converse(control).map_err(talk())?;
        let reader = BufReader::new(Cursor::default().chain(reader));
        let mut warden = Self { reader, writer, ended: None, uplink: None };
        // Not before it is there: bubblewrap sets up the loopback device, and fails if the uplink was faster.
        warden.expect_first().await.map_err(talk())?;
        if let (Some(program), Some(first)) = (&plan.uplink, first) {
            let uplink = Uplink::start(program, first, plan.account.filter(|_| !plan.by_root)).await;
            let uplink = uplink.map_err(EnterError::walls("join the network with slirp4netns"))?;
            add(uplink.pid()).map_err(EnterError::walls("put the uplink into the control group"))?;
            warden.uplink = Some(uplink);
        }
        let told = warden.tell_and_hear(&order).await.map_err(talk())?;
        match told {
            Report::Started => Ok(warden),
            Report::Failed { step, cause, not_found } => Err(EnterError::Inside { step, cause, not_found }),
            Report::Here | Report::Ended(_) | Report::Swept { .. } => {
                Err(talk()(io::Error::other("it says what makes no sense here")))
            }
        }
    }

    async fn expect_first(&mut self) -> io::Result<()> {
        match self.hear().await? {
            Some(Report::Here) => Ok(()),
            Some(other) => Err(io::Error::other(format!("its first word is {other:?}"))),
            None => Err(io::Error::other("it ended before it spoke")),
        }
    }

    async fn tell_and_hear(&mut self, order: &crate::order::Order) -> io::Result<Report> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        // It answers only after it has read all; one that ended answers nothing.
        self.writer.write_all(&line).await?;
        self.hear().await?.ok_or_else(|| io::Error::other("it ended"))
    }

    async fn hear(&mut self) -> io::Result<Option<Report>> {
        hear(&mut self.reader).await
    }

    /// Has the program asked to end.
    pub async fn terminate(&mut self) -> io::Result<()> {
        tell(&mut self.writer, &Word::Term).await
    }

    /// Parts the conversation with the first process of a zygote's cell.
    pub fn split(self) -> (Words, Reports) {
        (Words { writer: self.writer, uplink: self.uplink }, Reports { reader: self.reader })
    }

    /// How it stands, for another program in the place of this one. Nothing else may be under way.
    pub fn rest(&self) -> Rest {
        let (before, socket) = self.reader.get_ref().get_ref();
        let mut heard = self.reader.buffer().to_vec();
        heard.extend_from_slice(before.get_ref().get(before.position() as usize..).unwrap_or_default());
        let control: &UnixStream = socket.as_ref();
        let uplink = self.uplink.as_ref().and_then(UplinkRest::of);
        Rest { control: control.as_fd().as_raw_fd(), heard, ended: self.ended, uplink }
    }

    /// Goes on where `rest` says. `claim` gives the descriptor of a number, once.
    pub fn again(rest: Rest, mut claim: impl FnMut(RawFd) -> io::Result<OwnedFd>) -> io::Result<Self> {
        let uplink = match rest.uplink {
            None => None,
            Some(uplink) => {
                let (alive, handle) = (claim(uplink.alive)?, uplink.handle.map(&mut claim).transpose()?);
                Some(Uplink::again(alive, uplink.pid, handle))
            }
        };
        let (reader, writer) = converse(claim(rest.control)?.into())?;
        let reader = BufReader::new(Cursor::new(rest.heard).chain(reader));
        Ok(Self { reader, writer, ended: rest.ended, uplink })
    }

    /// How the program ended. Call it when the process that was spawned has been reaped: it returns at the end of what was
    /// said inside. `None` when it was ended from outside. May be dropped and called again.
    pub async fn ended(&mut self) -> Option<Ended> {
        while let Ok(Some(report)) = self.hear().await {
            if let Report::Ended(ended) = report {
                self.ended = Some(ended);
            }
        }
        self.ended
    }
}

/// What is told to the first process of a zygote's cell. Dropping it takes the cell's way out of the namespace, and ends the
/// cell once [`Reports`] are dropped, too.
#[derive(Debug)]
pub struct Words {
    writer: OwnedWriteHalf,
    uplink: Option<Uplink>,
}

impl Words {
    /// Ends the way out of the namespace, and returns when nothing is left of it.
    pub async fn close(self) {
        if let Some(uplink) = self.uplink {
            uplink.end().await;
        }
    }

    /// The process with the number `pid` inside keeps a worker.
    pub async fn keep(&mut self, pid: i32) -> io::Result<()> {
        tell(&mut self.writer, &Word::Keep { pid }).await
    }

    /// The process with the number `pid` inside keeps none any more: what is nobody's is to be killed, and these directories
    /// removed. Answered by [`News::Swept`], in the order of the calls.
    pub async fn sweep(&mut self, pid: i32, homes: Vec<PathBuf>) -> io::Result<()> {
        tell(&mut self.writer, &Word::Sweep { pid, homes }).await
    }
}

impl Words {
    /// How the conversation stands, for another program in the place of this one, which makes a [`Warden`] of it and parts
    /// it again. What is heard comes in whole lines, and is understood before anything else happens: nothing is half heard.
    pub fn rest(&self) -> Rest {
        let control: &UnixStream = self.writer.as_ref();
        let uplink = self.uplink.as_ref().and_then(UplinkRest::of);
        Rest { control: control.as_fd().as_raw_fd(), heard: Vec::new(), ended: None, uplink }
    }
}

/// What is heard from the first process of a zygote's cell.
#[derive(Debug)]
pub struct Reports {
    reader: Heard,
}

/// Something that is heard from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The zygote has ended.
    Ended(Ended),
    /// Nothing of the worker is left; `false`: something is.
    Swept(bool),
}

impl Reports {
    /// The next; `None` when there will be none. Must not be dropped before it has answered.
    pub async fn next(&mut self) -> Option<News> {
        match hear(&mut self.reader).await {
            Ok(Some(Report::Ended(ended))) => Some(News::Ended(ended)),
            Ok(Some(Report::Swept { clean })) => Some(News::Swept(clean)),
            Ok(Some(_) | None) | Err(_) => None,
        }
    }
}

async fn tell(writer: &mut OwnedWriteHalf, word: &Word) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

async fn hear(reader: &mut Heard) -> io::Result<Option<Report>> {
    let mut line = String::new();
    let read = reader.take(MAX_LINE_BYTES).read_line(&mut line).await?;
    if read == 0 { Ok(None) } else { Ok(Some(serde_json::from_str(&line)?)) }
}

fn converse(control: std::os::unix::net::UnixStream) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    control.set_nonblocking(true)?;
    Ok(UnixStream::from_std(control)?.into_split())
}

/// Reads what bubblewrap says, to its end.
async fn first_inside(info: OwnedFd) -> io::Result<u32> {
    let mut text = String::new();
    Receiver::from_owned_fd(info)?.take(4096).read_to_string(&mut text).await?;
    if text.is_empty() {
        return Err(io::Error::other("it ended"));
    }
    Ok(serde_json::from_str::<Info>(&text)?.child_pid)
}
