//! The beginning of an encrypted connection: who speaks something else is told or left, the handshake is bounded in time, and what it
//! proved is kept for all requests of the connection.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::{CertificateError, Error, ServerConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use super::certificate::describe;
use super::config::{ALPN_H2, ALPN_HTTP1, TlsConfig};
use crate::connection::{self, Connection, Tunnel, Waits, until_told};
use crate::io::Protocol;

/// How a TLS connection begins: the type of a record that carries a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// What a client reads that did not ask for HTTPS.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 78\r\n\
    connection: close\r\n\r\n\
    This port speaks HTTPS: use the same address with https:// instead of http://\n";

/// What is read of such a client's request after the answer, so that closing does not take the answer back: more than a usual head.
const MOST_IGNORED: usize = 64 * 1024;

/// Serves one connection of a port that speaks TLS, until either side ends it.
///
/// The time limit of handshakes holds from here to the end of the handshake, also while nothing comes.
pub(crate) async fn run(mut stream: TcpStream, mut connection: Connection, config: Arc<TlsConfig>) {
    let (watch, ip) = (Arc::clone(&connection.watch), connection.peer.ip);
    watch.shake_hands();
    match until_told(Waits::new(first_byte(&stream)), &watch).await.flatten() {
        Some(Ok(Some(HANDSHAKE))) => {}
        // All methods of HTTP begin so, and nothing that TLS begins with.
        Some(Ok(Some(byte))) if byte.is_ascii_uppercase() => {
            debug!(client.ip = %ip, "plain HTTP on a port that speaks TLS");
            let told = until_told(Tunnel::new(tell(&mut stream)), &watch).await;
            return if let Some(Err(error)) = told {
                debug!(%error, client.ip = %ip, "connection broke")
            };
        }
        Some(Ok(Some(byte))) => return debug!(byte, client.ip = %ip, "neither TLS nor HTTP"),
        Some(Ok(None)) | None => return,
        Some(Err(error)) => return debug!(%error, client.ip = %ip, "connection broke"),
    }
    // Who has begun may finish, also when the server stops.
    let accepting = TlsAcceptor::from(Arc::clone(&config.rustls)).accept(stream);
    let stream = match until_told(Tunnel::new(accepting), &watch).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => return say_failed(&error, ip),
        None => return debug!(client.ip = %ip, "the handshake did not end in time"),
    };
    let session = stream.get_ref().1;
    let agreed = agreed(session);
    match session.peer_certificates().and_then(<[_]>::first).map(describe).transpose() {
        Ok(certificate) => connection.peer.certificate = certificate.map(Arc::new),
        // It was verified, but nothing could be said about whose it is.
        Err(error) => return info!(client.ip = %ip, %error, "a client's certificate cannot be read"),
    }
    watch.greeted();
    connection::run(stream, connection, agreed).await;
}

/// The first byte that the client sends, which stays unread; `None`: it closed.
async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    Ok((stream.peek(&mut byte).await? == 1).then_some(byte[0]))
}

/// Tells a client of plain HTTP what this port speaks.
async fn tell(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(SPEAKS_TLS).await?;
    stream.shutdown().await?;
    let mut ignored = 0;
    let mut buffer = [0; 4096];
    while ignored < MOST_IGNORED {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => ignored += read,
        }
    }
    Ok(())
}

/// What was agreed on by ALPN; `None`: the client did not ask, and its first bytes will tell.
fn agreed(session: &ServerConnection) -> Option<Protocol> {
    match session.alpn_protocol()? {
        ALPN_H2 => Some(Protocol::Http2),
        ALPN_HTTP1 => Some(Protocol::Http1),
        _ => None,
    }
}

/// A refused certificate is what an operator looks for when a proxy cannot connect; all else is a matter between others.
fn say_failed(error: &io::Error, ip: IpAddr) {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(cause)) => {
            info!(client.ip = %ip, reason = reason(cause), "a client's certificate is refused");
        }
        Some(Error::NoCertificatesPresented) => info!(client.ip = %ip, "a client without a certificate is refused"),
        _ => debug!(%error, client.ip = %ip, "handshake failed"),
    }
}

fn reason(cause: &CertificateError) -> String {
    match cause {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "none of the authorities trusted here has signed it".into()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_right() {
        let text = String::from_utf8_lossy(SPEAKS_TLS);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{} bytes", body.len());
    }
}
