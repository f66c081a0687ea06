//! Addresses that would lead out of what a visitor may see: past a vanity path, a draft's number, or a bundle's directory.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::bundle;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use serde_json::json;

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

/// Sends a target as it is, which no client's library would, and answers status and body.
fn raw(target: &str, key: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(SERVER.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let key = key.map_or(String::new(), |key| format!("authorization: Key {key}\r\n"));
    let mut request = b"GET ".to_vec();
    request.extend(target.as_bytes());
    request.extend(format!(" HTTP/1.1\r\nhost: x\r\n{key}connection: close\r\n\r\n").as_bytes());
    stream.write_all(&request).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).ok();
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, reply)
}

/// What may be put between a place that one may see and one that one may not.
const STEPS: [&str; 24] = [
    "..",
    "../..",
    "../../..",
    "%2e%2e",
    ".%2e",
    "%2E.",
    "..%2f",
    "..%2F..",
    "%2e%2e%2f",
    "%252e%252e",
    "%252e%252e%252f",
    "..%5c",
    "..%5C..",
    "..\\",
    "..;",
    "..;a=b",
    ".",
    "%2e",
    "",
    "%c0%ae%c0%ae",
    "%EF%BC%8E%EF%BC%8E",
    "%E2%80%A5",
    "%00",
    "..%00",
];

struct World {
    /// Everybody may see it.
    open: String,
    /// Nobody but its owner.
    closed: String,
    /// Not yet deployed version of the open one.
    draft: String,
    closed_bundle: String,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let ada = Publisher::new(&SERVER, &ADA);
    let open = ada.publish("open", &page("OPEN-7f3a"));
    let closed = ada.publish("closed", &page("CLOSED-91bc"));
    for (guid, access, path) in [(&open, "all", "/open/"), (&closed, "acl", "/closed/")] {
        let item = format!("/v1/content/{guid}");
        ada.api(Method::PATCH, &item).json(&json!({"access_type": access})).send().expect(200);
        ada.api(Method::PUT, &format!("{item}/vanity")).json(&json!({"path": path})).send().expect(200);
    }
    let draft = ada.upload(&open, &page("DRAFT-c0de"));
    ada.wait(&ada.start_draft(&open, &draft)).expect_success();
    let closed_bundle = ada.content(&closed)["bundle_id"].as_str().unwrap().to_owned();
    World { open, closed, draft, closed_bundle }
});

/// A page with a file beside and one below it.
fn page(marker: &str) -> Vec<u8> {
    let text = format!("<p>{marker}").into_bytes();
    let files: Vec<bundle::File> =
        vec![("index.html".into(), text.clone()), ("below/page.html".into(), text.clone()), (".hidden".into(), text)];
    let manifest = bundle::manifest("static", "index.html", &files).to_string();
    bundle::pack(&[files, vec![("manifest.json".into(), manifest.into_bytes())]].concat())
}

/// What nobody may get without a key.
#[track_caller]
fn shows_nothing(target: &str, (status, reply): &(u16, String)) {
    let short: String = target.chars().take(200).collect();
    assert!(*status != 0 && *status < 500, "{short}: {reply}");
    for secret in ["CLOSED-91bc", "DRAFT-c0de", "\"appmode\"", "root:x:", "[server]", "BEGIN "] {
        assert!(!reply.contains(secret), "{short} shows {secret}: {reply}");
    }
    assert!(*status != 200 || reply.contains("OPEN-7f3a"), "{short}: {reply}");
    // Where somebody is sent, it is to a path of this server.
    let to = reply.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or("/");
    assert!(to.starts_with('/') && !to.starts_with("//") && !to.starts_with("/\\"), "{short} leads to {to}");
}

#[test]
fn nothing_leads_from_an_open_item_into_a_closed_one() {
    let World { open, closed, draft, closed_bundle } = &*WORLD;
    assert!(raw("/open/", None).1.contains("OPEN-7f3a"));
    assert!(raw(&format!("/content/{closed}/"), Some(&ADA.key)).1.contains("CLOSED-91bc"), "its owner sees it");
    assert!(raw(&format!("/content/{open}/_bundle{draft}/"), Some(&ADA.key)).1.contains("DRAFT-c0de"));
    let starts = ["/open".to_owned(), format!("/content/{open}"), format!("/content/{open}/below"), "/OPEN".into()];
    let ends = [
        "closed/".to_owned(),
        format!("content/{closed}/"),
        format!("{closed}/"),
        format!("_bundle{draft}/"),
        format!("_rev{draft}/"),
        format!("_bundle{closed_bundle}/"),
        format!("{open}/_bundle{draft}/index.html"),
        "manifest.json".into(),
        "etc/passwd".into(),
        "__api__/v1/content".into(),
    ];
    for start in &starts {
        for step in STEPS {
            for end in &ends {
                for target in
                    [format!("{start}/{step}/{end}"), format!("{start}/{step}{end}"), format!("{start}{step}/{end}")]
                {
                    shows_nothing(&target, &raw(&target, None));
                }
            }
        }
    }
}

#[test]
fn a_draft_is_named_in_one_way_and_shown_to_who_may_preview_it() {
    let World { open, closed, draft, closed_bundle } = &*WORLD;
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    for word in
        ["_bundle", "_rev", "%5fbundle", "_%62undle", "_Bundle", "_bundle+", "_bundle%20", "_bundle0", "_bundle%2b"]
    {
        for (item, number) in [(open, draft), (closed, closed_bundle), (open, closed_bundle), (closed, draft)] {
            for number in
                [number.clone(), escaped(number), format!("{number}%00"), format!("{number};x"), format!("{number}%2f")]
            {
                for rest in
                    ["", "/", "/index.html", "/below/page.html", "/below/../index.html", "/.hidden", "//index.html"]
                {
                    let target = format!("/content/{item}/{word}{number}{rest}");
                    shows_nothing(&target, &raw(&target, None));
                }
            }
        }
    }
    // A version of another item is none of this one's, whoever asks.
    for target in [format!("/content/{open}/_bundle{closed_bundle}/"), format!("/open/_rev{closed_bundle}/")] {
        let (status, reply) = raw(&target, Some(&ADA.key));
        assert!(status == 404 && !reply.contains("CLOSED"), "{target}: {reply}");
    }
    for number in ["99999999999999999999999", "-1", "0x1", "1e1", "", "00", "1.0", "NaN"] {
        let target = format!("/content/{open}/_bundle{number}/");
        let (status, reply) = raw(&target, Some(&ADA.key));
        assert!(matches!(status, 200 | 307 | 400 | 404) && !reply.contains("DRAFT"), "{target}: {reply}");
    }
}

#[test]
fn long_and_strange_addresses_are_refused() {
    let World { open, .. } = &*WORLD;
    let long = "a".repeat(7000);
    let deep = "a/".repeat(3000);
    let dots = "../".repeat(2000);
    let escaped = "%2e%2e%2f".repeat(700);
    for start in ["/open/".to_owned(), format!("/content/{open}/"), "/".into(), "/__api__/v1/content/".into()] {
        for rest in [&long, &deep, &dots, &escaped] {
            let target = format!("{start}{rest}");
            let (status, reply) = raw(&target, None);
            assert!((300..500).contains(&status) || reply.contains("OPEN-7f3a"), "{start}…: {reply}");
        }
    }
    for target in
        ["//evil.example/", "/\\evil.example/", "/%09//evil.example", "/open//evil.example/..", "/open/%0d%0ax:%20y"]
    {
        shows_nothing(target, &raw(target, None));
    }
    // Beyond what is read at all.
    let (status, reply) = raw(&format!("/{}", "a".repeat(200 << 10)), None);
    assert!(matches!(status, 0 | 400 | 414 | 431), "{reply}");
}

#[test]
fn vanity_paths_are_plain() {
    let World { open, .. } = &*WORLD;
    let ada = Publisher::new(&SERVER, &ADA);
    for path in [
        "/../closed/",
        "/a/../b/",
        "/a/..%2fb/",
        "/a%2fb/",
        "/a%5cb/",
        "/a\\b/",
        "/%2e%2e/",
        "/%252e/",
        "/．．/",
        "/‥/",
        "/a\u{0}b/",
        "/a b/",
        "/a\tb/",
        "/a?b/",
        "/a#b/",
        "/a;b/",
        "/ä/",
        "/\u{202e}b/",
        "/__api__/",
        "/__ping__/",
        "/CONTENT/",
        "/connect/x/",
        "/.well-known/x/",
        "/robots.txt",
        "//",
        "///",
        "",
        "/./",
        "/.../",
        "http://evil.example/",
        "/a//b/",
    ] {
        let reply = ada.api(Method::PUT, &format!("/v1/content/{open}/vanity")).json(&json!({"path": path})).send();
        assert_eq!((reply.status, reply.json()["code"].as_i64()), (400, Some(52)), "{path:?}: {}", reply.text());
    }
    let reply =
        ada.api(Method::PUT, &format!("/v1/content/{open}/vanity")).json(&json!({"path": "a".repeat(300)})).send();
    reply.expect_error(400, 52);
    assert!(raw("/open/", None).1.contains("OPEN-7f3a"), "it keeps the one it has");
}
