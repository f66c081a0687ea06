//! Keeps the server's listening sockets open while no server runs, so that clients wait for the next one instead of being refused.
//!
//! The server gives copies and stays connected. When it is gone without having asked for them to be let go, as after kill -9,
//! they are kept for [`PATIENCE`]: a service manager starts the next server within it, and one that never comes shall not keep clients
//! waiting for nobody.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How long sockets are kept for a server that does not come: as long as clients wait to connect, mostly.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sockets, if there are any.
#[derive(Debug)]
pub(crate) struct Held {
    kept: Mutex<Option<Kept>>,
    changed: Notify,
    patience: Duration,
}

impl Default for Held {
    fn default() -> Self {
        Self { kept: Mutex::default(), changed: Notify::new(), patience: PATIENCE }
    }
}

#[derive(Debug)]
struct Kept {
    sockets: Vec<OwnedFd>,
    /// The connection of whoever gave them; `None` once it is closed.
    giver: Option<RawFd>,
    /// When they are let go; `None` as long as the giver is there.
    until: Option<Instant>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps these instead of those before, as long as `giver` is connected and a while longer.
    pub(crate) fn keep(&self, sockets: Vec<OwnedFd>, giver: RawFd) {
        *self.lock() = (!sockets.is_empty()).then_some(Kept { sockets, giver: Some(giver), until: None });
        self.changed.notify_waiters();
    }

    /// Keeps what the program before this one did; without its giver for a while.
    pub(crate) fn again(&self, sockets: Vec<OwnedFd>, giver: Option<RawFd>) {
        let until = giver.is_none().then(|| Instant::now() + self.patience);
        *self.lock() = (!sockets.is_empty()).then_some(Kept { sockets, giver, until });
        self.changed.notify_waiters();
    }

    /// Lets them go.
    pub(crate) fn release(&self) {
        *self.lock() = None;
        self.changed.notify_waiters();
    }

    /// Copies, for a server that begins; those here stay until it gives its own.
    pub(crate) fn copies(&self) -> std::io::Result<Vec<OwnedFd>> {
        match &mut *self.lock() {
            None => Ok(Vec::new()),
            Some(kept) => {
                // It is there, and needs a moment more.
                kept.until = kept.until.map(|_| Instant::now() + self.patience);
                kept.sockets.iter().map(OwnedFd::try_clone).collect()
            }
        }
    }

    /// The connection `giver` is closed.
    pub(crate) fn left(&self, giver: RawFd) {
        if let Some(kept) = &mut *self.lock()
            && kept.giver == Some(giver)
        {
            tracing::info!(sockets = kept.sockets.len(), "the server is gone; its clients wait for the next one");
            (kept.giver, kept.until) = (None, Some(Instant::now() + self.patience));
        }
        self.changed.notify_waiters();
    }

    /// Whether they are somebody's who is not connected any more.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.lock().as_ref().is_some_and(|kept| kept.giver.is_none())
    }

    /// What is kept, by number, and the giver's connection.
    pub(crate) fn rest(&self) -> (Vec<RawFd>, Option<RawFd>) {
        let kept = self.lock();
        let numbers = kept.iter().flat_map(|kept| kept.sockets.iter().map(AsRawFd::as_raw_fd)).collect();
        (numbers, kept.as_ref().and_then(|kept| kept.giver))
    }

    /// Lets them go when nobody came for them, for ever. Ends by being dropped.
    pub(crate) async fn expire(&self) {
        loop {
            let changed = self.changed.notified();
            let until = self.lock().as_ref().and_then(|kept| kept.until);
            match until {
                None => changed.await,
                Some(until) if until <= Instant::now() => {
                    tracing::warn!("no server came for {} seconds: clients are refused", self.patience.as_secs());
                    self.release();
                }
                Some(until) => {
                    let _ = tokio::time::timeout_at(until, changed).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn listening() -> (Vec<OwnedFd>, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (vec![listener.into()], address)
    }

    fn patient(patience: Duration) -> Held {
        Held { patience, ..Held::default() }
    }

    /// Runs until nobody listens there any more.
    async fn until_refused(held: &Held, address: std::net::SocketAddr) {
        let refused = async {
            while TcpStream::connect(address).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = held.expire() => {}
            () = refused => {}
        }
    }

    #[tokio::test]
    async fn sockets_outlive_their_server_for_a_while() {
        let held = patient(Duration::from_millis(200));
        let (sockets, address) = listening();
        held.keep(sockets, 7);
        // Another connection's end is not the giver's.
        held.left(8);
        assert!(!held.is_orphaned());
        held.left(7);
        assert!(held.is_orphaned());
        let left = Instant::now();
        assert_eq!(held.copies().unwrap().len(), 1);
        until_refused(&held, address).await;
        assert!(left.elapsed() >= Duration::from_millis(200), "{:?}", left.elapsed());
        assert_eq!(held.copies().unwrap().len(), 0);
    }

    #[tokio::test]
    async fn the_next_servers_take_the_place_of_the_last_ones() {
        let held = patient(Duration::ZERO);
        let ((first, one), (second, two)) = (listening(), listening());
        held.keep(first, 7);
        held.keep(second, 9);
        held.left(7);
        assert!(TcpStream::connect(one).is_err());
        let (numbers, giver) = held.rest();
        assert_eq!((numbers.len(), giver), (1, Some(9)));
        TcpStream::connect(two).unwrap();
        // Taken over without their giver, they are on their own.
        let sockets = held.copies().unwrap();
        held.again(sockets, None);
        until_refused(&held, two).await;
        assert_eq!(held.rest(), (Vec::new(), None));
    }
}
