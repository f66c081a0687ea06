//! Measures one walk of a learned tree, by the number of decisions in it. Run it with `--release`.
//!
//! The tree is that of a plugin for API keys behind 1,000 contents: `path-prefix 2`, `header authorization`, `find-key`. The
//! requests come in no order, so that large trees are read from cold memory as they are by real traffic.
#![allow(clippy::unwrap_used, reason = "a measurement may stop")]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lectern_gate::learn::{Ask, Decision, Encoder, Key, Learnable, Learned, Question, Settings, Take, Walk};

#[derive(Clone)]
struct Content(Arc<str>);

impl Decision for Content {
    fn bytes(&self) -> usize {
        200
    }
    fn describe(&self) -> String {
        self.0.to_string()
    }
    fn same(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

struct Request {
    prefix: String,
    authorization: String,
    stamp: u64,
}

impl Ask for Request {
    fn ask(&mut self, question: &Question, into: &mut Encoder<'_>) {
        match question {
            Question::PathPrefix(_) => into.text(&self.prefix),
            Question::Header(_) => {
                into.open();
                into.bytes(self.authorization.as_bytes());
                into.close();
            }
            Question::FindKey(_) => into.number(self.stamp),
            _ => into.none(),
        }
    }
    fn take(&mut self, _: &Take) -> Option<u32> {
        None
    }
}

/// Time that this thread computed: what others do on the machine counts little.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn main() {
    println!("{:>9} {:>12} {:>15} {:>12}", "decisions", "ns per walk", "bytes per leaf", "hits");
    for leaves in [1_u64, 10, 1_000, 10_000, 100_000] {
        let settings = Settings { leaves: 200_000, bytes: 1 << 30, rerun_one_in: 0 };
        let learned = Learned::new(NonZeroUsize::MIN, &settings, Key::random().unwrap());
        let mut requests: Vec<Request> = (0..leaves)
            .map(|n| Request {
                prefix: format!("/content/{:036}", n % 1_000),
                authorization: format!("Key {:032}", n / 1_000 % 200 + n % 1_000 * 7 % 200),
                stamp: n,
            })
            .collect();
        // Learned, and past the comparisons of new decisions. One after the other: a tree in which 10,000 walks find nothing rests.
        for request in &mut requests {
            for _ in 0..4 {
                if let Walk::Miss(mut recorder) = learned.walk(request, || 0) {
                    recorder.ask(Question::PathPrefix(2), request);
                    recorder.ask(Question::header("authorization"), request);
                    let digest = *blake3::hash(request.authorization.as_bytes()).as_bytes();
                    recorder.ask(Question::FindKey(Box::new(digest)), request);
                    let decision = Content(request.prefix.as_str().into());
                    learned.learn(recorder, &decision, Learnable::Yes { ttl: None }, 0);
                }
            }
        }
        let walks = 2_000_000_u64;
        // Any odd step below a power of two visits all; this one far apart.
        let (mut at, size) = (0_usize, requests.len());
        let before = cpu_ns();
        for _ in 0..walks {
            at = (at + 38_197) % size;
            if let Walk::Hit(hit) = learned.walk(&mut requests[at], || 0) {
                black_box(&hit.decision);
            }
        }
        let ns = (cpu_ns() - before) / walks;
        let counters = learned.counters();
        let hits = counters.hits * 100 / (walks + 3 * leaves);
        let before = cpu_ns();
        let lines = learned.explain(0, &|_| false).to_string().lines().count();
        let explained = (cpu_ns() - before) / 1_000_000;
        let bytes = counters.bytes.checked_div(counters.leaves).unwrap_or_default();
        println!(
            "{:>9} {ns:>12} {bytes:>15} {hits:>10} %   {lines} lines of report in {explained} ms",
            counters.leaves
        );
    }
}
