//! Refusals and configurations on a mocked host.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_plugin::{Mock, Reply};

use super::*;

const OFFICE: &str = r#"{"allow": ["192.0.2.0/24", "2001:db8::/32"], "deny": ["192.0.2.66"]}"#;

fn refused(mock: &Mock) -> Option<Reply> {
    match IpAllow::route(mock).unwrap() {
        Decision::Next => None,
        Decision::Respond(reply) => Some(reply),
        Decision::Forward(forward) => panic!("{forward:?}"),
    }
}

#[test]
fn addresses_are_judged() {
    let cases = [
        ("192.0.2.7", true),
        ("::ffff:192.0.2.7", true),
        ("192.0.2.66", false),
        ("::ffff:192.0.2.66", false),
        ("2001:db8::1", true),
        ("2001:db9::1", false),
        ("198.51.100.1", false),
        ("", false),
        ("unknown", false),
    ];
    for (address, expected) in cases {
        let mock = Mock::get("/x").document(OFFICE).client_ip(address);
        assert_eq!(refused(&mock).is_none(), expected, "{address}");
        assert_eq!(mock.asked()[0], "client-ip");
    }
}

#[test]
fn connections_can_be_judged_too() {
    let document = r#"{"allow": ["192.0.2.0/24"], "also_peer": ["10.0.0.5", "::1"]}"#;
    let cases = [
        ("192.0.2.7", "10.0.0.5", true),
        ("192.0.2.7", "::ffff:10.0.0.5", true),
        ("192.0.2.7", "::1", true),
        ("192.0.2.7", "192.0.2.7", false),
        ("192.0.2.7", "", false),
        ("198.51.100.1", "10.0.0.5", false),
    ];
    for (client, peer, expected) in cases {
        let mock = Mock::get("/x").document(document).client_ip(client).peer_ip(peer);
        assert_eq!(refused(&mock).is_none(), expected, "{client} {peer}");
    }
}

#[test]
fn a_refusal_is_short_and_never_cached() {
    let reply = |mock: Mock| refused(&mock.document(OFFICE).client_ip("198.51.100.1")).unwrap();
    let page = reply(Mock::get("/x").header("accept", "text/html"));
    assert_eq!((page.status, page.field("cache-control")), (403, Some("no-store")));
    assert!(String::from_utf8(page.body).unwrap().contains("<p>This address may not be opened from your network.</p>"));
    let api = reply(Mock::get("/__api__/v1/content"));
    assert!(api.body.starts_with(br#"{"code":22,"error":"#), "{:?}", String::from_utf8(api.body));
}

#[test]
fn one_question_lets_a_request_in() {
    let mock = Mock::get("/x").document(OFFICE).client_ip("192.0.2.7");
    assert!(refused(&mock).is_none());
    assert_eq!(mock.asked(), ["client-ip"]);
    assert_eq!(mock.logged(), [""; 0]);
}

#[test]
fn wrong_configurations_are_refused() {
    let check = |document: &str| match IpAllow::check(&Mock::get("").document(document)) {
        Ok(()) => "ok".to_owned(),
        Err(Failure::Misconfigured(text)) => text,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(check(OFFICE), "ok");
    assert_eq!(check(r#"{"default": "allow"}"#), "ok");
    let many = format!("{:?}", (0..1001).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)).collect::<Vec<_>>());
    let cases = [
        ("{}".to_owned(), "nobody would be let in"),
        (r#"{"deny": ["10.0.0.0/8"]}"#.to_owned(), "nobody would be let in"),
        (r#"{"allow": ["10.0.0.0/8"], "deny": ["10.0.0.0/8"]}"#.to_owned(), "10.0.0.0/8 stands in allow and in deny"),
        (r#"{"allow": ["10.0.0.1/8"]}"#.to_owned(), "write 10.0.0.0/8"),
        (r#"{"allow": ["office"]}"#.to_owned(), "\"office\" is no network"),
        (r#"{"allow": ["10.0.0.0/8"], "default": "maybe"}"#.to_owned(), "unknown variant"),
        (r#"{"alow": []}"#.to_owned(), "unknown field `alow`"),
        (r#"{"default": "allow", "message": " "}"#.to_owned(), "message has 1 characters"),
        (format!(r#"{{"allow": {many}}}"#), "allow has 1001 networks"),
    ];
    for (document, expected) in cases {
        let answer = check(&document);
        assert!(answer.contains(expected), "{document:.80}: {answer}");
    }
}
