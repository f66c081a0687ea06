//! WebSockets: after the worker said 101, bytes pass both ways until either side ends.
//!
//! When this process ends before they do, the client is told so in a frame of its own, between two of the worker's: frameworks
//! come again after that, and stay away after a connection that broke.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tracing::debug;

use super::exchange::WorkerBody;
use super::frames::Framed;
use super::pool::Upstream;
use crate::connection::{Tunnel, until_told};
use crate::request_id::RequestId;
use crate::services::Use;
use crate::thread::Thread;
use crate::watch::Watch;

/// Bytes in transit each way. WebSocket messages are small; large ones take several rounds.
const BUFFER_BYTES: usize = 16 * 1024;

/// A closing frame with status 1012, "service restart" (RFC 6455 §5.5.1; the registry of §11.7).
const SERVICE_RESTART: [u8; 4] = [0x88, 2, 0x03, 0xf4];

/// How long a client may take to take it: less than the thread waits for what was cut.
const SAY: Duration = Duration::from_millis(500);

/// Joins the client and the worker once both connections have been upgraded.
///
/// The task belongs to the thread, which waits for it when it stops and cuts it when the grace is over; the connection's limits of
/// time apply. The worker counts as busy until it ends.
pub(super) fn join(
    thread: &Thread,
    watch: &Arc<Watch>,
    id: RequestId,
    client: OnUpgrade,
    response: Response<WorkerBody>,
    used: Option<Use>,
) -> Response<()> {
    let (head, body) = response.into_parts();
    let (upstream, in_flight) = body.into_parts();
    let watch = watch.clone();
    thread.spawn(async move {
        // Kept until the tunnel has ended, however that comes.
        let _used = used;
        let Some(upgraded) = until_told(Tunnel::new(client), &watch).await else { return };
        match upgraded {
            Ok(client) => {
                let mut client = Framed::new(TokioIo::new(client));
                let ended = until_told(Tunnel::new(joined(&mut client, upstream, &watch)), &watch).await;
                match ended {
                    Some(Ok((up, down))) => {
                        debug!(request.id = id.as_str(), bytes.up = up, bytes.down = down, "tunnel ended")
                    }
                    Some(Err(error)) => debug!(request.id = id.as_str(), %error, "tunnel broke"),
                    None if watch.restarts() => say_restart(&mut client).await,
                    None => {}
                }
            }
            Err(error) => debug!(request.id = id.as_str(), %error, "tunnel broke"),
        }
        drop(in_flight);
    });
    Response::from_parts(head, ())
}

/// Tells the client that this server ends, unless that would be in the midst of a message.
async fn say_restart(client: &mut Framed<impl AsyncRead + AsyncWrite + Unpin>) {
    if !client.is_between() {
        return;
    }
    let close = async {
        client.write_all(&SERVICE_RESTART).await?;
        client.shutdown().await
    };
    // A client that takes nothing any more would keep this thread.
    if let Ok(Err(error)) | Err(error) = tokio::time::timeout(SAY, close).await.map_err(std::io::Error::from) {
        debug!(%error, "say that the server restarts");
    }
}

/// Moves bytes until both sides ended or one broke; returns how many went up and down.
async fn joined(
    client: &mut Framed<impl AsyncRead + AsyncWrite + Unpin>,
    upstream: Option<Box<Upstream>>,
    watch: &Watch,
) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let Upstream { stream: mut worker, arrived, .. } = *upstream.ok_or("the worker closed the connection")?;
    watch.upgrade();
    // The worker's first messages may have come with its answer.
    client.write_all(&arrived).await?;
    // An encrypted one may keep what does not fit into the socket at once.
    client.flush().await?;
    Ok(copy_bidirectional_with_sizes(client, &mut worker, BUFFER_BYTES, BUFFER_BYTES).await?)
}
