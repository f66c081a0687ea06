//! A client's socket that notes when bytes pass, and gives back the first bytes that were read to see which protocol it is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::watch::Watch;

/// How an HTTP/2 connection begins (RFC 9113 §3.4). No HTTP/1.1 request does.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// The socket of one client.
pub(crate) struct ClientIo<S> {
    socket: S,
    /// Bytes read before hyper asked, and how many of them it has.
    first: Vec<u8>,
    given: usize,
    watch: Arc<Watch>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientIo<S> {
    pub(crate) fn new(socket: S, watch: Arc<Watch>) -> Self {
        Self { socket, first: Vec::new(), given: 0, watch }
    }

    /// Reads until it is clear which protocol the client speaks; what was read is given back later. `None`: it closed first.
    pub(crate) async fn detect(&mut self) -> io::Result<Option<Protocol>> {
        let mut seen = [0; PREFACE.len()];
        let mut length = 0;
        loop {
            let got = self.socket.read(&mut seen[length..]).await?;
            if got == 0 {
                return Ok(None);
            }
            length += got;
            let protocol = if seen[..length] != PREFACE[..length] {
                Protocol::Http1
            } else if length == PREFACE.len() {
                Protocol::Http2
            } else {
                continue;
            };
            self.first = seen[..length].to_vec();
            return Ok(Some(protocol));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.given < this.first.len() {
            let part = &this.first[this.given..];
            let part = &part[..part.len().min(buf.remaining())];
            buf.put_slice(part);
            this.given += part.len();
            if this.given < this.first.len() {
                return Poll::Ready(Ok(()));
            }
            this.first = Vec::new();
            this.given = 0;
            // With room left, what else has come is read along; hyper would have to ask again.
            return match Pin::new(&mut this.socket).poll_read(cx, buf) {
                Poll::Ready(result) => Poll::Ready(result),
                Poll::Pending => Poll::Ready(Ok(())),
            };
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            this.watch.note_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = ready!(Pin::new(&mut self.socket).poll_write(cx, buf))?;
        self.watch.note_write();
        Poll::Ready(Ok(wrote))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.watch.note_write();
        Poll::Ready(Ok(wrote))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::watch::Clock;
    use tokio::io::AsyncWriteExt as _;

    async fn detect(parts: &[&[u8]]) -> (Option<Protocol>, Vec<u8>) {
        let (mut client, server) = tokio::io::duplex(64);
        let mut io = ClientIo::new(server, Watch::new(&Clock::new(), &Arc::default()));
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        let sender = tokio::spawn(async move {
            for part in parts {
                client.write_all(&part).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let protocol = io.detect().await.unwrap();
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        sender.await.unwrap();
        (protocol, rest)
    }

    #[tokio::test]
    async fn the_first_bytes_tell_and_are_not_lost() {
        let http1 = b"POST / HTTP/1.1\r\n\r\n".as_slice();
        assert_eq!(detect(&[http1]).await, (Some(Protocol::Http1), http1.to_vec()));
        assert_eq!(detect(&[b"P", b"R", b"OPFIND / HTTP/1.1"]).await.0, Some(Protocol::Http1));
        let mut http2 = PREFACE.to_vec();
        http2.extend(b"frames");
        let bytes: Vec<&[u8]> = http2.chunks(1).collect();
        assert_eq!(detect(&[&http2]).await, (Some(Protocol::Http2), http2.clone()));
        assert_eq!(detect(&bytes).await, (Some(Protocol::Http2), http2.clone()));
        assert_eq!(detect(&[]).await.0, None);
        assert_eq!(detect(&[b"PRI"]).await.0, None);
    }
}
