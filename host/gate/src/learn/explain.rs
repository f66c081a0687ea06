//! What was learned, as operators may see it: which questions a plugin asks and what it decides.
//!
//! Never shown are answers that can carry credentials or say who somebody is (of them the report has the number, and what
//! follows from "there is none"), the hashes, the digests of keys, and log lines. An argument that a plugin gave a question
//! may come out of such an answer, so it is shown only where the question was also asked without one, or where the caller
//! knows it from elsewhere. Subtrees that differ only in what is not shown are one, and so are those of all threads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::counters::Counters;
use super::decision::{Decision, Off};
use super::encode::AnswerHash;
use super::graph::To;
use super::kept::Words;
use super::question::{Question, cut};
use super::tree::Tree;
use super::worth::Rest;

/// Entries of one list that are shown, those with the most hits first; the others are counted.
const FOLD: usize = 20;
/// Characters of a decision that are shown: a target with its GUID and a few words.
const DECISION_CHARS: usize = 160;
/// Entries of one report. More is not read by anybody.
const MAX_ENTRIES: usize = 2_000;

/// The learned decisions of one release, hook and phase. Its `Display` is the text that operators read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Why learning is off for good, if it is.
    pub off: Option<String>,
    /// Why learning rests on some threads, if it does: the first such thread's reason.
    pub rests: Option<Rest>,
    /// Threads that learn.
    pub threads: usize,
    /// What happened.
    pub counters: Counters,
    /// What was learned.
    pub tree: Branch,
}

/// What comes after an answer: a decision or a question. Several of them where answers that are not shown lead to different
/// ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// Decisions.
    pub decided: Vec<Decided>,
    /// Questions.
    pub asked: Vec<Asked>,
    /// Decisions and questions beyond those.
    pub more: u64,
    /// Hits of what lies behind them.
    pub more_hits: u64,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// In plain words: `header x-tenant`.
    pub question: String,
    /// Different answers that are known.
    pub answers: u64,
    /// Those that are shown.
    pub shown: Vec<Answered>,
    /// Answers beyond those.
    pub more: u64,
    /// Hits of what lies behind them.
    pub more_hits: u64,
}

/// An answer, or all answers to a question that are not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The answer in words, cut to 80 characters; `None`: not shown.
    pub answer: Option<String>,
    /// Different answers that this stands for.
    pub answers: u64,
    /// Hits of what lies behind it.
    pub hits: u64,
    /// What came next.
    pub then: Branch,
}

/// A decision, or several that read the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// In words.
    pub decision: String,
    /// How many entries of the tree it is; each thread has its own.
    pub leaves: u64,
    /// Requests that it answered.
    pub hits: u64,
    /// How long the oldest is known, in milliseconds.
    pub age_ms: u64,
    /// When the first ends, in milliseconds from now; `None`: none does.
    pub ends_in_ms: Option<u64>,
    /// Log lines written again with each.
    pub lines: u64,
}

/// A copy of one thread's tree.
pub(super) struct Snapshot<D> {
    root: Option<To>,
    nodes: HashMap<u32, Copied>,
    leaves: HashMap<u32, CopiedLeaf<D>>,
    rests: Option<Rest>,
}

struct Copied {
    question: Arc<Question>,
    words: Words,
    answers: Vec<(AnswerHash, To)>,
}

struct CopiedLeaf<D> {
    decision: D,
    words: Words,
    hits: u64,
    born_ms: u64,
    expires_ms: Option<u64>,
    lines: usize,
}

impl<D: Decision> Snapshot<D> {
    pub(super) fn of(tree: &Tree<D>) -> Self {
        let graph = &tree.graph;
        let copied = |(number, node): (usize, &super::graph::Node)| {
            let (question, words) = (Arc::clone(&node.question), node.words.clone());
            (number as u32, Copied { question, words, answers: Vec::new() })
        };
        let mut nodes: HashMap<u32, Copied> = graph.nodes.iter().map(copied).collect();
        for (edge, &to) in &graph.edges {
            if let Some(node) = nodes.get_mut(&edge.node) {
                node.answers.push((edge.hash, to));
            }
        }
        let leaf = |(number, leaf): (usize, &super::graph::Leaf<D>)| {
            let copied = CopiedLeaf {
                decision: leaf.decision.clone(),
                words: leaf.words.clone(),
                hits: leaf.hits,
                born_ms: leaf.born_ms,
                expires_ms: leaf.expires_ms,
                lines: leaf.lines.as_ref().map_or(0, |lines| lines.len()),
            };
            (number as u32, copied)
        };
        let leaves = graph.leaves.iter().map(leaf).collect();
        Self { root: graph.root(), nodes, leaves, rests: tree.resting().cloned() }
    }

    fn words(&self, to: To) -> Option<&Words> {
        match to {
            To::Node(node) => self.nodes.get(&node).map(|node| &node.words),
            To::Leaf(leaf) => self.leaves.get(&leaf).map(|leaf| &leaf.words),
        }
    }

    /// Collects the questions that were asked without a hidden answer before them: their arguments hold none.
    fn open<'a>(&'a self, to: To, open: &mut HashSet<&'a Question>) {
        let To::Node(node) = to else { return };
        let Some(node) = self.nodes.get(&node) else { return };
        open.insert(&node.question);
        for &(_, to) in &node.answers {
            if self.words(to).is_some_and(|words| *words != Words::Hidden) {
                self.open(to, open);
            }
        }
    }

    fn collect(&self, to: To, now_ms: u64, label: &dyn Fn(&Question) -> String, group: &mut Group) {
        match to {
            To::Leaf(leaf) => {
                if let Some(leaf) = self.leaves.get(&leaf) {
                    group.decide(leaf, now_ms);
                }
            }
            To::Node(node) => {
                let Some(node) = self.nodes.get(&node) else { return };
                let ask = group.asks.entry(label(&node.question)).or_default();
                for &(hash, to) in &node.answers {
                    let Some(words) = self.words(to) else { continue };
                    self.collect(to, now_ms, label, ask.answer(hash, words));
                }
            }
        }
    }
}

/// A branch while it is put together.
#[derive(Default)]
struct Group {
    asks: HashMap<String, Ask>,
    decides: HashMap<String, Decided>,
}

#[derive(Default)]
struct Ask {
    shown: HashMap<AnswerHash, (String, Group)>,
    hidden: Group,
    hidden_answers: HashSet<AnswerHash>,
}

impl Ask {
    fn answer(&mut self, hash: AnswerHash, words: &Words) -> &mut Group {
        let text: &str = match words {
            Words::Hidden => {
                self.hidden_answers.insert(hash);
                return &mut self.hidden;
            }
            Words::Absent => "none",
            Words::Text(text) if text.is_empty() => "an empty text",
            Words::Text(text) => text,
        };
        &mut self.shown.entry(hash).or_insert_with(|| (text.to_owned(), Group::default())).1
    }

    fn hits(&self) -> u64 {
        self.hidden.hits() + self.shown.values().map(|(_, group)| group.hits()).sum::<u64>()
    }

    fn finish(self, question: String, room: &mut usize) -> Asked {
        let answers = (self.shown.len() + self.hidden_answers.len()) as u64;
        let hidden = (None, self.hidden_answers.len() as u64, self.hidden);
        let all = self.shown.into_values().map(|(answer, group)| (Some(answer), 1, group));
        let all = all.chain(std::iter::once(hidden).filter(|(_, answers, _)| *answers > 0));
        let (kept, rest) = fold(all, |(answer, _, group)| (group.hits(), answer.clone()), room);
        let shown = kept
            .into_iter()
            .map(|(answer, answers, group)| Answered { answer, answers, hits: group.hits(), then: group.finish(room) })
            .collect();
        let more = rest.iter().map(|(_, answers, _)| answers).sum();
        let more_hits = rest.iter().map(|(_, _, group)| group.hits()).sum();
        Asked { question, answers, shown, more, more_hits }
    }
}

impl Group {
    fn decide<D: Decision>(&mut self, leaf: &CopiedLeaf<D>, now_ms: u64) {
        let decision = cut(&leaf.decision.describe(), DECISION_CHARS);
        let empty =
            || Decided { decision: decision.clone(), leaves: 0, hits: 0, age_ms: 0, ends_in_ms: None, lines: 0 };
        let decided = self.decides.entry(decision.clone()).or_insert_with(empty);
        decided.leaves += 1;
        decided.hits += leaf.hits;
        decided.age_ms = decided.age_ms.max(now_ms.saturating_sub(leaf.born_ms));
        let ends_in_ms = leaf.expires_ms.map(|at| at.saturating_sub(now_ms));
        decided.ends_in_ms = decided.ends_in_ms.into_iter().chain(ends_in_ms).min();
        decided.lines = decided.lines.max(leaf.lines as u64);
    }

    fn hits(&self) -> u64 {
        let decided: u64 = self.decides.values().map(|decided| decided.hits).sum();
        decided + self.asks.values().map(Ask::hits).sum::<u64>()
    }

    fn finish(self, room: &mut usize) -> Branch {
        let by_hits = |decided: &Decided| (decided.hits, Some(decided.decision.clone()));
        let (decided, folded) = fold(self.decides.into_values(), by_hits, room);
        let (asks, folded_asks) =
            fold(self.asks.into_iter(), |(question, ask)| (ask.hits(), Some(question.clone())), room);
        Branch {
            decided,
            asked: asks.into_iter().map(|(question, ask)| ask.finish(question, room)).collect(),
            more: (folded.len() + folded_asks.len()) as u64,
            more_hits: folded.iter().map(|decided| decided.hits).sum::<u64>()
                + folded_asks.iter().map(|(_, ask)| ask.hits()).sum::<u64>(),
        }
    }
}

/// Splits off what is shown: the first by hits, then by name, as long as there is room.
fn fold<T>(
    items: impl Iterator<Item = T>,
    rank: impl Fn(&T) -> (u64, Option<String>),
    room: &mut usize,
) -> (Vec<T>, Vec<T>) {
    let mut kept: Vec<T> = items.collect();
    kept.sort_by_cached_key(|item| {
        let (hits, name) = rank(item);
        (std::cmp::Reverse(hits), name)
    });
    // One entry is not worth a line that says that there is one more.
    let shown = if kept.len() == FOLD + 1 { FOLD + 1 } else { FOLD };
    let rest = kept.split_off(kept.len().min(shown).min(*room));
    *room -= kept.len();
    (kept, rest)
}

impl Report {
    pub(super) fn of<D: Decision>(
        trees: &[Snapshot<D>],
        off: Option<&Off>,
        counters: Counters,
        now_ms: u64,
        known: &dyn Fn(&str) -> bool,
    ) -> Self {
        let mut open = HashSet::new();
        for tree in trees {
            if let Some(root) = tree.root {
                tree.open(root, &mut open);
            }
        }
        let label = |question: &Question| match question.argument() {
            Some(argument) if !open.contains(question) && !question.is_numeric() && !known(&argument) => {
                format!("{} (of a name not shown)", question.kind())
            }
            _ => question.to_string(),
        };
        let mut group = Group::default();
        for tree in trees {
            if let Some(root) = tree.root {
                tree.collect(root, now_ms, &label, &mut group);
            }
        }
        Self {
            off: off.map(ToString::to_string),
            rests: trees.iter().find_map(|tree| tree.rests.clone()),
            threads: trees.len(),
            counters,
            tree: group.finish(&mut { MAX_ENTRIES }),
        }
    }
}
