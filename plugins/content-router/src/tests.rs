//! Every kind of address on a mocked host.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_plugin::{Mock, Rewrite};

use super::*;

const GUID: &str = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";

/// A decision on one line: `next`, `307 <location>` or `<target> <rewrite> <hints>`.
fn line(mock: &Mock) -> String {
    match ContentRouter::route(mock).unwrap() {
        Decision::Next => "next".into(),
        Decision::Respond(reply) => format!("{} {}", reply.status, reply.field("location").unwrap()),
        Decision::Forward(forward) => {
            let rewrite = match forward.rewrite {
                Rewrite::Keep => "keep".into(),
                Rewrite::StripSegments(n) => format!("strip {n}"),
                Rewrite::Replace(path) => format!("replace {path}"),
            };
            let hints: String = forward.hints.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{} {rewrite}{hints}", forward.target)
        }
    }
}

#[test]
fn every_kind_of_address() {
    let content = format!("content:{GUID}");
    let cases = [
        ("/".into(), "307 /connect/".into()),
        ("/?a=1".into(), "307 /connect/?a=1".into()),
        ("//".into(), "next".into()),
        ("//connect/".into(), "next".into()),
        ("/connect".into(), "307 /connect/".into()),
        ("/connect/".into(), "system:dashboard keep".into()),
        ("/connect/apps".into(), "system:dashboard keep".into()),
        ("/connected".into(), "next".into()),
        ("/__oauth__/integrations/callback".into(), "system:dashboard keep".into()),
        ("/__oauth__x".into(), "next".into()),
        ("/__api__".into(), "system:api keep".into()),
        ("/__api__/v1/user".into(), "system:api keep".into()),
        ("/__api__x".into(), "next".into()),
        ("/__lectern__".into(), "system:lectern keep".into()),
        ("/__lectern__/v1/plugins".into(), "system:lectern keep".into()),
        ("/__lectern__x".into(), "next".into()),
        ("/__plugin__/password-login/".into(), "next".into()),
        ("/content".into(), "next".into()),
        ("/content/".into(), "next".into()),
        ("/content/nonsense/".into(), "next".into()),
        (format!("/content/{GUID}x/"), "next".into()),
        (format!("/content/{}/", GUID.replace('-', "_")), "next".into()),
        (format!("/content/{GUID}"), format!("307 /content/{GUID}/")),
        (format!("/content/{GUID}?x=//y"), format!("307 /content/{GUID}/?x=//y")),
        (format!("/content/{GUID}/"), format!("{content} strip 2")),
        (format!("/content/{GUID}/a/b"), format!("{content} strip 2")),
        (format!("/content/{}/a", GUID.to_uppercase()), format!("content:{} strip 2", GUID.to_uppercase())),
        (format!("/content/{GUID}/_bundle33/"), format!("{content} strip 3 bundle=33")),
        (format!("/content/{GUID}/_bundle33/a"), format!("{content} strip 3 bundle=33")),
        (format!("/content/{GUID}/_rev7/"), format!("{content} strip 3 bundle=7")),
        (format!("/content/{GUID}/_bundle33"), format!("307 /content/{GUID}/_bundle33/")),
        (format!("/content/{GUID}/_bundle/"), format!("{content} strip 2")),
        (format!("/content/{GUID}/_bundle0/"), format!("{content} strip 2")),
        (format!("/content/{GUID}/_bundle3x/"), format!("{content} strip 2")),
        (format!("/content/{GUID}/_dash-layout"), format!("{content} strip 2")),
        (format!("/content/{GUID}/va7c3f09e/"), format!("{content} strip 3 variant=a7c3f09e")),
        (format!("/content/{GUID}/va7c3f09e/a/_rev7/"), format!("{content} strip 3 variant=a7c3f09e")),
        (format!("/content/{GUID}/va7c3f09e?x"), format!("307 /content/{GUID}/va7c3f09e/?x")),
        (format!("/content/{GUID}/va7c3f09e/_rev7/a"), format!("{content} strip 4 variant=a7c3f09e bundle=7")),
        (format!("/content/{GUID}/va7c3f09e/_rev7"), format!("307 /content/{GUID}/va7c3f09e/_rev7/")),
        (format!("/content/{GUID}/va7c3f09e/_revx/"), format!("{content} strip 3 variant=a7c3f09e")),
        (format!("/content/{GUID}/vignettes/a"), format!("{content} strip 2")),
        (format!("/content/{GUID}/v20260101/a"), format!("{content} strip 2")),
        (format!("/content/{GUID}/vdeadbeef/a"), format!("{content} strip 2")),
        (format!("/content/{GUID}/va7c3f09/"), format!("{content} strip 2")),
        (format!("/content/{GUID}/va7c3f09ee/"), format!("{content} strip 2")),
        (format!("/content/{GUID}/vA7C3F09E/"), format!("{content} strip 2")),
        (format!("/content/{GUID}/v"), format!("{content} strip 2")),
        ("/__docs__".into(), "system:dashboard keep".into()),
        ("/__docs__/api".into(), "system:dashboard keep".into()),
        ("/elsewhere".into(), "next".into()),
    ];
    for (path, expected) in cases {
        let expected: String = expected;
        assert_eq!(line(&Mock::get(&path)), expected, "{path}");
    }
}

#[test]
fn vanity_paths() {
    let at = |mock: Mock| line(&mock.vanity("/sales/new plan/", GUID));
    assert_eq!(at(Mock::get("/sales/new plan/x")), format!("content:{GUID} strip 2"));
    assert_eq!(at(Mock::get("/sales/new plan/")), format!("content:{GUID} strip 2"));
    assert_eq!(at(Mock::get("/sales/new plan?q")), "307 /sales/new%20plan/?q");
    assert_eq!(at(Mock::post("/sales/new plan")), format!("content:{GUID} strip 2"));
}

#[test]
fn bodies_are_never_redirected() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert_eq!(line(&Mock::new(method, &format!("/content/{GUID}"))), format!("content:{GUID} strip 2"));
    }
    assert_eq!(line(&Mock::new("HEAD", &format!("/content/{GUID}"))), format!("307 /content/{GUID}/"));
}

#[test]
fn content_is_routed_by_its_first_two_segments() {
    let mock = Mock::get(&format!("/content/{GUID}/page/7?x=1"));
    line(&mock);
    let base = format!("/content/{GUID}");
    assert_eq!(
        mock.asked(),
        [
            "path-prefix 1",
            "path-prefix 2",
            &format!("path-has-prefix {base}/"),
            &format!("path-has-prefix {base}/v"),
            &format!("path-has-prefix {base}/_"),
        ]
    );
    let api = Mock::get("/__api__/v1/content?x");
    line(&api);
    assert_eq!(api.asked(), ["path-prefix 1"]);
}

#[test]
fn queries_never_break_a_redirect() {
    assert_eq!(line(&Mock::get("/connect?\\evil")), "307 /connect/?%5Cevil");
    assert_eq!(line(&Mock::get(&format!("/connect?{}", "q".repeat(9000)))), "system:dashboard keep");
    assert_eq!(line(&Mock::get(&format!("/content/{GUID}?{}", "q".repeat(9000)))), format!("content:{GUID} strip 2"));
}

#[test]
fn a_host_of_its_own_shows_one_content_item() {
    let other = "11111111-2222-4333-8444-555555555555";
    let document = format!(r#"{{"hosts": {{"sales.example.org": "{GUID}"}}}}"#);
    let at = |host: &str, target: &str| line(&Mock::get(target).header("host", host).document(&document));
    let sales = format!("content:{GUID} keep");
    for target in ["/", "/page", "/content", &format!("/content/{other}/"), "//", "/connected", "/__apix"] {
        assert_eq!(at("sales.example.org", target), sales, "{target}");
        assert_eq!(at("Sales.Example.ORG:8443", target), sales, "{target}");
    }
    let cases = [
        ("sales.example.org", "/__api__/v1/user", "system:api keep"),
        ("sales.example.org", "/__lectern__/v1/plugins", "system:lectern keep"),
        ("sales.example.org", "/__plugin__/password-login/", "next"),
        ("sales.example.org", "/connect/", "system:dashboard keep"),
        ("sales.example.org", "/connect", "307 /connect/"),
        ("www.sales.example.org", "/", "307 /connect/"),
        ("example.org", "/page", "next"),
        ("", "/page", "next"),
    ];
    for (host, target, expected) in cases {
        assert_eq!(at(host, target), expected, "{host} {target}");
    }
}

#[test]
fn the_host_is_asked_only_where_some_are_configured() {
    for document in ["{}", r#"{"hosts": {}}"#] {
        let mock = Mock::get("/elsewhere").document(document);
        line(&mock);
        assert_eq!(mock.asked(), ["path-prefix 1", "vanity"]);
    }
    let document = format!(r#"{{"hosts": {{"sales.example.org": "{GUID}"}}}}"#);
    let api = Mock::get("/__api__/v1/user").document(&document);
    line(&api);
    assert_eq!(api.asked(), ["path-prefix 1"]);
    let page = Mock::get("/page").header("host", "sales.example.org").document(&document);
    line(&page);
    assert_eq!(page.asked(), ["path-prefix 1", "host"]);
}

#[test]
fn wrong_configurations_are_refused() {
    let check = |document: &str| match ContentRouter::check(&Mock::get("").document(document)) {
        Ok(()) => "ok".to_owned(),
        Err(Failure::Misconfigured(text)) => text,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(check("{}"), "ok");
    assert_eq!(check(&format!(r#"{{"hosts": {{"sales.example.org": "{GUID}", "[::1]": "{GUID}"}}}}"#)), "ok");
    let many: Vec<String> = (0..1001).map(|n| format!(r#""h{n}.example": "{GUID}""#)).collect();
    let many = format!(r#"{{"hosts": {{{}}}}}"#, many.join(","));
    let cases = [
        (r#"{"hosts": {"sales.example.org": "sales"}}"#, "host sales.example.org: \"sales\" must be the GUID"),
        (r#"{"hosts": {"Sales": "x"}}"#, "host \"Sales\" must be a name in lower case without port"),
        (r#"{"hosts": {"a.example:80": "x"}}"#, "must be a name in lower case without port"),
        (r#"{"hosts": {"*.example": "x"}}"#, "must be a name in lower case without port"),
        (r#"{"hosts": {"": "x"}}"#, "must be a name in lower case without port"),
        (r#"{"hosts": ["a"]}"#, "invalid type"),
        (r#"{"host": {}}"#, "unknown field `host`"),
        (&many, "hosts has 1001 hosts, more than 1000"),
    ];
    for (document, expected) in cases {
        let answer = check(document);
        assert!(answer.contains(expected), "{document:.80}: {answer}");
    }
}
