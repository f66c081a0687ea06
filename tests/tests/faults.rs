//! Things that go wrong while Lectern works: killed at any point, without its database, without room.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use http::Method;
use lectern_tests::publisher::Publisher;
use lectern_tests::scratch::Scratch;
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use lectern_tests::{apps, bundle, is_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

/// All files below a directory, relative to it, except those in directories named in `except`.
fn files(directory: &Path, except: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if entry.file_type().unwrap().is_dir() {
                if !except.iter().any(|skipped| name == *skipped) {
                    waiting.push(path);
                }
            } else {
                found.push(path.strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Sends the head and half the body of an upload and leaves the connection open.
fn half_an_upload(server: &Server, account: &Account, guid: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(
        stream,
        "POST /__api__/v1/content/{guid}/bundles HTTP/1.1\r\nhost: x\r\nauthorization: Key {}\r\ncontent-length: {}\r\n\r\n",
        account.key,
        bytes.len()
    )
    .unwrap();
    stream.write_all(&bytes[..bytes.len() / 2]).unwrap();
    stream.flush().unwrap();
    stream
}

/// A page beside 2 MiB that do not compress, so that half of it is more than any buffer on the way.
fn large_page() -> Vec<u8> {
    let mut noise = vec![0; 2 << 20];
    getrandom::fill(&mut noise).unwrap();
    let files = [("index.html".to_owned(), b"Large".to_vec()), ("noise.bin".to_owned(), noise)];
    let manifest = bundle::manifest("static", "index.html", &files).to_string();
    let [page, noise] = files;
    bundle::pack(&[("manifest.json".into(), manifest.into_bytes()), page, noise])
}

/// Waits until the API answers with what is in the database.
fn until_the_api_answers(publisher: Publisher) {
    until("the API with its database", Duration::from_secs(90), || {
        publisher.api(Method::GET, "/v1/user").try_send().filter(|reply| reply.status == 200).map(|_| ())
    });
}

/// The private database's first process.
fn postmaster(server: &Server) -> Pid {
    // Absent or empty for a moment while PostgreSQL starts.
    let pid = until("a database's process number", Duration::from_secs(60), || {
        let text = std::fs::read_to_string(server.data().join("postgres/data/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    });
    Pid::from_raw(pid)
}

#[test]
fn killed_during_an_upload() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("upload", &apps::page("Before"));
    let store = server.data().join("shared");
    let before = files(&store, &[]);

    let bytes = large_page();
    let upload = half_an_upload(&server, &ada, &guid, &bytes);
    until("the upload's beginning in the store", Duration::from_secs(20), || {
        (files(&store, &[]).len() > before.len()).then_some(())
    });
    server.kill();
    drop(upload);
    server.start();

    assert!(publisher.open(&guid, "").expect(200).text().contains("Before"));
    let listed = publisher.api(Method::GET, &format!("/v1/content/{guid}/bundles")).send().expect(200).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    until("nothing left of the upload", Duration::from_secs(20), || (files(&store, &[]) == before).then_some(()));

    let id = publisher.redeploy(&guid, &bytes);
    let download = publisher.api(Method::GET, &format!("/v1/content/{guid}/bundles/{id}/download")).send().expect(200);
    assert!(download.body == bytes);
    assert!(server.stop().success());
    assert_eq!(server.processes(), [], "no stray process");
}

#[test]
fn killed_during_a_deployment() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("deployment", &apps::probe_version("1"));
    assert_eq!(publisher.open(&guid, "").expect(200).json()["version"], "1");
    let good = publisher.content(&guid)["bundle_id"].clone();

    // Other requirements, so that there is an environment to build.
    let source = apps::PROBE.replace("VERSION = \"1\"", "VERSION = \"2\"");
    let wanted = format!("{}h11\n", apps::PROBE_REQUIREMENTS);
    let next = bundle::app("python-fastapi", "app:app", &[("app.py", &source), ("requirements.txt", &wanted)]);
    let id = publisher.upload(&guid, &next);
    let task = publisher.start_deploy(&guid, &id);
    until("the task's first words", Duration::from_secs(60), || {
        let seen = publisher.api(Method::GET, &format!("/v1/tasks/{task}")).send().expect(200).json();
        (seen["last"].as_i64() > Some(0)).then_some(())
    });
    server.kill();
    server.start();

    // Resumed or failed, but ended, and the version served is one of the two, whole.
    let done = publisher.wait(&task);
    let active = publisher.content(&guid)["bundle_id"].clone();
    let expected = if done.code == 0 { (json!(id), "2") } else { (good, "1") };
    assert_eq!(active, expected.0, "{done:?}");
    assert_eq!(publisher.open(&guid, "").expect(200).json()["version"], expected.1);
    let unfinished: Vec<PathBuf> = std::fs::read_dir(server.data().join("environments"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("bin").is_dir() && path.file_name().is_some_and(|name| name.len() != 32))
        .collect();
    assert!(unfinished.is_empty(), "only whole environments, named by their hash: {unfinished:?}");

    publisher.deploy(&guid, &id).expect_success();
    assert_eq!(publisher.open(&guid, "").expect(200).json()["version"], "2");
    assert!(server.stop().success());
    assert_eq!(server.processes(), [], "no stray process");
}

#[test]
fn killed_again_and_again() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("often", &apps::page("Still here"));
    for _ in 0..3 {
        server.kill();
        server.start();
        assert!(publisher.open(&guid, "").expect(200).text().contains("Still here"));
    }
    assert!(server.stop().success());
    assert_eq!(server.processes(), [], "no stray process");
}

#[test]
fn the_database_killed() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let page = publisher.publish("page", &apps::page("Served"));
    let app = publisher.publish("app", &apps::probe());
    publisher.open(&app, "").expect(200);

    let killed = postmaster(&server);
    kill(killed, Signal::SIGKILL).unwrap();
    // Apps are served meanwhile; what needs the database says that it is away, and loses nothing. Its processes that were
    // answering may do so for a moment more.
    let end = Instant::now() + Duration::from_secs(90);
    let mut unavailable = 0;
    loop {
        assert!(publisher.open(&page, "").expect(200).text().contains("Served"));
        publisher.open(&app, "").expect(200);
        let reply = publisher.api(Method::GET, "/v1/content").send();
        match reply.status {
            200 if postmaster(&server) != killed => break,
            200 => {}
            503 => {
                assert!(!reply.header("retry-after").is_empty(), "{reply:?}");
                unavailable += 1;
            }
            other => panic!("{other} {}", reply.text()),
        }
        assert!(Instant::now() < end, "the database does not come back:\n{}", server.log());
    }
    println!("{unavailable} answers of 503 until the database was back");
    until_the_api_answers(publisher);
    assert_eq!(publisher.content(&page)["name"], "page");
    publisher.publish("after", &apps::page("After"));
    assert!(server.stop().success());
    assert_eq!(server.processes(), []);
}

#[test]
fn the_database_gone_during_a_deployment() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("gone", &apps::probe_version("1"));
    let good = publisher.content(&guid)["bundle_id"].clone();

    let source = apps::PROBE.replace("VERSION = \"1\"", "VERSION = \"2\"");
    let wanted = format!("{}h11\n", apps::PROBE_REQUIREMENTS);
    let next = bundle::app("python-fastapi", "app:app", &[("app.py", &source), ("requirements.txt", &wanted)]);
    let id = publisher.upload(&guid, &next);
    let task = publisher.start_deploy(&guid, &id);
    kill(postmaster(&server), Signal::SIGKILL).unwrap();
    assert_eq!(publisher.open(&guid, "").expect(200).json()["version"], "1");

    until_the_api_answers(publisher);
    let done = publisher.wait(&task);
    let expected = if done.code == 0 { (json!(id), "2") } else { (good, "1") };
    assert_eq!(publisher.content(&guid)["bundle_id"], expected.0, "{done:?}");
    assert_eq!(publisher.open(&guid, "").expect(200).json()["version"], expected.1);
    publisher.deploy(&guid, &id).expect_success();
    assert_eq!(publisher.open(&guid, "").expect(200).json()["version"], "2");
}

#[test]
fn the_supervisor_killed() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("orphan", &apps::probe());
    publisher.open(&guid, "").expect(200);
    let supervisor =
        server.processes().into_iter().find(|process| process.command.contains(" supervise ")).expect("a supervisor");
    kill(Pid::from_raw(supervisor.pid), Signal::SIGKILL).unwrap();
    until("the content again", Duration::from_secs(60), || {
        publisher
            .server
            .get(&format!("/content/{guid}/"))
            .key(&ada.key)
            .try_send()
            .filter(|reply| reply.status == 200)
            .map(|_| ())
    });
    assert!(server.stop().success());
    assert_eq!(server.processes(), [], "no stray process");
}

#[test]
fn workers_and_all_their_children_end_with_the_server() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    // A process that starts another one, in a session of its own, as daemons do.
    let source = format!("import subprocess\nsubprocess.Popen(['sleep', '86399'])\n{}", apps::PROBE);
    let guid = publisher.publish("parent", &apps::asgi(&source));
    publisher.open(&guid, "").expect(200);
    assert!(!server.workers().is_empty());
    assert!(server.stop().success());
    assert_eq!(server.processes(), []);
    let sleeping = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|words| words == b"sleep\x0086399\0"));
    assert!(!sleeping, "a content process's child was left behind");
}

/// A file system of `mib` MiB, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn new(scratch: &Scratch, mib: u32) -> Self {
        let path = scratch.join("small");
        std::fs::create_dir(&path).unwrap();
        let options = format!("size={mib}m,mode=0711");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).status().unwrap();
        assert!(mounted.success(), "mount a small file system");
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

#[test]
fn the_disk_full_during_an_upload() {
    if !is_root() {
        println!("not tried: mounting a small file system needs root");
        return;
    }
    let scratch = Scratch::new();
    let small = Small::new(&scratch, 8);
    let server = Server::setup().env("LECTERN_DATA__SHARED_DIR", small.0.to_str().unwrap()).start_in(scratch);
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("full", &apps::page("Before"));
    let before = files(&small.0, &[]);

    let mut noise = vec![0; 12 << 20];
    getrandom::fill(&mut noise).unwrap();
    let page = ("index.html".to_owned(), b"Too large".to_vec());
    let manifest = bundle::manifest("static", "index.html", std::slice::from_ref(&page)).to_string();
    let large = bundle::pack(&[("manifest.json".into(), manifest.into_bytes()), page, ("noise.bin".into(), noise)]);
    let reply = publisher.try_upload(&guid, &large);
    assert!(reply.status >= 400, "{} {}", reply.status, reply.text());
    let body = reply.json();
    assert_eq!(body["code"], 134, "{body}");
    assert_eq!(files(&small.0, &[]), before, "nothing of it stays");
    assert!(publisher.open(&guid, "").expect(200).text().contains("Before"));
    publisher.redeploy(&guid, &apps::page("After"));
    assert!(publisher.open(&guid, "").expect(200).text().contains("After"));
    assert!(server.stop().success());
    drop(small);
}

#[test]
fn a_stored_bundle_that_was_damaged_is_never_served() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("damaged", &apps::page("Whole"));
    let id = publisher.upload(&guid, &large_page());
    // The largest file of the store is the second bundle.
    let store = server.data().join("shared");
    let size = |path: &PathBuf| path.metadata().unwrap().len();
    let stored = files(&store, &[]).into_iter().map(|path| store.join(path)).max_by_key(size).unwrap();
    let mut bytes = std::fs::read(&stored).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&stored).unwrap();
    std::fs::write(&stored, &bytes).unwrap();
    // A node that has no copy of its own.
    assert!(server.stop().success());
    std::fs::remove_dir_all(server.data().join("bundle-cache")).unwrap();
    server.start();

    let path = format!("/__api__/v1/content/{guid}/bundles/{id}/download");
    let download = publisher.server.get(&path).key(&ada.key).try_send();
    assert!(download.as_ref().is_none_or(|reply| reply.status >= 500), "damaged bytes were sent as a whole bundle");
    let done = publisher.deploy(&guid, &id).expect_failure();
    assert!(!done.error.is_empty());
    assert!(server.log().contains(stored.file_name().unwrap().to_str().unwrap()), "the log names the bundle");
    assert!(publisher.open(&guid, "").expect(200).text().contains("Whole"));
    assert_ne!(publisher.content(&guid)["bundle_id"], json!(id));
}
