//! Bundles: what went in comes out, at a constant price, without filling the memory.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use lectern_tests::{apps, bundle, is_root, processes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

/// A static site of `count` files.
fn site(count: usize) -> Vec<u8> {
    let mut files: Vec<bundle::File> =
        (1..count).map(|n| (format!("page/{n}.html"), format!("page {n}").into_bytes())).collect();
    files.push(("index.html".into(), b"index".to_vec()));
    let manifest = bundle::manifest("static", "index.html", &files);
    files.insert(0, ("manifest.json".into(), manifest.to_string().into_bytes()));
    bundle::pack(&files)
}

#[test]
fn a_download_is_byte_identical() {
    let ada = Publisher::new(&SERVER, &ADA);
    // Bytes that no library would write again: a comment in the gzip header, another level of compression.
    let mut odd = flate2::GzBuilder::new().comment("odd").write(Vec::new(), flate2::Compression::best());
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(apps::page("Odd").as_slice()).read_to_end(&mut plain).unwrap();
    odd.write_all(&plain).unwrap();
    let odd = odd.finish().unwrap();
    for (name, bytes) in [("plain", apps::page("Plain")), ("odd", odd), ("many", site(500))] {
        let guid = ada.create(&format!("identical-{name}"));
        let id = ada.upload(&guid, &bytes);
        let download = || ada.api(Method::GET, &format!("/v1/content/{guid}/bundles/{id}/download")).send().expect(200);
        assert!(download().body == bytes, "{name}: the download differs");
        ada.deploy(&guid, &id).expect_success();
        assert!(download().body == bytes, "{name}: the download differs after the deployment");
    }
}

#[test]
fn the_clients_ways_to_upload_all_work() {
    let ada = Publisher::new(&SERVER, &ADA);
    let guid = ada.create("ways");
    let bytes = apps::page("Ways");
    let path = format!("/__api__/v1/content/{guid}/bundles");
    for kind in ["application/x-gzip", "application/gzip", "application/octet-stream"] {
        let reply = SERVER.post(&path).key(&ADA.key).header("content-type", kind).body(bytes.clone()).send();
        assert!((200..300).contains(&reply.status), "{kind}: {}", reply.text());
    }
    // Without a type, chunked, as rsconnect-python does it.
    let mut stream = TcpStream::connect(SERVER.address()).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Key {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        ADA.key
    )
    .unwrap();
    for chunk in bytes.chunks(37) {
        write!(stream, "{:x}\r\n", chunk.len()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");

    // As a form, with the description of a git checkout.
    let mut form = Vec::new();
    form.extend(b"--x\r\ncontent-disposition: form-data; name=\"metadata\"\r\n\r\n{\"source_commit\": \"abc123\"}\r\n");
    form.extend(b"--x\r\ncontent-disposition: form-data; name=\"archive\"; filename=\"bundle.tar.gz\"\r\n");
    form.extend(b"content-type: application/x-tar\r\n\r\n");
    form.extend(&bytes);
    form.extend(b"\r\n--x--\r\n");
    let reply =
        SERVER.post(&path).key(&ADA.key).header("content-type", "multipart/form-data; boundary=x").body(form).send();
    assert!((200..300).contains(&reply.status), "{}", reply.text());
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    let seen = ada.api(Method::GET, &format!("/v1/content/{guid}/bundles/{id}")).send().expect(200).json();
    assert_eq!(seen["metadata"]["source_commit"], "abc123", "{seen}");
    assert!(
        ada.api(Method::GET, &format!("/v1/content/{guid}/bundles/{id}/download")).send().expect(200).body == bytes
    );
}

/// Counts the server's file operations below `directory` while `work` runs, by watching its system calls.
fn file_operations(server: &Server, directory: &Path, work: impl FnOnce()) -> usize {
    let trace = server.scratch().join("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-y", "-s", "300", "-e", "trace=%file,%desc", "-o"])
        .arg(&trace)
        .args(["-p", &server.pid().to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("run strace");
    until("strace's attachment", Duration::from_secs(20), || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        status.contains(&format!("TracerPid:\t{}", strace.id())).then_some(())
    });
    work();
    kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT).unwrap();
    strace.wait().unwrap();
    let trace = std::fs::read_to_string(trace).unwrap();
    let directory = directory.to_str().unwrap();
    // Reading and writing bytes is the transfer itself; what a network file system charges for is the rest.
    let transfers =
        ["read", "write", "pread64", "pwrite64", "readv", "writev", "sendfile", "lseek", "copy_file_range", "fcntl"];
    trace
        .lines()
        // A call that was interrupted by another thread's line has a second line.
        .filter(|line| line.contains(directory) && !line.contains(" resumed>"))
        .filter(|line| {
            let call = line.split_whitespace().nth(1).and_then(|word| word.split('(').next()).unwrap_or_default();
            !transfers.contains(&call)
        })
        .inspect(|line| println!("    {line}"))
        .count()
}

#[test]
fn publishing_and_fetching_cost_the_same_for_3_files_and_for_3000() {
    if !is_root() {
        // Watching another process's calls is for root on most machines (ptrace_scope).
        println!("not counted: this needs root");
        return;
    }
    // A server of its own, so that no other test's operations count.
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let ada = Publisher::new(&server, &ada);
    let store = server.data().join("shared");
    let costs = |count: usize| {
        let bytes = site(count);
        let guid = ada.create(&format!("cost-{count}"));
        let mut id = String::new();
        println!("{count} files, publish:");
        let publish = file_operations(&server, &store, || {
            id = ada.upload(&guid, &bytes);
            ada.deploy(&guid, &id).expect_success();
        });
        // A node that has no copy of its own.
        for entry in std::fs::read_dir(server.data().join("bundle-cache")).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).ok();
        }
        println!("{count} files, fetch:");
        let fetch = file_operations(&server, &store, || {
            ada.api(Method::GET, &format!("/v1/content/{guid}/bundles/{id}/download")).send().expect(200);
        });
        (publish, fetch)
    };
    let (few, many) = (costs(3), costs(3000));
    println!("file operations on the shared store: publish {} and fetch {} for 3 files", few.0, few.1);
    println!("file operations on the shared store: publish {} and fetch {} for 3,000 files", many.0, many.1);
    assert_eq!(few, many);
    assert!((1..=40).contains(&few.0) && (1..=15).contains(&few.1), "{few:?}");
}

#[test]
fn a_large_bundle_does_not_fill_the_memory() {
    // The promise is for 2 GiB, and the growth would be the bundle's size if it were held: an eighth of that shows it.
    let mib: usize = std::env::var("LECTERN_TEST_BUNDLE_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(256);
    let server = Server::new();
    let eve = server.account("eve", "publisher");
    let eve = Publisher::new(&server, &eve);
    let guid = eve.create("large");
    // The server has done all of this once, with a small one.
    let small = eve.upload(&guid, &apps::page("Small"));
    eve.api(Method::GET, &format!("/v1/content/{guid}/bundles/{small}/download")).send().expect(200);

    processes::forget_peak(server.pid());
    let before = processes::resident_bytes(server.pid());
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    let path = format!("/__api__/v1/content/{guid}/bundles");
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Key {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        eve.account.key
    )
    .unwrap();
    let (mut sent, mut block) = (nothing_yet(), vec![0u8; 1 << 20]);
    // A whole archive, stored uncompressed: one file of bytes that do not compress.
    let mut archive = flate2::write::GzEncoder::new(Chunked(&mut stream, &mut sent), flate2::Compression::none());
    let member = |name: &str, size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        header
    };
    let manifest = bundle::manifest("static", "index.bin", &[("index.bin".into(), Vec::new())]).to_string();
    archive.write_all(member("manifest.json", manifest.len() as u64).as_bytes()).unwrap();
    archive.write_all(manifest.as_bytes()).unwrap();
    archive.write_all(&vec![0; manifest.len().next_multiple_of(512) - manifest.len()]).unwrap();
    archive.write_all(member("index.bin", (mib as u64) << 20).as_bytes()).unwrap();
    getrandom::fill(&mut block).unwrap();
    for number in 0..mib {
        block[..8].copy_from_slice(&number.to_le_bytes());
        archive.write_all(&block).unwrap();
    }
    archive.write_all(&[0; 1024]).unwrap();
    archive.finish().unwrap();
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let id = reply.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();

    // Down again, as a stream.
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let path = format!("{path}/{id}/download");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Key {}\r\nconnection: close\r\n\r\n",
        eve.account.key
    )
    .unwrap();
    let received = body_sum(stream);
    assert_eq!(received, (sent.bytes, sent.sum), "the download is byte-identical");

    let growth = processes::peak_resident_bytes(server.pid()).saturating_sub(before);
    println!("{mib} MiB up and down: {} MiB more resident memory", growth >> 20);
    assert!(growth < 64 << 20, "{growth} bytes more");
}

/// How many bytes passed, and a sum that depends on each and its place (FNV-1a over 64 bits).
struct Passed {
    bytes: u64,
    sum: u64,
}

fn nothing_yet() -> Passed {
    Passed { bytes: 0, sum: 0xcbf2_9ce4_8422_2325 }
}

impl Passed {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for byte in bytes {
            self.sum = (self.sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Writes HTTP chunks.
struct Chunked<'a>(&'a mut TcpStream, &'a mut Passed);

impl std::io::Write for Chunked<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !bytes.is_empty() {
            write!(self.0, "{:x}\r\n", bytes.len())?;
            self.0.write_all(bytes)?;
            self.0.write_all(b"\r\n")?;
            self.1.add(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Reads a reply with `content-length` to its end and sums its body.
fn body_sum(mut stream: TcpStream) -> (u64, u64) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-length:"), "{head}");
    let (mut passed, mut block) = (nothing_yet(), vec![0; 1 << 16]);
    loop {
        match stream.read(&mut block).unwrap() {
            0 => return (passed.bytes, passed.sum),
            read => passed.add(&block[..read]),
        }
    }
}
