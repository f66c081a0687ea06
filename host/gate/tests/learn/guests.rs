//! What the tree says is what the guest would say.

use std::num::NonZeroUsize;

use lectern_gate::learn::{Key, Learned, NotLearned, Outcome, Question, Recorder, Settings, Taint, Walk};
use proptest::prelude::*;

use crate::world::{
    ALWAYS, How, Program, Tainted, Verdict, World, direct, key_guest, learned, request, with_key, worlds,
};

/// Runs all worlds through a tree, three times over, and compares each with the guest itself, effects included.
fn agree(settings: &Settings, guest: u64, worlds: &[World]) -> Result<u64, TestCaseError> {
    let learned = learned(settings);
    for now_ms in 0..3 {
        for world in worlds {
            let (mut through, mut without) = (world.clone(), world.clone());
            let expected = direct(&mut Program(guest), &mut without);
            let (got, how) = request(&learned, &mut Program(guest), &mut through, now_ms);
            prop_assert_eq!(&got, &expected, "{:?}", how);
            prop_assert_eq!(through.takes(), without.takes(), "each token is taken once: {:?}", how);
            prop_assert_eq!(learned.off(), None);
        }
    }
    Ok(learned.counters().hits)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_tree_answers_like_its_guest(guest in any::<u64>(), worlds in prop::collection::vec(worlds(), 1..40)) {
        agree(&Settings::default(), guest, &worlds)?;
    }

    #[test]
    fn a_tree_too_small_for_its_guest_answers_like_it(
        guest in any::<u64>(),
        worlds in prop::collection::vec(worlds(), 1..60),
        leaves in 1_u32..8,
        bytes in prop::sample::select(vec![4_usize << 10, 64 << 10]),
    ) {
        agree(&Settings { leaves, bytes, rerun_one_in: 3 }, guest, &worlds)?;
    }

    #[test]
    fn what_was_read_changed_and_so_did_the_path(
        guest in any::<u64>(),
        world in worlds(),
        other in worlds(),
    ) {
        let learned = learned(&Settings::default());
        request(&learned, &mut Program(guest), &mut world.clone(), 0);
        let before = direct(&mut Program(guest), &mut world.clone());
        let after = direct(&mut Program(guest), &mut other.clone());
        let (got, how) = request(&learned, &mut Program(guest), &mut other.clone(), 0);
        prop_assert_eq!(&got, &after);
        // The verdict is made of all answers: it is another one as soon as one answer is.
        if before != after {
            prop_assert!(matches!(how, How::Called(_)), "{:?}", how);
        }
    }
}

#[test]
fn the_random_guests_are_worth_asking() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let strategy = prop::collection::vec(worlds(), 200);
    let (mut hits, mut requests) = (0, 0);
    for guest in 0..100 {
        let worlds = strategy.new_tree(&mut runner).unwrap().current();
        hits += agree(&Settings::default(), guest, &worlds).unwrap();
        requests += 600_u64;
    }
    println!("{hits} of {requests} answers came out of trees, none differed");
    assert!(hits * 3 > requests, "{hits} of {requests}");
}

#[test]
fn a_revoked_key_is_a_miss_at_once() {
    let learned = learned(&Settings::default());
    let mut world = with_key("k1");
    world.stamps.insert("k1".into(), 7);
    let verdict = direct(&mut key_guest, &mut world);
    for how in [How::Called(Outcome::Learned), How::Compared, How::Compared, How::Hit] {
        assert_eq!(request(&learned, &mut key_guest, &mut world, 0), (verdict.clone(), how));
    }
    // Its role changed, then it is gone.
    for stamp in [Some(8), None] {
        world.stamps.clear();
        world.stamps.extend(stamp.map(|stamp| ("k1".to_owned(), stamp)));
        let (got, how) = request(&learned, &mut key_guest, &mut world, 0);
        assert_ne!(got, verdict);
        assert!(matches!(how, How::Called(_)));
    }
}

#[test]
fn what_is_not_repeatable_is_learned_for_its_time_to_live_only() {
    let tried = |taint: Taint| {
        let learned = learned(&Settings::default());
        let at = |ttl_s, now_ms| request(&learned, &mut Tainted(taint, ttl_s), &mut World::new(), now_ms).1;
        let never = (0..3).all(|_| matches!(at(None, 0), How::Called(_)));
        assert!(never, "{taint:?} without a time to live");
        (at(Some(2), 1_000), [1_000, 2_999, 3_000, 3_001].map(|now_ms| at(Some(2), now_ms) == How::Hit))
    };
    for taint in [Taint::Clock, Taint::Random, Taint::WasiClock, Taint::WasiRandom, Taint::StoreRead, Taint::Outbound] {
        // At 3,000 it is learned again, and not compared: a clock may well have gone on.
        assert_eq!(tried(taint), (How::Called(Outcome::Learned), [true, true, false, true]), "{taint:?}");
    }
    for taint in [Taint::RequestId, Taint::StoreWrite, Taint::Password, Taint::SignIn, Taint::Effect] {
        let refused = How::Called(Outcome::NotLearned(NotLearned::Tainted(taint)));
        assert_eq!(tried(taint), (refused, [false; 4]), "{taint:?}");
    }
}

#[test]
fn a_verified_token_holds_until_it_ends() {
    let learned = learned(&Settings::default());
    // Good until 1,000. What is asked next depends on it, and that is no lack of determinism.
    let guest = |now_ms: u64| {
        move |recorder: &mut Recorder, world: &mut World| {
            recorder.ask(Question::Cookie("token".into()), world);
            let good = now_ms < 1_000;
            recorder.holds_until(if good { 1_000 } else { u64::MAX });
            if good {
                recorder.ask(Question::Method, world);
            }
            (Verdict(u64::from(good)), ALWAYS)
        }
    };
    let mut world = World::new().with("cookie:token", "t");
    for now_ms in [0, 1, 999, 1_000, 1_001, 5_000, 5_001] {
        let (got, _) = request(&learned, &mut guest(now_ms), &mut world, now_ms);
        assert_eq!(got, Verdict(u64::from(now_ms < 1_000)), "{now_ms}");
    }
    assert_eq!((learned.off(), learned.counters().hits), (None, 5));
}

#[test]
fn lines_are_written_again() {
    let learned = learned(&Settings::default());
    let mut guest = |recorder: &mut Recorder, world: &mut World| {
        recorder.ask(Question::Method, world);
        recorder.log(tracing::Level::WARN, "odd");
        recorder.log(tracing::Level::DEBUG, "for the author");
        (Verdict(1), ALWAYS)
    };
    request(&learned, &mut guest, &mut World::new(), 0);
    let Walk::Hit(hit) = learned.walk(&mut World::new(), || 0) else { panic!("no hit") };
    let lines: Vec<_> = hit.lines.unwrap().iter().map(|line| (line.level, line.text.to_string())).collect();
    assert_eq!(lines, [(tracing::Level::WARN, "odd".to_owned())]);
}

#[test]
fn a_call_is_learned_only_by_the_tree_that_it_walked() {
    let (ours, other) = (learned(&Settings::default()), Key::from_words([4, 5, 6]));
    let theirs = Learned::new(NonZeroUsize::MIN, &Settings::default(), other);
    let Walk::Miss(mut recorder) = ours.walk(&mut World::new(), || 0) else { panic!("a hit") };
    let (verdict, learnable) = key_guest(&mut recorder, &mut World::new());
    let outcome = theirs.learn(recorder, &verdict, learnable, 0);
    assert_eq!(outcome, Outcome::NotLearned(NotLearned::OtherTree));
}
