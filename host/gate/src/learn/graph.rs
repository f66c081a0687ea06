//! The tree as it lies in memory: questions, edges, decisions. Knows no bounds and no policy.
//!
//! All edges stand in one hash map, under the question's number and the hash of the answer: the walk is one look-up per
//! question, and the answers' keyed hash serves as the map's. Equal questions are one object, so that walks over many nodes
//! read the same memory.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use slab::Slab;

use super::encode::AnswerHash;
use super::kept::Words;
use super::question::Question;
use super::record::{Line, Step};

/// An answer to the question of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) node: u32,
    pub(super) hash: AnswerHash,
}

impl Hash for Edge {
    /// Half of a keyed hash is as good as any: whoever cannot predict it cannot make edges collide.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash.0[0] ^ u64::from(self.node).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}

/// Hands one word through.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// What an answer leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Node(u32),
    Leaf(u32),
}

/// A question that was asked after certain answers.
pub(super) struct Node {
    pub(super) question: Arc<Question>,
    /// The answer that led here; `None`: the first question.
    pub(super) up: Option<Edge>,
    /// Different answers to it. Never zero: a node goes with its last answer.
    pub(super) answers: u32,
    /// That answer in words.
    pub(super) words: Words,
}

/// A decision. What a hit touches stands first, on one line of memory.
#[repr(C)]
pub(super) struct Leaf<D> {
    pub(super) decision: D,
    pub(super) expires_ms: Option<u64>,
    pub(super) lines: Option<Arc<[Line]>>,
    pub(super) hits: u64,
    /// Hits since it last stood in line to be given up; up to 3.
    pub(super) recent: u8,
    /// It depends on time, and another call may be right to decide otherwise.
    pub(super) timed: bool,
    pub(super) up: Option<Edge>,
    pub(super) words: Words,
    pub(super) born_ms: u64,
    /// What the doorkeeper knows its path by.
    pub(super) path: u64,
    pub(super) heap_bytes: usize,
}

/// Where a recorded path ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nowhere: it can be added.
    Nothing,
    /// At this decision.
    Leaf(u32),
    /// After so many answers the tree goes on otherwise: a question here, another or a decision there.
    Otherwise(usize),
}

/// Bytes per entry: slots of vectors and maps count twice, since those double when they grow.
const NODE_BYTES: usize = 2 * (size_of::<Node>() + 8);
const EDGE_BYTES: usize = 2 * (size_of::<(Edge, To)>() + 1) + 8;
/// The shared question with its two counts, and its slot.
const QUESTION_BYTES: usize = 2 * (size_of::<Arc<Question>>() + 1) + size_of::<Question>() + 16;
/// A place in line.
const PLACE_BYTES: usize = 2 * size_of::<u32>();

pub(super) struct Graph<D> {
    root: Option<To>,
    pub(super) nodes: Slab<Node>,
    pub(super) leaves: Slab<Leaf<D>>,
    pub(super) edges: HashMap<Edge, To, BuildHasherDefault<AsIs>>,
    questions: HashSet<Arc<Question>>,
    bytes: usize,
}

impl<D> Graph<D> {
    /// What one leaf takes besides its questions and what it points to.
    const LEAF_BYTES: usize = 2 * (size_of::<Leaf<D>>() + 8) + EDGE_BYTES + PLACE_BYTES;

    pub(super) fn new() -> Self {
        Self {
            root: None,
            nodes: Slab::new(),
            leaves: Slab::new(),
            edges: HashMap::default(),
            questions: HashSet::new(),
            bytes: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn root(&self) -> Option<To> {
        self.root
    }

    /// What this answer leads to; `None` for the answer: what the tree begins with.
    pub(super) fn at(&self, up: Option<Edge>) -> Option<To> {
        match up {
            Some(edge) => self.edges.get(&edge).copied(),
            None => self.root,
        }
    }

    pub(super) fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(node as usize)
    }

    pub(super) fn leaf(&self, leaf: u32) -> Option<&Leaf<D>> {
        self.leaves.get(leaf as usize)
    }

    pub(super) fn leaf_mut(&mut self, leaf: u32) -> Option<&mut Leaf<D>> {
        self.leaves.get_mut(leaf as usize)
    }

    /// Follows a recorded path.
    pub(super) fn find(&self, steps: &[Step]) -> Found {
        let mut up = None;
        for (at, step) in steps.iter().enumerate() {
            match self.at(up) {
                None => return Found::Nothing,
                Some(To::Node(node)) if self.asks(node, &step.question) => up = Some(Edge { node, hash: step.hash }),
                Some(To::Node(_) | To::Leaf(_)) => return Found::Otherwise(at),
            }
        }
        match self.at(up) {
            None => Found::Nothing,
            Some(To::Leaf(leaf)) => Found::Leaf(leaf),
            Some(To::Node(_)) => Found::Otherwise(steps.len()),
        }
    }

    fn asks(&self, node: u32, question: &Question) -> bool {
        self.node(node).is_some_and(|node| *node.question == *question)
    }

    /// The most bytes that adding a path takes.
    pub(super) fn cost(steps: &[Step], leaf_heap_bytes: usize) -> usize {
        let step = |step: &Step| {
            NODE_BYTES + EDGE_BYTES + QUESTION_BYTES + step.question.heap_bytes() + step.words.heap_bytes()
        };
        steps.iter().map(step).sum::<usize>() + Self::LEAF_BYTES + leaf_heap_bytes
    }

    /// Adds a path that [`Graph::find`] found nothing for.
    pub(super) fn add(&mut self, steps: Vec<Step>, leaf: Leaf<D>) -> u32 {
        let (mut up, mut words) = (None, Words::Absent);
        for step in steps {
            let node = match self.at(up) {
                Some(To::Node(node)) => node,
                Some(To::Leaf(_)) | None => self.add_node(step.question, up, words),
            };
            (up, words) = (Some(Edge { node, hash: step.hash }), step.words);
        }
        self.bytes += Self::LEAF_BYTES + leaf.heap_bytes + words.heap_bytes();
        let number = self.leaves.insert(Leaf { up, words, ..leaf }) as u32;
        self.attach(up, To::Leaf(number));
        number
    }

    fn add_node(&mut self, question: Question, up: Option<Edge>, words: Words) -> u32 {
        let question = match self.questions.get(&question) {
            Some(known) => Arc::clone(known),
            None => {
                self.bytes += QUESTION_BYTES + question.heap_bytes();
                let question = Arc::new(question);
                self.questions.insert(Arc::clone(&question));
                question
            }
        };
        self.bytes += NODE_BYTES + EDGE_BYTES + words.heap_bytes();
        let number = self.nodes.insert(Node { question, up, answers: 0, words }) as u32;
        self.attach(up, To::Node(number));
        number
    }

    fn attach(&mut self, up: Option<Edge>, to: To) {
        match up {
            None => self.root = Some(to),
            Some(edge) => {
                self.edges.insert(edge, to);
                if let Some(node) = self.nodes.get_mut(edge.node as usize) {
                    node.answers += 1;
                }
            }
        }
    }

    /// Takes a decision out, and the questions that led only there.
    pub(super) fn remove(&mut self, leaf: u32) -> Option<Leaf<D>> {
        let removed = self.leaves.try_remove(leaf as usize)?;
        self.bytes -= Self::LEAF_BYTES + removed.heap_bytes + removed.words.heap_bytes();
        let mut up = removed.up;
        loop {
            let Some(edge) = up else {
                self.root = None;
                break;
            };
            self.edges.remove(&edge);
            let Some(node) = self.nodes.get_mut(edge.node as usize) else { break };
            node.answers -= 1;
            if node.answers > 0 {
                break;
            }
            let node = self.nodes.remove(edge.node as usize);
            self.bytes -= NODE_BYTES + EDGE_BYTES + node.words.heap_bytes();
            self.drop_question(node.question);
            up = node.up;
        }
        Some(removed)
    }

    /// Forgets a question that no other node asks. The two left are the set's and this one.
    fn drop_question(&mut self, question: Arc<Question>) {
        if Arc::strong_count(&question) <= 2 {
            self.questions.remove(&question);
            self.bytes -= QUESTION_BYTES + question.heap_bytes();
        }
    }

    /// Puts a decision in the place of one whose time is over.
    pub(super) fn replace(&mut self, number: u32, leaf: Leaf<D>) {
        if let Some(old) = self.leaves.get_mut(number as usize) {
            self.bytes = self.bytes - old.heap_bytes + leaf.heap_bytes;
            let words = std::mem::replace(&mut old.words, Words::Absent);
            *old = Leaf { up: old.up, words, hits: old.hits, ..leaf };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(question: Question, hash: u64) -> Step {
        Step { question, hash: AnswerHash([hash, hash]), words: Words::Text("words".into()) }
    }

    fn leaf(decision: u32) -> Leaf<u32> {
        Leaf {
            decision,
            expires_ms: None,
            lines: None,
            hits: 0,
            recent: 0,
            timed: false,
            up: None,
            words: Words::Hidden,
            born_ms: 0,
            path: 0,
            heap_bytes: 100,
        }
    }

    #[test]
    fn paths_are_added_found_and_removed_without_a_trace() {
        let header = || Question::header("a");
        let path = |one, other| vec![step(Question::Method, one), step(header(), other)];
        let mut graph = Graph::new();
        let numbers: Vec<u32> =
            [(1, 1), (1, 2), (2, 1)].map(|(one, other)| graph.add(path(one, other), leaf(0))).into();
        assert_eq!((graph.nodes.len(), graph.edges.len(), graph.questions.len()), (3, 5, 2));
        assert_eq!(graph.find(&path(2, 1)), Found::Leaf(numbers[2]));
        assert_eq!(graph.find(&path(2, 2)), Found::Nothing);
        assert_eq!(graph.find(&path(1, 1)[..1]), Found::Otherwise(1), "a decision where there is a question");
        assert_eq!(graph.find(&[step(Question::Scheme, 1)]), Found::Otherwise(0));
        let longer = [path(1, 1), path(1, 1)].into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(graph.find(&longer), Found::Otherwise(2), "a question where there is a decision");
        for number in numbers {
            graph.replace(number, leaf(9));
            assert_eq!(graph.remove(number).map(|leaf| leaf.decision), Some(9));
        }
        assert!(graph.root.is_none() && graph.edges.is_empty() && graph.questions.is_empty());
        assert_eq!((graph.bytes, graph.remove(0).is_none()), (0, true));
    }

    #[test]
    fn a_plugin_that_asks_nothing_has_one_decision() {
        let mut graph = Graph::new();
        let number = graph.add(Vec::new(), leaf(1));
        assert_eq!(graph.find(&[]), Found::Leaf(number));
        graph.remove(number);
        assert_eq!((graph.find(&[]), graph.bytes), (Found::Nothing, 0));
    }
}
