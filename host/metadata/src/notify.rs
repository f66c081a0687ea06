//! Tells which part of the in-memory view became stale.
//!
//! The database notifies when a change commits (migrations V0004 and V0005). The listener has a connection of its own, connects again
//! after a fault, and then reports that everything may have changed: notifications sent meanwhile are lost.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_postgres::AsyncMessage;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use crate::config::{ConfigError, DatabaseConfig, Plan};
use crate::error::DbError;
use crate::tls;

/// First and longest pause before connecting again: quick after a restart, easy on a database that is away for minutes.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A part of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Any of them: the listener has just connected, or was told something it does not know.
    Everything,
    /// Content items, their bundles, permissions, variables and vanity paths.
    Content,
    /// Accounts.
    Users,
    /// API keys.
    Keys,
    /// Sessions.
    Sessions,
    /// Tasks and their output; not in the view, but waited for.
    Tasks,
    /// Plugins: bindings, their secrets and trusted keys; not in the view, but what the gate follows.
    Gate,
}

impl Part {
    fn parse(text: &str) -> Self {
        match text {
            "content" => Self::Content,
            "users" => Self::Users,
            "keys" => Self::Keys,
            "sessions" => Self::Sessions,
            "tasks" => Self::Tasks,
            "gate" => Self::Gate,
            _ => Self::Everything,
        }
    }
}

/// What changed since it was last asked. Bounded however slow its reader is: each part is remembered once.
#[derive(Debug)]
pub struct Changes {
    shared: Arc<Shared>,
    stop: CancellationToken,
    _ends_listener: DropGuard,
}

#[derive(Debug, Default)]
struct Shared {
    parts: Mutex<BTreeSet<Part>>,
    news: Notify,
}

impl Shared {
    fn add(&self, part: Part) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(part);
        self.news.notify_one();
    }

    fn take(&self) -> Option<Part> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let first = parts.pop_first();
        if first == Some(Part::Everything) {
            // Reading everything covers the others, except that nobody reads tasks and the gate with the view.
            parts.retain(|part| matches!(part, Part::Tasks | Part::Gate));
        }
        first
    }
}

impl Changes {
    /// The next part to read again; waits for one. `None` when the listener was stopped. May be dropped at any time.
    ///
    /// [`Part::Everything`] comes first, once the listener has connected, and again after each new connection.
    pub async fn next(&mut self) -> Option<Part> {
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            if let Some(part) = self.shared.take() {
                return Some(part);
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = self.shared.news.notified() => {}
            }
        }
    }
}

/// Starts listening in a task that ends with `stop` or when the answer is dropped.
pub fn listen(config: &DatabaseConfig, stop: &CancellationToken) -> Result<Changes, ConfigError> {
    let plan = config.plan()?;
    let tls = tls::connector(config, plan.encryption)?;
    let shared = Arc::new(Shared::default());
    let stop = stop.child_token();
    let listener = Listener { plan, tls, limit: config.connect_timeout * 2, shared: Arc::clone(&shared) };
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = stopped.cancelled() => {}
            () = listener.run() => {}
        }
    });
    Ok(Changes { shared, _ends_listener: stop.clone().drop_guard(), stop })
}

struct Listener {
    plan: Plan,
    tls: tls::Connector,
    /// How long connecting may take, name resolution and authentication included.
    limit: Duration,
    shared: Arc<Shared>,
}

impl Listener {
    async fn run(self) {
        let mut pause = PAUSES.0;
        loop {
            let mut listened = false;
            let error = match self.session(&mut listened).await {
                Ok(()) => DbError::Unavailable("the connection was closed".into()),
                Err(error) => error,
            };
            if listened {
                pause = PAUSES.0;
            }
            warn!(
                error = &error as &dyn Error,
                pause_ms = pause.as_millis(),
                "not listening for changes; connecting again"
            );
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Listens on one connection until it ends. Sets `listened` once notifications are subscribed to.
    async fn session(&self, listened: &mut bool) -> Result<(), DbError> {
        let late = |_| DbError::Unavailable("connecting took too long".into());
        let (client, mut connection) =
            timeout(self.limit, self.plan.config.connect(self.tls.clone())).await.map_err(late)??;
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        let subscribe = client.batch_execute("LISTEN lectern");
        tokio::pin!(subscribe);
        loop {
            tokio::select! {
                subscribed = &mut subscribe, if !*listened => {
                    subscribed?;
                    *listened = true;
                    info!("listening for changes");
                    self.shared.add(Part::Everything);
                }
                message = messages.next() => match message {
                    Some(Ok(AsyncMessage::Notification(note))) => self.shared.add(Part::parse(note.payload())),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                },
            }
        }
    }
}
