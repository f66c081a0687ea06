//! `[case.expect]`: the decision that must come out, and as much about it as the case cares for.
//!
//! What is left out is not looked at. A table or list that is given is compared whole, but for the fields of a reply, of
//! which those named must be there.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use super::CaseHook;
use super::forms::{header_name, headers};
use super::outcome::{FailureKind, Rewrite};
use crate::fields::{self, Fields};

/// What must come out of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The decision.
    pub answer: Expectation,
    /// Texts, each of which stands in some line of the log.
    pub log_contains: Vec<String>,
    /// The calls to other servers, in order; `None`: any.
    pub outbound: Option<Vec<String>>,
    /// The questions, in order; `None`: any.
    pub asked: Option<Vec<String>>,
}

/// The decision, and what must be true of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// `next`.
    Next,
    /// `forward`.
    Forward {
        /// `content:<guid>` or `system:<part>`.
        target: Option<String>,
        /// What the target sees as path.
        rewrite: Option<Rewrite>,
        /// Fields that replace the client's: all of them.
        set_headers: Option<Vec<(String, String)>>,
        /// Fields that the target does not see: all of them.
        remove_headers: Option<BTreeSet<String>>,
        /// The key.
        sticky_key: Option<String>,
        /// All hints.
        hints: Option<BTreeMap<String, String>>,
    },
    /// `respond`.
    Respond(ExpectedReply),
    /// `abstain`.
    Abstain,
    /// `authenticated`.
    Authenticated(ExpectedIdentity),
    /// `challenge`.
    Challenge(ExpectedReply),
    /// `rejected`, and what the text for the log contains.
    Rejected(Option<String>),
    /// `signed-in`.
    SignedIn(ExpectedIdentity, ExpectedReply),
    /// `signed-out`.
    SignedOut(ExpectedReply),
    /// `accepted`: `lifecycle.check` finds nothing wrong.
    Accepted,
    /// `failure`.
    Failure {
        /// Which; `None`: any.
        kind: Option<FailureKind>,
        /// What its text contains.
        contains: Option<String>,
    },
}

/// What must be true of an identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedIdentity {
    /// The subject.
    pub subject: Option<String>,
    /// The name to show.
    pub display_name: Option<String>,
    /// All groups, in any order.
    pub groups: Option<BTreeSet<String>>,
    /// All claims, in any order.
    pub claims: Option<BTreeMap<String, String>>,
    /// Seconds for which the answer may be reused.
    pub ttl: Option<u32>,
}

/// What must be true of a reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedReply {
    /// The status.
    pub status: Option<u16>,
    /// Fields that must be there with these values, in lower case.
    pub headers: Vec<(String, String)>,
    /// Fields that must not be there, in lower case.
    pub without_headers: Vec<String>,
    /// Texts that the body contains.
    pub body_contains: Vec<String>,
    /// The whole body.
    pub body: Option<String>,
}

impl Expectation {
    /// The word in a file of cases.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Forward { .. } => "forward",
            Self::Respond(_) => "respond",
            Self::Abstain => "abstain",
            Self::Authenticated(_) => "authenticated",
            Self::Challenge(_) => "challenge",
            Self::Rejected(_) => "rejected",
            Self::SignedIn(..) => "signed-in",
            Self::SignedOut(_) => "signed-out",
            Self::Accepted => "accepted",
            Self::Failure { .. } => "failure",
        }
    }
}

/// The decisions that a hook can give.
fn decisions(hook: CaseHook) -> &'static [&'static str] {
    match hook {
        CaseHook::Route | CaseHook::Select => &["next", "forward", "respond", "failure"],
        CaseHook::Authenticate => &["abstain", "authenticated", "challenge", "rejected", "failure"],
        CaseHook::Page => &["respond", "signed-in", "signed-out", "failure"],
        CaseHook::Check => &["accepted", "failure"],
    }
}

/// Every key that some decision has.
const KEYS: [&str; 19] = [
    "target",
    "strip_segments",
    "path",
    "set_headers",
    "remove_headers",
    "sticky_key",
    "hints",
    "status",
    "headers",
    "without_headers",
    "body_contains",
    "body",
    "subject",
    "display_name",
    "groups",
    "claims",
    "ttl",
    "failure",
    "contains",
];

/// `None` where the decision itself is missing or wrong; the mistake is noted.
pub(super) fn read(mut expect: Fields<'_>, hook: Option<CaseHook>) -> Option<Expect> {
    let all: Vec<&'static str> = CaseHook::ALL.into_iter().flat_map(|hook| decisions(hook).iter().copied()).collect();
    let allowed = hook.map_or(all, |hook| decisions(hook).to_vec());
    let form = match hook {
        Some(hook) => format!("one of {} for the hook {}", allowed.join(", "), hook.as_str()),
        None => "the decision that is expected".into(),
    };
    let word = expect.required("decision", &form, |value| {
        fields::word(value, &form, |text| allowed.iter().find(|word| **word == text).copied())
    });
    let strings = |value: &Value| fields::words(value, "texts", |text| Some(text.to_owned()));
    let log_contains = expect.optional("log_contains", one_or_more).unwrap_or_default();
    let outbound = expect.optional("outbound", strings);
    let asked = expect.optional("asked", strings);
    let answer = word.map(|word| match word {
        "next" => Expectation::Next,
        "forward" => forward(&mut expect),
        "respond" => Expectation::Respond(reply(&mut expect)),
        "abstain" => Expectation::Abstain,
        "authenticated" => Expectation::Authenticated(identity(&mut expect)),
        "challenge" => Expectation::Challenge(reply(&mut expect)),
        "rejected" => Expectation::Rejected(expect.optional("contains", fields::text)),
        "signed-in" => Expectation::SignedIn(identity(&mut expect), reply(&mut expect)),
        "signed-out" => Expectation::SignedOut(reply(&mut expect)),
        "accepted" => Expectation::Accepted,
        _ => failure(&mut expect),
    });
    match word {
        Some(word) => expect.finish_with(|key| KEYS.contains(&key).then(|| format!("is not for the decision {word}"))),
        None => {
            // Against a decision that is missing or wrong every key would be wrong too.
            for key in KEYS {
                let _ = expect.value(key);
            }
            expect.finish();
        }
    }
    Some(Expect { answer: answer?, log_contains, outbound, asked })
}

fn forward(expect: &mut Fields<'_>) -> Expectation {
    let target = expect.optional("target", |value| {
        fields::word(value, "\"content:<guid>\" or \"system:<part>\"", |text| {
            let fits = match text.split_once(':')? {
                ("content", guid) => guid.parse::<lectern_domain::ids::ContentGuid>().is_ok(),
                ("system", part) => !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase()),
                _ => false,
            };
            fits.then(|| text.to_owned())
        })
    });
    let strip = expect.optional("strip_segments", |value| fields::number(value, 0, i64::from(u32::MAX)));
    let path = expect.optional("path", |value| {
        fields::word(value, "the path that the target sees, beginning with a slash", |text| {
            text.starts_with('/').then(|| text.to_owned())
        })
    });
    let rewrite = match (strip, path) {
        (Some(_), Some(_)) => {
            expect.refuse("path", None, "stands beside strip_segments: give one of them");
            None
        }
        (Some(0), None) => Some(Rewrite::Keep),
        (Some(count), None) => u32::try_from(count).ok().map(Rewrite::StripSegments),
        (None, Some(path)) => Some(Rewrite::Replace(path)),
        (None, None) => None,
    };
    Expectation::Forward {
        target,
        rewrite,
        set_headers: headers(expect, "set_headers"),
        remove_headers: expect
            .optional("remove_headers", |value| fields::words(value, "names of header fields", header_name))
            .map(|names| names.into_iter().collect()),
        sticky_key: expect.optional("sticky_key", fields::text),
        hints: expect.map("hints", |_, value| fields::text(value)),
    }
}

fn reply(expect: &mut Fields<'_>) -> ExpectedReply {
    ExpectedReply {
        status: expect
            .optional("status", |value| fields::number(value, 200, 599))
            .and_then(|status| u16::try_from(status).ok()),
        headers: headers(expect, "headers").unwrap_or_default(),
        without_headers: expect
            .optional("without_headers", |value| fields::words(value, "names of header fields", header_name))
            .unwrap_or_default(),
        body_contains: expect.optional("body_contains", one_or_more).unwrap_or_default(),
        body: expect.optional("body", fields::text),
    }
}

fn identity(expect: &mut Fields<'_>) -> ExpectedIdentity {
    ExpectedIdentity {
        subject: expect.optional("subject", fields::text),
        display_name: expect.optional("display_name", fields::text),
        groups: expect
            .optional("groups", |value| fields::words(value, "texts", |text| Some(text.to_owned())))
            .map(|groups| groups.into_iter().collect()),
        claims: expect.map("claims", |_, value| fields::text(value)),
        ttl: expect
            .optional("ttl", |value| fields::number(value, 0, i64::from(u32::MAX)))
            .and_then(|ttl| u32::try_from(ttl).ok()),
    }
}

fn failure(expect: &mut Fields<'_>) -> Expectation {
    let words: Vec<&str> = FailureKind::ALL.into_iter().map(FailureKind::as_str).collect();
    let kind = expect.optional("failure", |value| {
        fields::word(value, &format!("one of {}", words.join(", ")), |text| {
            FailureKind::ALL.into_iter().find(|kind| kind.as_str() == text)
        })
    });
    Expectation::Failure { kind, contains: expect.optional("contains", fields::text) }
}

/// A text, or a list of texts.
fn one_or_more(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        _ => fields::words(value, "texts", |text| Some(text.to_owned()))
            .map_err(|problem| problem.replacen("must be a list", "must be a text or a list", 1)),
    }
}
