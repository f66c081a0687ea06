//! pins, with which authors share data sets as content, from Python.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use http::Method;
use lectern_tests::client::pins;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use serde_json::json;

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

/// A board of the account's as `board`, and a fresh one without anything cached by `fresh()`.
const BOARD: &str = r#"
import os, warnings
warnings.simplefilter("ignore")
import pandas as pd, pins
server, key, name = (os.environ[v] for v in ("TEST_SERVER", "TEST_KEY", "TEST_NAME"))
def fresh():
    return pins.board_connect(server_url=server, api_key=key, allow_pickle_read=True, cache=None)
board = pins.board_connect(server_url=server, api_key=key, allow_pickle_read=True)
numbers, more = pd.DataFrame({"x": [1, 2, 3]}), pd.DataFrame({"x": [4, 5]})
"#;

/// Runs a script with a board; answers what it printed.
fn board(account: &Account, code: &str) -> String {
    pins(&SERVER, account, &format!("{BOARD}\n{code}")).expect_success().stdout
}

#[test]
fn pins_are_written_read_found_and_removed() {
    let printed = board(
        &ADA,
        r#"
pin = f"{name}/numbers"
assert not board.pin_exists(pin)
board.pin_write(numbers, pin, type="csv", title="Numbers of a test", description="Three of them", metadata={"about": "counting"})
assert board.pin_read(pin).equals(numbers)
meta = board.pin_meta(pin)
assert (meta.title, meta.description, meta.user, meta.type) == ("Numbers of a test", "Three of them", {"about": "counting"}, "csv"), meta

board.pin_write(more, pin, type="csv")
first, second = board.pin_versions(pin)["version"]
assert fresh().pin_read(pin).equals(more)
assert fresh().pin_read(pin, version=first).equals(numbers), "an older one is read at its own address"

board.pin_write({"a": [1, None]}, f"{name}/settings", type="json")
assert fresh().pin_read(f"{name}/settings") == {"a": [1, None]}
board.pin_write({1, 2}, f"{name}/objects", type="joblib")
assert fresh().pin_read(f"{name}/objects") == {1, 2}
file = os.path.join(os.environ["HOME"], "as-it-is.txt")
with open(file, "w") as out:
    out.write("as it is\n")
board.pin_upload([file], f"{name}/file")
with open(board.pin_download(f"{name}/file")[0]) as again:
    assert again.read() == "as it is\n"

assert {f"{name}/{kind}" for kind in ("file", "numbers", "objects", "settings")} <= set(board.pin_list()), board.pin_list()
assert [row for row in board.pin_search("number")["name"]] == [pin]

board.pin_version_delete(pin, first)
assert list(board.pin_versions(pin)["version"]) == [second]
for _ in range(2):
    board.pin_write(numbers, pin, type="csv")
board.pin_versions_prune(pin, n=1)
assert len(board.pin_versions(pin)) == 1
assert fresh().pin_read(pin).equals(numbers)

board.pin_delete(f"{name}/settings")
assert not board.pin_exists(f"{name}/settings")
print("all done")
"#,
    );
    assert!(printed.contains("all done"), "{printed}");
}

#[test]
fn pins_follow_the_rules_of_content() {
    board(&ADA, r#"board.pin_write(numbers, f"{name}/shared", type="csv", title="Shared")"#);
    let ada = Publisher::new(&SERVER, &ADA);
    let listed = ada.api(Method::GET, "/v1/content?name=shared").send().expect(200).json();
    let guid = text(&listed[0]["guid"]);
    assert_eq!((&listed[0]["content_category"], &listed[0]["app_mode"]), (&json!("pin"), &json!("static")));
    assert_eq!(listed[0]["access_type"], "acl");

    let grace = SERVER.account("grace", "viewer");
    let hidden = r#"assert not board.pin_exists("ada/shared") and "ada/shared" not in board.pin_list()"#;
    board(&grace, hidden);
    let reader = json!({"principal_guid": grace.guid, "principal_type": "user", "role": "viewer"});
    ada.api(Method::POST, &format!("/v1/content/{guid}/permissions")).json(&reader).send().expect(200);
    let read = r#"
assert "ada/shared" in board.pin_list()
assert board.pin_read("ada/shared").equals(numbers)
try:
    board.pin_write(more, "ada/shared", type="csv")
except Exception as refusal:
    print("refused", refusal)
else:
    raise SystemExit("a reader wrote")
"#;
    assert!(board(&grace, read).contains("refused"));

    // A page at the pin's address says what it is, as for every pin.
    let page = ada.open(&guid, "").expect(200);
    assert!(page.header("content-type").starts_with("text/html") && page.text().contains("shared"), "{}", page.text());
    assert!(ada.open(&guid, "data.txt").expect(200).text().contains("api_version"));
}

/// Readers of a pin by its address only: `board_url`, without a key where everybody may read.
#[test]
fn everybody_reads_a_pin_at_its_vanity_path() {
    board(&ADA, r#"board.pin_write(numbers, f"{name}/public", type="csv", title="Public")"#);
    let boss = SERVER.account("boss", "administrator");
    let root = Publisher::new(&SERVER, &boss);
    let guid = text(&root.api(Method::GET, "/v1/content?name=public").send().expect(200).json()[0]["guid"]);
    root.change(&guid, &json!({"access_type": "all"})).expect(200);
    let vanity = root.api(Method::PUT, &format!("/v1/content/{guid}/vanity"));
    vanity.json(&json!({"path": "/data/public/"})).send().expect(200);
    let nobody = Account { key: String::new(), ..ADA.clone() };
    board(
        &nobody,
        r#"
by_url = pins.board_url("", {"public": f"{server}/data/public/"})
assert by_url.pin_read("public").equals(numbers)
"#,
    );
}
