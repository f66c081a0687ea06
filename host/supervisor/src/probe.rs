//! Finds out when a worker accepts connections.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;

/// The first pause between two attempts; each is half as long again as the one before, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The longest pause. It is time that a visitor waits for nothing; an attempt costs a few microseconds.
const LAST_PAUSE: Duration = Duration::from_millis(25);

/// The pause between attempts where the worker is to say that it listens, and has not.
const UNTOLD: Duration = Duration::from_millis(500);

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Returns when a process of `uid` accepts a connection on `socket`. May be dropped. With `ready` it is asked when the worker
/// has said there that it listens, or closed it; which is noted, so that nobody waits for it twice.
///
/// The uid is checked because the worker owns the directory: it could put a link there to a socket of somebody else's,
/// and have requests carried into it with the server's rights.
pub(crate) async fn accepting(socket: &Path, uid: u32, ready: &mut Option<Receiver>) {
    while let Some(pipe) = ready {
        match tokio::time::timeout(UNTOLD, told(pipe)).await {
            Ok(()) => *ready = None,
            // A program that could not say it is found all the same.
            Err(_) if is_there(socket, uid).await => return,
            Err(_) => {}
        }
    }
    let mut pause = FIRST_PAUSE;
    let mut warned = false;
    loop {
        match tokio::time::timeout(ATTEMPT, attempt(socket)).await {
            Ok(Ok(peer)) if peer == uid => return,
            Ok(Ok(peer)) if !warned => {
                warned = true;
                tracing::warn!(socket = %socket.display(), peer, uid, "the worker's socket leads to another account");
            }
            Ok(Ok(_) | Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LAST_PAUSE);
    }
}

/// Returns when something was said, or will not be.
async fn told(pipe: &Receiver) {
    while pipe.readable().await.is_ok() {
        match pipe.try_read(&mut [0_u8; 1]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return,
        }
    }
}

async fn is_there(socket: &Path, uid: u32) -> bool {
    matches!(tokio::time::timeout(ATTEMPT, attempt(socket)).await, Ok(Ok(peer)) if peer == uid)
}

async fn attempt(socket: &Path) -> io::Result<u32> {
    Ok(UnixStream::connect(socket).await?.peer_cred()?.uid())
}
