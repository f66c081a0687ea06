//! One line per request, when it is over.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use lectern_domain::ContentGuid;
use tracing::{Level, enabled, event};

use crate::request_id::RequestId;
use crate::watch::Watch;

/// What is written of a request whose client left before the head of an answer was sent: nginx's number for it.
const CLIENT_LEFT: u16 = 499;

/// Follows a request from its head to the last byte of its answer, or to the moment it was given up; dropping it is the end.
pub(crate) struct Ending {
    watch: Arc<Watch>,
    /// `None` when nobody reads the log.
    line: Option<Line>,
}

struct Line {
    started: Instant,
    id: RequestId,
    method: Method,
    /// Without the query, which may hold secrets.
    path: String,
    client: IpAddr,
    status: u16,
    content: Option<ContentGuid>,
    principal: Option<String>,
    bytes: u64,
    complete: bool,
}

impl Ending {
    /// Begins with a request that [`Watch::begin`] was told of.
    pub(crate) fn new(watch: &Arc<Watch>, id: &RequestId, method: &Method, path: &str, client: IpAddr) -> Box<Self> {
        let line = enabled!(target: "access", Level::INFO).then(|| Line {
            started: Instant::now(),
            id: id.clone(),
            method: method.clone(),
            path: path.to_owned(),
            client,
            status: CLIENT_LEFT,
            content: None,
            principal: None,
            bytes: 0,
            complete: false,
        });
        Box::new(Self { watch: watch.clone(), line })
    }

    /// The client behind trusted proxies.
    pub(crate) fn set_client(&mut self, client: IpAddr) {
        if let Some(line) = &mut self.line {
            line.client = client;
        }
    }

    /// The request is for this content.
    pub(crate) fn set_content(&mut self, content: ContentGuid) {
        if let Some(line) = &mut self.line {
            line.content = Some(content);
        }
    }

    /// This user asks.
    pub(crate) fn set_principal(&mut self, username: &str) {
        if let Some(line) = &mut self.line {
            line.principal = Some(username.to_owned());
        }
    }

    /// The head of the answer is on its way; `bodiless`: nothing comes after it.
    pub(crate) fn answered(&mut self, status: StatusCode, bodiless: bool) {
        if let Some(line) = &mut self.line {
            line.status = status.as_u16();
            line.complete = bodiless;
        }
    }

    /// A piece of the body went out; `last`: it was the last.
    pub(crate) fn sent(&mut self, bytes: usize, last: bool) {
        if let Some(line) = &mut self.line {
            line.bytes += bytes as u64;
            line.complete |= last;
        }
    }

    /// The body broke off.
    pub(crate) fn failed(&mut self, error: &(dyn std::error::Error + 'static)) {
        if let Some(line) = &self.line {
            tracing::warn!(request.id = line.id.as_str(), error = %chain(error), "answer broke off");
        }
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.watch.is_expired()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.watch.end();
        let Some(line) = &self.line else { return };
        event!(
            target: "access",
            Level::INFO,
            request.id = line.id.as_str(),
            http.method = line.method.as_str(),
            http.path = line.path,
            http.status = line.status,
            http.sent_bytes = line.bytes,
            duration_ms = line.started.elapsed().as_millis() as u64,
            client.ip = %line.client,
            content.id = line.content.map(tracing::field::display),
            principal = line.principal.as_deref(),
            complete = line.complete,
        );
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
