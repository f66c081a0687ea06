//! Reaches a running server over its admin socket: one HTTP/1.1 request, one JSON answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use super::ConfigArgs;

/// Most bytes of an answer: a listing of 100,000 accounts is about 20 MiB.
const MAX_ANSWER: usize = 64 << 20;
/// An answer takes a few queries; argon2 included, well under this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which server, and how to answer.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Answer in JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl ServerArgs {
    /// Sends `body` to `path` on the admin socket and reads the answer.
    pub(super) fn call<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let config = self.config.try_load().map_err(|list| anyhow::anyhow!("{}", list.join("; ")))?;
        let socket = crate::paths::Paths::new(&config.data).admin_socket();
        let body = serde_json::to_vec(body).context("write the request")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        let bytes = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, exchange(&socket, path, body))
                .await
                .with_context(|| format!("no answer from {} within {} s", socket.display(), PATIENCE.as_secs()))?
        })?;
        serde_json::from_slice(&bytes).context("read the server's answer")
    }
}

async fn exchange(socket: &PathBuf, path: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
    let stream = tokio::net::UnixStream::connect(socket).await.with_context(|| unreachable(socket))?;
    let request = Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .context("make the request")?;
    let (status, bytes) = http_exchange(stream, request).await?;
    if !status.is_success() {
        let answer: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match answer["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => bail!("the server answered {status}"),
        }
    }
    Ok(bytes)
}

/// One request and its whole answer on a fresh connection.
pub(super) async fn http_exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("greet the server")?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.context("ask the server")?;
    let status = response.status();
    let bytes = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("read the server's answer: {error}"))?
        .to_bytes();
    connection.abort();
    Ok((status, bytes))
}

fn unreachable(socket: &Path) -> String {
    format!(
        "reach a server at {}; is `lectern serve` running with this data directory (--data-dir), and may you use it?",
        socket.display()
    )
}

/// Prints rows as a table with a heading, columns as wide as they need.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) {
    let widths: Vec<usize> = heading
        .iter()
        .enumerate()
        .map(|(column, title)| {
            rows.iter().map(|row| row[column].chars().count()).chain([title.len()]).max().unwrap_or(0)
        })
        .collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let line: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        say!("{}", line.join("  ").trim_end());
    };
    print(&mut heading.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}
