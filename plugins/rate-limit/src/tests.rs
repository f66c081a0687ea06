//! Refusals and configurations on a mocked host.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_plugin::{Identity, Mock, Reply};

use super::*;

const LIMITS: &str = r#"{"rules": [
    {"name": "api", "per": "principal", "per_minute": 120, "burst": 30, "paths": ["/__api__"]},
    {"name": "all", "per": "address", "per_minute": 600, "burst": 100}
]}"#;

fn refused(mock: &Mock) -> Option<Reply> {
    match RateLimit::route(mock).unwrap() {
        Decision::Next => None,
        Decision::Respond(reply) => Some(reply),
        Decision::Forward(forward) => panic!("{forward:?}"),
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).unwrap()
}

#[test]
fn every_limit_that_concerns_a_request_takes_a_token() {
    let mock = Mock::get("/__api__/v1/user").document(LIMITS).visitor(Identity::new("ada")).client_ip("198.51.100.1");
    assert!(refused(&mock).is_none());
    let taken: Vec<String> = mock.asked().into_iter().filter(|question| question.starts_with("take")).collect();
    assert_eq!(taken, ["take api principal=ada 120 30", "take all address=198.51.100.1 600 100"]);
}

#[test]
fn an_empty_bucket_answers_429_in_the_clients_form() {
    let api = Mock::post("/__api__/v1/content").document(LIMITS).visitor(Identity::new("ada"));
    let reply = refused(&api.empty_bucket("api principal=ada", 7)).unwrap();
    assert_eq!((reply.status, reply.field("retry-after")), (429, Some("7")));
    assert_eq!(
        text(&reply),
        r#"{"code":429,"error":"Too many requests came from you in a short time. Please try again in 7 seconds.","payload":null}"#
    );
    let page = |accept: &str| {
        let mock = Mock::get("/x").document(LIMITS).client_ip("198.51.100.1").header("accept", accept);
        refused(&mock.empty_bucket("all address=198.51.100.1", 0)).unwrap()
    };
    assert!(text(&page("text/html")).contains("<h1>Too many requests</h1>"));
    assert!(text(&page("*/*")).ends_with("Please try again in 1 second.\n"));
    assert_eq!(page("*/*").field("retry-after"), Some("1"));
}

#[test]
fn others_are_not_refused() {
    let mock = Mock::get("/x").document(LIMITS).client_ip("198.51.100.2").empty_bucket("all address=198.51.100.1", 9);
    assert!(refused(&mock).is_none());
    let none = Mock::get("/x").document("{}");
    assert!(refused(&none).is_none());
    assert_eq!(none.asked(), [""; 0]);
}

#[test]
fn the_first_empty_bucket_ends_it() {
    let mock = Mock::get("/__api__/v1/user").document(LIMITS).visitor(Identity::new("ada"));
    let mock = mock.empty_bucket("api principal=ada", 3);
    refused(&mock).unwrap();
    assert_eq!(mock.asked().iter().filter(|question| question.starts_with("take")).count(), 1);
    assert_eq!(mock.logged(), ["refused by a limit limit=api seconds=3"]);
}

#[test]
fn wrong_configurations_are_refused() {
    let check = |document: &str| match RateLimit::check(&Mock::get("").document(document)) {
        Ok(()) => "ok".to_owned(),
        Err(Failure::Misconfigured(text)) => text,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(check(LIMITS), "ok");
    assert_eq!(check("{}"), "ok");
    let one = r#"{"name": "r", "per": "address", "per_minute": 60, "burst": 10}"#;
    let with = |from: &str, to: &str| format!(r#"{{"rules": [{}]}}"#, one.replace(from, to));
    let many: Vec<String> = (0..21).map(|n| one.replace("\"r\"", &format!("\"r{n}\""))).collect();
    let cases = [
        (format!(r#"{{"rules": [{one}, {one}]}}"#), "rules[1]: another limit is named \"r\""),
        (format!(r#"{{"rules": [{}]}}"#, many.join(",")), "rules has 21 limits, more than 20"),
        (with("\"r\"", "\"R 1\""), "rules[0]: name \"R 1\" must be"),
        (with("address", "user"), "per \"user\" must be principal, address or content"),
        (with("address", ""), "per \"\" must be"),
        (with("address", "content+"), "per \"content+\" must be"),
        (with("address", "content+content"), "names content twice"),
        (with("60", "0"), "per_minute 0 must be 1 to"),
        (with("10", "0"), "burst 0 must be 1 to"),
        (with("10", "1000001"), "burst 1000001 must be 1 to"),
        (with("10", "-1"), "invalid value: integer `-1`"),
        (with("10}", "10, \"paths\": [\"a\"]}"), "path \"a\" must begin with a slash"),
        (with("10}", "10, \"methods\": [\"post\"]}"), "method \"post\" must be written in capitals"),
        (with(", \"burst\": 10", ""), "missing field `burst`"),
        (r#"{"limits": []}"#.to_owned(), "unknown field `limits`"),
        (r#"{"message": ""}"#.to_owned(), "message has 0 characters"),
    ];
    for (document, expected) in cases {
        let answer = check(&document);
        assert!(answer.contains(expected), "{document:.100}: {answer}");
    }
}
