use proptest::prelude::*;

use super::super::*;

/// What a case of that hook expects.
fn expect(hook: &str, expect: &str) -> Expect {
    let target = if hook == "select" { "target.content = \"0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162\"" } else { "" };
    let text = format!("[[case]]\nname = \"n\"\nhook = \"{hook}\"\n{target}\n[case.expect]\n{expect}");
    read_cases("x.toml", &text).unwrap().remove(0).expect
}

fn told(expect: &Expect, outcome: &Outcome) -> String {
    compare(expect, outcome).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn field(name: &str, value: &str) -> (String, Vec<u8>) {
    (name.into(), value.as_bytes().to_vec())
}

fn reply() -> Reply {
    Reply {
        status: 302,
        headers: vec![field("Location", "/x"), field("set-cookie", "a=1"), field("set-cookie", "b=2")],
        body: b"hello".to_vec(),
    }
}

fn forward() -> Answer {
    Answer::Forward {
        target: "system:api".into(),
        rewrite: Rewrite::StripSegments(1),
        set_headers: vec![field("b", "2"), field("A", "1")],
        remove_headers: vec!["Y".into(), "x".into()],
        sticky_key: Some("k".into()),
        hints: vec![("bundle".into(), "2".into())],
    }
}

fn identity() -> Identity {
    Identity {
        subject: "ada".into(),
        display_name: Some("Ada".into()),
        groups: vec!["b".into(), "a".into()],
        claims: vec![("z".into(), "1".into()), ("y".into(), "2".into())],
        ttl: Some(60),
    }
}

#[test]
fn what_is_as_expected_passes() {
    let cases = [
        ("route", "decision = \"next\"", Answer::Next),
        ("route", "decision = \"forward\"", forward()),
        (
            "route",
            "decision = \"forward\"\ntarget = \"system:api\"\nstrip_segments = 1\nset_headers = { a = \"1\", b = \"2\" }\n\
             remove_headers = [\"x\", \"y\"]\nsticky_key = \"k\"\nhints = { bundle = \"2\" }",
            forward(),
        ),
        ("route", "decision = \"respond\"", Answer::Respond(reply())),
        (
            "route",
            "decision = \"respond\"\nstatus = 302\nheaders = { location = \"/x\", set-cookie = [\"a=1\", \"b=2\"] }\n\
             without_headers = [\"x\"]\nbody_contains = [\"hell\", \"lo\"]\nbody = \"hello\"",
            Answer::Respond(reply()),
        ),
        ("authenticate", "decision = \"abstain\"", Answer::Abstain),
        (
            "authenticate",
            "decision = \"authenticated\"\nsubject = \"ada\"\ndisplay_name = \"Ada\"\ngroups = [\"a\", \"b\"]\n\
             claims = { y = \"2\", z = \"1\" }\nttl = 60",
            Answer::Authenticated(identity()),
        ),
        ("authenticate", "decision = \"challenge\"\nstatus = 302", Answer::Challenge(reply())),
        ("authenticate", "decision = \"rejected\"\ncontains = \"expired\"", Answer::Rejected("key expired".into())),
        ("page", "decision = \"signed-in\"\nsubject = \"ada\"\nstatus = 302", Answer::SignedIn(identity(), reply())),
        ("page", "decision = \"signed-out\"\nbody_contains = \"hello\"", Answer::SignedOut(reply())),
        ("check", "decision = \"accepted\"", Answer::Accepted),
        (
            "check",
            "decision = \"failure\"\nfailure = \"misconfigured\"\ncontains = \"issuer\"",
            Answer::Failed(FailureKind::Misconfigured, "no issuer".into()),
        ),
        ("check", "decision = \"failure\"", Answer::Failed(FailureKind::Crashed, String::new())),
    ];
    for (hook, text, answer) in cases {
        assert_eq!(told(&expect(hook, text), &Outcome::of(answer)), "", "{text}");
    }
}

#[test]
fn each_difference_says_what_was_expected_and_what_came() {
    let cases = [
        ("route", "decision = \"next\"", Answer::Respond(reply()), "decision: expected next, got respond 302 to /x"),
        ("route", "decision = \"next\"", forward(), "decision: expected next, got forward to system:api"),
        (
            "route",
            "decision = \"next\"",
            Answer::Failed(FailureKind::Crashed, "out of bounds\nat f".into()),
            "decision: expected next, got failure, crashed: \"out of bounds\\nat f\"",
        ),
        (
            "authenticate",
            "decision = \"abstain\"",
            Answer::Authenticated(identity()),
            "decision: expected abstain, got authenticated as ada",
        ),
        (
            "authenticate",
            "decision = \"abstain\"",
            Answer::Rejected("bad".into()),
            "decision: expected abstain, got rejected: bad",
        ),
        (
            "route",
            "decision = \"forward\"\ntarget = \"system:dashboard\"\npath = \"/y\"\nsticky_key = \"j\"\nhints = {}",
            forward(),
            "target: expected \"system:dashboard\", got \"system:api\"\n\
             path: expected \"/y\", got the request's without its first segment\n\
             sticky_key: expected \"j\", got \"k\"\n\
             hints: expected (-) and got (+)\n  + bundle = 2",
        ),
        (
            "route",
            "decision = \"forward\"\nset_headers = { a = \"0\", b = \"2\" }\nremove_headers = [\"z\"]\nstrip_segments = 0",
            forward(),
            "path: expected the request's, got the request's without its first segment\n\
             set_headers: expected (-) and got (+)\n  - a: 0\n  + a: 1\n    b: 2\n\
             remove_headers: expected (-) and got (+)\n  - z\n  + x\n  + y",
        ),
        (
            "route",
            "decision = \"respond\"\nstatus = 200\nheaders = { location = \"/y\", vary = \"a\" }\nwithout_headers = [\"set-cookie\"]\n\
             body_contains = \"bye\"",
            Answer::Respond(reply()),
            "status: expected 200, got 302\n\
             headers.location: expected \"/y\", got \"/x\"\n\
             headers.vary: expected \"a\", got none\n\
             headers.set-cookie: expected none, got \"a=1\", \"b=2\"\n\
             body: expected a text with \"bye\", got \"hello\"",
        ),
        (
            "route",
            "decision = \"respond\"\nbody = \"\"",
            Answer::Respond(reply()),
            "body: expected \"\", got \"hello\"",
        ),
        (
            "route",
            "decision = \"respond\"\nbody = \"a\\nb\\nc\"",
            Answer::Respond(Reply { body: b"a\nx\nc".to_vec(), ..reply() }),
            "body: expected (-) and got (+)\n    a\n  - b\n  + x\n    c",
        ),
        (
            "authenticate",
            "decision = \"authenticated\"\nsubject = \"eve\"\ndisplay_name = \"Eve\"\ngroups = [\"a\"]\nclaims = {}\nttl = 1",
            Answer::Authenticated(Identity { display_name: None, ttl: None, claims: vec![], ..identity() }),
            "subject: expected \"eve\", got \"ada\"\n\
             display_name: expected \"Eve\", got none\n\
             groups: expected (-) and got (+)\n    a\n  + b\n\
             ttl: expected 1, got none",
        ),
        (
            "authenticate",
            "decision = \"rejected\"\ncontains = \"expired\"",
            Answer::Rejected("unknown".into()),
            "rejected: expected a text with \"expired\", got \"unknown\"",
        ),
        (
            "check",
            "decision = \"failure\"\nfailure = \"misconfigured\"\ncontains = \"issuer\"",
            Answer::Failed(FailureKind::Internal, "bug".into()),
            "failure: expected \"misconfigured\", got \"internal\"\n\
             failure's text: expected a text with \"issuer\", got \"bug\"",
        ),
    ];
    for (hook, text, answer, expected) in cases {
        assert_eq!(told(&expect(hook, text), &Outcome::of(answer)), expected, "{text}");
    }
}

#[test]
fn what_a_plugin_did_on_the_way_counts_too() {
    let expect = expect(
        "route",
        "decision = \"next\"\nlog_contains = [\"chose\", \"gone\"]\noutbound = [\"GET https://a/\"]\n\
         asked = [\"path-prefix 1\", \"header x-tenant\", \"host\"]",
    );
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let mut outcome = Outcome {
        logs: texts(&["it chose 1"]),
        outbound: texts(&["GET https://a/", "GET https://b/"]),
        unanswered: texts(&["GET https://b/"]),
        asked: Some(texts(&["path-prefix 1", "headers", "host"])),
        ..Outcome::of(Answer::Next)
    };
    assert_eq!(
        told(&expect, &outcome),
        "log: expected a line with \"gone\", got it chose 1\n\
         outbound: expected only calls with an answer in world.fetch, got GET https://b/\n\
         outbound: expected (-) and got (+)\n    GET https://a/\n  + GET https://b/\n\
         asked: expected (-) and got (+)\n    path-prefix 1\n  - header x-tenant\n  + headers\n    host"
    );
    outcome = Outcome {
        logs: texts(&["chose", "gone"]),
        outbound: texts(&["GET https://a/"]),
        asked: Some(texts(&["path-prefix 1", "header x-tenant", "host"])),
        ..Outcome::of(Answer::Next)
    };
    assert_eq!(told(&expect, &outcome), "");
    outcome.logs.clear();
    assert!(told(&expect, &outcome).starts_with("log: expected a line with \"chose\", got nothing"));
}

#[test]
fn long_things_are_cut() {
    let text = "decision = \"respond\"\nbody = \"short\"";
    let long = Reply { status: 200, headers: vec![], body: vec![b'x'; 100_000] };
    let told = told(&expect("route", text), &Outcome::of(Answer::Respond(long)));
    assert!(
        told.len() < 1000 && told.starts_with("body: expected (-) and got (+)\n  - \"short\"\n  + \"xxx"),
        "{told}"
    );
    let asked = expect("route", "decision = \"next\"\nasked = []");
    let outcome = Outcome { asked: Some(vec!["path".into(); 10_000]), ..Outcome::of(Answer::Next) };
    let told = compare(&asked, &outcome)[0].to_string();
    assert!(told.lines().count() == 202 && told.ends_with("… and 9800 more lines"), "{told}");
}

proptest! {
    /// A diff holds both lists, in order.
    #[test]
    fn a_diff_loses_nothing(
        expected in proptest::collection::vec("[a-c]", 0..12),
        got in proptest::collection::vec("[a-c]", 0..12),
    ) {
        let list = expected.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
        let expect = expect("route", &format!("decision = \"next\"\nasked = [{list}]"));
        let found = compare(&expect, &Outcome { asked: Some(got.clone()), ..Outcome::of(Answer::Next) });
        prop_assert_eq!(found.is_empty(), expected == got);
        for difference in found {
            let (mut left, mut right) = (Vec::new(), Vec::new());
            for line in difference.lines {
                match line {
                    Line::Same(text) => {
                        left.push(text.clone());
                        right.push(text);
                    }
                    Line::Expected(text) => left.push(text),
                    Line::Got(text) => right.push(text),
                }
            }
            prop_assert_eq!(&left, &expected);
            prop_assert_eq!(&right, &got);
        }
    }
}
