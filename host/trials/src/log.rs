//! Catches what a plugin logs.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// The target under which the gate writes plugins' lines.
const TARGET: &str = "lectern::plugin";

/// The lines of one call. The gate bounds their number and length.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// A subscriber that puts them here. For the future of one call: nothing of it reaches the process's own log.
    pub(crate) fn subscriber(&self) -> Dispatch {
        Dispatch::new(Registry::default().with(self.clone()))
    }

    /// The lines so far.
    pub(crate) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == TARGET {
            let mut message = Message::default();
            event.record(&mut message);
            self.0.lock().push(message.0);
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
        };
        call.with_subscriber(lines.subscriber()).await;
        assert_eq!(lines.taken(), ["one a=1", "two"]);
    }
}
