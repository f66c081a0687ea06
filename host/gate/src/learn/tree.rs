//! One tree: walks it, grows it, keeps it within its bounds, and gives it up when the plugin is not what it should be.
//! Plain functions: no lock, no clock, no future.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::counters::Counters;
use super::decision::{Decision, Hit, Learnable, Off, Outcome, Walk};
use super::encode::{Ask, Encoder, Key};
use super::evict::{Door, Leaves, Queues, Seen};
use super::graph::{Edge, Found, Graph, Leaf, To};
use super::kept::Words;
use super::question::Question;
use super::record::{Effects, Line, Recorder, Step};
use super::taint::NotLearned;
use super::worth::{Rest, Worth};

/// Hits of a new decision that are compared with a fresh call. One finds a plugin that never answers twice alike, two one that
/// takes turns.
const FIRST_RERUNS: u64 = 2;
/// Share of a tree's bytes that one decision with its path may take, as a divisor.
const LARGEST_SHARE: usize = 16;

/// The bounds of one tree on one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Decisions held. 16,384: the visitors and contents that are in use on one thread at a time, several times over.
    pub leaves: u32,
    /// Bytes held, as counted from above. 8 MiB: 10,000 decisions that end with a question of their own, such as a key's, or all
    /// 16,384 that do not. A server holds at most this for each thread and each learning plugin and hook: with 8 threads and 4
    /// of them 256 MiB, and only when outsiders send it that many different requests that plugins tell apart.
    pub bytes: usize,
    /// One hit in so many is compared with a fresh call, besides the first two of each decision; 0: none but those. 1,000: at
    /// 0.4 µs for a hit and 10 µs for a call it costs 3 % of what hits cost.
    pub rerun_one_in: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { leaves: 16 << 10, bytes: 8 << 20, rerun_one_in: 1_000 }
    }
}

pub(super) struct Tree<D> {
    key: Key,
    settings: Settings,
    pub(super) graph: Graph<D>,
    queues: Queues,
    door: Door,
    worth: Worth,
    rest: Option<Rest>,
    off: bool,
    counted: Counters,
    not_learned: BTreeMap<&'static str, u64>,
}

impl<D: Decision> Tree<D> {
    pub(super) fn new(key: Key, settings: Settings) -> Self {
        // No more slots than leaves of 512 bytes would fit: at most 1/32 of the bytes.
        let slots = (settings.leaves as usize).min(settings.bytes / 512);
        Self {
            key,
            settings,
            graph: Graph::new(),
            queues: Queues::default(),
            door: Door::new(slots),
            worth: Worth::default(),
            rest: None,
            off: false,
            counted: Counters::default(),
            not_learned: BTreeMap::new(),
        }
    }

    /// Looks for the decision about one request. Allocates nothing on a hit that is not compared.
    pub(super) fn walk<A: Ask + ?Sized>(&mut self, asker: &mut A, now_ms: impl FnOnce() -> u64) -> Walk<D> {
        if self.off || self.worth.rests() {
            self.counted.rested += 1;
            return Walk::Off;
        }
        self.counted.walks += 1;
        let mut effects = Effects::default();
        let leaf = self.descend(asker, &mut effects);
        let hit = leaf.and_then(|leaf| self.hit(leaf, now_ms));
        if let Some((hits, walks)) = self.worth.count(hit.is_some()) {
            self.rest = Some(Rest { hits, walks, why: self.what_stands_in_the_way() });
            self.clear();
        }
        let Some((decision, lines, rerun)) = hit else {
            self.counted.misses += 1;
            return Walk::Miss(Recorder::new(self.key, effects));
        };
        self.counted.reruns += u64::from(rerun);
        let rerun = rerun.then(|| Recorder::new(self.key, effects));
        Walk::Hit(Hit { decision, lines, rerun })
    }

    fn descend<A: Ask + ?Sized>(&self, asker: &mut A, effects: &mut Effects) -> Option<u32> {
        let mut to = self.graph.root()?;
        loop {
            let number = match to {
                To::Leaf(leaf) => return Some(leaf),
                To::Node(number) => number,
            };
            let node = self.graph.node(number)?;
            let mut into = Encoder::hashing(&self.key);
            if let Question::Take(take) = &*node.question {
                let answer = asker.take(take);
                effects.push(&node.question, answer);
                into.maybe_number(answer.map(u64::from));
            } else {
                asker.ask(&node.question, &mut into);
            }
            to = self.graph.at(Some(Edge { node: number, hash: into.finish() }))?;
        }
    }

    #[expect(clippy::type_complexity, reason = "the parts of a hit, taken apart at once")]
    fn hit(&mut self, leaf: u32, now_ms: impl FnOnce() -> u64) -> Option<(D, Option<Arc<[Line]>>, bool)> {
        let one_in = u64::from(self.settings.rerun_one_in);
        let leaf = self.graph.leaf_mut(leaf).filter(|leaf| leaf.expires_ms.is_none_or(|at| at > now_ms()))?;
        self.counted.hits += 1;
        let sampled = one_in > 0
            && mix(self.key.tree().wrapping_add(self.counted.hits.wrapping_mul(SPREAD))).is_multiple_of(one_in);
        let rerun = !leaf.timed && (leaf.hits < FIRST_RERUNS || sampled);
        leaf.hits += 1;
        leaf.recent = (leaf.recent + 1).min(3);
        Some((leaf.decision.clone(), leaf.lines.clone(), rerun))
    }

    /// Takes in a call that was recorded, with its decision.
    pub(super) fn learn(&mut self, call: Recorder, decision: &D, learnable: Learnable, now_ms: u64) -> Outcome {
        match self.try_learn(call, decision, learnable, now_ms) {
            Ok(outcome) => outcome,
            Err(why) => {
                *self.not_learned.entry(why.as_str()).or_default() += 1;
                Outcome::NotLearned(why)
            }
        }
    }

    fn try_learn(
        &mut self,
        call: Recorder,
        decision: &D,
        learnable: Learnable,
        now_ms: u64,
    ) -> Result<Outcome, NotLearned> {
        if self.off || self.worth.is_resting() {
            return Err(NotLearned::Off);
        }
        if call.key.is_none_or(|key| key.tree() != self.key.tree()) {
            return Err(NotLearned::OtherTree);
        }
        if let Some(why) = call.refused {
            return Err(why);
        }
        let mut found = self.graph.find(&call.steps);
        if matches!(found, Found::Otherwise(_)) && call.depends_on_time() {
            // What such a call finds may be from another time.
            self.sweep(now_ms);
            found = self.graph.find(&call.steps);
        }
        let place = match found {
            Found::Nothing => None,
            Found::Leaf(leaf) => {
                let Some(known) = self.graph.leaf(leaf) else { return Err(NotLearned::Off) };
                if !is_over(known.expires_ms, now_ms) {
                    return Ok(self.compare(leaf, &call, decision));
                }
                Some(leaf)
            }
            Found::Otherwise(_) if call.depends_on_time() => return Err(NotLearned::OtherTime),
            Found::Otherwise(after) => {
                let learned = self.asked_after(&call.steps[..after]);
                let fresh = call.steps.get(after).map(|step| step.question.kind());
                return Ok(self.switch_off(Off::Asked { after, learned, fresh }));
            }
        };
        let expires_ms = expiry(&call, learnable, now_ms)?;
        let path = path_hash(&call.steps);
        let timed = call.depends_on_time();
        let line_bytes: usize = call.lines.iter().map(|line| size_of::<Line>() + line.text.len()).sum();
        let leaf = Leaf {
            decision: decision.clone(),
            expires_ms,
            lines: if call.lines.is_empty() { None } else { Some(call.lines.into()) },
            heap_bytes: decision.bytes() + line_bytes,
            hits: 0,
            recent: 0,
            timed,
            up: None,
            words: Words::Absent,
            born_ms: now_ms,
            path,
        };
        let cost = Graph::<D>::cost(&call.steps, leaf.heap_bytes);
        if cost > self.room() / LARGEST_SHARE {
            return Err(NotLearned::TooLarge);
        }
        match place {
            Some(place) => {
                self.graph.replace(place, leaf);
                self.make_room(0, 0, now_ms);
            }
            None => {
                let full = !self.fits(1, cost);
                let seen = if full { self.door.knock(path) } else { Seen::Once };
                if seen == Seen::Never {
                    return Err(NotLearned::FirstSight);
                }
                self.make_room(1, cost, now_ms);
                let number = self.graph.add(call.steps, leaf);
                self.queues.push(number, seen == Seen::Inside);
            }
        }
        self.counted.inserts += 1;
        Ok(Outcome::Learned)
    }

    /// Compares a call with the decision that its path leads to.
    fn compare(&mut self, leaf: u32, call: &Recorder, decision: &D) -> Outcome {
        let Some(known) = self.graph.leaf(leaf).filter(|leaf| !leaf.timed) else { return Outcome::Known };
        if let Some(taint) = call.timed {
            return self.switch_off(Off::Tainted { by: taint.as_str() });
        }
        if known.decision.same(decision) {
            return Outcome::Known;
        }
        let off = Off::Decided { learned: known.decision.describe(), fresh: decision.describe() };
        self.switch_off(off)
    }

    fn switch_off(&mut self, off: Off) -> Outcome {
        self.counted.differences += 1;
        self.give_up();
        Outcome::SwitchedOff(off)
    }

    /// Forgets everything and learns nothing more.
    pub(super) fn give_up(&mut self) {
        self.off = true;
        self.clear();
    }

    fn clear(&mut self) {
        self.graph = Graph::new();
        self.queues = Queues::default();
        self.door.clear();
    }

    fn asked_after(&self, steps: &[Step]) -> Option<&'static str> {
        let mut up = None;
        for step in steps {
            let Some(To::Node(node)) = self.graph.at(up) else { return None };
            up = Some(Edge { node, hash: step.hash });
        }
        match self.graph.at(up) {
            Some(To::Node(node)) => self.graph.node(node).map(|node| node.question.kind()),
            Some(To::Leaf(_)) | None => None,
        }
    }

    /// Bytes for what is learned.
    fn room(&self) -> usize {
        self.settings.bytes.saturating_sub(self.door.most_bytes())
    }

    fn fits(&self, leaves: usize, bytes: usize) -> bool {
        self.graph.leaves.len() + leaves <= self.settings.leaves as usize && self.graph.bytes() + bytes <= self.room()
    }

    fn make_room(&mut self, leaves: usize, bytes: usize, now_ms: u64) {
        while !self.fits(leaves, bytes) {
            let Some(number) = self.queues.pop(&mut AtTime { graph: &mut self.graph, now_ms }) else { break };
            let Some(leaf) = self.graph.remove(number) else { continue };
            self.door.leaves(leaf.path);
            self.counted.evictions += 1;
        }
    }

    /// Takes out all decisions whose time is over.
    fn sweep(&mut self, now_ms: u64) {
        let over: Vec<u32> = self
            .graph
            .leaves
            .iter()
            .filter(|(_, leaf)| is_over(leaf.expires_ms, now_ms))
            .map(|(number, _)| number as u32)
            .collect();
        if over.is_empty() {
            return;
        }
        for &leaf in &over {
            self.graph.remove(leaf);
        }
        let graph = &self.graph;
        self.queues.retain(|leaf| graph.leaf(leaf).is_some());
    }

    /// Why so few walks hit: the reason that most calls were not learned for, or the question with the most answers.
    fn what_stands_in_the_way(&self) -> String {
        let reason = self
            .not_learned
            .iter()
            .filter(|(reason, _)| **reason != NotLearned::FirstSight.as_str())
            .max_by_key(|(_, count)| **count);
        let mut answers: BTreeMap<*const Question, (u64, u32)> = BTreeMap::new();
        for (number, node) in &self.graph.nodes {
            let entry = answers.entry(Arc::as_ptr(&node.question)).or_insert((0, number as u32));
            entry.0 += u64::from(node.answers);
        }
        let most = answers.into_values().max_by_key(|&(answers, _)| answers);
        match (reason, most) {
            (Some((reason, &count)), most) if most.is_none_or(|(answers, _)| answers < count) => {
                format!("{count} calls could not be learned: {reason}")
            }
            (_, Some((answers, node))) => format!("`{}` had {answers} different answers", self.public_name(node)),
            _ => "no call was learned".to_owned(),
        }
    }

    /// The question of a node, with its argument if no answer stands above that may be a credential.
    fn public_name(&self, number: u32) -> String {
        let Some(node) = self.graph.node(number) else { return String::new() };
        let mut next = Some(node);
        while let Some(at) = next {
            if at.words == Words::Hidden {
                return node.question.kind().to_owned();
            }
            next = at.up.and_then(|edge| self.graph.node(edge.node));
        }
        node.question.to_string()
    }

    pub(super) fn resting(&self) -> Option<&Rest> {
        self.rest.as_ref().filter(|_| self.worth.is_resting())
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            leaves: self.graph.leaves.len() as u64,
            nodes: self.graph.nodes.len() as u64,
            bytes: (self.graph.bytes() + self.door.bytes()) as u64,
            not_learned: self.not_learned.iter().map(|(reason, &count)| ((*reason).to_owned(), count)).collect(),
            ..self.counted.clone()
        }
    }
}

/// The leaves, at one moment.
struct AtTime<'a, D> {
    graph: &'a mut Graph<D>,
    now_ms: u64,
}

impl<D> Leaves for AtTime<'_, D> {
    fn spend_hit(&mut self, leaf: u32) -> bool {
        let Some(leaf) = self.graph.leaf_mut(leaf) else { return false };
        let had = leaf.recent > 0;
        leaf.recent = leaf.recent.saturating_sub(1);
        had
    }
    fn is_expired(&self, leaf: u32) -> bool {
        self.graph.leaf(leaf).is_none_or(|leaf| is_over(leaf.expires_ms, self.now_ms))
    }
}

fn is_over(expires_ms: Option<u64>, now_ms: u64) -> bool {
    expires_ms.is_some_and(|at| at <= now_ms)
}

/// When the decision of a call ends, if it may be learned at all.
fn expiry(call: &Recorder, learnable: Learnable, now_ms: u64) -> Result<Option<u64>, NotLearned> {
    let ttl = match learnable {
        Learnable::Yes { ttl } => ttl,
        Learnable::No(why) => return Err(why),
    };
    if let (Some(taint), None) = (call.timed, ttl) {
        return Err(NotLearned::Tainted(taint));
    }
    let lives_until = ttl.map(|ttl| now_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)));
    let until = lives_until.into_iter().chain(call.holds_until_ms).min();
    if is_over(until, now_ms) { Err(NotLearned::Expired) } else { Ok(until) }
}

/// 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number for a path. The answers' hashes say which questions were asked.
fn path_hash(steps: &[Step]) -> u64 {
    steps.iter().fold(0x51ed_270b_9f2d_4e35, |hash: u64, step| mix(hash ^ step.hash.0[0]))
}

/// Spreads a number over all bits (the finaliser of MurmurHash3).
fn mix(mut word: u64) -> u64 {
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        word = (word ^ word >> 33).wrapping_mul(factor);
    }
    word ^ word >> 33
}
