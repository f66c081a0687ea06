//! Candidates that see copies of requests: their answers are compared with the ones that counted, and change nothing.
//!
//! Copies wait in a bounded queue for a task away from the threads that serve; when it is full, copies are dropped and counted.
//! Pages are not copied: they are there for what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::bindings::exports::lectern::plugin::{auth, routing};
use crate::check;
use crate::error::{Call, GateError};
use crate::head::Head;
use crate::learn::Recorder;
use crate::release::Release;
use crate::run::{self, AuthenticateCall, RouteCall};
use crate::state::{Effects, Subject};

/// Copies that wait. A copy holds the head of its request, a few KiB.
const WAITING: usize = 1_000;

/// One copy of a request, with the answer that counted.
pub(crate) struct Copy {
    pub(crate) subject: Subject,
    pub(crate) call: Call,
    pub(crate) live: String,
    pub(crate) candidate: Arc<Release>,
}

/// One answer of a candidate that was compared.
#[derive(Debug, Clone)]
pub struct Compared {
    /// The function.
    pub call: Call,
    /// The request, without what may carry a secret: method, host and path.
    pub request: String,
    /// What counted, in words without identities' details.
    pub live: String,
    /// What the candidate answered.
    pub candidate: String,
    /// Whether the candidate failed.
    pub failed: bool,
}

impl Compared {
    /// Whether the candidate answered the same.
    pub fn agrees(&self) -> bool {
        self.live == self.candidate
    }
}

/// Where copies go.
#[derive(Debug)]
pub struct Shadow {
    copies: mpsc::Sender<Copy>,
    dropped: AtomicU64,
}

/// The other end: runs candidates.
pub struct ShadowRunner {
    copies: mpsc::Receiver<Copy>,
}

impl Shadow {
    /// A queue and who works on it.
    pub fn new() -> (Arc<Self>, ShadowRunner) {
        let (copies, receiver) = mpsc::channel(WAITING);
        (Arc::new(Self { copies, dropped: AtomicU64::new(0) }), ShadowRunner { copies: receiver })
    }

    /// Copies that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn send(&self, copy: Copy) {
        if self.copies.try_send(copy).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl ShadowRunner {
    /// Runs the next copy, when there is one; `None` when there will be no more.
    ///
    /// May be dropped: a copy that was taken is lost, and not counted as different.
    pub async fn next(&mut self) -> Option<Compared> {
        let Copy { mut subject, call, live, candidate } = self.copies.recv().await?;
        subject.effects = Effects::Off;
        let request = subject.head.as_deref().map_or(String::new(), request_words);
        let head = subject.head.clone();
        let answered = match call {
            Call::Authenticate => run::call(&candidate, subject, Recorder::idle(), AuthenticateCall)
                .await
                .map(|(outcome, _)| outcome_words(&outcome)),
            Call::Route | Call::Check | Call::Page => {
                let decided = run::call(&candidate, subject, Recorder::idle(), RouteCall).await;
                decided.and_then(|(decision, _)| match head.as_deref() {
                    Some(head) => valid(&candidate, decision, head),
                    None => Ok(decision_words(&decision)),
                })
            }
        };
        let (candidate, failed) = match answered {
            Ok(words) => (words, false),
            Err(error) => (format!("fails: {}", error.kind()), true),
        };
        Some(Compared { call, request, live, candidate, failed })
    }
}

/// A candidate's decision in words, if the host would accept it.
fn valid(candidate: &Release, decision: routing::Decision, head: &Head) -> Result<String, GateError> {
    let words = decision_words(&decision);
    let checked = match decision {
        routing::Decision::Next => Ok(()),
        routing::Decision::Forward(forward) => check::forward(candidate.name(), forward, head).map(drop),
        routing::Decision::Respond(reply) => check::reply(reply, candidate.grants()).map(drop),
    };
    let plugin = Arc::clone(candidate.name());
    checked.map(|()| words).map_err(|reason| GateError::Invalid { plugin, call: Call::Route, reason })
}

fn request_words(head: &Head) -> String {
    check::shown(&format!("{} {}{}", head.method, head.host(), head.path.encoded()))
}

/// A routing decision in words: two decisions are the same when these are. Bodies and fields count by their hash.
pub(crate) fn decision_words(decision: &routing::Decision) -> String {
    match decision {
        routing::Decision::Next => "next".into(),
        routing::Decision::Respond(reply) => reply_words("respond", reply),
        routing::Decision::Forward(forward) => {
            let rewrite = match &forward.rewrite {
                routing::Rewrite::Keep => String::new(),
                routing::Rewrite::StripSegments(count) => format!(", strip {count}"),
                routing::Rewrite::Replace(path) => format!(", path {path}"),
            };
            let hints: String = forward.hints.iter().map(|(name, value)| format!(", {name}={value}")).collect();
            let fields: Vec<&str> = forward.set_headers.iter().map(|(name, _)| name.as_str()).collect();
            let mut words = format!("forward {}{rewrite}{hints}", forward.target);
            if !fields.is_empty() || !forward.remove_headers.is_empty() || forward.sticky_key.is_some() {
                let rest = format!("{:?} {:?} {:?}", forward.set_headers, forward.remove_headers, forward.sticky_key);
                words.push_str(&format!(
                    ", sets {} removes {} [{}]",
                    fields.join(" "),
                    forward.remove_headers.join(" "),
                    short(&rest)
                ));
            }
            check::shown(&words)
        }
    }
}

/// An answer about who is asking in words: never a name, only whether it is the same.
pub(crate) fn outcome_words(outcome: &auth::Outcome) -> String {
    match outcome {
        auth::Outcome::Abstain => "abstain".into(),
        auth::Outcome::Authenticated(identity) => {
            let all = format!("{:?} {:?} {:?}", identity.subject, identity.groups, identity.claims);
            format!("authenticated, {} groups [{}]", identity.groups.len(), short(&all))
        }
        auth::Outcome::Challenge(reply) => reply_words("challenge", reply),
        auth::Outcome::Rejected(_) => "rejected".into(),
    }
}

fn reply_words(what: &str, reply: &crate::bindings::lectern::plugin::types::Reply) -> String {
    let location = reply.headers.iter().find(|(name, _)| name == "location");
    // Without its query, which may carry what is secret.
    let location = location.map_or(String::new(), |(_, value)| {
        let text = String::from_utf8_lossy(value);
        format!(" to {}", text.split('?').next().unwrap_or_default())
    });
    check::shown(&format!(
        "{what} {}{location} [{}]",
        reply.status,
        short(&format!("{:?} {:?}", reply.headers, reply.body))
    ))
}

fn short(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..8].to_owned()
}
