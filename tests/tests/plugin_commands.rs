//! `lectern plugin` as operators type it: the real binary against a real server, here and from elsewhere.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Command, Output};

use lectern_packages::{Signature, SigningKey};
use lectern_tests::plugins::{Plugin, shipped};
use lectern_tests::server::{LECTERN, Server};
use serde_json::{Value, json};

/// The component of ip-allow under another name, which lets in who comes from here.
fn lodge(version: &'static str) -> Plugin {
    Plugin { config: json!({"allow": ["127.0.0.0/8"]}), ..Plugin::router("lodge", version, shipped("ip-allow")) }
}

/// Writes a package; with a key, its signature beside it.
fn file(server: &Server, plugin: &Plugin, key: Option<&SigningKey>) -> String {
    let path: PathBuf = server.scratch().join(format!("{}-{}.lectern", plugin.name, plugin.version));
    let bytes = plugin.pack();
    std::fs::write(&path, &bytes).unwrap();
    if let Some(key) = key {
        std::fs::write(format!("{}.sig", path.display()), Signature::of(&bytes, key).to_string()).unwrap();
    }
    path.display().to_string()
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a verb on the admin socket; it must end with `status` and say all of `words`.
#[track_caller]
fn says(server: &Server, args: &[&str], status: i32, words: &[&str]) -> String {
    let output = server.lectern(&[&["plugin"], args].concat(), "");
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?} does not say {word:?}: {text}");
    }
    text
}

#[test]
fn every_verb_does_what_it_says() {
    let server = Server::new();
    let key = SigningKey::generate().unwrap();
    let public = key.public();
    let id = public.id().to_string();
    let first = file(&server, &lodge("1.0.0"), None);

    // Signed by nobody, then by somebody unknown, then by a trusted key.
    says(&server, &["install", &first], 1, &["sign"]);
    let first = file(&server, &lodge("1.0.0"), Some(&key));
    says(&server, &["install", &first], 1, &[&id]);
    says(&server, &["keys"], 0, &["no key is trusted"]);
    says(&server, &["trust", "ed25519:nonsense"], 1, &["not a public key"]);
    says(&server, &["trust", &public.to_string(), "--comment", "ours"], 0, &[&id]);
    says(&server, &["keys"], 0, &[&id, "ours"]);
    says(&server, &["install", &first], 0, &["lodge 1.0.0 is installed", &id, "lectern plugin bind lodge"]);
    says(&server, &["install", &first], 0, &["was installed before"]);
    says(&server, &["list"], 0, &["content-router", "installed, not bound:", "lodge 1.0.0"]);

    // Bindings.
    says(&server, &["bind", "nothing"], 1, &["nothing is not installed"]);
    says(&server, &["bind", "lodge", "--set", "allow=[\"nonsense\"]"], 1, &["nonsense"]);
    says(&server, &["bind", "lodge", "--grant", "clock"], 1, &["clock"]);
    says(&server, &["bind", "lodge", "--phase", "authenticate"], 1, &["authenticate"]);
    says(&server, &["bind", "lodge", "--phase", "elsewhere"], 2, &["route, authenticate, select"]);
    let bound = ["bind", "lodge", "--name", "gatehouse", "--path", "/content", "--reason", "only from here"];
    says(&server, &bound, 0, &["lodge is bound as gatehouse", "revision 1", "lectern plugin unbind gatehouse"]);
    says(&server, &bound, 1, &["there is a binding of this name"]);
    says(&server, &["list"], 0, &["gatehouse", "/content"]);
    says(&server, &["list", "--nodes"], 0, &["gatehouse", "live"]);
    says(
        &server,
        &["set", "gatehouse", "--order", "7"],
        0,
        &["gatehouse is changed", "revision 2", "undo: lectern plugin set gatehouse --order"],
    );
    assert_eq!(server.get("/content/x/").send().status, 404, "the gatehouse lets us in");

    // Swap and back.
    let swap = ["swap", "gatehouse", "--set", "allow=[\"192.0.2.1\"]", "--expect", "2", "--reason", "closed"];
    says(&server, &swap, 0, &["gatehouse is swapped", "before:", "revision 3", "lectern plugin rollback gatehouse"]);
    assert_eq!(server.get("/content/x/").send().status, 403);
    says(&server, &swap, 1, &["revision 3"]);
    says(&server, &["swap", "gatehouse"], 1, &["swap gatehouse to what?"]);
    says(&server, &["rollback", "gatehouse"], 0, &["the release before is live again"]);
    assert_eq!(server.get("/content/x/").send().status, 404);

    // A new version, tried and taken.
    let second = file(&server, &lodge("1.1.0"), Some(&key));
    says(&server, &["install", &second], 0, &["lodge 1.1.0 is installed"]);
    says(&server, &["shadow", "gatehouse", "--report"], 1, &["no candidate"]);
    says(&server, &["shadow", "gatehouse", "--version", "1.1.0"], 0, &["sees copies", "--stop"]);
    says(&server, &["shadow", "gatehouse", "--report"], 0, &["calls compared"]);
    says(&server, &["swap", "gatehouse", "--require-shadow", "0.5"], 1, &["has not decided anything"]);
    says(&server, &["shadow", "gatehouse", "--stop"], 0, &["withdrawn"]);
    says(&server, &["canary", "gatehouse", "--version", "1.1.0"], 1, &["nobody gets"]);
    says(&server, &["canary", "gatehouse", "--version", "1.1.0", "--share", "101"], 2, &["between 0 and 100"]);
    says(&server, &["canary", "gatehouse", "--version", "1.1.0", "--share", "5"], 0, &["answers for some"]);
    says(&server, &["list"], 0, &["+canary 5 %"]);
    says(&server, &["promote", "gatehouse"], 0, &["the candidate is live"]);
    says(&server, &["show", "gatehouse"], 0, &["version 1.1.0", "version 1.0.0"]);
    says(&server, &["withdraw", "gatehouse"], 1, &[]);

    // Secrets never come back.
    let set = server.lectern(&["plugin", "secret", "set", "gatehouse", "word"], "open sesame\n");
    assert!(set.status.success(), "{}", printed(&set));
    assert!(!says(&server, &["secret", "list", "gatehouse"], 0, &["word"]).contains("sesame"));
    says(&server, &["secret", "remove", "gatehouse", "word"], 0, &["forgotten"]);

    // The end.
    says(&server, &["remove", "lodge", "1.1.0"], 1, &["gatehouse"]);
    says(&server, &["remove", "lodge", "9.9.9"], 1, &["not installed"]);
    says(&server, &["unbind", "gatehouse", "--expect", "1"], 1, &[]);
    says(
        &server,
        &["unbind", "gatehouse"],
        0,
        &["taken out of the gate", "--name gatehouse", "--path /content", "--order 7"],
    );
    says(&server, &["remove", "lodge", "1.1.0"], 0, &["is removed"]);
    says(&server, &["untrust", &id], 0, &["trusted no more"]);
    says(&server, &["history", "--binding", "gatehouse"], 0, &["only from here", "rollback", "promote", "unbind"]);
    says(&server, &["history", "--verify"], 0, &["as they were written"]);
}

#[test]
fn programs_read_json() {
    let server = Server::new();
    let overview = server.lectern_json(&["plugin", "list"], "");
    assert_eq!(overview["bindings"].as_array().unwrap().len(), 3, "{overview}");
    let changed =
        server.lectern_json(&["plugin", "bind", "ip-allow", "--name", "here", "--set", "allow=[\"127.0.0.1\"]"], "");
    assert_eq!(changed["binding"]["name"], "here");
    assert_eq!(changed["binding"]["revision"], 1);
    assert!(changed["shown"]["micros"].is_u64() && changed["before"].is_null(), "{changed}");
    let swapped = server.lectern_json(&["plugin", "swap", "here", "--set", "allow=[\"127.0.0.0/8\"]"], "");
    assert_eq!(swapped["before"], changed["binding"]["live"]);
    let history = server.lectern_json(&["plugin", "history", "--binding", "here"], "");
    let actions: Vec<&Value> = history.as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["swap", "bind"]);
    assert_eq!(server.lectern_json(&["plugin", "history", "--verify"], "")["whole"], true);
}

/// Runs a verb as somebody elsewhere does, without the server's data directory.
fn elsewhere(server: &Server, key: Option<&str>, args: &[&str]) -> Output {
    let mut command = Command::new(LECTERN.as_path());
    command.current_dir(server.scratch().path()).env_clear().env("LECTERN_SERVER", server.url());
    if let Some(key) = key {
        command.env("LECTERN_API_KEY", key);
    }
    command.arg("plugin").args(args).output().unwrap()
}

#[test]
fn operators_elsewhere_need_an_administrators_key() {
    let server = Server::new();
    let (root, ada) = (server.account("root", "administrator"), server.account("ada", "publisher"));
    let list = |key: Option<&str>| elsewhere(&server, key, &["list"]);
    let shown = list(Some(&root.key));
    assert!(shown.status.success() && printed(&shown).contains("content-router"), "{}", printed(&shown));
    for (key, words) in [(None, "needs a key"), (Some(ada.key.as_str()), "only administrators")] {
        let refused = list(key);
        assert_eq!(refused.status.code(), Some(1));
        assert!(printed(&refused).contains(words), "{}", printed(&refused));
    }
    let bind = ["bind", "ip-allow", "--name", "here", "--set", "allow=[\"127.0.0.0/8\"]", "--reason", "from afar"];
    let bound = elsewhere(&server, Some(&root.key), &bind);
    assert!(bound.status.success(), "{}", printed(&bound));
    says(&server, &["history", "--binding", "here"], 0, &["root", "from afar"]);
    // The key does not go over the network in the open.
    let open = elsewhere(&server, Some(&root.key), &["list", "--server", "http://lectern.invalid"]);
    assert_eq!(open.status.code(), Some(1));
    assert!(printed(&open).contains("unencrypted"), "{}", printed(&open));
}
