//! Publishes and fetches a bundle of so many small files, and prints the operations on the shared store.
//!
//! `cargo run -p lectern-bundles --example file_operations -- 3000`, or under `strace -f -c` for the kernel's count.
#![allow(clippy::unwrap_used, reason = "an example for measuring: a failure may end it")]

use flate2::Compression;
use flate2::write::GzEncoder;
use lectern_bundles::{Cache, Store};

fn main() {
    let files: u32 = std::env::args().nth(1).and_then(|number| number.parse().ok()).unwrap_or(3);
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for number in 0..files {
        let content = format!("content of file {number}\n");
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, format!("dir{}/file{number}.txt", number % 50), content.as_bytes()).unwrap();
    }
    let bundle = tar.into_inner().unwrap().finish().unwrap();

    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("share")).unwrap();
    let cache = Cache::open(&directory.path().join("cache"), 1 << 30).unwrap();
    let mut upload = store.begin(1 << 30).unwrap();
    upload.write(&bundle).unwrap();
    let stored = upload.commit().unwrap();
    let published = store.operations();
    let local = cache.fetch(&store, &stored.hash).unwrap();
    let fetched = store.operations();

    println!("bundle {} of {files} files, {} bytes", stored.hash, local.size_bytes());
    println!("publish: {} operations, {} writes: {published:?}", published.fixed(), published.writes);
    let (fixed, reads) = (fetched.fixed() - published.fixed(), fetched.reads - published.reads);
    println!("fetch: {fixed} operations, {reads} reads");
}
