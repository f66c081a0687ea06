//! WebSockets: after the worker said 101, bytes pass both ways until either side ends.

use std::sync::Arc;

use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tracing::debug;

use super::exchange::WorkerBody;
use super::pool::Upstream;
use crate::connection::{Tunnel, until_told};
use crate::request_id::RequestId;
use crate::thread::Thread;
use crate::watch::Watch;

/// Bytes in transit each way. WebSocket messages are small; large ones take several rounds.
const BUFFER_BYTES: usize = 16 * 1024;

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
) -> Response<()> {
    let (head, body) = response.into_parts();
    let (upstream, in_flight) = body.into_parts();
    let notes = watch.clone();
    let tunnel = async move {
        match joined(client, upstream, &notes).await {
            Ok((up, down)) => debug!(request.id = id.as_str(), bytes.up = up, bytes.down = down, "tunnel ended"),
            Err(error) => debug!(request.id = id.as_str(), %error, "tunnel broke"),
        }
        drop(in_flight);
    };
    let watch = watch.clone();
    thread.spawn(async move {
        until_told(Tunnel::new(tunnel), &watch).await;
    });
    Response::from_parts(head, ())
}

/// Moves bytes until both sides ended or one broke; returns how many went up and down.
async fn joined(
    client: OnUpgrade,
    upstream: Option<Box<Upstream>>,
    watch: &Watch,
) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let Upstream { stream: mut worker, arrived, .. } = *upstream.ok_or("the worker closed the connection")?;
    let mut client = TokioIo::new(client.await?);
    watch.upgrade();
    // The worker's first messages may have come with its answer.
    client.write_all(&arrived).await?;
    // An encrypted one may keep what does not fit into the socket at once.
    client.flush().await?;
    Ok(copy_bidirectional_with_sizes(&mut client, &mut worker, BUFFER_BYTES, BUFFER_BYTES).await?)
}
