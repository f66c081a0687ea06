//! Wrong input of every kind: the protocol's error, and nothing lost.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::publisher::Publisher;
use lectern_tests::scratch::Scratch;
use lectern_tests::server::{Account, Server, command, has_no_entry};
use lectern_tests::wait::until;
use lectern_tests::{apps, bundle, is_root};
use serde_json::{Value, json};
use tar::EntryType;

/// Limits that are quick to reach.
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    Server::setup()
        .env("LECTERN_CONTENT__MAX_BUNDLE_BYTES", "2097152")
        .env("LECTERN_CONTENT__MAX_UNPACKED_BYTES", "134217728")
        .env("LECTERN_CONTENT__MAX_FILES", "100")
        .start()
});
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// Publishes a page, then tries `bundle` over it: it must be refused, at the upload or by the task, and the page must
/// still be served. Answers the reason given.
#[track_caller]
fn refused(name: &str, bundle: &[u8]) -> String {
    let guid = ada().publish(name, &apps::page("Good"));
    let active = ada().content(&guid)["bundle_id"].clone();
    let reply = ada().try_upload(&guid, bundle);
    let reason = if (200..300).contains(&reply.status) {
        let done = ada().deploy(&guid, reply.json()["id"].as_str().unwrap()).expect_failure();
        format!("{}\n{}", done.error, done.output)
    } else {
        assert!((400..500).contains(&reply.status), "{name}: {} {}", reply.status, reply.text());
        let body = reply.json();
        assert!(body["code"].as_i64().is_some_and(|code| code > 1), "{name}: {body}");
        body["error"].as_str().unwrap().to_owned()
    };
    assert_eq!(ada().content(&guid)["bundle_id"], active, "{name}");
    assert!(ada().open(&guid, "").expect(200).text().contains("Good"), "{name}");
    reason
}

/// A page with one more member.
fn page_and(name: &[u8], kind: EntryType, link: Option<&str>, contents: &[u8]) -> Vec<u8> {
    let manifest = bundle::manifest("static", "index.html", &[("index.html".into(), Vec::new())]).to_string();
    bundle::pack_raw(&[
        (b"manifest.json", EntryType::Regular, None, manifest.as_bytes()),
        (b"index.html", EntryType::Regular, None, b"good"),
        (name, kind, link, contents),
    ])
}

#[test]
fn archives_that_are_none() {
    let whole = apps::page("Cut");
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("not-gzip", b"PK\x03\x04 this is a zip file, or says so".to_vec()),
        ("not-tar", bundle::gzip(&b"just some text, long enough to fill a block of a tar archive ".repeat(40))),
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("cut-checksum", whole[..whole.len() - 4].to_vec()),
        ("empty-tar", bundle::gzip(&[0; 1024])),
    ] {
        refused(name, &bytes);
    }
}

#[test]
fn hostile_archives() {
    let marker = Path::new("/tmp/lectern-was-here");
    for (name, bytes) in [
        ("traversal", page_and(b"../../../../../../tmp/lectern-was-here", EntryType::Regular, None, b"x")),
        ("traversal-inside", page_and(b"a/../../lectern-was-here", EntryType::Regular, None, b"x")),
        ("absolute", page_and(b"/tmp/lectern-was-here", EntryType::Regular, None, b"x")),
        ("symlink-out", page_and(b"link", EntryType::Symlink, Some("/etc/passwd"), b"")),
        ("symlink-up", page_and(b"link", EntryType::Symlink, Some("../../.."), b"")),
        ("hard-link-out", page_and(b"link", EntryType::Link, Some("/etc/passwd"), b"")),
        ("device", page_and(b"device", EntryType::Char, None, b"")),
        ("fifo", page_and(b"fifo", EntryType::Fifo, None, b"")),
        ("duplicate", page_and(b"index.html", EntryType::Regular, None, b"other")),
        ("not-utf8", page_and(b"caf\xe9.html", EntryType::Regular, None, b"x")),
        ("control-character", page_and(b"line\nfeed.html", EntryType::Regular, None, b"x")),
    ] {
        refused(name, &bytes);
    }
    assert!(!marker.exists());
    // A symbolic link that the next member would be written through.
    let manifest = bundle::manifest("static", "index.html", &[("index.html".into(), Vec::new())]).to_string();
    let through = bundle::pack_raw(&[
        (b"manifest.json", EntryType::Regular, None, manifest.as_bytes()),
        (b"index.html", EntryType::Regular, None, b"good"),
        (b"door", EntryType::Symlink, Some("/tmp"), b""),
        (b"door/lectern-was-here", EntryType::Regular, None, b"x"),
    ]);
    refused("through-a-link", &through);
    assert!(!marker.exists());
}

#[test]
fn huge_archives() {
    // Some 400 KiB that unpack to 96 MiB: allowed in size, but no honest bundle of this size has such a ratio.
    refused("ratio", &page_and(b"zeros", EntryType::Regular, None, &vec![0; 96 << 20]));
    refused("unpacked", &page_and(b"zeros", EntryType::Regular, None, &vec![7; 160 << 20]));
    let mut files: Vec<bundle::File> = (0..150).map(|n| (format!("{n}.html"), b"x".to_vec())).collect();
    files.push(("index.html".into(), b"x".to_vec()));
    let manifest = bundle::manifest("static", "index.html", &files).to_string();
    files.push(("manifest.json".into(), manifest.into_bytes()));
    let reason = refused("too-many-files", &bundle::pack(&files));
    assert!(reason.contains("100"), "the limit is named: {reason}");
    let mut noise = vec![0; 3 << 20];
    getrandom::fill(&mut noise).unwrap();
    refused("too-large", &page_and(b"noise", EntryType::Regular, None, &noise));
}

#[test]
fn manifests_that_say_nothing_useful() {
    let with = |manifest: &str| {
        bundle::pack(&[("manifest.json".into(), manifest.as_bytes().to_vec()), ("index.html".into(), b"x".to_vec())])
    };
    refused("no-manifest", &bundle::pack(&[("index.html".into(), b"x".to_vec())]));
    refused("not-json", &with("{\"version\": 1,"));
    refused("not-an-object", &with("[1, 2]"));
    refused("no-mode", &with("{\"version\": 1, \"metadata\": {}, \"files\": {}}"));
    let mut unknown = bundle::manifest("static", "index.html", &[]);
    unknown["metadata"]["appmode"] = "cobol-batch".into();
    let reason = refused("unknown-mode", &with(&unknown.to_string()));
    assert!(reason.contains("cobol-batch"), "{reason}");
    let absent = bundle::manifest("static", "elsewhere.html", &[]);
    let reason = refused("no-entrypoint", &with(&absent.to_string()));
    assert!(reason.contains("elsewhere.html"), "{reason}");
}

/// Publishes an app over a working one and answers what the failed task said.
#[track_caller]
fn refused_app(name: &str, bundle: &[u8]) -> String {
    let guid = ada().publish(name, &apps::probe());
    let id = ada().upload(&guid, bundle);
    let done = ada().wait(&ada().start_draft(&guid, &id)).expect_failure();
    assert_eq!(ada().open(&guid, "").expect(200).json()["version"], "1", "{name}: the active version keeps serving");
    assert_ne!(ada().content(&guid)["bundle_id"], json!(id));
    format!("{}\n{}", done.error, done.output)
}

#[test]
fn requirements_that_cannot_be_resolved() {
    let files = [("app.py", apps::PROBE), ("requirements.txt", "uvicorn\nlectern-has-no-such-package==1.2.3\n")];
    let said = refused_app("unresolvable", &bundle::app("python-fastapi", "app:app", &files));
    assert!(said.contains("lectern-has-no-such-package"), "the resolver's own words: {said}");
    let files = [("app.py", apps::PROBE), ("requirements.txt", "uvicorn ==== what is this\n")];
    refused_app("unreadable", &bundle::app("python-fastapi", "app:app", &files));
}

#[test]
fn an_app_that_crashes_on_import() {
    let said =
        refused_app("crashing", &apps::asgi("import json\n\ndef deep():\n    raise KeyError('lost key')\n\ndeep()\n"));
    assert!(said.contains("Traceback") && said.contains("KeyError: 'lost key'"), "{said}");
    let said = refused_app(
        "no-object",
        &bundle::app(
            "python-fastapi",
            "app:missing",
            &[("app.py", "x = 1\n"), ("requirements.txt", apps::PROBE_REQUIREMENTS)],
        ),
    );
    assert!(said.contains("missing"), "{said}");
}

#[test]
fn guids_and_keys() {
    let api = |path: &str| SERVER.get(&format!("/__api__{path}"));
    for path in ["/v1/content/not-a-guid", "/v1/content/00000000-0000-0000-0000-00000000000g", "/v1/content/1/bundles"]
    {
        api(path).key(&ADA.key).send().expect_error(400, 3);
    }
    let unknown = "11111111-2222-3333-4444-555555555555";
    api(&format!("/v1/content/{unknown}")).key(&ADA.key).send().expect_error(404, 4);
    api(&format!("/v1/content/{unknown}/bundles")).key(&ADA.key).send().expect_error(404, 4);
    api("/v1/tasks/no-such-task").key(&ADA.key).send().expect_error(404, 141);
    for path in
        [format!("/content/{unknown}/"), "/content/not-a-guid/".into(), "/content/".into(), "/nothing/here".into()]
    {
        SERVER.get(&path).key(&ADA.key).send().expect(404);
    }
    // A route that does not exist is told from an object that does not: no JSON with a code.
    let nowhere = api("/v1/no/such/route").key(&ADA.key).send().expect(404);
    assert!(
        serde_json::from_slice::<Value>(&nowhere.body).map_or(true, |body| body.get("code").is_none()),
        "{}",
        nowhere.text()
    );

    api("/v1/user").send().expect_error(401, 24);
    for value in ["Key wrong", "Key ", "Key", "Bearer invalid", "Basic YTpi", "Connect-Bootstrap x.y.z", "nonsense"] {
        api("/v1/user").header("authorization", value).send().expect_error(401, 30);
        // Refused even where no key is needed.
        assert_eq!(api("/server_settings").header("authorization", value).send().status, 401, "{value}");
    }
    api("/server_settings").send().expect(200);
}

#[test]
fn bodies_that_are_no_json() {
    for body in ["{", "[1]", "\"text\"", "{\"name\": 7}", "\u{0}"] {
        let reply = ada().api(Method::POST, "/v1/content").body(body.as_bytes().to_vec()).send();
        assert!(
            (400..500).contains(&reply.status) && reply.json()["code"].is_i64(),
            "{body}: {} {}",
            reply.status,
            reply.text()
        );
    }
    // No account has such a name; that the database takes none is no failure.
    let nobody = json!({"username": "ada\u{0}", "password": "x"});
    SERVER.post("/__api__/__login__").json(&nobody).send().expect_error(401, 30);
    let long = "x".repeat(70);
    let reply = ada().api(Method::POST, "/v1/content").json(&json!({"name": long})).send();
    reply.expect_error(400, 5);
}

/// Opens a connection and sends the beginning of an upload.
fn begin_upload(guid: &str, framing: &str) -> TcpStream {
    let mut stream = TcpStream::connect(SERVER.address()).unwrap();
    write!(
        stream,
        "POST /__api__/v1/content/{guid}/bundles HTTP/1.1\r\nhost: x\r\nauthorization: Key {}\r\n{framing}\r\n\r\n",
        ADA.key
    )
    .unwrap();
    stream
}

#[test]
fn a_body_cut_in_the_middle() {
    let guid = ada().create("cut");
    let bytes = apps::page("Cut");
    let half = bytes.len() / 2;
    let mut sized = begin_upload(&guid, &format!("content-length: {}", bytes.len()));
    sized.write_all(&bytes[..half]).unwrap();
    sized.shutdown(Shutdown::Both).unwrap();
    let mut chunked = begin_upload(&guid, "transfer-encoding: chunked");
    write!(chunked, "{half:x}\r\n").unwrap();
    chunked.write_all(&bytes[..half]).unwrap();
    chunked.write_all(b"\r\nff\r\nbut no more").unwrap();
    chunked.shutdown(Shutdown::Write).unwrap();
    let mut reply = String::new();
    chunked.read_to_string(&mut reply).ok();
    assert!(!reply.starts_with("HTTP/1.1 2"), "{reply}");

    // Nothing of it is listed or stays in the store, and the next upload works.
    let listed = ada().api(Method::GET, &format!("/v1/content/{guid}/bundles")).send().expect(200).json();
    assert_eq!(listed, json!([]));
    let store = SERVER.data().join("shared");
    let mut partial = Vec::new();
    until("no partial file in the store", Duration::from_secs(20), || {
        partial = temporary_files(&store);
        partial.is_empty().then_some(())
    });
    ada().redeploy(&guid, &bytes);
}

/// Files below `directory` whose place or name says that they are unfinished.
fn temporary_files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(temporary_files(&path));
        } else if directory.file_name().is_some_and(|name| name == ".tmp")
            || entry.file_name().to_string_lossy().contains("partial")
        {
            // By its own place, not by the path of the data directory, which may lie below a `tmp` too.
            found.push(path);
        }
    }
    found.retain(|path| !has_no_entry(path.parent().unwrap(), |name| path.ends_with(name)));
    found
}

#[test]
fn headers_too_large() {
    let large = SERVER.get("/__ping__").header("x-large", &"x".repeat(200 << 10)).try_send();
    assert!(large.as_ref().is_none_or(|reply| reply.status == 431 || reply.status == 400), "{large:?}");
    let mut many = SERVER.get("/__ping__");
    for number in 0..1000 {
        many = many.header(&format!("x-{number}"), "x");
    }
    let many = many.try_send();
    assert!(many.as_ref().is_none_or(|reply| reply.status == 431 || reply.status == 400), "{many:?}");
    // A head that does not end is not waited for without end, and holds nobody else up.
    let mut slow = TcpStream::connect(SERVER.address()).unwrap();
    slow.write_all(b"GET /__ping__ HTTP/1.1\r\nhost: x\r\nx-slow: ").unwrap();
    SERVER.get("/__ping__").send().expect(200);
    // Garbage is answered or closed, never served.
    let mut garbage = TcpStream::connect(SERVER.address()).unwrap();
    garbage.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http at all\r\n\r\n").unwrap();
    let mut reply = Vec::new();
    garbage.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    garbage.read_to_end(&mut reply).ok();
    assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&reply));
}

#[test]
fn a_data_directory_that_content_cannot_reach() {
    use std::os::unix::fs::PermissionsExt as _;
    if !is_root() {
        println!("as one account every directory of it can be reached");
        return;
    }
    let scratch = Scratch::new();
    let closed = scratch.join("private");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let data = closed.join("data");
    let child = command(&[])
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(closed.to_str().unwrap()), "the directory in the way is named: {said}");
    assert!(
        said.contains("chmod") || said.contains("data.dir") || said.contains("--data-dir"),
        "with the remedy: {said}"
    );
    assert!(output.stdout.is_empty(), "before anything is bound");
    assert!(!data.join("postgres").exists(), "before anything is started");
}

#[test]
fn configuration_mistakes_are_told_all_at_once() {
    let scratch = Scratch::new();
    let file = scratch.join("lectern.toml");
    std::fs::write(
        &file,
        "[server]\nlisten = \"nowhere\"\nlisten_on = 1\n[database]\nurl = \"mysql://u:hunter2@h/d\"\n",
    )
    .unwrap();
    for verb in ["check", "serve"] {
        let output = command(&[("LECTERN_LOG__FORMAT".into(), "xml".into())])
            .args([verb, "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(scratch.join("data"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{verb}: {said}");
        for key in ["server.listen", "server.listen_on", "database.url", "log.format"] {
            assert!(said.contains(key), "{verb}: {key} in\n{said}");
        }
        assert!(!said.contains("hunter2"), "secrets are not printed: {said}");
        assert!(!scratch.join("data").exists(), "nothing is started");
    }
}
