//! The store, the cache and the trees: what is promised, and what happens to damage, crashes and neighbours.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use common::{Tar, child, child_argument, gz, hash_of, noise, sample, snapshot};
use lectern_bundles::{Cache, DEFAULT_CACHE_BYTES, FetchError, Limits, Store, StoreError, TreeError, Trees, Upload};
use lectern_domain::BundleHash;

const HOUR: Duration = Duration::from_secs(3600);

fn publish(store: &Store, bytes: &[u8]) -> BundleHash {
    let mut upload = store.begin(u64::MAX).unwrap();
    // Pieces of odd sizes, as a network gives them.
    for piece in bytes.chunks(70_001) {
        upload.write(piece).unwrap();
    }
    let stored = upload.commit().unwrap();
    assert_eq!(stored.size_bytes, bytes.len() as u64);
    stored.hash
}

fn contents(file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    io::BufReader::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn temporaries(store_root: &Path) -> usize {
    fs::read_dir(store_root.join(".tmp")).unwrap().count()
}

#[test]
fn values_cross_threads() {
    fn check<T: Send + 'static>() {}
    check::<Upload>();
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Store>();
    shared::<Cache>();
    shared::<Trees>();
}

#[test]
fn bytes_come_back_as_they_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("share/bundles")).unwrap();
    let cache = Cache::open(&directory.path().join("cache"), DEFAULT_CACHE_BYTES).unwrap();
    // Around the size of the buffer, where pieces could be lost.
    for (seed, length) in [0, 1, 1 << 20, (1 << 20) - 1, (1 << 20) + 1, 5_000_000].into_iter().enumerate() {
        let bytes = noise(length, seed as u8);
        let hash = publish(&store, &bytes);
        assert_eq!(hash, hash_of(&bytes));
        assert!(store.contains(&hash).unwrap());
        assert_eq!(store.verify(&hash).unwrap(), length as u64);
        let mut copied = Vec::new();
        store.copy_to(&hash, &mut copied).unwrap();
        assert_eq!(copied, bytes);
        for _ in 0..2 {
            let bundle = cache.fetch(&store, &hash).unwrap();
            assert_eq!((bundle.hash(), bundle.size_bytes()), (hash, length as u64));
            assert_eq!(contents(bundle.open().unwrap()), bytes);
        }
    }
    assert_eq!(store.list().unwrap().len(), 6);
    let missing = hash_of(b"never uploaded");
    assert!(matches!(cache.fetch(&store, &missing), Err(FetchError::Missing { hash }) if hash == missing));
    assert!(!store.contains(&missing).unwrap());
}

#[test]
fn only_the_owner_reads_the_store_and_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    let (share, local) = (directory.path().join("share"), directory.path().join("cache"));
    let store = Store::open(&share).unwrap();
    let cache = Cache::open(&local, 1 << 30).unwrap();
    let hash = publish(&store, b"secret");
    cache.fetch(&store, &hash).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&share), mode(&share.join(hash.to_string()))), (0o700, 0o600));
    assert_eq!((mode(&local), mode(&local.join(hash.to_string()))), (0o700, 0o600));
}

#[test]
fn the_same_bytes_are_stored_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let hash = publish(&store, b"bundle");
    let path = directory.path().join(hash.to_string());
    let first = fs::metadata(&path).unwrap();
    let long_ago = SystemTime::now() - 48 * HOUR;
    File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(publish(&store, b"bundle"), hash);
    let second = fs::metadata(&path).unwrap();
    assert_eq!(first.ino(), second.ino(), "written again");
    assert_eq!(store.operations().renames, 1);
    assert_eq!(temporaries(directory.path()), 0);
    // Counts as uploaded now, so collection waits out its grace period again.
    let listed = store.list().unwrap();
    assert!(listed[0].uploaded_at > SystemTime::now() - HOUR, "{listed:?}");
    assert!(!store.remove_idle(&hash, SystemTime::now() - HOUR).unwrap());
    assert!(store.remove_idle(&hash, SystemTime::now() + HOUR).unwrap());
    assert!(!store.remove_idle(&hash, SystemTime::now() + HOUR).unwrap());
    publish(&store, b"bundle");
    assert!(store.remove(&hash).unwrap());
    assert!(!store.remove(&hash).unwrap());
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn uploads_of_the_same_bytes_at_the_same_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let bytes = noise(3_000_000, 1);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(publish(&store, &bytes), hash_of(&bytes)));
        }
    });
    assert_eq!(names(directory.path()), [".tmp".to_owned(), hash_of(&bytes).to_string()]);
    assert_eq!(temporaries(directory.path()), 0);
    assert_eq!(store.verify(&hash_of(&bytes)).unwrap(), 3_000_000);
}

#[test]
fn a_dropped_upload_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let mut upload = store.begin(1 << 30).unwrap();
    upload.write(&noise(2_000_000, 1)).unwrap();
    assert_eq!(upload.size_bytes(), 2_000_000);
    assert_eq!(temporaries(directory.path()), 1);
    assert!(store.list().unwrap().is_empty());
    drop(upload);
    assert_eq!(temporaries(directory.path()), 0);
}

#[test]
fn the_limit_is_exact() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let mut upload = store.begin(10).unwrap();
    upload.write(b"0123456789").unwrap();
    upload.write(b"").unwrap();
    upload.commit().unwrap();
    let mut upload = store.begin(10).unwrap();
    upload.write(b"01234").unwrap();
    let error = upload.write(b"567890").unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit_bytes: 10 }), "{error}");
    assert_eq!(error.to_string(), "bundle is larger than the 10 bytes allowed");
    assert!(matches!(upload.write(b""), Err(StoreError::Broken { .. })));
    assert!(matches!(upload.commit(), Err(StoreError::Broken { .. })));
    assert_eq!(temporaries(directory.path()), 0);
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn a_path_that_is_no_directory() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file).unwrap_err();
    assert!(matches!(&error, StoreError::Io { path, .. } if path.starts_with(&file)), "{error}");
    assert!(Cache::open(&file, 1).is_err());
    assert!(Trees::open(&file, Limits::default()).is_err());
}

#[test]
fn foreign_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let hash = publish(&store, b"bundle");
    for name in ["notes.txt", ".nfs0001", &hash.to_string().to_uppercase(), "abcd"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    assert_eq!(store.list().unwrap().into_iter().map(|bundle| bundle.hash).collect::<Vec<_>>(), [hash]);
}

#[test]
fn damage_in_the_store_is_an_error_that_names_the_bundle() {
    let directory = tempfile::tempdir().unwrap();
    let (share, local) = (directory.path().join("share"), directory.path().join("cache"));
    let store = Store::open(&share).unwrap();
    let cache = Cache::open(&local, 1 << 30).unwrap();
    let bytes = noise(2_500_000, 1);
    let damages: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes[1_234_567] ^= 1, |bytes| bytes.truncate(2_000_000), |bytes| bytes.push(0), Vec::clear];
    for damage in damages {
        let hash = publish(&store, &bytes);
        let path = share.join(hash.to_string());
        let mut damaged = bytes.clone();
        damage(&mut damaged);
        fs::write(&path, &damaged).unwrap();
        for error in [cache.fetch(&store, &hash).unwrap_err(), store.verify(&hash).unwrap_err()] {
            assert!(matches!(&error, FetchError::Corrupt { hash: named, .. } if *named == hash), "{error}");
            assert!(error.to_string().contains(&hash.to_string()), "{error}");
        }
        assert!(names(&local).is_empty());
        // Uploading again heals it.
        assert_eq!(publish(&store, &bytes), hash);
        assert_eq!(store.verify(&hash).unwrap(), bytes.len() as u64);
    }
}

#[test]
fn a_damaged_local_copy_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let (share, local) = (directory.path().join("share"), directory.path().join("cache"));
    let store = Store::open(&share).unwrap();
    let cache = Cache::open(&local, 1 << 30).unwrap();
    let bytes = noise(100_000, 1);
    let hash = publish(&store, &bytes);
    drop(cache.fetch(&store, &hash).unwrap());
    let copy = local.join(hash.to_string());
    fs::write(&copy, b"damaged").unwrap();
    assert_eq!(contents(cache.fetch(&store, &hash).unwrap().open().unwrap()), bytes);
    // Without the store there is an error, not the damaged data.
    fs::write(&copy, b"damaged").unwrap();
    store.remove(&hash).unwrap();
    assert!(matches!(cache.fetch(&store, &hash), Err(FetchError::Missing { .. })));
    assert!(!copy.exists());
}

#[test]
fn the_cache_keeps_what_was_used_last_and_what_is_held() {
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().join("cache");
    let store = Store::open(&directory.path().join("share")).unwrap();
    let cache = Cache::open(&local, 2500).unwrap();
    let hashes: Vec<_> = (0..4).map(|seed| publish(&store, &noise(1000, seed))).collect();
    let there = |hash: &BundleHash| local.join(hash.to_string()).exists();
    let age = |hash: &BundleHash, hours| {
        let file = File::open(local.join(hash.to_string())).unwrap();
        file.set_modified(SystemTime::now() - hours * HOUR).unwrap();
    };
    for (hash, hours) in [(&hashes[0], 3), (&hashes[1], 2)] {
        cache.fetch(&store, hash).unwrap();
        age(hash, hours);
    }
    // Used again: now the second is the oldest.
    cache.fetch(&store, &hashes[0]).unwrap();
    cache.fetch(&store, &hashes[2]).unwrap();
    assert_eq!(hashes.iter().map(there).collect::<Vec<_>>(), [true, false, true, false]);
    // Held ones stay, however old, and also where only they are left.
    let held = cache.fetch(&store, &hashes[0]).unwrap();
    age(&hashes[0], 9);
    cache.fetch(&store, &hashes[3]).unwrap();
    assert_eq!(hashes.iter().map(there).collect::<Vec<_>>(), [true, false, false, true]);
    assert!(!cache.remove(&hashes[0]).unwrap());
    assert_eq!(contents(held.open().unwrap()), noise(1000, 0));
    drop(held);
    assert!(cache.remove(&hashes[0]).unwrap());
    assert!(!cache.remove(&hashes[0]).unwrap());
    // Larger than the whole cache: served, and gone with the next.
    let large = publish(&store, &noise(9000, 9));
    assert_eq!(contents(cache.fetch(&store, &large).unwrap().open().unwrap()).len(), 9000);
    drop(Cache::open(&local, 2500).unwrap());
    assert!(!there(&large));
}

#[test]
fn threads_that_want_the_same_bundle_copy_it_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("share")).unwrap();
    let cache = Cache::open(&directory.path().join("cache"), 1 << 30).unwrap();
    let bytes = noise(300_000, 1);
    let hash = publish(&store, &bytes);
    let opens = store.operations().opens;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(contents(cache.fetch(&store, &hash).unwrap().open().unwrap()), bytes));
        }
    });
    assert_eq!(store.operations().opens - opens, 1);
}

/// Ends the process while an upload, a copy and a tree are half done, as kill -9 would.
fn die_half_way(directory: &Path) -> ! {
    struct Dies(io::Cursor<Vec<u8>>);
    impl Read for Dies {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => std::process::abort(),
                count => Ok(count),
            }
        }
    }
    let store = Store::open(&directory.join("share")).unwrap();
    let mut upload = store.begin(1 << 30).unwrap();
    upload.write(&noise(1_500_000, 1)).unwrap();
    let trees = Trees::open(&directory.join("trees"), Limits::default()).unwrap();
    let archive = Tar::new().file("dir/a", b"x").file("b", &noise(500_000, 2)).gz();
    let half = archive[..archive.len() / 2].to_vec();
    let _ = trees.get_or_unpack(&hash_of(&archive), || Ok(Dies(io::Cursor::new(half))));
    panic!("the reader ends the process");
}

#[test]
fn what_a_killed_process_leaves_is_removed() {
    if let Some(directory) = child_argument() {
        die_half_way(&directory);
    }
    let directory = tempfile::tempdir().unwrap();
    let (share, local, trees) =
        (directory.path().join("share"), directory.path().join("cache"), directory.path().join("trees"));
    let status = child("what_a_killed_process_leaves_is_removed", directory.path()).output().unwrap().status;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(nix::libc::SIGABRT), "{status}");
    assert_eq!(temporaries(&share), 1);
    assert_eq!(names(&trees).len(), 1);
    fs::create_dir(&local).unwrap();
    fs::write(local.join(".fetch-abandoned"), "half").unwrap();

    let store = Store::open(&share).unwrap();
    assert!(store.list().unwrap().is_empty());
    // An upload of another server, in the same second as the sweep of this one.
    let mut live = store.begin(1 << 30).unwrap();
    live.write(b"live").unwrap();
    assert_eq!(store.sweep(SystemTime::now() - HOUR).unwrap().files, 0);
    let dead = fs::read_dir(share.join(".tmp")).unwrap().map(|entry| entry.unwrap().path());
    let dead = dead.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    File::open(&dead).unwrap().set_modified(SystemTime::now() - 2 * HOUR).unwrap();
    let swept = store.sweep(SystemTime::now() - HOUR).unwrap();
    assert_eq!((swept.files, swept.bytes), (1, 1 << 20));
    live.commit().unwrap();

    Cache::open(&local, 1 << 30).unwrap();
    assert!(names(&local).is_empty());
    Trees::open(&trees, Limits::default()).unwrap();
    assert!(names(&trees).is_empty());
}

#[test]
fn a_tree_is_unpacked_once_and_read_only() {
    let directory = tempfile::tempdir().unwrap();
    let trees = Trees::open(&directory.path().join("trees"), Limits::default()).unwrap();
    let archive = sample().gz();
    let hash = hash_of(&archive);
    assert_eq!(trees.get(&hash).unwrap(), None);
    let opened = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let path = trees
                    .get_or_unpack(&hash, || {
                        opened.fetch_add(1, Ordering::Relaxed);
                        Ok(&archive[..])
                    })
                    .unwrap();
                assert_eq!(fs::read_to_string(path.join("manifest.json")).unwrap(), "{\"version\":1}");
            });
        }
    });
    assert_eq!(opened.into_inner(), 1);
    assert!(trees.get(&hash).unwrap().is_some());
    // A second process finds it without the bundle.
    let again = Trees::open(&directory.path().join("trees"), Limits::default()).unwrap();
    again.get_or_unpack(&hash, || -> Result<File, _> { Err(FetchError::Missing { hash }) }).unwrap();

    let other = Tar::new().file("f", b"x").gz();
    trees.get_or_unpack(&hash_of(&other), || Ok(&other[..])).unwrap();
    assert_eq!(trees.collect(|kept| *kept == hash).unwrap(), 1);
    assert_eq!(names(&directory.path().join("trees")), [hash.to_string()]);
    assert!(trees.remove(&hash).unwrap());
    assert!(!trees.remove(&hash).unwrap());
    assert!(names(&directory.path().join("trees")).is_empty());
}

#[test]
fn a_tree_has_no_name_but_that_of_its_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let trees = Trees::open(directory.path(), Limits::default()).unwrap();
    let archive = sample().gz();
    let hash = hash_of(&archive);
    let fail = |bytes: &[u8]| {
        let error = trees.get_or_unpack(&hash, || Ok(bytes)).unwrap_err();
        assert!(names(directory.path()).is_empty());
        error
    };
    // Another good archive, and damage that looks like a bad one: neither is the publisher's fault.
    assert!(matches!(fail(&Tar::new().file("f", b"x").gz()), TreeError::Corrupt { hash: named } if named == hash));
    assert!(matches!(fail(&archive[..100]), TreeError::Corrupt { .. }));
    assert!(matches!(fail(&Tar::new().file("../f", b"x").gz()), TreeError::Corrupt { .. }));
    let bad = Tar::new().file("../f", b"x").gz();
    let error = trees.get_or_unpack(&hash_of(&bad), || Ok(&bad[..])).unwrap_err();
    assert!(matches!(&error, TreeError::Unpack { cause, .. } if cause.is_bad_archive()), "{error}");
    let error = trees.get_or_unpack(&hash, || -> Result<File, _> { Err(FetchError::Missing { hash }) }).unwrap_err();
    assert!(matches!(error, TreeError::Fetch(FetchError::Missing { .. })));
}

/// The whole way in the account of nobody, who, unlike root, cannot change what is read-only.
#[test]
fn an_unprivileged_account_can_do_all_this() {
    if let Some(directory) = child_argument() {
        let store = Store::open(&directory.join("share")).unwrap();
        let cache = Cache::open(&directory.join("cache"), 1 << 30).unwrap();
        let trees = Trees::open(&directory.join("trees"), Limits::default()).unwrap();
        let hash = publish(&store, &sample().gz());
        let tree = trees.get_or_unpack(&hash, || cache.fetch(&store, &hash)?.open()).unwrap();
        assert_eq!(snapshot(&tree).len(), 13);
        let refused = fs::write(tree.join("app/new"), "x").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(File::options().write(true).open(tree.join("manifest.json")).is_err());
        assert!(trees.remove(&hash).unwrap());
        // A bad link is found when half of the directories are read-only already.
        let bad = Tar::new().file("a/b/c", b"").file("z/y/x", b"").symlink("m/l", "../..").gz();
        assert!(trees.get_or_unpack(&hash_of(&bad), || Ok(&bad[..])).is_err());
        assert!(names(&directory.join("trees")).is_empty());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = child("an_unprivileged_account_can_do_all_this", directory.path());
    if nix::unistd::geteuid().is_root() {
        // A copy, since the build directory may be closed to others.
        let copy = directory.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = std::process::Command::new(copy);
        command.args(arguments).env("LECTERN_TEST_CHILD", directory.path()).uid(65534).gid(65534);
    }
    let output = command.current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn large_directories_are_collected() {
    // More names in one directory than a single listing call returns, and nesting up to the limit.
    let directory = tempfile::tempdir().unwrap();
    let trees = Trees::open(directory.path(), Limits::default()).unwrap();
    let deep = vec!["d"; 127].join("/");
    let tar = (0..3000).fold(Tar::new(), |tar, i| tar.file(&format!("many/file-{i}"), b""));
    let archive = gz(&tar.gnu_long(b'L', format!("{deep}/f").as_bytes()).file("f", b"deep").bytes());
    let hash = hash_of(&archive);
    let path = trees.get_or_unpack(&hash, || Ok(&archive[..])).unwrap();
    assert_eq!(fs::read_dir(path.join("many")).unwrap().count(), 3000);
    assert_eq!(fs::read_to_string(path.join(deep).join("f")).unwrap(), "deep");
    assert_eq!(trees.collect(|_| false).unwrap(), 1);
    assert!(names(directory.path()).is_empty());
}
