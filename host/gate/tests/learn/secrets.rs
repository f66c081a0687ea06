//! What operators see. Attacked with guests that make arguments out of whatever they read.

use lectern_gate::learn::{Question, Recorder, Report, Settings, Walk};
use proptest::prelude::*;

use crate::world::{ALWAYS, Guest, Program, Verdict, World, key_guest, learned, request, with_key};

/// Sixteen letters that stand nowhere else.
fn secret(n: u32) -> String {
    let hash = blake3::hash(&n.to_le_bytes());
    hash.as_bytes()[..16].iter().map(|byte| char::from(b'g' + byte % 20)).collect()
}

/// Worlds with a secret in every place whose answers are not shown.
fn secretive(n: u32) -> World {
    let mut world = World { subject: Some(secret(n)), ..World::new() };
    for (at, place) in
        ["query:a", "header:a", "cookie:a", "claim:a", "query:b", "header:b", "cookie:b"].iter().enumerate()
    {
        // Some of it is absent sometimes.
        if !(n >> at).is_multiple_of(3) {
            world = world.with(place, &secret(n + at as u32));
        }
    }
    world.stamps.insert(secret(n), 1);
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_output_holds_a_secret(guest in any::<u64>(), from in 0_u32..1_000) {
        let learned = learned(&Settings::default());
        let mut seen = String::new();
        for n in (from..from + 12).chain(from..from + 12) {
            let mut world = secretive(n);
            let walk = learned.walk(&mut world.clone(), || 0);
            seen += &format!("{walk:?}");
            if let Walk::Miss(mut recorder) = walk {
                Program(guest).call(&mut recorder, &mut world.clone());
                seen += &format!("{recorder:?}");
            }
            seen += &format!("{:?}", request(&learned, &mut Program(guest), &mut world, 0).1);
        }
        let report = learned.explain(0, &|_| false);
        seen += &format!("{report} {report:?} {} {learned:?}", serde_json::to_string(&report).unwrap());
        for n in from..from + 30 {
            prop_assert!(!seen.contains(&secret(n)), "{}", report);
        }
    }
}

#[test]
fn a_report_reads_well() {
    let learned = learned(&Settings::default());
    let mut guest = |recorder: &mut Recorder, world: &mut World| {
        if !recorder.ask(Question::PathHasPrefix("/content/".into()), world).flag() {
            return (Verdict(0), ALWAYS);
        }
        let (key, _) = key_guest(recorder, world);
        recorder.ask(Question::InGroup("admins".into()), world);
        (Verdict(1 + key.0 % 2), ALWAYS)
    };
    let content = |world: World| World { path: "/content/7".into(), ..world };
    for _ in 0..4 {
        request(&learned, &mut guest, &mut World::new(), 0);
        request(&learned, &mut guest, &mut content(World::new()), 0);
        request(&learned, &mut guest, &mut content(with_key("one")), 0);
        let mut other = content(with_key("two"));
        other.stamps.insert("two".into(), 1);
        request(&learned, &mut guest, &mut other, 0);
    }
    let report = learned.explain(90_000, &|_| false);
    let text = report.to_string();
    assert_eq!(text, include_str!("report.txt"), "{text}");
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn names_are_shown_where_they_cannot_be_secret() {
    let mut guest = |recorder: &mut Recorder, world: &mut World| {
        let token = recorder.ask(Question::Cookie("session".into()), world).maybe_text();
        recorder.ask(Question::header(token.as_deref().unwrap_or("x-open")), world);
        recorder.ask(Question::header("x-fixed"), world);
        (Verdict(0), ALWAYS)
    };
    let with_token = || World::new().with("cookie:session", "tok-tok-tok");
    let text =
        |worlds: &mut [World], known: &dyn Fn(&str) -> bool, guest: &mut dyn FnMut(&mut Recorder, &mut World) -> _| {
            let learned = learned(&Settings::default());
            for world in worlds {
                request(&learned, &mut |recorder: &mut Recorder, world: &mut World| guest(recorder, world), world, 0);
            }
            learned.explain(0, known).to_string()
        };
    let hidden = text(&mut [with_token()], &|_| false, &mut guest);
    assert!(!hidden.contains("x-fixed") && !hidden.contains("tok-tok"), "{hidden}");
    assert!(hidden.contains("header (of a name not shown)? (1 answer)"), "{hidden}");
    let without_too = text(&mut [with_token(), World::new()], &|_| false, &mut guest);
    assert!(without_too.contains("x-fixed") && without_too.contains("x-open"), "{without_too}");
    assert!(!without_too.contains("tok-tok"), "{without_too}");
    let known = text(&mut [with_token()], &|name| name == "x-fixed", &mut guest);
    assert!(known.contains("header x-fixed?") && !known.contains("tok-tok"), "{known}");
}

#[test]
fn many_answers_are_folded() {
    let learned = learned(&Settings::default());
    let mut guest = |recorder: &mut Recorder, world: &mut World| {
        recorder.ask(Question::PathPrefix(1), world);
        (Verdict(0), ALWAYS)
    };
    for n in 0..1_000 {
        let mut world = World { path: format!("/{n}/x"), ..World::new() };
        (0..1 + u32::from(n == 7) * 4).for_each(|_| drop(request(&learned, &mut guest, &mut world, 0)));
    }
    let report = learned.explain(0, &|_| false);
    let asked = &report.tree.asked[0];
    assert_eq!((asked.answers, asked.shown.len(), asked.more, asked.more_hits), (1_000, 20, 980, 0));
    assert_eq!((asked.shown[0].answer.as_deref(), asked.shown[0].hits), (Some("/7"), 4));
    let text = report.to_string();
    assert!(text.contains("path-prefix 1? (1,000 different answers)\n  /7 -> verdict 0 (4 hits"), "{text}");
    assert!(text.contains("  … and 980 more (0 hits)\n"), "{text}");
    assert!(text.lines().count() < 40);
}
