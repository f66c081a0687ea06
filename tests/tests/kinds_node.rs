//! Node.js applications, published with a stock client and used in a real browser.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use http::Method;
use lectern_tests::bundle;
use lectern_tests::client::{example, guid_in, rsconnect};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use lectern_tests::visitor::Visitor;
use serde_json::json;

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "administrator"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// Two pages: what is pinned up on one is seen on the other.
const PIN: &str = "
    const other = await all.context.newPage();
    await other.goto(page.url());
    await other.locator('body.live').waitFor();
    await page.locator('input[name=text]').fill(args.text);
    await page.getByRole('button', { name: 'Pin it up' }).click();
    await other.locator('li').filter({ hasText: args.text }).waitFor();
    await all.shot('pinned');
    return { who: await page.locator('#who').innerText(), note: await other.locator('li').first().innerText() };
";

#[test]
fn a_board_at_its_guid_and_under_a_vanity_path() {
    let path = example(&SERVER, "node");
    let run = rsconnect(&SERVER, &ADA, "deploy nodejs", &["--new", "--title", "Board", &path]).expect_success();
    assert!(run.printed.contains("packages of package-lock.json"), "{}", run.printed);
    let guid = guid_in(&run.printed);
    ada().change(&guid, &json!({"max_processes": 1})).expect(200);
    let item = ada().content(&guid);
    assert_eq!(item["app_mode"], "nodejs");

    let visitor = Visitor::new(&SERVER, &ADA);
    let seen = visitor.uses(&format!("/content/{guid}/"), PIN, &json!({"text": "Lunch at noon"}));
    assert_eq!(seen["who"], "signed in as ada");
    assert!(seen["note"].as_str().unwrap().starts_with("Lunch at noon\nada, "), "{seen}");

    ada().api(Method::PUT, &format!("/v1/content/{guid}/vanity")).json(&json!({"path": "/board/"})).send().expect(200);
    let seen = visitor.uses("/board/", PIN, &json!({"text": "Bring cake"}));
    assert!(seen["note"].as_str().unwrap().starts_with("Bring cake\nada, "), "{seen}");

    // The same lock again: nothing is installed.
    let run = rsconnect(&SERVER, &ADA, "deploy nodejs", &["--title", "Board", &path]).expect_success();
    assert!(run.printed.contains("is already there"), "{}", run.printed);
}

/// A bundle without packages.
fn plain(entrypoint: &str, files: &[(&str, &str)]) -> Vec<u8> {
    bundle::app("nodejs", entrypoint, files)
}

#[test]
fn the_first_server_is_the_contents_and_one_on_port_takes_its_place() {
    let source = "
        const http = require('http');
        const answer = (text) => (request, response) => response.end(`${text} ${request.socket.remoteAddress}`);
        http.createServer(answer('other')).listen(9999, '0.0.0.0', () => {
          http.createServer(answer('main')).listen(process.env.PORT);
        });";
    let guid = ada().publish("two-servers", &plain("a.js", &[("a.js", source)]));
    assert_eq!(ada().open(&guid, "").expect(200).text(), "main 127.0.0.1");
}

#[test]
fn failures_are_told_in_words() {
    let needs = r#"{"dependencies":{"express":"4"}}"#;
    let lock = r#"{"lockfileVersion":3,"packages":{"":{"dependencies":{"no-such":"1"}},
        "node_modules/no-such":{"version":"1.0.0","resolved":"http://127.0.0.1:9/no-such.tgz"}}}"#;
    let once = (".npmrc", "fetch-retries=0\n");
    let unlocked = r#"{"dependencies":{"no-such":"1"}}"#;
    let cases = [
        (vec![("a.js", "")], "ended before it accepted a connection"),
        (vec![("a.js", "require('absent')")], "Cannot find module 'absent'"),
        (vec![("a.js", "throw new Error('no moon')")], "no moon"),
        (vec![("a.js", ""), ("package.json", needs)], "no package-lock.json"),
        (
            vec![("a.js", ""), ("package.json", unlocked), ("package-lock.json", lock), once],
            "installing packages failed",
        ),
        (vec![("b.js", "")], "\"a.js\" as its entry point"),
    ];
    for (number, (files, words)) in cases.into_iter().enumerate() {
        let guid = ada().create(&format!("failing-{number}"));
        let id = ada().upload(&guid, &plain("a.js", &files));
        let done = ada().wait(&ada().start_draft(&guid, &id)).expect_failure();
        let said = format!("{}\n{}", done.output, done.error);
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}
