//! Catches what a plugin logs and what it asks.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// The target under which the gate writes plugins' lines. It bounds their number and length.
const LOGGED: &str = "lectern::plugin";
/// The target under which it tells what they ask.
const ASKED: &str = "lectern::asked";
/// Questions that are kept. A plugin that asks more of one request will not have its author write them all down.
const MAX_ASKED: usize = 1_000;

/// The lines of one call, and its questions.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<(Vec<String>, Vec<String>)>>);

impl Lines {
    /// A subscriber that puts them here. For the future of one call: nothing of it reaches the process's own log.
    pub(crate) fn subscriber(&self) -> Dispatch {
        Dispatch::new(Registry::default().with(self.clone()))
    }

    /// The lines and the questions so far.
    pub(crate) fn taken(&self) -> (Vec<String>, Vec<String>) {
        std::mem::take(&mut self.0.lock())
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        if target != LOGGED && target != ASKED {
            return;
        }
        let mut message = Message::default();
        event.record(&mut message);
        let (logged, asked) = &mut *self.0.lock();
        if target == LOGGED {
            logged.push(message.0);
        } else if asked.len() < MAX_ASKED {
            asked.push(message.0);
        }
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::instrument::WithSubscriber as _;

    use super::*;

    #[tokio::test]
    async fn only_plugins_lines_are_taken() {
        let lines = Lines::default();
        let call = async {
            tracing::info!(target: "lectern::plugin", { plugin.name = "p" }, "one a=1");
            tracing::info!("another's");
            tokio::task::yield_now().await;
            tracing::trace!(target: "lectern::plugin", "two");
            tracing::trace!(target: "lectern::asked", "path-prefix 1");
        };
        call.with_subscriber(lines.subscriber()).await;
        let (logged, asked) = lines.taken();
        assert_eq!(logged, ["one a=1", "two"]);
        assert_eq!(asked, ["path-prefix 1"]);
    }
}
