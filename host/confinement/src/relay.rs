//! The way from a network namespace to this server, for a server that listens on loopback: inside, at the same address, the first
//! process listens and carries bytes to a Unix socket of the server.
//!
//! It has no more rights than the program it stands beside, reads nothing of what it carries, and counts against the same limits.

use std::io;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lectern_domain::confinement::Relay;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// Connections at a time; more wait. A worker serves fewer visitors than that at once, and each asks by one.
const CONNECTIONS: usize = 128;
/// Bytes that are under way in each direction of a connection.
const BUFFER: usize = 16 << 10;
/// The stack of the thread: what it calls is shallow.
const STACK: usize = 512 << 10;
/// How long a connection waits for a server that is not there: as long as another takes to start in its place.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks for it.
const RETRY: Duration = Duration::from_millis(100);

/// Listens. Failing is said where the program's own words go: it runs without.
pub(crate) fn open(relay: &Relay) -> Option<StdListener> {
    let listening = StdListener::bind(relay.listen).and_then(|door| door.set_nonblocking(true).map(|()| door));
    listening.map_err(|error| eprintln!("lectern: the server is not reached at {}: {error}", relay.listen)).ok()
}

/// Serves until the process ends, on a thread of its own.
pub(crate) fn serve(door: StdListener, socket: PathBuf) {
    let work = move || {
        if let Err(error) = carry_all(door, socket) {
            eprintln!("lectern: the server is not reached any more: {error}");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("relay".into()).stack_size(STACK).spawn(work) {
        eprintln!("lectern: the server is not reached: {error}");
    }
}

fn carry_all(door: StdListener, socket: PathBuf) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let door = TcpListener::from_std(door)?;
        let (socket, places) = (Arc::<Path>::from(socket), Arc::new(Semaphore::new(CONNECTIONS)));
        loop {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            match door.accept().await {
                Ok((client, _)) => {
                    let socket = Arc::clone(&socket);
                    tokio::spawn(async move {
                        carry(client, &socket).await;
                        drop(place);
                    });
                }
                // Out of descriptors, or a client that has left: trying at once would only spin.
                Err(_) => sleep(RETRY).await,
            }
        }
    })
}

/// Carries one connection until both sides have closed; one that finds no server is closed.
async fn carry(mut client: TcpStream, socket: &Path) {
    let until = Instant::now() + PATIENCE;
    let mut server = loop {
        match UnixStream::connect(socket).await {
            Ok(server) => break server,
            Err(_) if Instant::now() < until => sleep(RETRY).await,
            Err(_) => return,
        }
    };
    let _ = client.set_nodelay(true);
    // How it broke is known to both ends.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    #[test]
    fn bytes_pass_both_ways_and_a_server_may_come_late() {
        let dir = tempfile::tempdir().unwrap();
        let relay = Relay {
            listen: "127.0.0.1:0".parse().unwrap(),
            directory: dir.path().to_owned(),
            socket: "server.sock".into(),
        };
        let door = open(&relay).unwrap();
        let address = door.local_addr().unwrap();
        serve(door, relay.path());
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(b"ping").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        // Only now is there anybody.
        let server = UnixListener::bind(relay.path()).unwrap();
        let (mut server, _) = server.accept().unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).unwrap();
        server.write_all(b"pong").unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!((heard.as_slice(), answer.as_str()), (b"ping".as_slice(), "pong"));
    }

    #[test]
    fn an_address_that_cannot_be_had_is_no_fault() {
        let taken = StdListener::bind("127.0.0.1:0").unwrap();
        let relay =
            Relay { listen: taken.local_addr().unwrap(), directory: "/nowhere".into(), socket: "server.sock".into() };
        assert!(open(&relay).is_none());
    }
}
