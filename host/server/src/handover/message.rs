//! What two servers say to each other, a line of JSON at a time, and the descriptors that go along.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, bail};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

/// The version of what is said here. Another one is refused, with the advice to stop and start.
pub(super) const VERSION: u32 = 1;

/// Longest line: none is longer than a hundred bytes.
const LINE_BYTES: usize = 4096;

/// Most descriptors: a socket for each thread of a large machine, and the locks. The kernel takes 253 (unix(7)).
pub(super) const MOST_DESCRIPTORS: usize = 250;

/// The first line of the new server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) handover: u32,
}

/// The answer; descriptors come with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Lent {
    pub(super) handover: u32,
    pub(super) pid: u32,
    pub(super) sockets: usize,
    pub(super) database_lock: bool,
}

/// The new server serves.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) ready: bool,
}

/// The old one has ended what it had begun.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) done: bool,
    /// Connections that were still busy when the grace was over.
    pub(super) cut: usize,
}

/// Sends a line.
pub(super) async fn send<T: Serialize>(stream: &mut UnixStream, message: &T) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await.context("tell the other server")
}

/// Sends a line with descriptors.
pub(super) async fn send_with<T: Serialize>(
    stream: &UnixStream,
    message: &T,
    descriptors: &[OwnedFd],
) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let raw: Vec<RawFd> = descriptors.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let control = [ControlMessage::ScmRights(&raw)];
            sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&line)], &control, MsgFlags::MSG_NOSIGNAL, None)
                .map_err(io::Error::from)
        })
        .await
        .context("lend the listening sockets")?;
    // A fresh socket takes far more than a line at once.
    if sent == line.len() { Ok(()) } else { bail!("the other server took {sent} of {} bytes", line.len()) }
}

/// Reads a line; `None`: the other side closed instead.
pub(super) async fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> anyhow::Result<Option<T>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        // One byte at a time: what follows the line belongs to the next.
        match stream.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && line.is_empty() => return Ok(None),
            Err(error) => return Err(error).context("listen to the other server"),
        }
        if line.len() > LINE_BYTES {
            bail!("the other server said more than {LINE_BYTES} bytes in a line");
        }
    }
    serde_json::from_slice(&line).map(Some).with_context(|| format!("understand {:?}", String::from_utf8_lossy(&line)))
}

/// Reads a line and the descriptors that come with it.
pub(super) async fn receive_with<T: DeserializeOwned>(stream: &UnixStream) -> anyhow::Result<(T, Vec<OwnedFd>)> {
    let mut line = vec![0; LINE_BYTES];
    let (length, descriptors) = stream
        .async_io(Interest::READABLE, || receive_now(stream, &mut line))
        .await
        .context("borrow the listening sockets of the running server")?;
    let line = line.get(..length).unwrap_or_default();
    if !line.ends_with(b"\n") {
        bail!("the running server said {:?}, which is no line", String::from_utf8_lossy(line));
    }
    let message =
        serde_json::from_slice(line).with_context(|| format!("understand {:?}", String::from_utf8_lossy(line)))?;
    Ok((message, descriptors))
}

#[allow(unsafe_code)]
fn receive_now(stream: &UnixStream, line: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut pieces = [IoSliceMut::new(line)];
    let got = recvmsg::<()>(stream.as_raw_fd(), &mut pieces, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows them.
            descriptors.extend(raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    Ok((got.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn lines_and_descriptors_arrive_whole() {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        let files: Vec<OwnedFd> = (0..3).map(|_| tempfile::tempfile().unwrap().into()).collect();
        let lent = Lent { handover: VERSION, pid: 7, sockets: 2, database_lock: true };
        send_with(&one, &lent, &files).await.unwrap();
        let (heard, got): (Lent, _) = receive_with(&two).await.unwrap();
        assert_eq!((heard.pid, heard.sockets, heard.database_lock, got.len()), (7, 2, true, 3));
        send(&mut two, &Ready { ready: true }).await.unwrap();
        send(&mut two, &Done { done: true, cut: 1 }).await.unwrap();
        assert!(receive::<Ready>(&mut one).await.unwrap().unwrap().ready);
        assert_eq!(receive::<Done>(&mut one).await.unwrap().unwrap().cut, 1);
        drop(two);
        assert!(receive::<Done>(&mut one).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nonsense_is_an_error() {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        one.write_all(b"hello\n{\"handover\":1}").await.unwrap();
        assert!(receive::<Ask>(&mut two).await.is_err());
        drop(one);
        assert!(receive::<Ask>(&mut two).await.is_err(), "a line that is cut");
        let (one, mut two) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let mut one = one;
            let _ = one.write_all(&vec![b'x'; 3 * LINE_BYTES]).await;
        });
        assert!(receive::<Ask>(&mut two).await.is_err());
    }
}
