//! The changes that a client is told.

use tokio::sync::broadcast;

use crate::client::ClientError;
use crate::protocol::Event;

/// A subscription to the changes of all workers; see [`crate::Client::events`].
pub struct Events {
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    pub(super) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self { receiver }
    }

    /// The next change; [`Event::Lagged`] when this reader was too slow and should list; [`ClientError::Gone`] when the
    /// supervisor is gone, then and always. May be dropped.
    pub async fn next(&mut self) -> Result<Event, ClientError> {
        match self.receiver.recv().await {
            Ok(event) => Ok(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Ok(Event::Lagged { missed }),
            Err(broadcast::error::RecvError::Closed) => Err(ClientError::Gone),
        }
    }
}
