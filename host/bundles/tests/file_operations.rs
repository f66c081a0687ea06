//! The number of file operations on the shared store does not depend on how many files a bundle holds.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Tar, child, child_argument};
use lectern_bundles::{Cache, Operations, Store};

fn bundle(files: usize) -> Vec<u8> {
    (0..files).fold(Tar::new(), |tar, i| tar.file(&format!("dir{}/file{i}.txt", i % 50), i.to_string().as_bytes())).gz()
}

fn publish(store: &Store, bytes: &[u8]) -> lectern_domain::BundleHash {
    let mut upload = store.begin(1 << 30).unwrap();
    upload.write(bytes).unwrap();
    upload.commit().unwrap().hash
}

fn since(before: Operations, after: Operations) -> Operations {
    Operations {
        creates: after.creates - before.creates,
        opens: after.opens - before.opens,
        stats: after.stats - before.stats,
        reads: after.reads - before.reads,
        writes: after.writes - before.writes,
        syncs: after.syncs - before.syncs,
        renames: after.renames - before.renames,
        touches: after.touches - before.touches,
        removes: after.removes - before.removes,
        lists: after.lists - before.lists,
    }
}

#[test]
fn counted_by_the_store() {
    let check = |files: usize| {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("share")).unwrap();
        let cache = Cache::open(&directory.path().join("cache"), 1 << 30).unwrap();
        let bytes = bundle(files);
        let none = Operations::default();
        assert_eq!(store.operations(), none);
        let hash = publish(&store, &bytes);
        // Opens: the name that might be there, and the directory to sync it.
        let published = Operations { creates: 1, opens: 2, writes: 1, syncs: 2, renames: 1, ..none };
        assert_eq!(store.operations(), published, "publish {files} files");

        let before = store.operations();
        publish(&store, &bytes);
        let again = Operations {
            creates: 1,
            opens: 2,
            stats: 1,
            reads: 2,
            writes: 1,
            syncs: 1,
            touches: 1,
            removes: 1,
            ..none
        };
        assert_eq!(since(before, store.operations()), again, "publish {files} files again");

        let before = store.operations();
        drop(cache.fetch(&store, &hash).unwrap());
        assert_eq!(since(before, store.operations()), Operations { opens: 1, reads: 2, ..none }, "fetch {files} files");

        let before = store.operations();
        drop(cache.fetch(&store, &hash).unwrap());
        assert_eq!(store.operations(), before, "fetch {files} files from the cache");
    };
    check(3);
    check(3000);
}

/// The system calls that touch `share`, by name, as strace sees them.
fn traced(test: &str, directory: &Path) -> Option<BTreeMap<String, u32>> {
    let log = directory.join("strace");
    let inner = child(test, directory);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-s", "4096", "-e", "trace=%file,%desc", "-o"]).arg(&log);
    strace.arg(inner.get_program()).args(inner.get_args()).env("LECTERN_TEST_CHILD", directory);
    // Not installed, or tracing is forbidden here.
    if !Command::new("strace").args(["-f", "true"]).output().is_ok_and(|output| output.status.success()) {
        return None;
    }
    let output = strace.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let share = directory.join("share").to_str().unwrap().to_owned();
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(log).unwrap().lines().filter(|line| line.contains(&share)) {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        if !call.starts_with("<... ") {
            let name: String = call.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            *counts.entry(name).or_default() += 1;
        }
    }
    Some(counts)
}

#[test]
fn counted_by_strace() {
    if let Some(directory) = child_argument() {
        let store = Store::open(&directory.join("share")).unwrap();
        let cache = Cache::open(&directory.join("cache"), 1 << 30).unwrap();
        let hash = publish(&store, &fs::read(directory.join("bundle")).unwrap());
        drop(cache.fetch(&store, &hash).unwrap());
        return;
    }
    let count = |files: usize| {
        let directory = tempfile::tempdir().unwrap();
        // Made before, so that opening it costs the same each time.
        Store::open(&directory.path().join("share")).unwrap();
        fs::write(directory.path().join("bundle"), bundle(files)).unwrap();
        traced("counted_by_strace", directory.path())
    };
    let (Some(few), Some(many)) = (count(3), count(3000)) else {
        eprintln!("skipped: strace cannot be used here; the store's own counts are tested");
        return;
    };
    eprintln!("system calls on the share, publish and fetch: {few:?}");
    assert_eq!(few, many);
    let total: u32 = few.iter().filter(|(name, _)| !["read", "write"].contains(&&name[..])).map(|(_, n)| n).sum();
    assert!(total <= 16, "{few:?}");
}
