//! Whatever an archive says, unpacking ends without a panic and writes nothing outside its directory.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;

use common::{Tar, gz, sample, snapshot};
use lectern_bundles::{Limits, read_manifest, unpack};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use proptest::prelude::*;

fn limits() -> Limits {
    Limits { max_entries: 200, max_total_bytes: 1 << 20, max_file_bytes: 1 << 20, ..Limits::default() }
}

/// Unpacks below `directory/trees` and looks at everything around it.
fn contained(directory: &Path, archive: &[u8]) -> Result<(), TestCaseError> {
    let tree = directory.join("trees/tree");
    fs::create_dir_all(directory.join("trees")).unwrap();
    fs::create_dir_all(directory.join("outside/dir")).unwrap();
    fs::write(directory.join("outside/secret"), "untouched").unwrap();
    fs::write(directory.join("trees/neighbour"), "untouched").unwrap();
    let before = snapshot(directory);
    let result = unpack(archive, &tree, &limits());
    let mut after = snapshot(directory);
    after.retain(|path, _| path != "trees/tree" && !path.starts_with("trees/tree/"));
    prop_assert_eq!(&before, &after, "changed outside; {:?}", result);
    match result {
        Err(_) => prop_assert!(!tree.exists(), "half a tree"),
        Ok(_) => {
            let root = fs::File::open(&tree).unwrap();
            for (path, (kind, _)) in snapshot(&tree) {
                prop_assert!(["dir 555", "file 444", "file 555", "link"].contains(&&kind[..]), "{} {}", path, kind);
                // A second opinion on links: the kernel's.
                let how = OpenHow::new().flags(OFlag::O_PATH).resolve(ResolveFlag::RESOLVE_BENEATH);
                match openat2(&root, path.as_str(), how) {
                    Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENOSYS | Errno::EPERM) => {}
                    Err(errno) => prop_assert!(false, "{} leads out: {}", path, errno),
                }
            }
        }
    }
    // Must not panic either.
    let _ = read_manifest(archive);
    Ok(())
}

/// Names and targets that meet each other often.
fn name(outside: String) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just(outside),
    ];
    proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join("/").chars().take(99).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_mix_of_entries_stays_inside(
        picks in proptest::collection::vec((0..5_u8, name("X".into()), name("X".into())), 1..12),
        absolute in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside").to_str().unwrap().to_owned();
        let real = |name: &String| name.replace('X', if absolute { &outside } else { "outside" });
        let tar = picks.iter().fold(Tar::new(), |tar, (kind, name, target)| {
            let (name, target) = (real(name), real(target));
            let tar = tar.gnu_long(b'L', name.as_bytes());
            match kind {
                0 => tar.file("n", b"content"),
                1 => tar.dir("n"),
                2 | 3 => tar.gnu_long(b'K', target.as_bytes()).symlink("n", "t"),
                _ => tar.gnu_long(b'K', target.as_bytes()).hardlink("n", "t"),
            }
        });
        contained(directory.path(), &tar.gz())?;
    }

    #[test]
    fn damaged_tars_stay_inside(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        mend in any::<bool>(),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = sample().bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
            if mend {
                // With a right checksum the damage is believed.
                let start = at / 512 * 512;
                let mut header = tar::Header::from_byte_slice(&bytes[start..start + 512]).clone();
                header.set_cksum();
                bytes[start..start + 512].copy_from_slice(header.as_bytes());
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        contained(tempfile::tempdir().unwrap().path(), &gz(&bytes))?;
    }

    #[test]
    fn damaged_gzip_stays_inside(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = sample().gz();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        contained(tempfile::tempdir().unwrap().path(), &bytes)?;
    }

    #[test]
    fn noise_stays_inside(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let directory = tempfile::tempdir().unwrap();
        contained(directory.path(), &bytes)?;
        contained(directory.path(), &gz(&bytes))?;
    }
}
