//! Static pages: published with the real `rsconnect`, served by Lectern itself.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use http::Method;
use lectern_tests::client::{directory, example, guid_in, rsconnect};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use lectern_tests::{apps, bundle};
use serde_json::json;

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

#[test]
fn html_with_rsconnect() {
    let path = example(&SERVER, "static");
    let words = ["--new", "--title", "Moons", "--entrypoint", "index.html", "--exclude", "README.md", &path];
    let guid = guid_in(&rsconnect(&SERVER, &ADA, "deploy html", &words).expect_success().printed);

    let page = ada().open(&guid, "").expect(200);
    assert!(page.text().contains("Moons of Jupiter"));
    assert!(page.header("content-type").starts_with("text/html"), "{}", page.header("content-type"));
    assert!(ada().open(&guid, "style.css").expect(200).header("content-type").starts_with("text/css"));
    assert_eq!(ada().content(&guid)["app_mode"], "static");

    let head = SERVER.ask(Method::HEAD, &format!("/content/{guid}/")).key(&ADA.key).send().expect(200);
    assert_eq!(head.header("content-length"), page.body.len().to_string());
    assert!(head.body.is_empty());
    ada().open(&guid, "missing.html").expect(404);
    assert_eq!(SERVER.post(&format!("/content/{guid}/")).key(&ADA.key).send().status, 405);

    // The address without its slash leads there; links of the page would be wrong otherwise.
    let bare = SERVER.get(&format!("/content/{guid}")).key(&ADA.key).send();
    assert!((300..400).contains(&bare.status), "{}", bare.status);
    assert!(bare.header("location").ends_with(&format!("/content/{guid}/")), "{}", bare.header("location"));
}

#[test]
fn a_manifest_with_rsconnect() {
    let files = [("report.html", "<title>Report</title>"), ("data/numbers.json", "[1, 2, 3]")];
    let path = directory(&SERVER, "report", &files);
    let listed: Vec<bundle::File> =
        files.iter().map(|(name, text)| ((*name).into(), text.as_bytes().to_vec())).collect();
    let manifest = format!("{path}/manifest.json");
    std::fs::write(&manifest, bundle::manifest("static", "report.html", &listed).to_string()).unwrap();
    let run = rsconnect(&SERVER, &ADA, "deploy manifest", &["--new", "--title", "Report", &manifest]).expect_success();
    let guid = guid_in(&run.printed);
    assert!(ada().open(&guid, "").expect(200).text().contains("Report"));
    assert_eq!(ada().open(&guid, "data/numbers.json").expect(200).json(), json!([1, 2, 3]));
}

#[test]
fn nothing_outside_the_bundle_is_served() {
    let guid = ada().publish("walls", &apps::page("Walls"));
    for path in [
        "../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "%252e%252e/%252e%252e/etc/passwd",
        "..%5c..%5cetc%5cpasswd",
        "/etc/passwd",
        "//etc/passwd",
        "index.html%00.css",
        "\u{0}",
    ] {
        let path = path.replace('\u{0}', "%00");
        let reply = ada().open(&guid, &path);
        assert!(reply.status >= 300 && !reply.text().contains("root:"), "{path}: {} {}", reply.status, reply.text());
    }
    // Neither are the files that describe the bundle to Lectern.
    ada().open(&guid, "manifest.json").expect(404);
}

#[test]
fn older_versions_and_drafts_have_their_own_address() {
    let guid = ada().create("versions");
    let first = ada().redeploy(&guid, &apps::page("First"));
    let second = ada().redeploy(&guid, &apps::page("Second"));
    let third = ada().upload(&guid, &apps::page("Third"));
    ada().wait(&ada().start_draft(&guid, &third)).expect_success();

    assert!(ada().open(&guid, "").expect(200).text().contains("Second"), "a draft replaces nothing");
    for (address, title) in [
        (format!("_rev{first}/"), "First"),
        (format!("_rev{second}/"), "Second"),
        (format!("_bundle{third}/"), "Third"),
    ] {
        assert!(ada().open(&guid, &address).expect(200).text().contains(title), "{address}");
    }
    ada().open(&guid, "_bundle999999/").expect(404);
    let anonymous = SERVER.get(&format!("/content/{guid}/_bundle{third}/")).send();
    assert_ne!(anonymous.status, 200, "{}", anonymous.text());
}
