//! What guests ask about, guests that are a number, and the gate's part between them and the tree.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use lectern_gate::learn::{
    Ask, Decision, Encoder, Kept, Key, Learnable, Learned, NotLearned, Outcome, Part, Question, Recorder, Settings,
    Taint, Take, Walk,
};
use proptest::prelude::*;

/// One request and the state of the server around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) method: &'static str,
    pub(crate) host: String,
    pub(crate) path: String,
    /// Query parameters, fields, cookies and claims are all looked up here, under `kind:name`.
    pub(crate) named: BTreeMap<String, String>,
    pub(crate) subject: Option<String>,
    /// Stamps of keys and users, by text.
    pub(crate) stamps: BTreeMap<String, u64>,
    /// Tokens taken, by bucket.
    pub(crate) taken: BTreeMap<String, u32>,
}

/// Takes after which a bucket is empty.
const BURST: u32 = 3;

impl World {
    pub(crate) fn new() -> Self {
        Self {
            method: "GET",
            host: "apps.example.org".into(),
            path: "/".into(),
            named: BTreeMap::new(),
            subject: None,
            stamps: BTreeMap::new(),
            taken: BTreeMap::new(),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.named.insert(name.to_owned(), value.to_owned());
        self
    }

    fn find(&self, kind: &str, name: &str) -> Option<&str> {
        self.named.get(&format!("{kind}:{name}")).map(String::as_str)
    }

    pub(crate) fn takes(&self) -> u32 {
        self.taken.values().sum()
    }
}

pub(crate) fn digest(text: &str) -> Box<[u8; 32]> {
    Box::new(*blake3::hash(text.as_bytes()).as_bytes())
}

impl Ask for World {
    fn ask(&mut self, question: &Question, into: &mut Encoder<'_>) {
        match question {
            Question::Method => into.text(self.method),
            Question::Host | Question::Authority => into.text(&self.host),
            Question::Path => into.text(&self.path),
            Question::PathPrefix(segments) => {
                let end = self.path.match_indices('/').nth(*segments as usize).map_or(self.path.len(), |(at, _)| at);
                into.text(&self.path[..end]);
            }
            Question::PathHasPrefix(prefix) => into.flag(self.path.starts_with(&**prefix)),
            Question::Query => into.maybe_text(self.find("query", "q")),
            Question::QueryParam(name) => into.maybe_text(self.find("query", name)),
            Question::Header(name) => {
                into.open();
                if let Some(value) = self.find("header", name) {
                    into.bytes(value.as_bytes());
                }
                into.close();
            }
            Question::Cookie(name) => into.maybe_text(self.find("cookie", name)),
            Question::Headers => {
                into.open();
                for (name, value) in &self.named {
                    into.text(name);
                    into.bytes(value.as_bytes());
                }
                into.close();
            }
            Question::VisitorPresent => into.flag(self.subject.is_some()),
            Question::VisitorSubject => into.maybe_text(self.subject.as_deref()),
            Question::InGroup(name) => into.flag(self.find("group", name).is_some()),
            Question::Claim(name) => into.maybe_text(self.find("claim", name)),
            Question::FindKey(digest_of) => {
                into.maybe_number(self.stamps.iter().find(|(text, _)| digest(text) == *digest_of).map(|(_, &n)| n));
            }
            Question::FindUser(name) => into.maybe_number(self.stamps.get(&**name).copied()),
            _ => into.none(),
        }
    }

    fn take(&mut self, take: &Take) -> Option<u32> {
        let taken = self.taken.entry(take.bucket.to_string()).or_default();
        *taken += 1;
        (*taken > BURST).then_some(*taken)
    }
}

pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// Worlds in which the same values come again and again.
pub(crate) fn worlds() -> impl Strategy<Value = World> {
    let names = || prop::sample::select(&NAMES[..]);
    let kinds = prop::sample::select(&["query", "header", "cookie", "group", "claim"][..]);
    let named = prop::collection::btree_map((kinds, names()), prop::sample::select(&["a", "bb", "k1", "k2"][..]), 0..5);
    let segments = prop::collection::vec(names(), 0..4);
    let stamps = prop::collection::btree_map(prop::sample::select(&["k1", "k2", "a"][..]), 1_u64..3, 0..3);
    let rest = (prop::option::of(names()), prop::sample::select(&["GET", "POST"][..]), names());
    (named, segments, stamps, rest).prop_map(|(named, segments, stamps, (subject, method, host))| World {
        method,
        host: host.to_owned(),
        path: format!("/{}", segments.join("/")),
        named: named.into_iter().map(|((kind, name), value)| (format!("{kind}:{name}"), value.to_owned())).collect(),
        subject: subject.map(str::to_owned),
        stamps: stamps.into_iter().map(|(text, stamp)| (text.to_owned(), stamp)).collect(),
        taken: BTreeMap::new(),
    })
}

/// What a guest decides: a number made of all that it was told, so that two paths have two decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict(pub(crate) u64);

impl Decision for Verdict {
    fn bytes(&self) -> usize {
        100
    }
    fn describe(&self) -> String {
        format!("verdict {}", self.0 % 10)
    }
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

/// A guest that decides, through the recorder.
pub(crate) trait Guest {
    fn call(&mut self, recorder: &mut Recorder, world: &mut World) -> (Verdict, Learnable);
}

impl<F: FnMut(&mut Recorder, &mut World) -> (Verdict, Learnable)> Guest for F {
    fn call(&mut self, recorder: &mut Recorder, world: &mut World) -> (Verdict, Learnable) {
        self(recorder, world)
    }
}

pub(crate) const ALWAYS: Learnable = Learnable::Yes { ttl: None };

/// A deterministic guest: what it asks next, and what it asks about, is a function of its number and the answers so far.
pub(crate) struct Program(pub(crate) u64);

impl Guest for Program {
    fn call(&mut self, recorder: &mut Recorder, world: &mut World) -> (Verdict, Learnable) {
        let mut state = mix(self.0, b"start");
        // Some name, or something that an answer said.
        let mut heard = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        for _ in 0..state % 7 {
            state = mix(state, b"next");
            let argument = heard[(state >> 8) as usize % heard.len()].clone();
            let number = (state >> 16) as u32 % 4;
            let boxed = || argument.as_str().into();
            let question = match state % 18 {
                0 => Question::Method,
                1 => Question::Host,
                2 => Question::Path,
                3 => Question::PathPrefix(number),
                4 => Question::PathHasPrefix(format!("/{argument}").into()),
                5 => Question::QueryParam(boxed()),
                6 | 7 => Question::header(&argument),
                8 | 9 => Question::Cookie(boxed()),
                10 => Question::VisitorSubject,
                11 => Question::InGroup(boxed()),
                12 => Question::Claim(boxed()),
                13 | 14 => Question::FindKey(digest(&argument)),
                15 => Question::FindUser(boxed()),
                16 => {
                    let answer = recorder.take(Take { bucket: boxed(), per_minute: 1, burst: 1 }, world);
                    state = mix(state, format!("{answer:?}").as_bytes());
                    continue;
                }
                _ => Question::Headers,
            };
            state = hear(recorder.ask(question, world), state, &mut heard);
        }
        if state.is_multiple_of(5) {
            recorder.log(tracing::Level::INFO, &format!("line {state}"));
        }
        let learnable =
            if state.is_multiple_of(11) { Learnable::No(NotLearned::DenialWithoutIdentity) } else { ALWAYS };
        (Verdict(state), learnable)
    }
}

fn hear(answer: Kept, mut state: u64, heard: &mut Vec<String>) -> u64 {
    for part in answer.into_parts() {
        let text = match part {
            Part::None => "none".to_owned(),
            Part::Flag(flag) => flag.to_string(),
            Part::Number(number) => number.to_string(),
            Part::Open => "[".to_owned(),
            Part::Close => "]".to_owned(),
            Part::Text(text) => {
                heard.push(text.clone());
                text
            }
            Part::Bytes(bytes) => {
                let text = String::from_utf8(bytes).unwrap();
                heard.push(text.clone());
                text
            }
        };
        state = mix(state, text.as_bytes());
    }
    state
}

fn mix(state: u64, with: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&state.to_le_bytes()).update(with);
    u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().unwrap())
}

/// How a request was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum How {
    Hit,
    Compared,
    Called(Outcome),
    CalledUnrecorded,
}

/// One request through the tree, as the gate does it.
pub(crate) fn request(
    learned: &Learned<Verdict>,
    guest: &mut impl Guest,
    world: &mut World,
    now_ms: u64,
) -> (Verdict, How) {
    match learned.walk(world, || now_ms) {
        Walk::Hit(hit) => match hit.rerun {
            None => (hit.decision, How::Hit),
            Some(mut recorder) => {
                let (verdict, learnable) = guest.call(&mut recorder, world);
                match learned.learn(recorder, &verdict, learnable, now_ms) {
                    Outcome::Known => (verdict, How::Compared),
                    outcome => (verdict, How::Called(outcome)),
                }
            }
        },
        Walk::Miss(mut recorder) => {
            let (verdict, learnable) = guest.call(&mut recorder, world);
            let outcome = learned.learn(recorder, &verdict, learnable, now_ms);
            (verdict, How::Called(outcome))
        }
        Walk::Off => (guest.call(&mut Recorder::idle(), world).0, How::CalledUnrecorded),
    }
}

/// The same request without a tree.
pub(crate) fn direct(guest: &mut impl Guest, world: &mut World) -> Verdict {
    guest.call(&mut Recorder::idle(), world).0
}

pub(crate) fn learned(settings: &Settings) -> Learned<Verdict> {
    Learned::new(NonZeroUsize::MIN, settings, Key::from_words([1, 2, 3]))
}

/// A guest like the shipped one for API keys: reads a field, looks the key up.
pub(crate) fn key_guest(recorder: &mut Recorder, world: &mut World) -> (Verdict, Learnable) {
    let Some(value) = recorder.ask(Question::header("authorization"), world).list().pop() else {
        return (Verdict(0), ALWAYS);
    };
    let value = String::from_utf8(value).unwrap();
    let stamp = recorder.ask(Question::FindKey(digest(&value)), world).number();
    (Verdict(mix(stamp.unwrap_or(0), value.as_bytes())), ALWAYS)
}

/// A request with this key.
pub(crate) fn with_key(key: &str) -> World {
    World::new().with("header:authorization", key)
}

/// A guest that uses something that is not repeatable, and may say for how many seconds that is fine.
pub(crate) struct Tainted(pub(crate) Taint, pub(crate) Option<u64>);

impl Guest for Tainted {
    fn call(&mut self, recorder: &mut Recorder, world: &mut World) -> (Verdict, Learnable) {
        recorder.ask(Question::Method, world);
        recorder.taint(self.0);
        (Verdict(1), Learnable::Yes { ttl: self.1.map(Duration::from_secs) })
    }
}
