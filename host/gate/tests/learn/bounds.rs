//! What a tree takes: memory within its bound, and none on a hit.

use std::num::NonZeroUsize;

use lectern_gate::learn::{
    Ask, Decision, Encoder, Key, Learned, NotLearned, Outcome, Question, Recorder, Settings, Take, Walk,
};

use crate::world::{ALWAYS, Verdict, World, key_guest, learned, request, with_key};

#[test]
fn what_is_counted_covers_what_is_allocated() {
    for bytes in [256 << 10, 2 << 20] {
        let settings = Settings { leaves: 16 << 10, bytes, rerun_one_in: 0 };
        let mut kept: Option<Learned<Verdict>> = None;
        let info = allocation_counter::measure(|| {
            let learned = learned(&settings);
            for n in 0..45_000 {
                // Each comes three times: the doorkeeper lets it in, and it hits.
                request(&learned, &mut key_guest, &mut with_key(&format!("key {}", n / 3)), 0);
            }
            kept = Some(learned);
        });
        let counters = kept.unwrap().counters();
        let allocated = usize::try_from(info.bytes_current).unwrap();
        println!("bound {bytes}: {allocated} allocated, {} counted, {} leaves", counters.bytes, counters.leaves);
        assert!(counters.evictions > 0 && counters.leaves > 200, "{counters:?}");
        assert!(counters.bytes as usize <= bytes, "{counters:?}");
        // The verdicts say that they take 100 bytes and do not, which is room for the allocator's own.
        assert!(allocated <= bytes, "{allocated} of {bytes}");
    }
}

#[test]
fn a_hit_allocates_nothing() {
    /// A world that allocates nothing either.
    struct Bare;
    impl Ask for Bare {
        fn ask(&mut self, question: &Question, into: &mut Encoder<'_>) {
            if *question == Question::Method { into.text("GET") } else { into.none() }
        }
        fn take(&mut self, _: &Take) -> Option<u32> {
            None
        }
    }
    let learned = learned(&Settings { rerun_one_in: 0, ..Settings::default() });
    for _ in 0..4 {
        match learned.walk(&mut Bare, || 0) {
            Walk::Miss(mut recorder) => {
                recorder.ask(Question::Method, &mut Bare);
                recorder.ask(Question::header("x-tenant"), &mut Bare);
                let take = Take { bucket: "all".into(), per_minute: 1, burst: 1 };
                recorder.take(take, &mut Bare);
                recorder.log(tracing::Level::INFO, "seen");
                learned.learn(recorder, &Verdict(1), ALWAYS, 0);
            }
            Walk::Hit(_) => {}
            Walk::Off => panic!("off"),
        }
    }
    let info = allocation_counter::measure(|| {
        for now_ms in 0..100 {
            let Walk::Hit(hit) = learned.walk(&mut Bare, || now_ms) else { panic!("no hit") };
            assert!(hit.rerun.is_none() && hit.lines.is_some());
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn what_is_too_large_is_not_learned() {
    #[derive(Clone)]
    struct Large;
    impl Decision for Large {
        fn bytes(&self) -> usize {
            1 << 20
        }
        fn describe(&self) -> String {
            String::new()
        }
        fn same(&self, _: &Self) -> bool {
            true
        }
    }
    let learned = Learned::new(NonZeroUsize::MIN, &Settings::default(), Key::from_words([1, 2, 3]));
    let Walk::Miss(recorder) = learned.walk(&mut World::new(), || 0) else { panic!("a hit") };
    assert_eq!(learned.learn(recorder, &Large, ALWAYS, 0), Outcome::NotLearned(NotLearned::TooLarge));
    assert_eq!(learned.learn(Recorder::idle(), &Large, ALWAYS, 0), Outcome::NotLearned(NotLearned::OtherTree));
}
