use proptest::prelude::*;
use serde_json::json;

use std::collections::BTreeSet;

use super::super::*;

const GUID: &str = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";

const WHOLE: &str = r#"
[[case]]
name = "the bundle follows the group"
hook = "select"
[case.config]
group = "beta"
[case.request]
method = "POST"
target = "/a?b=c"
host = "x.example:8443"
scheme = "http"
client_ip = "198.51.100.1"
peer_ip = "2001:db8::1"
headers = { "X-Tenant" = "a", accept = ["text/html", "text/plain"] }
body = "x=1"
client_certificate = { subject = "CN=proxy", dns_names = ["proxy.example"] }
[case.visitor]
subject = "s"
groups = ["beta"]
claims = { mail = "ada@example.org" }
[case.target]
content = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162"
bundles = [1, 2]
active = 2
[case.world]
now = "2026-01-01T00:00:00Z"
vanities = { "/sales/" = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162" }
users = [{ name = "ada", guid = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162", role = "publisher", locked = true, linked = { issuer = "https://idp.example", subject = "7" }, groups = ["g"] }]
keys = { k1 = "ada" }
passwords = { ada = "pw" }
session = "ada"
secrets = { client-secret = "s3" }
key_values = { k = "v" }
jwks = { "https://idp.example/jwks" = '{"keys": []}' }
buckets_empty = { "all 192.0.2.7" = 7 }
[[case.world.fetch]]
method = "POST"
url = "https://idp.example/token"
body_contains = "code="
status = 201
headers = { content-type = "application/json" }
body = '{"access_token": "t"}'
[[case.world.fetch]]
url = "https://idp.example/away"
unreachable = true
[case.expect]
decision = "forward"
target = "content:0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162"
strip_segments = 2
hints = { bundle = "1" }
set_headers = { "X-A" = "b" }
remove_headers = ["X-Tenant"]
sticky_key = "k"
log_contains = ["chose 1"]
outbound = ["POST https://idp.example/token"]
asked = ["in-group beta"]
"#;

fn told(text: &str) -> String {
    read_cases("x.toml", text).unwrap_err().to_string()
}

#[test]
fn a_whole_case_is_read() {
    let cases = read_cases("x.toml", WHOLE).unwrap();
    let guid: ContentGuid = GUID.parse().unwrap();
    let text = str::to_owned;
    let expected = Case {
        file: "x.toml".into(),
        name: "the bundle follows the group".into(),
        hook: CaseHook::Select,
        config: json!({"group": "beta"}).as_object().unwrap().clone(),
        request: Request {
            method: "POST".into(),
            target: "/a?b=c".into(),
            host: "x.example:8443".into(),
            scheme: Scheme::Http,
            client_ip: "198.51.100.1".parse().unwrap(),
            peer_ip: "2001:db8::1".parse().unwrap(),
            client_certificate: Some(Certificate {
                sha256: "0".repeat(64),
                subject: "CN=proxy".into(),
                dns_names: vec!["proxy.example".into()],
            }),
            headers: vec![
                ("x-tenant".into(), "a".into()),
                ("accept".into(), "text/html".into()),
                ("accept".into(), "text/plain".into()),
            ],
            body: b"x=1".to_vec(),
        },
        visitor: Some(Identity {
            subject: "s".into(),
            groups: vec!["beta".into()],
            claims: vec![("mail".into(), "ada@example.org".into())],
            ..Identity::default()
        }),
        target: Some(Target { content: guid, bundles: vec![1, 2], active: Some(2) }),
        world: World {
            now_unix_ms: 1_767_225_600_000,
            vanities: [("/sales/".into(), guid)].into(),
            users: vec![User {
                name: "ada".into(),
                guid: GUID.parse().unwrap(),
                display_name: None,
                groups: vec!["g".into()],
                role: UserRole::Publisher,
                locked: true,
                linked: Some(Linked { issuer: "https://idp.example".into(), subject: "7".into() }),
            }],
            keys: [("k1".into(), "ada".into())].into(),
            passwords: [("ada".into(), "pw".into())].into(),
            session: Some("ada".into()),
            secrets: [("client-secret".into(), "s3".into())].into(),
            key_values: [("k".into(), "v".into())].into(),
            jwks: [("https://idp.example/jwks".into(), text("{\"keys\": []}"))].into(),
            buckets_empty: [("all 192.0.2.7".into(), 7)].into(),
            fetches: vec![
                Fetch {
                    method: "POST".into(),
                    url: "https://idp.example/token".into(),
                    body_contains: Some("code=".into()),
                    answer: Some(FetchAnswer {
                        status: 201,
                        headers: vec![("content-type".into(), "application/json".into())],
                        body: b"{\"access_token\": \"t\"}".to_vec(),
                    }),
                },
                Fetch {
                    method: "GET".into(),
                    url: "https://idp.example/away".into(),
                    body_contains: None,
                    answer: None,
                },
            ],
        },
        expect: Expect {
            answer: Expectation::Forward {
                target: Some(format!("content:{GUID}")),
                rewrite: Some(Rewrite::StripSegments(2)),
                set_headers: Some(vec![("x-a".into(), "b".into())]),
                remove_headers: Some(["x-tenant".to_owned()].into()),
                sticky_key: Some("k".into()),
                hints: Some([("bundle".to_owned(), "1".to_owned())].into()),
            },
            log_contains: vec!["chose 1".into()],
            outbound: Some(vec!["POST https://idp.example/token".into()]),
            asked: Some(vec!["in-group beta".into()]),
        },
    };
    assert_eq!(cases, [expected]);
    let world = &cases[0].world;
    assert!(world.user("ada").is_some() && world.user("eve").is_none());
    assert!(world.fetch("POST", "https://idp.example/token", b"code=1").is_some());
    assert!(world.fetch("POST", "https://idp.example/token", b"refresh").is_none());
    assert!(world.fetch("GET", "https://idp.example/token", b"code=1").is_none());
}

#[test]
fn a_case_may_be_short() {
    let cases = read_cases("x.toml", "[[case]]\nname = \"n\"\nhook = \"route\"\nexpect.decision = \"next\"").unwrap();
    assert_eq!(cases[0].request, Request::default());
    assert_eq!(cases[0].world, World::default());
    assert_eq!(cases[0].expect.answer, Expectation::Next);
    assert_eq!((cases[0].expect.outbound.clone(), cases[0].expect.asked.clone()), (None, None));
}

#[test]
fn every_decision_is_read() {
    let reply =
        ExpectedReply { status: Some(302), headers: vec![("location".into(), "/x".into())], ..Default::default() };
    let identity = ExpectedIdentity { subject: Some("s".into()), ttl: Some(60), ..ExpectedIdentity::default() };
    let cases = [
        (
            "route",
            "decision = \"respond\"\nstatus = 302\nheaders = { Location = \"/x\" }",
            Expectation::Respond(reply.clone()),
        ),
        (
            "page",
            "decision = \"respond\"\nbody_contains = \"a\"\nbody = \"b\"\nwithout_headers = [\"Set-Cookie\"]",
            Expectation::Respond(ExpectedReply {
                body_contains: vec!["a".into()],
                body: Some("b".into()),
                without_headers: vec!["set-cookie".into()],
                ..ExpectedReply::default()
            }),
        ),
        ("authenticate", "decision = \"abstain\"", Expectation::Abstain),
        (
            "authenticate",
            "decision = \"authenticated\"\nsubject = \"s\"\nttl = 60",
            Expectation::Authenticated(identity.clone()),
        ),
        (
            "authenticate",
            "decision = \"authenticated\"\ngroups = []\nclaims = {}",
            Expectation::Authenticated(ExpectedIdentity {
                groups: Some(BTreeSet::new()),
                claims: Some(BTreeMap::new()),
                ..ExpectedIdentity::default()
            }),
        ),
        (
            "authenticate",
            "decision = \"challenge\"\nstatus = 302\nheaders = { location = \"/x\" }",
            Expectation::Challenge(reply.clone()),
        ),
        (
            "authenticate",
            "decision = \"rejected\"\ncontains = \"expired\"",
            Expectation::Rejected(Some("expired".into())),
        ),
        (
            "page",
            "decision = \"signed-in\"\nsubject = \"s\"\nttl = 60\nstatus = 302\nheaders = { location = \"/x\" }",
            Expectation::SignedIn(identity, reply.clone()),
        ),
        (
            "page",
            "decision = \"signed-out\"\nstatus = 302\nheaders = { location = \"/x\" }",
            Expectation::SignedOut(reply),
        ),
        ("check", "decision = \"accepted\"", Expectation::Accepted),
        (
            "check",
            "decision = \"failure\"\nfailure = \"misconfigured\"\ncontains = \"issuer\"",
            Expectation::Failure { kind: Some(FailureKind::Misconfigured), contains: Some("issuer".into()) },
        ),
        ("route", "decision = \"failure\"", Expectation::Failure { kind: None, contains: None }),
        (
            "route",
            "decision = \"forward\"\npath = \"/y\"",
            Expectation::Forward {
                target: None,
                rewrite: Some(Rewrite::Replace("/y".into())),
                set_headers: None,
                remove_headers: None,
                sticky_key: None,
                hints: None,
            },
        ),
        (
            "route",
            "decision = \"forward\"\nstrip_segments = 0\ntarget = \"system:api\"",
            Expectation::Forward {
                target: Some("system:api".into()),
                rewrite: Some(Rewrite::Keep),
                set_headers: None,
                remove_headers: None,
                sticky_key: None,
                hints: None,
            },
        ),
    ];
    for (hook, expect, expected) in cases {
        let text = format!("[[case]]\nname = \"n\"\nhook = \"{hook}\"\n[case.expect]\n{expect}");
        let cases = read_cases("x.toml", &text).unwrap();
        assert_eq!(cases[0].expect.answer.word(), expected.word());
        assert_eq!(cases[0].expect.answer, expected, "{expect}");
    }
}

#[test]
fn each_mistake_is_told_with_file_and_case() {
    // What replaces what in the whole case, and what is said after the file and the case.
    let cases: &[(&str, &str, &str)] = &[
        (
            "hook = \"select\"",
            "hook = \"selekt\"",
            "hook = \"selekt\": must be one of route, select, authenticate, page, check",
        ),
        ("method = \"POST\"\ntarget", "method = \"a b\"\ntarget", "request.method = \"a b\": must be a method, as GET"),
        (
            "target = \"/a?b=c\"",
            "target = \"https://x/\"",
            "request.target = \"https://x/\": must be a path that begins with a slash, and perhaps a query, as clients send it",
        ),
        ("target = \"/a?b=c\"", "path = \"/a\"", "request.path: no such key"),
        (
            "host = \"x.example:8443\"",
            "host = \"http://x\"",
            "request.host = \"http://x\": must be a host name, and perhaps a port, as clients send it",
        ),
        ("scheme = \"http\"", "scheme = \"ws\"", "request.scheme = \"ws\": must be \"https\" or \"http\""),
        ("client_ip = \"198.51.100.1\"", "client_ip = \"x\"", "request.client_ip = \"x\": must be an IP address"),
        (
            "\"X-Tenant\" = \"a\"",
            "\"X Tenant\" = \"a\"",
            "request.headers.\"X Tenant\" = \"a\": is not the name of a header field",
        ),
        (
            "\"X-Tenant\" = \"a\"",
            "\"X-Tenant\" = \"a\\r\\nb\"",
            "request.headers.X-Tenant = \"a\\r\\nb\": must be a text or a list of texts, without control characters",
        ),
        ("\"X-Tenant\" = \"a\"", "Host = \"a\"", "request.headers: the host is given by request.host"),
        ("subject = \"s\"\n", "", "visitor.subject: missing: must be the visitor's subject"),
        ("active = 2", "active = 3", "target.active = 3: must be one of target.bundles"),
        (
            "bundles = [1, 2]\nactive = 2",
            "bundles = [0]",
            "target.bundles = (a list): must be a list of bundle numbers, which begin with 1",
        ),
        (
            "now = \"2026-01-01T00:00:00Z\"",
            "now = \"yesterday\"",
            "world.now = \"yesterday\": must be a time after 1970, as \"2026-01-01T00:00:00Z\"",
        ),
        (
            "\"/sales/\" =",
            "\"/sales\" =",
            "world.vanities.\"/sales\" = \"0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162\": a vanity path has a slash at both ends",
        ),
        (
            "keys = { k1 = \"ada\" }",
            "keys = { k1 = \"eve\" }",
            "world.keys.k1 = \"eve\": must be the name of one of world.users",
        ),
        (
            "passwords = { ada",
            "passwords = { eve",
            "world.passwords.eve = \"pw\": is the password of nobody in world.users",
        ),
        ("session = \"ada\"", "session = \"eve\"", "world.session = \"eve\": must be the name of one of world.users"),
        (
            "groups = [\"g\"] }]",
            "group = \"g\" }]",
            "world.users[1].group: no such key; did you mean world.users[1].groups?",
        ),
        (
            "\"https://idp.example/jwks\" = '{\"keys\": []}'",
            "\"https://idp.example/jwks\" = '{'",
            "world.jwks.\"https://idp.example/jwks\" = \"{\": must be a JSON object in a text",
        ),
        (
            "url = \"https://idp.example/away\"",
            "url = \"/away\"",
            "world.fetch[2].url = \"/away\": must be an address that begins with https:// or http://",
        ),
        (
            "unreachable = true",
            "unreachable = true\nstatus = 200",
            "world.fetch[2].status: a server that is unreachable answers nothing",
        ),
        ("status = 201", "status = 99", "world.fetch[1].status = 99: must be a whole number from 200 to 599"),
        (
            "decision = \"forward\"",
            "decision = \"abstain\"",
            "expect.decision = \"abstain\": must be one of next, forward, respond, failure for the hook select",
        ),
        ("sticky_key = \"k\"", "status = 200", "expect.status: is not for the decision forward"),
        ("sticky_key = \"k\"", "stiky_key = \"k\"", "expect.stiky_key: no such key; did you mean expect.sticky_key?"),
        ("sticky_key = \"k\"", "path = \"/\"", "expect.path: stands beside strip_segments: give one of them"),
        (
            "target = \"content:0f4b",
            "target = \"0f4b",
            "expect.target = \"0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162\": must be \"content:<guid>\" or \"system:<part>\"",
        ),
        (
            "log_contains = [\"chose 1\"]",
            "log_contains = 1",
            "expect.log_contains = 1: must be a text or a list of texts",
        ),
    ];
    for (good, bad, expected) in cases {
        let text = WHOLE.replacen(good, bad, 1);
        assert_ne!(text, WHOLE, "{good} is not there");
        let expected = format!("cases/x.toml: case \"the bundle follows the group\": {expected}");
        assert_eq!(told(&text), expected, "{bad}");
    }
}

#[test]
fn a_case_sets_only_what_its_hook_can_see() {
    let of = |hook: &str, more: &str, decision: &str| {
        told(&format!("[[case]]\nname = \"n\"\nhook = \"{hook}\"\n{more}\n[case.expect]\ndecision = \"{decision}\""))
    };
    let target = format!("[case.target]\ncontent = \"{GUID}\"");
    let case = "cases/x.toml: case \"n\": ";
    for (hook, more, decision, expected) in [
        (
            "route",
            "[case.visitor]\nsubject = \"s\"",
            "next",
            "visitor: nobody is known in the hook route: only select knows the visitor",
        ),
        (
            "route",
            target.as_str(),
            "next",
            "target: no target is known in the hook route: only authenticate and select know it",
        ),
        (
            "page",
            target.as_str(),
            "respond",
            "target: no target is known in the hook page: only authenticate and select know it",
        ),
        ("check", "[case.request]", "accepted", "request: there is no request when a configuration is checked"),
        ("select", "", "next", "target: missing: select is asked when the target is known"),
    ] {
        assert_eq!(of(hook, more, decision), format!("{case}{expected}"));
    }
}

#[test]
fn parts_of_the_world_have_forms() {
    let user = format!("name = \"a\", guid = \"{GUID}\"");
    let sha256 = "request.client_certificate = { subject = \"CN=a\", sha256 = \"AB\" }";
    for (more, expected) in [
        (
            "world.buckets_empty = { b = 0 }".to_owned(),
            "world.buckets_empty.b = 0: must be the seconds until the next token, at least 1",
        ),
        (
            format!("world.users = [{{ {user}, role = \"root\" }}]"),
            "world.users[1].role = \"root\": must be \"viewer\", \"publisher\" or \"administrator\"",
        ),
        (
            format!("world.users = [{{ {user}, linked = {{ issuer = \"i\" }} }}]"),
            "world.users[1].linked.subject: missing: must be the person's name there",
        ),
        (
            "request.client_certificate = {}".into(),
            "request.client_certificate.subject: missing: must be the subject as RFC 4514 text, as \"CN=proxy\"",
        ),
        (sha256.into(), "request.client_certificate.sha256 = \"AB\": must be 64 hexadecimal digits in lower case"),
    ] {
        let text = format!("[[case]]\nname = \"n\"\nhook = \"route\"\n{more}\nexpect.decision = \"next\"");
        assert_eq!(told(&text), format!("cases/x.toml: case \"n\": {expected}"));
    }
}

#[test]
fn a_file_as_a_whole_may_be_wrong() {
    let good = "[[case]]\nname = \"n\"\nhook = \"route\"\nexpect.decision = \"next\"\n";
    for (text, expected) in [
        ("#".repeat(CASE_FILE_BYTES + 1), "has 262145 bytes, more than 262144"),
        (String::new(), "holds no case: each begins with [[case]]"),
        ("[case]\n".into(), "case = (a table): must be tables, each begun with [[case]]"),
        (format!("{good}[[cases]]\n"), "cases: no such key; did you mean case?"),
        ("a = \n".into(), "is not TOML: line 1: string values must be quoted, expected literal string"),
        (format!("{good}{good}"), "case \"n\": there is another case of this name in the file"),
        (
            "[[case]]\nhook = \"route\"\nexpect.decision = \"next\"".into(),
            "case 1: name: missing: must be one line that says what the case shows",
        ),
    ] {
        assert_eq!(told(&text), format!("cases/x.toml: {expected}"), "{text}");
    }
    let many: String = (0..=MAX_CASES).map(|n| good.replace("\"n\"", &format!("\"{n}\""))).collect();
    assert_eq!(told(&many), "cases/x.toml: with this file there are 501 cases, more than 500");
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\PC*|[\\[\\]a-z=\". \n{},0-9-]*") {
        let _ = read_cases("x.toml", &text);
    }

    #[test]
    fn a_changed_case_panics_nowhere(at in 0..WHOLE.len(), byte in any::<u8>()) {
        let mut bytes = WHOLE.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = read_cases("x.toml", &String::from_utf8_lossy(&bytes));
    }
}
