//! Who gets which version, on a mocked host.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_plugin::{Identity, Mock};

use super::*;

const GUID: &str = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";
const ADA: &str = "7d6f0f0a-52c2-4d7c-8f57-0a3f3a4f9f11";

fn rules(rules: &str) -> String {
    format!(r#"{{"rules": [{}]}}"#, rules.replace("GUID", GUID))
}

fn at(document: &str) -> Mock {
    Mock::get(&format!("/content/{GUID}/page"))
        .document(document)
        .target(&format!("content:{GUID}"))
        .bundles(&["33", "34", "35"])
}

fn visitor(subject: &str, groups: &[&str]) -> Identity {
    let mut identity = Identity::new(subject);
    identity.groups = groups.iter().map(|group| (*group).to_owned()).collect();
    identity.claims = vec![("username".into(), "Ada".into())];
    identity
}

/// The version chosen, or `-` for the active one.
fn version(mock: &Mock) -> String {
    match Canary::route(mock).unwrap() {
        Decision::Next => "-".into(),
        Decision::Forward(forward) => {
            assert_eq!(forward.target, format!("content:{GUID}"));
            assert_eq!((forward.hints.len(), forward.hints[0].0.as_str()), (1, "bundle"));
            forward.hints[0].1.clone()
        }
        Decision::Respond(reply) => panic!("{reply:?}"),
    }
}

#[test]
fn users_and_groups() {
    let document = rules(&format!(
        r#"{{"content": "GUID", "bundle": "34", "users": ["ada", "{}"]}}, {{"content": "GUID", "bundle": "35", "groups": ["testers"]}}"#,
        ADA.to_uppercase()
    ));
    let other = "11111111-2222-4333-8444-555555555555";
    let nameless = |groups: &[&str]| Identity { claims: Vec::new(), ..visitor(other, groups) };
    let cases = [
        (Some(visitor(other, &[])), "34"),
        (Some(Identity { claims: Vec::new(), ..visitor(ADA, &[]) }), "34"),
        (Some(nameless(&["testers"])), "35"),
        (Some(nameless(&["others"])), "-"),
        (None, "-"),
    ];
    for (identity, expected) in cases {
        let mock = match identity.clone() {
            Some(identity) => at(&document).visitor(identity),
            None => at(&document),
        };
        assert_eq!(version(&mock), expected, "{identity:?}");
    }
}

#[test]
fn everybody_and_nobody() {
    let all = rules(r#"{"content": "GUID", "bundle": "34", "share": "100%"}"#);
    assert_eq!(version(&at(&all)), "34");
    assert_eq!(version(&at(&all.replace("100%", "0%"))), "-");
    assert_eq!(version(&at(&all.replace(GUID, &GUID.to_uppercase()))), "34");
    assert_eq!(version(&at("{}")), "-");
    // Nothing tells such a visitor from others.
    assert_eq!(version(&at(&all.replace("100%", "99.99%")).client_ip("")), "-");
}

#[test]
fn a_visitor_stays_on_one_side() {
    let document = rules(r#"{"content": "GUID", "bundle": "34", "share": "50%"}"#);
    let of_address = |address: &str| version(&at(&document).client_ip(address));
    for n in 0..50 {
        let address = format!("198.51.100.{n}");
        assert_eq!(of_address(&address), of_address(&format!("::ffff:{address}")), "{address}");
        assert_eq!(of_address(&format!("2001:db8:{n}::1")), of_address(&format!("2001:db8:{n}::ffff:2")));
        let subject = format!("visitor-{n}");
        let known = |address: &str| version(&at(&document).client_ip(address).visitor(visitor(&subject, &[])));
        assert_eq!(known("192.0.2.1"), known("203.0.113.9"), "{subject}");
    }
    let shown = (0..200).filter(|n| of_address(&format!("198.51.100.{n}")) == "34").count();
    assert!((70..130).contains(&shown), "{shown}");
}

#[test]
fn a_version_that_is_not_there_falls_back_with_one_line() {
    let document = rules(r#"{"content": "GUID", "bundle": "99", "share": "100%"}"#);
    let mock = at(&document);
    assert_eq!(version(&mock), "-");
    assert_eq!(mock.logged(), [format!("no such version: showing the active one content.id={GUID} bundle=99")]);
    let active = at(&document.replace("99", "33"));
    assert_eq!((version(&active), active.logged()), ("-".into(), vec![]));
}

#[test]
fn previews_are_left_alone() {
    let document = rules(r#"{"content": "GUID", "bundle": "34", "share": "100%"}"#);
    let open = |path: &str| {
        let mock = Mock::get(&format!("/content/{GUID}/{path}")).document(&document);
        version(&mock.target(&format!("content:{GUID}")).bundles(&["33", "34"]))
    };
    assert_eq!(open("_bundle33/page"), "-");
    assert_eq!(open("_rev33/page"), "-");
    assert_eq!(open("_dash-layout"), "34");
}

#[test]
fn other_content_costs_one_question() {
    let document = rules(r#"{"content": "GUID", "bundle": "34", "share": "100%"}"#);
    for target in ["content:11111111-2222-4333-8444-555555555555", "system:api", ""] {
        let mock = Mock::get("/x").document(&document).target(target);
        assert_eq!(version(&mock), "-");
        assert_eq!(mock.asked(), ["target content"]);
    }
    let mock = at(&document.replace("100%", "5%"));
    version(&mock);
    let expected = ["target content", "path-has-prefix _bundle", "path-has-prefix _rev", "subject", "client-ip"];
    let asked: Vec<String> = mock.asked().iter().map(|q| q.replace(&format!("/content/{GUID}/"), "")).collect();
    assert_eq!(asked[..5], expected);
}

#[test]
fn wrong_configurations_are_refused() {
    let check = |document: &str| match Canary::check(&Mock::get("").document(document)) {
        Ok(()) => "ok".to_owned(),
        Err(Failure::Misconfigured(text)) => text,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(
        check(&rules(r#"{"content": "GUID", "bundle": "34", "share": "5%", "groups": ["a"], "users": ["b"]}"#)),
        "ok"
    );
    assert_eq!(check("{}"), "ok");
    // A trial that rests.
    assert_eq!(check(&rules(r#"{"content": "GUID", "bundle": "34", "share": "0%"}"#)), "ok");
    let many = vec![r#"{"content": "GUID", "bundle": "34", "share": "5%"}"#; 101].join(",");
    let names = format!(r#"{{"content": "GUID", "bundle": "34", "users": {:?}}}"#, vec!["a"; 101]);
    let bad = [
        (r#"{"content": "x", "bundle": "34", "share": "5%"}"#, "rules[0]: content \"x\" must be the GUID"),
        (r#"{"content": "GUID", "bundle": "034", "share": "5%"}"#, "bundle \"034\" must be the number"),
        (r#"{"content": "GUID", "bundle": "new", "share": "5%"}"#, "bundle \"new\" must be the number"),
        (r#"{"content": "GUID", "bundle": "34"}"#, "say who takes part"),
        (r#"{"content": "GUID", "bundle": "34", "share": "5"}"#, "share \"5\" must be 0% to 100%"),
        (r#"{"content": "GUID", "bundle": "34", "users": [""]}"#, "\"\" is no name"),
        (r#"{"content": "GUID", "bundle": 34, "share": "5%"}"#, "invalid type: integer `34`, expected a string"),
        (r#"{"content": "GUID", "bundle": "34", "percent": 5}"#, "unknown field `percent`"),
        (r#"{"bundle": "34", "share": "5%"}"#, "missing field `content`"),
        (&names, "more than 100 groups or users"),
        (&many, "rules has 101 rules, more than 100"),
    ];
    for (text, expected) in bad {
        let answer = check(&rules(text));
        assert!(answer.contains(expected), "{text:.80}: {answer}");
    }
}
