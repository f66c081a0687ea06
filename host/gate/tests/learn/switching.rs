//! Guests that are not what they should be lose their tree.

use lectern_gate::learn::{Learnable, NotLearned, Off, Outcome, Question, Recorder, Settings, Taint, Walk};

use crate::world::{ALWAYS, How, Verdict, World, learned, request};

/// Sends the same request until learning is off; the reason and how many requests it took.
fn until_off(mut guest: impl FnMut(&mut Recorder, &mut World) -> (Verdict, Learnable)) -> (Off, u32) {
    let learned = learned(&Settings::default());
    for sent in 1..100 {
        if let (_, How::Called(Outcome::SwitchedOff(off))) = request(&learned, &mut guest, &mut World::new(), 0) {
            assert_eq!(learned.off(), Some(&off));
            assert_eq!(request(&learned, &mut guest, &mut World::new(), 0).1, How::CalledUnrecorded);
            let counters = learned.counters();
            assert_eq!((counters.leaves, counters.nodes, counters.differences), (0, 0, 1));
            let report = learned.explain(0, &|_| false);
            assert_eq!(report.off.as_deref(), Some(&*off.to_string()));
            return (off, sent);
        }
    }
    panic!("it was not found out");
}

#[test]
fn a_guest_that_counts_is_found_out() {
    let mut calls = 0;
    let (off, sent) = until_off(|recorder, world| {
        recorder.ask(Question::Method, world);
        calls += 1;
        (Verdict(calls), ALWAYS)
    });
    assert_eq!(off, Off::Decided { learned: "verdict 1".into(), fresh: "verdict 2".into() });
    assert_eq!(sent, 2);
}

#[test]
fn a_guest_that_asks_in_another_order_is_found_out() {
    let mut calls = 0;
    let (off, sent) = until_off(|recorder, world| {
        recorder.ask(Question::Method, world);
        calls += 1;
        recorder.ask(if calls == 1 { Question::Host } else { Question::Path }, world);
        (Verdict(1), ALWAYS)
    });
    assert_eq!(off, Off::Asked { after: 1, learned: Some("host"), fresh: Some("path") });
    assert_eq!(sent, 2);
    assert_eq!(
        off.to_string(),
        "the plugin is not deterministic: for the same answers it asked for `host` once and asked for `path` later, \
         after 1 answers"
    );
}

#[test]
fn a_guest_that_sometimes_uses_randomness_is_found_out() {
    let mut calls = 0;
    let (off, _) = until_off(|recorder, _| {
        calls += 1;
        if calls > 2 {
            recorder.taint(Taint::Random);
        }
        (Verdict(1), ALWAYS)
    });
    assert_eq!(off, Off::Tainted { by: "random" });
}

#[test]
fn a_sample_of_later_hits_is_compared() {
    let settings = Settings { rerun_one_in: 100, ..Settings::default() };
    let learned = learned(&settings);
    let mut guest = |recorder: &mut Recorder, world: &mut World| {
        recorder.ask(Question::Method, world);
        (Verdict(1), ALWAYS)
    };
    for _ in 0..10_001 {
        request(&learned, &mut guest, &mut World::new(), 0);
    }
    let counters = learned.counters();
    assert!((52..=202).contains(&counters.reruns), "{counters:?}");
    assert_eq!((counters.hits, counters.differences), (10_000, 0));
}

#[test]
fn an_answer_that_changed_between_walk_and_comparison_is_no_difference() {
    let learned = learned(&Settings::default());
    let mut guest = |recorder: &mut Recorder, world: &mut World| {
        let stamp = recorder.ask(Question::FindUser("ada".into()), world).number();
        (Verdict(stamp.unwrap_or(0)), ALWAYS)
    };
    let mut world = World::new();
    request(&learned, &mut guest, &mut world, 0);
    let Walk::Hit(hit) = learned.walk(&mut world, || 0) else { panic!("no hit") };
    let mut recorder = hit.rerun.unwrap();
    world.stamps.insert("ada".into(), 5);
    let (verdict, learnable) = guest(&mut recorder, &mut world);
    assert_eq!(learned.learn(recorder, &verdict, learnable, 0), Outcome::Learned);
    assert_eq!(learned.off(), None);
}

#[test]
fn a_guest_that_reads_whole_paths_rests_and_the_report_says_why() {
    let learned = learned(&Settings::default());
    let mut guest = |recorder: &mut Recorder, world: &mut World| {
        recorder.ask(Question::Method, world);
        recorder.ask(Question::Path, world);
        (Verdict(1), ALWAYS)
    };
    for n in 0..10_001 {
        request(&learned, &mut guest, &mut World { path: format!("/{n}"), ..World::new() }, 0);
    }
    let report = learned.explain(0, &|_| false);
    // The last of the 10,000 came after it was decided.
    assert_eq!(report.rests.as_ref().unwrap().why, "`path` had 9999 different answers");
    assert_eq!((report.counters.rested, report.counters.leaves), (1, 0));
    assert!(report.to_string().starts_with("resting: only 0 of 10,000 requests found a decision again"), "{report}");
}

#[test]
fn a_guest_whose_calls_cannot_be_learned_rests_too() {
    let learned = learned(&Settings::default());
    let mut guest = |recorder: &mut Recorder, _: &mut World| {
        recorder.taint(Taint::RequestId);
        (Verdict(1), ALWAYS)
    };
    for _ in 0..10_001 {
        request(&learned, &mut guest, &mut World::new(), 0);
    }
    let rest = learned.explain(0, &|_| false).rests.unwrap();
    assert_eq!(rest.why, "9999 calls could not be learned: request id");
}

#[test]
fn a_denial_without_identity_is_never_learned() {
    let learned = learned(&Settings::default());
    let mut guest = |recorder: &mut Recorder, world: &mut World| {
        let present = recorder.ask(Question::VisitorPresent, world).flag();
        let deny = Learnable::No(NotLearned::DenialWithoutIdentity);
        (Verdict(1), if present { ALWAYS } else { deny })
    };
    for _ in 0..3 {
        let (_, how) = request(&learned, &mut guest, &mut World::new(), 0);
        assert_eq!(how, How::Called(Outcome::NotLearned(NotLearned::DenialWithoutIdentity)));
    }
    let counters = learned.counters();
    assert_eq!((counters.leaves, counters.not_learned.get("denial without identity")), (0, Some(&3)));
}
