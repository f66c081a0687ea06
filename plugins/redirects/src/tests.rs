//! Every kind of rule on a mocked host.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_plugin::Mock;

use super::*;

const GUID: &str = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";

/// A decision on one line: `next`, `<status> <location or kind>` or `set … remove …`.
fn line(mock: &Mock) -> String {
    match Redirects::route(mock).unwrap() {
        Decision::Next => "next".into(),
        Decision::Respond(reply) => {
            let shown = reply.field("location").or(reply.field("retry-after")).unwrap_or_default();
            format!("{} {shown}", reply.status)
        }
        Decision::Forward(forward) => {
            let set: String = forward
                .set_headers
                .iter()
                .map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value)))
                .collect();
            format!("{} set{set} remove {}", forward.target, forward.remove_headers.join(" "))
        }
    }
}

#[test]
fn moved_paths() {
    const MOVED: &str = r#"{"moved": [
        {"from": "/old", "to": "/new"},
        {"from": "/page.html", "to": "/page/", "match": "exact", "status": 301},
        {"from": "/a/b", "to": "https://other.example/c/", "status": 307},
        {"from": "/", "to": "/home/", "match": "exact", "status": 302},
        {"from": "/here", "to": "/there", "hosts": ["*.example"]}
    ]}"#;
    let cases = [
        ("GET", "/old", "308 /new"),
        ("GET", "/old/", "308 /new/"),
        ("GET", "/old/x y/z?q=1&r=%20", "308 /new/x%20y/z?q=1&r=%20"),
        ("GET", "/older", "next"),
        ("POST", "/old/x", "308 /new/x"),
        ("GET", "/page.html?x", "301 /page/?x"),
        ("GET", "/page.html/more", "next"),
        ("POST", "/page.html", "next"),
        ("HEAD", "/page.html", "301 /page/"),
        ("GET", "/a/b/c", "307 https://other.example/c/c"),
        ("GET", "/a/bc", "next"),
        ("GET", "/a", "next"),
        ("GET", "/", "302 /home/"),
        ("GET", "/x", "next"),
        ("GET", "/here/x", "308 /there/x"),
    ];
    for (method, target, expected) in cases {
        assert_eq!(line(&Mock::new(method, target).document(MOVED)), expected, "{method} {target}");
    }
    assert_eq!(line(&Mock::get("/here").document(MOVED).header("host", "example")), "next");
    // It is there already.
    assert_eq!(line(&Mock::get("/a/b").document(MOVED).header("host", "Other.example:8443")), "next");
    let long = format!("/old/{}", "ü".repeat(3000));
    assert_eq!(line(&Mock::get(&long).document(MOVED)), "414 ");
}

#[test]
fn what_a_client_sends_never_leads_away() {
    let document = r#"{"moved": [{"from": "/out", "to": "/"}]}"#;
    for (target, expected) in [
        ("/out//evil.example/", "308 /evil.example/"),
        ("/out/\\evil.example", "308 /%5Cevil.example"),
        ("/out/%2F%2Fevil.example", "308 /%2F%2Fevil.example"),
        ("/out?\\\\evil.example", "308 /?%5C%5Cevil.example"),
    ] {
        assert_eq!(line(&Mock::get(target).document(document)), expected, "{target}");
    }
}

#[test]
fn the_publishing_protocol_is_never_redirected_with_a_body() {
    let document = r#"{"hosts": [{"from": ["*"], "to": "https://apps.example"}]}"#;
    let line = |method, target| line(&Mock::new(method, target).document(document));
    assert_eq!(line("GET", "/__api__/server_settings"), "308 https://apps.example/__api__/server_settings");
    assert_eq!(line("POST", "/__api__/v1/content"), "next");
    assert_eq!(line("POST", "/content/x/"), "308 https://apps.example/content/x/");
}

#[test]
fn host_names() {
    let document = r#"{"hosts": [
        {"from": ["old.example", "*.old.example"], "to": "https://apps.example:8443", "status": 301},
        {"from": ["*"], "to": "https://apps.example:8443"}
    ]}"#;
    let cases = [
        ("old.example", "301 https://apps.example:8443/a%20b?q"),
        ("X.OLD.example:80", "301 https://apps.example:8443/a%20b?q"),
        ("10.0.0.1", "308 https://apps.example:8443/a%20b?q"),
        ("apps.example", "next"),
        ("apps.example:8443", "next"),
        ("", "next"),
    ];
    for (name, expected) in cases {
        assert_eq!(line(&Mock::get("/a b?q").header("host", name).document(document)), expected, "{name}");
    }
}

#[test]
fn maintenance_and_who_gets_in() {
    let document = r#"{"maintenance": [
        {"allow": ["192.0.2.0/24"], "bypass_secret": "pass", "retry_after_seconds": 60}
    ]}"#;
    let outside =
        |target: &str| Mock::get(target).document(document).secret("pass", b"let me in").client_ip("198.51.100.1");
    for target in ["/", "/content/x/", "/__api__/v1/content", "/connected", "/__plugin__x"] {
        assert_eq!(line(&outside(target)), "503 60", "{target}");
    }
    for target in ["/__ping__", "/__lectern__/v1/plugins", "/connect", "/connect/", "/__plugin__/password-login/"] {
        assert_eq!(line(&outside(target)), "next", "{target}");
    }
    assert_eq!(line(&outside("/").client_ip("192.0.2.7")), "next");
    assert_eq!(line(&outside("/").client_ip("::ffff:192.0.2.7")), "next");
    assert_eq!(line(&outside("/").header("cookie", "a=b; maintenance-bypass=let me in")), "next");
    assert_eq!(line(&outside("/").header("cookie", "maintenance-bypass=let me")), "503 60");
    assert_eq!(line(&outside("/").secret("pass", b"").header("cookie", "maintenance-bypass=")), "503 60");
    // The secret is gone: the cookie lets nobody in.
    let gone = Mock::get("/").document(document).client_ip("198.51.100.1").header("cookie", "maintenance-bypass=x");
    assert_eq!(line(&gone), "503 60");
}

#[test]
fn maintenance_of_a_part() {
    let document =
        r#"{"maintenance": [{"hosts": ["a.example"], "paths": ["/reports", "/content/x"], "message": "New <data>."}]}"#;
    let at = |name: &str, target: &str| line(&Mock::get(target).header("host", name).document(document));
    assert_eq!(at("a.example", "/reports/2026"), "503 600");
    assert_eq!(at("a.example", "/content/x"), "503 600");
    assert_eq!(at("a.example", "/content/xy"), "next");
    assert_eq!(at("b.example", "/reports/2026"), "next");
    let browser = Mock::get("/reports").header("host", "a.example").header("accept", "text/html").document(document);
    let Decision::Respond(page) = Redirects::route(&browser).unwrap() else { panic!("not closed") };
    assert!(String::from_utf8(page.body).unwrap().contains("<p>New &lt;data&gt;.</p>"));
}

#[test]
fn fields_for_targets() {
    let document = format!(
        r#"{{"headers": [
            {{"paths": ["/"], "remove": ["X-Debug"], "set": {{"X-Stage": "test"}}}},
            {{"content": ["{}"], "set": {{"x-stage": "live", "x-debug": "1"}}}}
        ]}}"#,
        GUID.to_uppercase()
    );
    let at = |target: &str| line(&Mock::get("/x").document(&document).target(target));
    assert_eq!(at("system:dashboard"), "system:dashboard set x-stage=test remove x-debug");
    assert_eq!(at(&format!("content:{GUID}")), format!("content:{GUID} set x-debug=1 x-stage=live remove "));
    // While routing there is no target.
    assert_eq!(line(&Mock::get("/x").document(&document)), "next");
    let part = r#"{"headers": [{"paths": ["/api"], "remove": ["x-a"]}]}"#;
    assert_eq!(line(&Mock::get("/x").document(part).target("system:api")), "next");
}

#[test]
fn a_request_that_no_rule_concerns_costs_one_question() {
    let document = r#"{
        "maintenance": [{"paths": ["/reports"]}],
        "moved": [{"from": "/old", "to": "/new"}, {"from": "/content/y", "to": "/new", "hosts": ["a.example"]}]
    }"#;
    let mock = Mock::get("/elsewhere/page").document(document);
    assert_eq!(line(&mock), "next");
    assert_eq!(mock.asked(), ["path-prefix 1"]);
    let content = Mock::get("/content/x/").document(document);
    assert_eq!(line(&content), "next");
    assert_eq!(content.asked(), ["path-prefix 1", "path-has-prefix /content/y"]);
    let nothing = Mock::get("/x").document("{}");
    line(&nothing);
    assert_eq!(nothing.asked(), [""; 0]);
}

#[test]
fn wrong_configurations_are_refused() {
    let check = |document: &str| match Redirects::check(&Mock::get("").document(document).secret("known", b"x")) {
        Ok(()) => "ok".to_owned(),
        Err(Failure::Misconfigured(text)) => text,
        Err(other) => panic!("{other:?}"),
    };
    let good = [
        "{}",
        r#"{"maintenance": [{}], "moved": [{"from": "/a b", "to": "/c d?e#f"}]}"#,
        r#"{"maintenance": [{"bypass_secret": "known"}]}"#,
        r#"{"headers": [{"paths": ["/"], "set": {"X-A": "b c"}}]}"#,
    ];
    for document in good {
        assert_eq!(check(document), "ok", "{document}");
    }
    let many_moved: Vec<String> = (0..501).map(|n| format!(r#"{{"from": "/a{n}", "to": "/b"}}"#)).collect();
    let many_moved = format!(r#"{{"moved": [{}]}}"#, many_moved.join(","));
    let long_value = format!(r#"{{"headers": [{{"paths": ["/"], "set": {{"x": "{}"}}}}]}}"#, "v".repeat(8193));
    let bad = [
        (r#"{"redirects": []}"#, "unknown field `redirects`"),
        (r#"{"moved": [{"from": "a", "to": "/b"}]}"#, "moved[0]: from \"a\" must be a path"),
        (r#"{"moved": [{"from": "/a%20b", "to": "/b"}]}"#, "moved[0]: from \"/a%20b\" must be written decoded"),
        (r#"{"moved": [{"from": "/a", "to": "//b"}]}"#, "\"//b\" must be a path that begins with one slash"),
        (r#"{"moved": [{"from": "/a", "to": "/b", "status": 200}]}"#, "status 200 must be 301, 302, 307 or 308"),
        (
            r#"{"moved": [{"from": "/a", "to": "/b", "hosts": ["A"]}]}"#,
            "moved[0]: host \"A\" must be a name in lower case",
        ),
        (r#"{"moved": [{"from": "/a", "to": "/b"}, {"from": "/b", "to": "/a"}]}"#, "in a circle: /a → /b → /a"),
        (r#"{"hosts": [{"from": [], "to": "https://a.example"}]}"#, "hosts[0]: from must name at least one host"),
        (r#"{"hosts": [{"from": ["b"], "to": "https://a.example/x"}]}"#, "hosts[0]: to must be an origin"),
        (r#"{"hosts": [{"from": ["b"], "to": "/x"}]}"#, "hosts[0]: to must be an origin"),
        (r#"{"maintenance": [{"paths": ["reports"]}]}"#, "maintenance[0]: path \"reports\""),
        (r#"{"maintenance": [{"message": ""}]}"#, "maintenance[0]: message has 0 characters"),
        (r#"{"maintenance": [{"retry_after_seconds": 0}]}"#, "retry_after_seconds must be 1 to"),
        (r#"{"maintenance": [{"bypass_cookie": "a b"}]}"#, "bypass_cookie must be"),
        (r#"{"maintenance": [{"bypass_secret": "mistyped"}]}"#, "there is no secret \"mistyped\""),
        (r#"{"maintenance": [{"allow": ["10.0.0.1/8"]}]}"#, "write 10.0.0.0/8"),
        (r#"{"headers": [{"set": {"x": "y"}}]}"#, "headers[0]: say for which content or paths"),
        (r#"{"headers": [{"paths": ["/"]}]}"#, "headers[0]: set or remove at least one field"),
        (r#"{"headers": [{"paths": ["/"], "remove": ["Host"]}]}"#, "the field Host belongs to the host"),
        (r#"{"headers": [{"paths": ["/"], "set": {"X-Forwarded-For": "y"}}]}"#, "belongs to the host"),
        (r#"{"headers": [{"paths": ["/"], "set": {"a b": "y"}}]}"#, "\"a b\" is no field name"),
        (r#"{"headers": [{"paths": ["/"], "set": {"x": "y\nz"}}]}"#, "the value of x has control characters"),
        (&long_value, "headers has 1 fields of 8194 bytes"),
        (&many_moved, "moved has 501 rules, more than 500"),
    ];
    for (document, expected) in bad {
        let answer = check(document);
        assert!(answer.contains(expected), "{document:.120}: {answer}");
    }
}
