//! Descriptors that go along with lines (SCM_RIGHTS, unix(7)): the server's listening sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

/// Most descriptors of one line: a socket for each thread of a large machine. The kernel takes 253.
pub(crate) const MOST: usize = 250;

/// Reads a socket, and keeps the descriptors that come.
#[derive(Debug)]
pub(crate) struct Incoming {
    half: OwnedReadHalf,
    arrived: Vec<OwnedFd>,
}

impl Incoming {
    pub(crate) fn new(half: OwnedReadHalf) -> Self {
        Self { half, arrived: Vec::new() }
    }

    /// What has come since it was asked last. More than [`MOST`] are closed as they come.
    pub(crate) fn take(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.arrived)
    }
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let stream: &UnixStream = this.half.as_ref();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            match stream.try_io(Interest::READABLE, || receive(stream, room, &mut this.arrived)) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

#[allow(unsafe_code)]
fn receive(stream: &UnixStream, room: &mut [u8], arrived: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = nix::cmsg_space!([RawFd; MOST]);
    let mut pieces = [IoSliceMut::new(room)];
    let got = recvmsg::<()>(stream.as_raw_fd(), &mut pieces, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for message in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows them.
            let new = numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) });
            arrived.extend(new);
        }
    }
    arrived.truncate(MOST);
    Ok(got.bytes)
}

/// Sends the first bytes of `line` with descriptors; how many bytes went. May be dropped before it has sent any.
pub(crate) async fn send(stream: &UnixStream, line: &[u8], descriptors: &[OwnedFd]) -> io::Result<usize> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let once = || {
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(line)], control, MsgFlags::MSG_NOSIGNAL, None)
            .map_err(io::Error::from)
    };
    stream.async_io(Interest::WRITABLE, once).await
}
