//! What one call of a plugin asked and was told.

use std::fmt;
use std::sync::Arc;

use super::encode::{AnswerHash, Ask, Encoder, Key};
use super::kept::{Kept, Words};
use super::question::{Question, Take};
use super::taint::{NotLearned, Taint};

/// Questions of a call that is learned. The shipped plugins ask five; a call that asks more than this reads everything.
pub(super) const MAX_QUESTIONS: usize = 64;
/// Bytes of all arguments of the questions of one call that is learned.
const MAX_ARGUMENT_BYTES: usize = 8 << 10;
/// Tokens that a call that is learned takes from buckets. One for the address and one for the account are common.
const MAX_EFFECTS: usize = 4;
/// Lines that are replayed for one decision, and their bytes. A plugin that says more than this says it about one request.
const MAX_LINES: usize = 8;
const MAX_LINE_BYTES: usize = 2 << 10;

/// A line that the plugin wrote, to be written again with each reuse of its decision.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Info or above: what is below is for the plugin's author and belongs to calls that are made.
    pub level: tracing::Level,
    /// As it was written.
    pub text: Box<str>,
}

/// The text may be anything.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("level", &self.level).finish_non_exhaustive()
    }
}

/// A question, and the hash of its answer.
pub(super) struct Step {
    pub(super) question: Question,
    pub(super) hash: AnswerHash,
    pub(super) words: Words,
}

/// Effects that a walk evaluated before it ended. They must not happen again when the plugin is called after all.
#[derive(Clone, Default)]
pub(super) struct Effects([Option<(Arc<Question>, Option<u32>)>; MAX_EFFECTS]);

impl Effects {
    /// Recorded calls have at most [`MAX_EFFECTS`], so there is room on every walk.
    pub(super) fn push(&mut self, question: &Arc<Question>, answer: Option<u32>) {
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some((Arc::clone(question), answer));
        }
    }

    /// The first answer to this question that was not given out yet.
    fn claim(&mut self, wanted: &Take) -> Option<Option<u32>> {
        let is_it = |slot: &&mut Option<(Arc<Question>, Option<u32>)>| {
            slot.as_ref().is_some_and(|(question, _)| matches!(&**question, Question::Take(take) if **take == *wanted))
        };
        self.0.iter_mut().find(is_it)?.take().map(|(_, answer)| answer)
    }
}

/// Records one call. All questions of the plugin go through it, whether they are recorded or not.
pub struct Recorder {
    /// `None`: it only hands answers through.
    pub(super) key: Option<Key>,
    pub(super) steps: Vec<Step>,
    pub(super) lines: Vec<Line>,
    /// The decision holds no longer than this, in milliseconds of the caller's clock.
    pub(super) holds_until_ms: Option<u64>,
    /// It is learned only with a time to live.
    pub(super) timed: Option<Taint>,
    /// It is not learned.
    pub(super) refused: Option<NotLearned>,
    effects: Effects,
    argument_bytes: usize,
    line_bytes: usize,
    taken: usize,
}

impl Recorder {
    /// One that records nothing: for calls that are never learned, and where learning is off.
    pub fn idle() -> Self {
        Self {
            key: None,
            steps: Vec::new(),
            lines: Vec::new(),
            holds_until_ms: None,
            timed: None,
            refused: None,
            effects: Effects::default(),
            argument_bytes: 0,
            line_bytes: 0,
            taken: 0,
        }
    }

    pub(super) fn new(key: Key, effects: Effects) -> Self {
        Self { key: Some(key), effects, ..Self::idle() }
    }

    /// Answers a question of the guest.
    pub fn ask<A: Ask + ?Sized>(&mut self, question: Question, asker: &mut A) -> Kept {
        let mut kept = Kept::default();
        let key = self.recording();
        let mut into = Encoder::keeping(key.as_ref(), &mut kept);
        asker.ask(&question, &mut into);
        let hash = into.finish();
        if key.is_none() {
            return kept;
        }
        // Asked twice is recorded once.
        match self.steps.iter().find(|step| step.question == question) {
            Some(step) if step.hash == hash => {}
            Some(_) => self.taint(Taint::AnswerChanged),
            None => {
                let words = kept.words(&question);
                self.push(question, hash, words);
            }
        }
        kept
    }

    /// Takes one from a bucket for the guest: what the walk took, if it did.
    pub fn take<A: Ask + ?Sized>(&mut self, take: Take, asker: &mut A) -> Option<u32> {
        let answer = self.effects.claim(&take).unwrap_or_else(|| asker.take(&take));
        if let Some(key) = self.recording() {
            self.taken += 1;
            if self.taken > MAX_EFFECTS {
                self.refuse(NotLearned::TooManyEffects);
                return answer;
            }
            let mut into = Encoder::hashing(&key);
            into.maybe_number(answer.map(u64::from));
            let words = answer.map_or("there was one".to_owned(), |seconds| format!("{seconds} s to wait"));
            self.push(Question::Take(Box::new(take)), into.finish(), Words::Text(words.into()));
        }
        answer
    }

    /// Notes a line that the guest wrote.
    pub fn log(&mut self, level: tracing::Level, text: &str) {
        // `tracing` orders levels by how much they say.
        if self.recording().is_none() || level > tracing::Level::INFO {
            return;
        }
        self.line_bytes = self.line_bytes.saturating_add(text.len());
        if self.lines.len() == MAX_LINES || self.line_bytes > MAX_LINE_BYTES {
            self.refuse(NotLearned::TooManyLines);
        } else {
            self.lines.push(Line { level, text: text.into() });
        }
    }

    /// Notes that the guest used something that is not repeatable.
    pub fn taint(&mut self, taint: Taint) {
        if taint.yields_to_ttl() {
            self.timed.get_or_insert(taint);
        } else {
            self.refuse(NotLearned::Tainted(taint));
        }
    }

    /// Notes that the host gave an answer that is a function of the other answers only until then, such as that a token is
    /// good. `u64::MAX`: from now on for ever, but it was not before.
    pub fn holds_until(&mut self, at_ms: u64) {
        self.holds_until_ms = Some(self.holds_until_ms.map_or(at_ms, |until| until.min(at_ms)));
    }

    /// Whether the call depends on time, and the next one with the same answers may be right to go another way.
    pub(super) fn depends_on_time(&self) -> bool {
        self.timed.is_some() || self.holds_until_ms.is_some()
    }

    fn recording(&self) -> Option<Key> {
        self.key.filter(|_| self.refused.is_none())
    }

    fn push(&mut self, question: Question, hash: AnswerHash, words: Words) {
        self.argument_bytes = self.argument_bytes.saturating_add(question.heap_bytes());
        if self.steps.len() == MAX_QUESTIONS {
            self.refuse(NotLearned::TooManyQuestions);
        } else if self.argument_bytes > MAX_ARGUMENT_BYTES {
            self.refuse(NotLearned::TooLarge);
        } else {
            self.steps.push(Step { question, hash, words });
        }
    }

    /// The first reason stays; what was recorded is of no use.
    fn refuse(&mut self, why: NotLearned) {
        self.refused.get_or_insert(why);
        (self.steps, self.lines) = (Vec::new(), Vec::new());
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("questions", &self.steps.len())
            .field("timed", &self.timed)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::encode::Encoder;

    struct Counting(u32);
    impl Ask for Counting {
        fn ask(&mut self, question: &Question, into: &mut Encoder<'_>) {
            match question {
                Question::Session => {
                    self.0 += 1;
                    into.number(u64::from(self.0));
                }
                question => into.text(&question.to_string()),
            }
        }
        fn take(&mut self, _: &Take) -> Option<u32> {
            self.0 += 1;
            Some(self.0)
        }
    }

    fn recorder() -> Recorder {
        Recorder::new(Key::from_words([1, 2, 3]), Effects::default())
    }

    fn bucket(name: &str) -> Take {
        Take { bucket: name.into(), per_minute: 1, burst: 1 }
    }

    #[test]
    fn a_question_asked_twice_is_recorded_once() {
        let (mut one, mut asker) = (recorder(), Counting(0));
        assert_eq!(one.ask(Question::header("A"), &mut asker).text(), "header a");
        assert_eq!(one.ask(Question::header("a"), &mut asker).text(), "header a");
        assert_eq!((one.steps.len(), one.refused), (1, None));
        one.ask(Question::Session, &mut asker);
        one.ask(Question::Session, &mut asker);
        assert_eq!(one.refused, Some(NotLearned::Tainted(Taint::AnswerChanged)));
    }

    #[test]
    fn an_effect_of_the_walk_does_not_happen_again() {
        let mut effects = Effects::default();
        effects.push(&Arc::new(Question::Take(Box::new(bucket("a")))), Some(70));
        effects.push(&Arc::new(Question::Take(Box::new(bucket("a")))), None);
        let (mut one, mut asker) = (Recorder::new(Key::from_words([1, 2, 3]), effects), Counting(0));
        assert_eq!(one.take(bucket("b"), &mut asker), Some(1));
        assert_eq!([one.take(bucket("a"), &mut asker), one.take(bucket("a"), &mut asker)], [Some(70), None]);
        assert_eq!(one.take(bucket("a"), &mut asker), Some(2), "a third one is a new one");
        assert_eq!((one.steps.len(), one.refused), (4, None));
        one.take(bucket("a"), &mut asker);
        assert_eq!(one.refused, Some(NotLearned::TooManyEffects));
    }

    #[test]
    fn what_is_recorded_is_bounded() {
        let mut asker = Counting(0);
        let mut many = recorder();
        for n in 0..65 {
            many.ask(Question::PathPrefix(n), &mut asker);
        }
        assert_eq!((many.refused, many.steps.len()), (Some(NotLearned::TooManyQuestions), 0));
        let mut large = recorder();
        large.ask(Question::Header("x".repeat(MAX_ARGUMENT_BYTES + 1).into()), &mut asker);
        assert_eq!(large.refused, Some(NotLearned::TooLarge));
        let mut chatty = recorder();
        for _ in 0..100 {
            chatty.log(tracing::Level::DEBUG, "not kept");
        }
        assert_eq!((chatty.refused, chatty.lines.len()), (None, 0));
        for _ in 0..9 {
            chatty.log(tracing::Level::INFO, "line");
        }
        assert_eq!(chatty.refused, Some(NotLearned::TooManyLines));
    }

    #[test]
    fn the_worst_taint_counts_and_the_nearest_end() {
        let mut one = recorder();
        one.taint(Taint::Clock);
        one.holds_until(9);
        one.holds_until(5);
        one.holds_until(7);
        assert_eq!((one.timed, one.refused, one.holds_until_ms), (Some(Taint::Clock), None, Some(5)));
        one.taint(Taint::StoreWrite);
        one.taint(Taint::RequestId);
        assert_eq!(one.refused, Some(NotLearned::Tainted(Taint::StoreWrite)));
        assert_eq!(Recorder::idle().ask(Question::Method, &mut Counting(0)).text(), "method");
    }
}
