//! Content made of git repositories: deployed with the publishers' own tools from git's own server, followed, and attacked.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::bundle;
use lectern_tests::client::{guid_in, posit_sdk, rsconnect};
use lectern_tests::git_server::{Entry, GitServer, Repository};
use lectern_tests::publisher::{Done, Publisher};
use lectern_tests::server::{Account, Server, write_private};
use lectern_tests::unprivileged::again_as_nobody;
use lectern_tests::wait::until;
use serde_json::{Value, json};

/// A look comes every second, and a deployment of a page takes less; the machine may be busy.
const SOON: Duration = Duration::from_secs(60);

static GIT: LazyLock<GitServer> = LazyLock::new(GitServer::new);
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let setup = Server::setup().env("LECTERN_OUTBOUND__ALLOW", GIT.address().to_string());
    setup.env("LECTERN_GIT__POLL_INTERVAL_SECONDS", "1").start()
});
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// The files of a page, below `directory`.
fn page(directory: &str, title: &str) -> Vec<(String, String)> {
    let index = format!("<!doctype html><title>{title}</title>\n");
    let manifest = bundle::manifest("static", "index.html", &[("index.html".into(), index.clone().into_bytes())]);
    let at = |name: &str| if directory == "." { name.to_owned() } else { format!("{directory}/{name}") };
    vec![(at("index.html"), index), (at("manifest.json"), manifest.to_string())]
}

fn commit(repository: &Repository, branch: &str, files: &[(String, String)]) -> String {
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    repository.commit(branch, &files)
}

fn put(guid: &str, wanted: &Value) -> lectern_tests::http::Reply {
    ada().api(Method::PUT, &format!("/v1/content/{guid}/repository")).json(wanted).send()
}

/// The address of a look at a repository.
fn look(what: &str, url: &str) -> String {
    format!("/repo/{what}?url={}", url.replace(':', "%3A").replace('/', "%2F"))
}

fn shown(guid: &str) -> Value {
    ada().api(Method::GET, &format!("/v1/content/{guid}/repository")).send().expect(200).json()
}

/// Has the newest commit deployed and waits for what comes of it.
fn deploy(guid: &str) -> Done {
    let ask = ada().api(Method::POST, &format!("/v1/content/{guid}/deploy")).json(&json!({}));
    let task = ask.send().expect(202).json()["task_id"].as_str().unwrap().to_owned();
    ada().wait(&task)
}

/// A new item of a repository's `main`, not followed.
fn managed(name: &str, repository: &Repository) -> String {
    let guid = ada().create(name);
    put(&guid, &json!({"repository": repository.url()})).expect(200);
    guid
}

fn serves(guid: &str, title: &str) -> bool {
    let reply = ada().open(guid, "");
    reply.status == 200 && reply.text().contains(title)
}

#[test]
fn deployed_with_rsconnect_and_followed() {
    let repository = GIT.repository("followed");
    let mut files = page("sites/moons", "Moons 1");
    files.push(("README.md".to_owned(), "not published\n".to_owned()));
    let first = commit(&repository, "main", &files);
    let words = ["-r", repository.url(), "-b", "main", "-d", "sites/moons", "--title", "Moons"];
    let run = rsconnect(&SERVER, &ADA, "deploy git", &words).expect_success();
    println!("{}", run.printed);
    assert!(run.printed.contains(&format!("It is at commit {first}")), "{}", run.printed);
    let guid = guid_in(&run.printed);
    assert!(serves(&guid, "Moons 1"));
    ada().open(&guid, "README.md").expect(404);
    let listed = ada().api(Method::GET, &format!("/v1/content/{guid}/bundles")).send().expect(200).json();
    let said = &listed[0]["metadata"];
    assert_eq!((&said["source"], &said["source_repo"]), (&json!("git"), &json!(repository.url())), "{listed}");
    assert_eq!((&said["source_branch"], &said["source_commit"]), (&json!("main"), &json!(first)), "{listed}");
    let show = rsconnect(&SERVER, &ADA, "content repository show", &["--guid", &guid]).expect_success();
    let show: Value = serde_json::from_str(&show.stdout).unwrap();
    let expected = json!({"repository": repository.url(), "branch": "main", "directory": "sites/moons", "polling": true,
        "last_error": null, "last_known_commit": first});
    assert_eq!(show, expected);

    let jobs = || {
        let jobs = ada().api(Method::GET, &format!("/v1/content/{guid}/jobs")).send().expect(200).json();
        jobs.as_array().unwrap().iter().filter(|job| job["tag"] == "git").count()
    };
    // On a busy machine the first look may have come before the client asked.
    let before = jobs();
    // A new commit is deployed by itself, and once.
    let second = commit(&repository, "main", &page("sites/moons", "Moons 2"));
    until("the new version", SOON, || serves(&guid, "Moons 2").then_some(()));
    assert_eq!(shown(&guid)["last_known_commit"], second);
    // One that cannot be published changes nothing, says why, and is not tried again.
    let mut broken = page("sites/moons", "Moons 3");
    broken.retain(|(path, _)| !path.ends_with("index.html"));
    let third = commit(&repository, "main", &broken);
    let failed = until("the error", SOON, || Some(shown(&guid)).filter(|shown| !shown["last_error"].is_null()));
    println!("{failed}");
    assert_eq!(failed["last_known_commit"], third, "{failed}");
    assert!(serves(&guid, "Moons 2"), "the version before goes on");
    // The look after the next one has begun: were it tried again, a job would have come of it.
    let asked = GIT.asked().iter().filter(|asked| asked.path.starts_with("/followed.git")).count();
    until("two more looks", SOON, || {
        let now = GIT.asked().iter().filter(|asked| asked.path.starts_with("/followed.git")).count();
        (now >= asked + 2).then_some(())
    });
    assert_eq!(jobs(), before + 2, "one for each commit");
    commit(&repository, "main", &page("sites/moons", "Moons 4"));
    until("the mended version", SOON, || serves(&guid, "Moons 4").then_some(()));
    until("no error", SOON, || shown(&guid)["last_error"].is_null().then_some(()));

    // Another commit by hand, then as before.
    let run = rsconnect(&SERVER, &ADA, "content repository redeploy", &["--guid", &guid, "--ref", &first]);
    println!("{}", run.expect_success().printed);
    until("the first version", SOON, || serves(&guid, "Moons 1").then_some(()));
    let again = rsconnect(&SERVER, &ADA, "deploy git", &[&["--app-id", &guid][..], &words].concat()).expect_success();
    assert!(serves(&guid, "Moons 4"), "{}", again.printed);
    let words = ["--guid", &guid, "--force"];
    rsconnect(&SERVER, &ADA, "content repository delete", &words).expect_success();
    rsconnect(&SERVER, &ADA, "content repository show", &["--guid", &guid]).expect_failure();
    assert!(serves(&guid, "Moons 4"), "what is deployed stays");
    ada().upload(&guid, &lectern_tests::apps::page("By hand"));

    let root = SERVER.account("auditor", "administrator");
    let log = Publisher::new(&SERVER, &root).api(Method::GET, "/v1/audit_logs?limit=500").send().expect(200).json();
    let of_guid: Vec<(&str, &str)> = log["results"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["event_description"].as_str().unwrap().contains(&guid))
        .map(|entry| (entry["action"].as_str().unwrap(), entry["user_description"].as_str().unwrap()))
        .collect();
    for entry in [
        ("edit_repository", "ada"),
        ("deploy_application", "the server"),
        ("deploy_application", "ada"),
        ("activate_bundle", "the server"),
        ("remove_repository", "ada"),
    ] {
        assert!(of_guid.contains(&entry), "{entry:?} {of_guid:?}");
    }
}

#[test]
fn scripts_see_repositories() {
    let repository = GIT.repository("scripted");
    let commit = commit(&repository, "main", &[page(".", "Root"), page("sub/dir", "Sub")].concat());
    repository.git(&["update-ref", "refs/heads/feature/x", &commit], b"");
    posit_sdk(
        &SERVER,
        &ADA,
        &format!(
            r#"
import os, time
from posit import connect
client = connect.Client(os.environ["TEST_SERVER"], os.environ["TEST_KEY"])
url = {url:?}
item = client.content.create(name="sdk-git")
assert item.repository is None
made = item.create_repository(repository=url, branch="main", directory=".", polling=False)
assert (made["repository"], made["branch"], made["directory"], made["polling"]) == (url, "main", ".", False), made
assert item.repository["repository"] == url
made.update(branch="0123456789abcdef0123456789abcdef01234567")
assert item.repository["branch"].startswith("0123")
made.update(branch="feature/x", directory="sub/dir", polling=True)
found = item.repository
assert (found["branch"], found["directory"], found["polling"]) == ("feature/x", "sub/dir", True), found
found.destroy()
assert item.repository is None
defaults = client.put(f"v1/content/{{item['guid']}}/repository", json={{"repository": url}}).json()
assert (defaults["branch"], defaults["directory"], defaults["polling"]) == ("main", ".", False), defaults

def result(path, **params):
    task = client.get(path, params=params).json()
    while not task.get("finished"):
        task = client.get("v1/tasks/" + task["id"], params={{"wait": 1}}).json()
    assert task["code"] == 0, task
    return task["result"]

assert client.get("repo/account", params={{"url": url}}).json() == {{"username": ""}}
branches = result("repo/branches", url=url)
assert branches["type"] == "git-repo-ref-branch-array"
assert branches["data"] == [{{"branch": b, "ref": {commit:?}}} for b in ["feature/x", "main"]], branches
dirs = result("repo/manifest-dirs", url=url, branch="main")
assert dirs == {{"type": "git-repo-branch-manifest-dirs-array", "data": [".", "sub/dir"]}}, dirs
"#,
            url = repository.url()
        ),
    )
    .expect_success();
}

#[test]
fn refusals_have_their_codes() {
    let repository = GIT.repository("codes");
    commit(&repository, "main", &page(".", "Codes"));
    let guid = ada().create("codes");
    let at = format!("/v1/content/{guid}/repository");
    let ask = |method: Method, path: &str, body: &Value| ada().api(method, path).json(body).send();
    ask(Method::GET, &at, &Value::Null).expect_error(404, 143);
    ask(Method::PATCH, &at, &json!({"branch": "x"})).expect_error(409, 143);
    ask(Method::DELETE, &at, &Value::Null).expect_error(409, 143);
    ask(Method::POST, &format!("{at}/bundle"), &json!({})).expect_error(409, 143);
    put(&guid, &json!({})).expect_error(400, 12);
    for bad in [
        "ftp://a/b",
        "ext::sh -c touch% /tmp/x",
        "--upload-pack=x",
        "https://u:p@a.example/b",
        "file:///etc",
        "ssh://git@a.example/b",
        "git@a.example:b.git",
        "https://a.example/b?c=d",
        "https://0x7f.1/",
        "https://a b/",
        "/etc",
    ] {
        put(&guid, &json!({"repository": bad})).expect_error(400, 164);
    }
    let own = format!("http://{}/", SERVER.address());
    for refused in [
        own.as_str(),
        "http://169.254.169.254/latest",
        "https://10.0.0.1/a.git",
        "http://[::1]/a",
        "http://[::ffff:127.0.0.1]/a",
    ] {
        put(&guid, &json!({"repository": refused})).expect_error(400, 146);
        ada().api(Method::GET, &look("branches", refused)).send().expect_error(400, 146);
    }
    for (field, bad) in [
        ("branch", "--upload-pack=x"),
        ("branch", "a..b"),
        ("branch", "a\nb"),
        ("directory", "../x"),
        ("directory", ".git/hooks"),
    ] {
        put(&guid, &json!({"repository": repository.url(), field: bad})).expect_error(400, 87);
    }
    put(&guid, &json!({"repository": repository.url()})).expect(200);
    let again = ada().api(Method::PUT, &at).header("if-none-match", "*").json(&json!({"repository": repository.url()}));
    again.send().expect_error(409, 142);
    put(&guid, &json!({"repository": repository.url()})).expect(200);
    ada().try_upload(&guid, &lectern_tests::apps::page("x")).expect_error(409, 144);
    let upload = ada().api(Method::POST, &format!("/applications/{guid}/upload")).body(lectern_tests::apps::page("x"));
    upload.send().expect_error(409, 144);
    ada().api(Method::GET, "/repo/account").send().expect_error(400, 12);
    let settings = ada().api(Method::GET, "/server_settings").send().expect(200).json();
    assert_eq!((&settings["git_enabled"], &settings["git_available"]), (&json!(true), &json!(true)));
    let stranger = SERVER.account("mallory", "publisher");
    let theirs = Publisher::new(&SERVER, &stranger);
    theirs.api(Method::GET, &at).send().expect_error(403, 19);
    theirs.api(Method::PUT, &at).json(&json!({"repository": repository.url()})).send().expect_error(403, 19);
    theirs.api(Method::DELETE, &at).send().expect_error(403, 19);
    let viewer = SERVER.account("vera", "viewer");
    let looks = Publisher::new(&SERVER, &viewer).api(Method::GET, &look("branches", repository.url()));
    looks.send().expect_error(403, 22);
}

#[test]
fn git_can_be_switched_off() {
    let server = Server::setup().env("LECTERN_GIT__ENABLED", "false").start();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.create("off");
    let at = format!("/v1/content/{guid}/repository");
    let wanted = json!({"repository": "https://git.example.org/a.git"});
    publisher.api(Method::PUT, &at).json(&wanted).send().expect_error(404, 145);
    publisher.api(Method::POST, &format!("{at}/bundle")).json(&wanted).send().expect_error(409, 145);
    publisher.api(Method::GET, &look("account", "https://git.example.org")).send().expect_error(409, 145);
    let settings = publisher.api(Method::GET, "/server_settings").send().expect(200).json();
    assert_eq!(settings["git_enabled"], false);
    let run = rsconnect(&server, &ada, "deploy git", &["-r", "https://git.example.org/a.git", "--title", "Off"]);
    let printed = run.expect_failure().printed;
    assert!(printed.contains("Git-backed deployment is not enabled"), "{printed}");
}

#[test]
fn what_is_missing_is_named() {
    let repository = GIT.repository("missing");
    let guid = managed("missing", &repository);
    let fails = |expected: &str| {
        let done = deploy(&guid).expect_failure();
        assert!(done.error.contains(expected), "{expected}: {}", done.error);
        assert_eq!(shown(&guid)["last_error"], done.error);
    };
    fails("it is empty: nothing was pushed to it yet");
    commit(&repository, "main", &[page("one", "One"), page("two/three", "Three")].concat());
    fails("the directory \".\" has no manifest.json, which says what is published; these have one: one, two/three");
    let change = |what: Value| {
        ada().api(Method::PATCH, &format!("/v1/content/{guid}/repository")).json(&what).send().expect(200);
    };
    change(json!({"directory": "four"}));
    assert!(shown(&guid)["last_error"].is_null(), "another place begins anew");
    fails("it has no directory \"four\"; these have one: one, two/three");
    change(json!({"branch": "mian"}));
    fails("it has no branch or tag mian; it has main");
    let gone = repository.url().replace("missing", "nowhere");
    change(json!({"repository": gone}));
    fails("there is no such repository, or its server does not show it to this one (status 404)");
    change(json!({"repository": repository.url(), "branch": "main", "directory": "two/three"}));
    deploy(&guid).expect_success();
    assert!(serves(&guid, "Three") && shown(&guid)["last_error"].is_null());
    // Tags name commits too, also those that are objects of their own.
    repository.git(&["tag", "--annotate", "--message=one", "v1", "refs/heads/main"], b"");
    repository.git(&["tag", "light", "refs/heads/main"], b"");
    commit(&repository, "main", &page("ümlaut und more", "Umlaut"));
    for tag in ["v1", "light"] {
        change(json!({"branch": tag}));
        deploy(&guid).expect_success();
    }
    change(json!({"branch": "main", "directory": "ümlaut und more"}));
    deploy(&guid).expect_success();
    assert!(serves(&guid, "Umlaut"));
}

#[test]
fn names_lead_nowhere_inside() {
    let guid = ada().create("inside");
    // What the name leads to is judged when it is connected to.
    let port = SERVER.address().port();
    put(&guid, &json!({"repository": format!("http://localhost:{port}/a.git")})).expect(200);
    let done = deploy(&guid).expect_failure();
    assert!(done.error.contains("is loopback, which may not be reached from here"), "{}", done.error);
    // A redirect is not followed.
    let other = GitServer::new();
    let server = Server::setup().env("LECTERN_OUTBOUND__ALLOW", other.address().to_string()).start();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.create("redirected");
    let at = format!("/v1/content/{guid}/repository");
    let url = format!("http://{}/a.git", other.address());
    publisher.api(Method::PUT, &at).json(&json!({"repository": url})).send().expect(200);
    let fails = |canned: &str, expected: &str| {
        other.answer_with(Some(canned.replace('\n', "\r\n").into_bytes()));
        let ask = publisher.api(Method::POST, &format!("/v1/content/{guid}/deploy")).json(&json!({}));
        let task = ask.send().expect(202).json()["task_id"].as_str().unwrap().to_owned();
        let done = publisher.wait(&task).expect_failure();
        assert!(done.error.contains(expected), "{expected}: {}", done.error);
    };
    let own = server.address();
    fails(
        &format!("HTTP/1.1 302 Found\nlocation: http://{own}/info/refs?x\ncontent-length: 0\n\n"),
        &format!("redirects to http://{own}: give that URL instead"),
    );
    fails("HTTP/1.1 200 OK\ncontent-type: text/html\ncontent-length: 2\n\nhi", "is not a git repository over HTTP");
    let list = "HTTP/1.1 200 OK\ncontent-type: application/x-git-upload-pack-advertisement\nconnection: close\n\n";
    fails(&format!("{list}<html>"), "it sends a packet without a proper length");
    fails(&format!("{list}0015ERR come \u{1b}[2Jback"), "it says: come  [2Jback");
    fails("nothing of HTTP\n\n", "could not be reached");
    assert!(!other.asked().is_empty());
}

#[test]
fn passwords_go_to_their_host_alone() {
    let (private, public) = (GitServer::new(), GitServer::new());
    let repository = private.repository("private");
    commit(&repository, "main", &page(".", "Private"));
    private.ask_for("deploy", "s3cret-token");
    let open = public.repository("open");
    commit(&open, "main", &page(".", "Open"));
    let scratch = lectern_tests::scratch::Scratch::new();
    let file = scratch.join("token");
    write_private(&file, "wrong\n");
    let allow = format!("{},{}", private.address(), public.address());
    let credential = format!("http://{}=deploy:{}", private.address(), file.display());
    let server =
        Server::setup().env("LECTERN_OUTBOUND__ALLOW", allow).env("LECTERN_GIT__CREDENTIALS", credential).start();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let publish = |name: &str, url: &str| {
        let guid = publisher.create(name);
        let at = format!("/v1/content/{guid}/repository");
        publisher.api(Method::PUT, &at).json(&json!({"repository": url})).send().expect(200);
        let ask = publisher.api(Method::POST, &format!("/v1/content/{guid}/deploy")).json(&json!({}));
        let task = ask.send().expect(202).json()["task_id"].as_str().unwrap().to_owned();
        publisher.wait(&task)
    };
    let refused = publish("wrong", repository.url()).expect_failure();
    assert!(refused.error.contains("does not let in whom this server's administrator named"), "{}", refused.error);
    // Another password counts at once.
    write_private(&file, "s3cret-token\n");
    let done = publish("right", repository.url()).expect_success();
    assert!(!done.output.contains("s3cret-token"));
    publish("other", open.url()).expect_success();
    assert!(public.asked().iter().all(|asked| asked.authorization.is_none()), "{:?}", public.asked());
    let account = |url: &str| {
        let reply = publisher.api(Method::GET, &look("account", url)).send().expect(200);
        reply.json()["username"].as_str().unwrap().to_owned()
    };
    assert_eq!(account(repository.url()), "deploy");
    assert_eq!(account(&format!("http://{}", private.address())), "deploy");
    assert_eq!(account(open.url()), "");
    assert!(!server.log().contains("s3cret-token"), "no log has it");
    let print = String::from_utf8(server.lectern(&["check", "--print"], "").stdout).unwrap();
    assert!(!print.contains("s3cret-token"));
}

#[test]
fn hostile_repositories_give_no_bundle() {
    let manifest = page(".", "Hostile").into_iter().find(|(path, _)| path == "manifest.json").unwrap().1;
    let manifest = manifest.as_bytes();
    let index: (&str, &str, &[u8]) = ("100644", "index.html", b"<title>Hostile</title>");
    let good = ("100644", "manifest.json", manifest);
    let repository = GIT.repository("hostile");
    let guid = managed("hostile", &repository);
    let inner = repository.tree(&[("100755", "post-checkout", b"#!/bin/sh\ntouch /tmp/owned\n")]);
    let module = "0123456789abcdef0123456789abcdef01234567".as_bytes();
    let attempt = |entries: &[Entry<'_>]| {
        let tree = repository.tree(entries);
        repository.commit_tree("main", &tree);
        deploy(&guid)
    };
    let cases: &[(&[Entry<'_>], &str)] = &[
        (&[("40000", ".git", inner.as_bytes()), index, good], "git could not read"),
        (&[("40000", ".GIT", inner.as_bytes()), index, good], "git could not read"),
        (&[("40000", "..", inner.as_bytes()), index, good], "git could not read"),
        (&[index, good, ("100644", "sub/file", b"x")], "git could not read"),
        // CVE-2018-11235, CVE-2018-17456: a submodule's name or URL that is a path or an option.
        (
            &[
                ("100644", ".gitmodules", b"[submodule \"../../x\"]\n\tpath = m\n\turl = x\n"),
                index,
                ("160000", "m", module),
                good,
            ],
            "git could not read",
        ),
        (
            &[
                ("100644", ".gitmodules", b"[submodule \"m\"]\n\tpath = m\n\turl = --upload-pack=touch /tmp/owned\n"),
                index,
                ("160000", "m", module),
                good,
            ],
            "git could not read",
        ),
        (&[index, ("120000", "link", b"/etc/passwd"), good], "links to \"/etc/passwd\", outside the archive"),
        (&[index, ("120000", "link", b"../../../etc/passwd"), good], "outside the archive"),
        (&[index, ("120000", "manifest.json", b"index.html")], "manifest.json"),
    ];
    for (entries, expected) in cases {
        let done = attempt(entries).expect_failure();
        println!("{}", done.error);
        assert!(done.error.contains(expected), "{expected}: {}", done.error);
    }
    assert!(!std::path::Path::new("/tmp/owned").exists());
    // A file of 1 GiB that is a MiB in the pack.
    let bomb = vec![0_u8; 300 << 20];
    let done = attempt(&[("100644", "bomb", &bomb), index, good]).expect_failure();
    println!("{}", done.error);
    assert!(done.error.contains("archive expands more than 200 times"), "{}", done.error);
    // Submodules are not fetched, filters are not run, and links inside are what they are.
    let attributes = b"* filter=evil\n*.html text eol=crlf\n";
    let modules = b"[submodule \"m\"]\n\tpath = m\n\turl = https://git.example.org/m.git\n";
    let done = attempt(&[
        ("100644", ".gitattributes", attributes),
        ("100644", ".gitmodules", modules),
        index,
        ("120000", "link.html", b"index.html"),
        ("160000", "m", module),
        good,
    ]);
    done.expect_success();
    assert!(serves(&guid, "Hostile"));
    assert_eq!(ada().open(&guid, "link.html").expect(200).text(), "<title>Hostile</title>");
    assert!(lectern_tests::server::has_no_entry(&SERVER.data().join("git"), |_| true), "nothing is left behind");
}

/// A server that may reach `git`, with further settings, and who publishes there.
fn server(git: &GitServer, env: &[(&str, &str)]) -> (Server, Account) {
    let mut setup = Server::setup().env("LECTERN_OUTBOUND__ALLOW", git.address().to_string());
    for (name, value) in env {
        setup = setup.env(name, *value);
    }
    let server = setup.start();
    let ada = server.account("ada", "publisher");
    (server, ada)
}

/// Has the newest commit of `url` deployed as a new item; answers its GUID and the task.
fn begin(publisher: Publisher<'_>, name: &str, url: &str) -> (String, String) {
    let guid = publisher.create(name);
    let at = format!("/v1/content/{guid}/repository");
    publisher.api(Method::PUT, &at).json(&json!({"repository": url})).send().expect(200);
    let ask = publisher.api(Method::POST, &format!("/v1/content/{guid}/deploy")).json(&json!({}));
    let task = ask.send().expect(202).json()["task_id"].as_str().unwrap().to_owned();
    (guid, task)
}

#[test]
fn a_server_that_is_killed_while_it_fetches_begins_again() {
    let git = GitServer::new();
    let (server, ada) = server(&git, &[]);
    let publisher = Publisher::new(&server, &ada);
    let repository = git.repository("killed");
    commit(&repository, "main", &page(".", "Killed"));
    git.hold(true);
    let (guid, task) = begin(publisher, "killed", repository.url());
    until("the request for the repository", SOON, || (!git.asked().is_empty()).then_some(()));
    server.kill();
    git.hold(false);
    server.start();
    let done = publisher.wait(&task).expect_success();
    assert!(done.output.contains("The server was interrupted; this task begins again."), "{}", done.output);
    assert!(publisher.open(&guid, "").expect(200).text().contains("Killed"));
    let bundles = publisher.api(Method::GET, &format!("/v1/content/{guid}/bundles")).send().expect(200).json();
    assert_eq!(bundles.as_array().unwrap().len(), 1, "{bundles}");
    assert!(lectern_tests::server::has_no_entry(&server.data().join("shared/bundles/.tmp"), |_| true));
}

#[test]
fn sizes_and_times_are_bounded() {
    let git = GitServer::new();
    let (server, ada) = server(
        &git,
        &[
            ("LECTERN_GIT__MAX_REPOSITORY_BYTES", "65536"),
            ("LECTERN_GIT__TIMEOUT_SECONDS", "2"),
            ("LECTERN_CONTENT__MAX_FILES", "20"),
            ("LECTERN_CONTENT__MAX_UNPACKED_BYTES", "1 MiB"),
        ],
    );
    let publisher = Publisher::new(&server, &ada);
    let fails = |name: &str, more: &[(String, String)], expected: &str| {
        let repository = git.repository(name);
        commit(&repository, "main", &[page(".", name).as_slice(), more].concat());
        let (_, task) = begin(publisher, name, repository.url());
        let done = publisher.wait(&task).expect_failure();
        assert!(done.error.contains(expected), "{expected}: {}", done.error);
    };
    // Digits of a hash do not compress to less than half.
    let noise: String =
        (0..8000).map(|n: u32| format!("{:08x}", n.wrapping_mul(2_654_435_761).rotate_left(n % 31))).collect();
    let noise: String = noise.chars().zip(noise.chars().rev()).flat_map(|(a, b)| [a, b]).collect();
    fails(
        "large",
        &[("noise".to_owned(), noise.repeat(2))],
        "more than 65536 bytes, the most that this server fetches",
    );
    let many: Vec<(String, String)> = (0..30).map(|n| (format!("file-{n}"), String::new())).collect();
    fails("many", &many, "has more than 20 files, the most that this server takes");
    fails(
        "zeros",
        &[("zeros".to_owned(), "0".repeat(2 << 20))],
        "has more than 1048576 bytes, the most that this server takes",
    );
    let repository = git.repository("slow");
    git.hold(true);
    let (_, task) = begin(publisher, "slow", repository.url());
    let done = publisher.wait(&task).expect_failure();
    git.hold(false);
    assert!(done.error.contains("the repository gave no answer within 2 seconds"), "{}", done.error);
}

/// Everything here again, with a server that runs as an ordinary account; but for what needs the publishers' tools.
#[test]
fn git_needs_no_root() {
    again_as_nobody(&["git_needs_no_root", "deployed_with_rsconnect", "scripts_see", "switched_off"]);
}
