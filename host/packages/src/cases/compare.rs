//! Expected and got, and how they differ, for people.

use std::collections::BTreeSet;
use std::fmt;

use super::expect::{Expect, Expectation, ExpectedIdentity, ExpectedReply};
use super::outcome::{Answer, Identity, Outcome, Reply, Rewrite};

/// How much of a text is shown.
const MAX_SHOWN_CHARS: usize = 400;
/// How many lines of a list are compared. Lists come from a plugin; comparing takes time by the square.
const MAX_LINES: usize = 200;
/// What is longer is put on lines of its own.
const MAX_INLINE_CHARS: usize = 60;

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// As expected.
    Same(String),
    /// Expected, and not there.
    Expected(String),
    /// There, and not expected.
    Got(String),
}

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What: `status`, `headers.location`, `asked`.
    pub what: String,
    /// Expected and got, in order.
    pub lines: Vec<Line>,
}

/// One short line where that is enough, else a diff: `-` expected, `+` got.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [Line::Expected(expected), Line::Got(got)] = self.lines.as_slice()
            && [expected, got].iter().all(|text| text.chars().count() <= MAX_INLINE_CHARS)
        {
            return write!(f, "{}: expected {expected}, got {got}", self.what);
        }
        write!(f, "{}: expected (-) and got (+)", self.what)?;
        for line in &self.lines {
            match line {
                Line::Same(text) => write!(f, "\n    {text}")?,
                Line::Expected(text) => write!(f, "\n  - {text}")?,
                Line::Got(text) => write!(f, "\n  + {text}")?,
            }
        }
        Ok(())
    }
}

/// What of an outcome is not as expected; empty: the case passes.
pub fn compare(expected: &Expect, actual: &Outcome) -> Vec<Difference> {
    let mut found = Found::default();
    match (&expected.answer, &actual.answer) {
        (Expectation::Next, Answer::Next)
        | (Expectation::Abstain, Answer::Abstain)
        | (Expectation::Accepted, Answer::Accepted) => {}
        (Expectation::Forward { .. }, Answer::Forward { .. }) => found.forward(&expected.answer, &actual.answer),
        (Expectation::Respond(expected), Answer::Respond(got))
        | (Expectation::Challenge(expected), Answer::Challenge(got))
        | (Expectation::SignedOut(expected), Answer::SignedOut(got)) => found.reply(expected, got),
        (Expectation::Authenticated(expected), Answer::Authenticated(got)) => found.identity(expected, got),
        (Expectation::SignedIn(identity, reply), Answer::SignedIn(got_identity, got_reply)) => {
            found.identity(identity, got_identity);
            found.reply(reply, got_reply);
        }
        (Expectation::Rejected(contains), Answer::Rejected(got)) => found.contains("rejected", contains.iter(), got),
        (Expectation::Failure { kind, contains }, Answer::Failed(got, text)) => {
            found.equal("failure", kind.as_ref().map(|kind| kind.as_str()), got.as_str());
            found.contains("failure's text", contains.iter(), text);
        }
        (expected, got) => found.differ("decision", expected.word().into(), described(got)),
    }
    for text in &expected.log_contains {
        if !actual.logs.iter().any(|line| line.contains(text)) {
            let mut lines = vec![Line::Expected(format!("a line with {}", shown(text)))];
            lines.extend(actual.logs.iter().take(MAX_LINES).map(|line| Line::Got(cut(line))));
            if actual.logs.is_empty() {
                lines.push(Line::Got("nothing".into()));
            }
            found.0.push(Difference { what: "log".into(), lines });
        }
    }
    for call in &actual.unanswered {
        found.differ("outbound", "only calls with an answer in world.fetch".into(), cut(call));
    }
    found.list("outbound", expected.outbound.as_deref(), &actual.outbound);
    if let Some(asked) = &actual.asked {
        found.list("asked", expected.asked.as_deref(), asked);
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Difference>);

impl Found {
    fn differ(&mut self, what: &str, expected: String, got: String) {
        self.0.push(Difference { what: what.into(), lines: vec![Line::Expected(expected), Line::Got(got)] });
    }

    fn equal(&mut self, what: &str, expected: Option<&str>, got: &str) {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            self.differ(what, shown(expected), shown(got));
        }
    }

    fn equal_option(&mut self, what: &str, expected: Option<&String>, got: Option<&String>) {
        if let Some(expected) = expected.filter(|expected| Some(*expected) != got) {
            self.differ(what, shown(expected), got.map_or_else(|| "none".into(), |got| shown(got)));
        }
    }

    fn contains<'a>(&mut self, what: &str, texts: impl Iterator<Item = &'a String>, got: &str) {
        for text in texts.filter(|text| !got.contains(text.as_str())) {
            self.differ(what, format!("a text with {}", shown(text)), shown(got));
        }
    }

    fn list(&mut self, what: &str, expected: Option<&[String]>, got: &[String]) {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            self.0.push(Difference { what: what.into(), lines: diff(expected, got) });
        }
    }

    /// Both in their order, so that the order in which a plugin names them does not matter.
    fn set<T: Ord>(&mut self, what: &str, expected: Option<Vec<T>>, mut got: Vec<T>, show: impl Fn(&T) -> String) {
        let Some(mut expected) = expected else { return };
        expected.sort();
        got.sort();
        if expected != got {
            let show = |items: Vec<T>| items.iter().map(&show).collect::<Vec<_>>();
            self.0.push(Difference { what: what.into(), lines: diff(&show(expected), &show(got)) });
        }
    }

    fn forward(&mut self, expected: &Expectation, got: &Answer) {
        let (
            Expectation::Forward { target, rewrite, set_headers, remove_headers, sticky_key, hints },
            Answer::Forward {
                target: got_target,
                rewrite: got_rewrite,
                set_headers: got_set,
                remove_headers: got_remove,
                sticky_key: got_key,
                hints: got_hints,
            },
        ) = (expected, got)
        else {
            return;
        };
        self.equal("target", target.as_deref(), got_target);
        if let Some(rewrite) = rewrite.as_ref().filter(|rewrite| *rewrite != got_rewrite) {
            self.differ("path", rewritten(rewrite), rewritten(got_rewrite));
        }
        let bytes = |fields: &Vec<(String, String)>| {
            fields.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect::<Vec<_>>()
        };
        let field = |(name, value): &(String, Vec<u8>)| format!("{name}: {}", cut(&String::from_utf8_lossy(value)));
        let lower = got_set.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        self.set("set_headers", set_headers.as_ref().map(bytes), lower, field);
        let names: Vec<String> =
            got_remove.iter().map(|name| name.to_ascii_lowercase()).collect::<BTreeSet<_>>().into_iter().collect();
        self.set("remove_headers", remove_headers.clone().map(Vec::from_iter), names, |name| cut(name));
        self.equal_option("sticky_key", sticky_key.as_ref(), got_key.as_ref());
        self.set("hints", hints.clone().map(Vec::from_iter), got_hints.clone(), pair);
    }

    fn identity(&mut self, expected: &ExpectedIdentity, got: &Identity) {
        self.equal("subject", expected.subject.as_deref(), &got.subject);
        self.equal_option("display_name", expected.display_name.as_ref(), got.display_name.as_ref());
        self.set("groups", expected.groups.clone().map(Vec::from_iter), got.groups.clone(), |group| cut(group));
        self.set("claims", expected.claims.clone().map(Vec::from_iter), got.claims.clone(), pair);
        if let Some(ttl) = expected.ttl.filter(|ttl| Some(*ttl) != got.ttl) {
            self.differ("ttl", ttl.to_string(), got.ttl.map_or_else(|| "none".into(), |ttl| ttl.to_string()));
        }
    }

    fn reply(&mut self, expected: &ExpectedReply, got: &Reply) {
        if let Some(status) = expected.status.filter(|status| *status != got.status) {
            self.differ("status", status.to_string(), got.status.to_string());
        }
        let values = |name: &str| {
            let of_name = got.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
            of_name.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>()
        };
        let names: BTreeSet<&String> = expected.headers.iter().map(|(name, _)| name).collect();
        for name in names {
            let of_name = expected.headers.iter().filter(|(field, _)| field == name);
            let wanted: Vec<String> = of_name.map(|(_, value)| value.clone()).collect();
            let there = values(name);
            if wanted != there {
                self.differ(&format!("headers.{name}"), listed(&wanted), listed(&there));
            }
        }
        for name in &expected.without_headers {
            let there = values(name);
            if !there.is_empty() {
                self.differ(&format!("headers.{name}"), "none".into(), listed(&there));
            }
        }
        let body = String::from_utf8_lossy(&got.body);
        self.contains("body", expected.body_contains.iter(), &body);
        if let Some(whole) = expected.body.as_ref().filter(|whole| whole.as_bytes() != got.body) {
            let lines = |text: &str| text.split('\n').map(cut).collect::<Vec<_>>();
            let lines = match (whole.contains('\n'), body.contains('\n')) {
                (false, false) => vec![Line::Expected(shown(whole)), Line::Got(shown(&body))],
                _ => diff(&lines(whole), &lines(&body)),
            };
            self.0.push(Difference { what: "body".into(), lines });
        }
    }
}

/// A decision that was not expected, with what tells most about it.
fn described(answer: &Answer) -> String {
    let word = answer.word();
    let reply = |reply: &Reply| {
        let location = reply.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("location"));
        let to = location.map(|(_, value)| format!(" to {}", cut(&String::from_utf8_lossy(value)))).unwrap_or_default();
        format!("{word} {}{to}", reply.status)
    };
    match answer {
        Answer::Next | Answer::Abstain | Answer::Accepted => word.into(),
        Answer::Forward { target, .. } => format!("{word} to {}", cut(target)),
        Answer::Respond(of) | Answer::Challenge(of) | Answer::SignedOut(of) => reply(of),
        Answer::Authenticated(identity) | Answer::SignedIn(identity, _) => {
            format!("{word} as {}", cut(&identity.subject))
        }
        Answer::Rejected(text) => format!("{word}: {}", cut(text)),
        Answer::Failed(kind, text) => format!("{word}, {}: {}", kind.as_str(), cut(text)),
    }
}

fn rewritten(rewrite: &Rewrite) -> String {
    match rewrite {
        Rewrite::Keep => "the request's".into(),
        Rewrite::StripSegments(1) => "the request's without its first segment".into(),
        Rewrite::StripSegments(count) => format!("the request's without its first {count} segments"),
        Rewrite::Replace(path) => shown(path),
    }
}

fn pair((name, value): &(String, String)) -> String {
    format!("{} = {}", cut(name), cut(value))
}

fn listed(values: &[String]) -> String {
    match values {
        [] => "none".into(),
        values => values.iter().map(|value| shown(value)).collect::<Vec<_>>().join(", "),
    }
}

fn shown(text: &str) -> String {
    crate::mistake::quoted(text, MAX_SHOWN_CHARS)
}

/// A text on one line that needs no quotes.
fn cut(text: &str) -> String {
    let quoted = shown(text);
    match quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inside) if inside == text => inside.to_owned(),
        _ => quoted,
    }
}

/// The longest common lines are the same, the rest was expected or got.
fn diff(expected: &[String], got: &[String]) -> Vec<Line> {
    let more = expected.len().saturating_sub(MAX_LINES).max(got.len().saturating_sub(MAX_LINES));
    let (expected, got) = (&expected[..expected.len().min(MAX_LINES)], &got[..got.len().min(MAX_LINES)]);
    // longest[i][j]: how many lines are common to what follows i and what follows j.
    let mut longest = vec![vec![0_usize; got.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..got.len()).rev() {
            longest[i][j] = if expected[i] == got[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < expected.len() || j < got.len() {
        match (expected.get(i), got.get(j)) {
            (Some(a), Some(b)) if a == b => {
                lines.push(Line::Same(cut(a)));
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || longest[i + 1][j] >= longest[i][j + 1] => {
                lines.push(Line::Expected(cut(a)));
                i += 1;
            }
            (_, Some(b)) => {
                lines.push(Line::Got(cut(b)));
                j += 1;
            }
            (_, None) => break,
        }
    }
    if more > 0 {
        lines.push(Line::Same(format!("… and {more} more lines")));
    }
    lines
}
