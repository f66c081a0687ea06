//! No room: a limit on file sizes (works for everybody) and a small file system (where a mount namespace can be had).
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Tar, child, child_argument, hash_of, noise};
use lectern_bundles::{Cache, FetchError, Limits, Store, StoreError, TreeError, Trees, UnpackError};

/// Each takes more than there is room for, is told so, and leaves nothing.
fn nothing_fits(small: &Path, large: &Store) {
    let bytes = noise(6_000_000, 1);
    let store = Store::open(&small.join("share")).unwrap();
    let mut upload = store.begin(1 << 30).unwrap();
    let error = bytes.chunks(100_000).find_map(|piece| upload.write(piece).err()).unwrap();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(matches!(upload.commit(), Err(StoreError::Broken { .. })));
    assert_eq!(fs::read_dir(small.join("share/.tmp")).unwrap().count(), 0);
    // Room again at once.
    let mut upload = store.begin(1 << 30).unwrap();
    upload.write(b"little").unwrap();
    upload.commit().unwrap();

    let cache = Cache::open(&small.join("cache"), 1 << 30).unwrap();
    let error = cache.fetch(large, &hash_of(&bytes)).unwrap_err();
    assert!(matches!(error, FetchError::Full { .. }), "{error:?}");
    assert_eq!(fs::read_dir(small.join("cache")).unwrap().count(), 0);

    let archive = Tar::new().file("dir/large", &bytes).gz();
    let trees = Trees::open(&small.join("trees"), Limits::default()).unwrap();
    let error = trees.get_or_unpack(&hash_of(&archive), || Ok(&archive[..])).unwrap_err();
    match &error {
        TreeError::Unpack { cause: cause @ UnpackError::Full { .. }, .. } => assert!(!cause.is_bad_archive()),
        _ => panic!("{error:?}"),
    }
    assert_eq!(fs::read_dir(small.join("trees")).unwrap().count(), 0);
}

fn large_store(directory: &Path) -> Store {
    Store::open(&directory.join("large")).unwrap()
}

fn fill(store: &Store, seed: u8, length: usize) -> lectern_domain::BundleHash {
    let mut upload = store.begin(1 << 30).unwrap();
    upload.write(&noise(length, seed)).unwrap();
    upload.commit().unwrap().hash
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
}

#[test]
fn file_size_limit() {
    if let Some(directory) = child_argument() {
        let small = directory.join("small");
        fs::create_dir(&small).unwrap();
        return nothing_fits(&small, &large_store(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    fill(&large_store(directory.path()), 1, 6_000_000);
    let inner = child("file_size_limit", directory.path());
    // 4,096 blocks of 512 or 1,024 bytes, depending on the shell. The signal that goes with the limit is ignored.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$@\"", "sh"]).arg(inner.get_program());
    limited.args(inner.get_args()).env("LECTERN_TEST_CHILD", directory.path());
    succeeds(&mut limited);
}

#[test]
fn small_file_system() {
    if let Some(directory) = child_argument() {
        let small = directory.join("small");
        let store = large_store(&directory);
        nothing_fits(&small, &store);
        // Copies that nobody holds make room for one that is wanted.
        let cache = Cache::open(&small.join("cache"), 1 << 30).unwrap();
        for seed in [2, 3, 2] {
            assert_eq!(cache.fetch(&store, &hash_of(&noise(2_500_000, seed))).unwrap().size_bytes(), 2_500_000);
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let small = directory.path().join("small");
    fs::create_dir(&small).unwrap();
    let store = large_store(directory.path());
    for (seed, length) in [(1, 6_000_000), (2, 2_500_000), (3, 2_500_000)] {
        fill(&store, seed, length);
    }
    // In a mount namespace of its own: nothing to unmount, whatever happens.
    let namespace: &[&str] = if nix::unistd::geteuid().is_root() { &["-m"] } else { &["-r", "-m"] };
    let script = "mount -t tmpfs -o size=4m tmpfs \"$SMALL\" && exec \"$@\"";
    let within = |program: &std::ffi::OsStr| {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["sh", "-c", script, "sh"]).arg(program).env("SMALL", &small);
        command
    };
    if !within("true".as_ref()).output().is_ok_and(|output| output.status.success()) {
        // Containers often forbid it; `file_size_limit` has tested the same errors.
        eprintln!("skipped: this host gives no mount namespace for a small file system");
        return;
    }
    let inner = child("small_file_system", directory.path());
    let mut command = within(inner.get_program());
    succeeds(command.args(inner.get_args()).env("LECTERN_TEST_CHILD", directory.path()));
}
