//! The trivial upstream of `just bench proxy`: answers every request on a Unix socket with 100 bytes.
//!
//! It is the smallest thing that a proxy can be put before: it reads until a request's head ends and sends one prepared
//! answer. Requests must have no body.

use std::path::PathBuf;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\n\
0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// More than any request's head here; a longer one ends its connection.
const MOST_HEAD: usize = 16 << 10;

fn main() -> anyhow::Result<()> {
    let path = PathBuf::from(std::env::args_os().nth(1).context("usage: upstream SOCKET")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = UnixListener::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
        loop {
            let (stream, _) = listener.accept().await.context("accept")?;
            tokio::spawn(serve(stream));
        }
    })
}

/// Answers one connection's requests until it closes.
async fn serve(mut stream: UnixStream) {
    let mut buffer = vec![0; MOST_HEAD];
    let mut filled = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await {
        filled += read;
        while let Some(end) = head_end(&buffer[..filled]) {
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
            buffer.copy_within(end..filled, 0);
            filled -= end;
        }
    }
}

/// Where the first head in `bytes` ends.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}
