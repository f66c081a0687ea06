#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;
use crate::archive::PACKAGE_BYTES;

const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

const CASE: &str = "[[case]]\nname = \"n\"\nhook = \"route\"\n[case.expect]\ndecision = \"next\"\n";

fn parts() -> Parts {
    Parts {
        manifest: "[plugin]\nname = \"a\"\nversion = \"1.0.0\"\ndescription = \"d\"\ncontract = \"0.1\"\nhooks = [\"route\"]\n"
            .into(),
        component: HEADER.to_vec(),
        schema: None,
        readme: None,
        cases: BTreeMap::new(),
    }
}

fn whole() -> Parts {
    Parts {
        schema: Some(r#"{"properties": {"a": {"type": "integer"}}}"#.into()),
        readme: Some("Read me".into()),
        cases: [("b.toml".into(), CASE.into()), ("a_1-x.toml".into(), CASE.into())].into(),
        ..parts()
    }
}

/// An entry written by hand.
fn entry(name: &str, kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn told(bytes: &[u8]) -> String {
    Package::read(bytes).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read() {
    for parts in [parts(), whole()] {
        let bytes = parts.write().unwrap();
        let package = Package::read(&bytes).unwrap();
        assert_eq!(package.parts, parts);
        assert_eq!((package.digest, package.size_bytes), (PackageDigest::of(&bytes), bytes.len()));
        assert_eq!(package.manifest.file_name(), "a-1.0.0.lectern");
        assert_eq!(package.cases.len(), parts.cases.len());
        assert_eq!(package.schema.document().is_some(), parts.schema.is_some());
        assert_eq!(parts.check().unwrap().digest, package.digest);
    }
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let bytes = whole().write().unwrap();
    // Whoever changes how packages are written gives every package a new name.
    let digest = "6bab37d058ad2f053d7f3d5487690d9b4d8181e493fc29e348a6b1a25a6e5183";
    assert_eq!(PackageDigest::of(&bytes).to_string(), digest);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<String> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    let expected =
        ["plugin.toml", "README.md", "cases/a_1-x.toml", "cases/b.toml", "config.schema.json", "plugin.wasm"];
    assert_eq!(names, expected);
}

#[test]
fn what_is_no_package_is_told_apart() {
    let not_a_package = "not a plugin package: make one with `lectern plugin build`";
    let bytes = whole().write().unwrap();
    let cases: Vec<(Vec<u8>, String)> = vec![
        (vec![], not_a_package.into()),
        (b"hello".to_vec(), not_a_package.into()),
        (vec![b'x'; 4096], not_a_package.into()),
        (vec![0; 1024], not_a_package.into()),
        (bytes[..100].to_vec(), not_a_package.into()),
        (
            HEADER.to_vec(),
            "this is a bare component, not a package: `lectern plugin build` puts it into one with its manifest".into(),
        ),
        (
            b"\0asm\x01\0\0\0".to_vec(),
            "this is a core WebAssembly module: build it with `--target wasm32-wasip2`, then run `lectern plugin build`"
                .into(),
        ),
        (
            b"\0asm\x0c\0\x01\0".to_vec(),
            "this is WebAssembly, but neither a component nor a core module of a known version".into(),
        ),
        (
            b"\x1f\x8b\x08\0".to_vec(),
            "this is compressed with gzip: packages are not, because the same files must give the same bytes; unpack it once"
                .into(),
        ),
        (vec![b'x'; PACKAGE_BYTES + 1], "the package has 67108865 bytes, more than 67108864".into()),
        (bytes[..bytes.len() - 2048].to_vec(), "the package is cut off after 5120 bytes: copy it again".into()),
    ];
    for (bytes, expected) in cases {
        assert_eq!(told(&bytes), expected, "{} bytes", bytes.len());
    }
    let mut damaged = bytes;
    damaged[1024 + 3] ^= 1;
    assert_eq!(told(&damaged), "the package is damaged at byte 1024: copy it again");
}

#[test]
fn only_the_files_of_a_package_may_be_there() {
    let manifest = entry("plugin.toml", EntryType::Regular, parts().manifest.as_bytes());
    let component = entry("plugin.wasm", EntryType::Regular, HEADER);
    let with = |more: Vec<u8>| tar_of(&[manifest.clone(), more, component.clone()]);
    let allowed = "there may be plugin.toml, plugin.wasm, config.schema.json, README.md and cases/<name>.toml, with letters, \
                   digits, `-` and `_` in the name";
    for name in [
        "other",
        "../plugin.toml",
        "/etc/passwd",
        "./README.md",
        "cases/",
        "cases/.toml",
        "cases/a/b.toml",
        "cases/../x.toml",
        "cases/a.json",
        "cases\\a.toml",
        "plugin.TOML",
    ] {
        let expected = format!("the package holds {name:?}: {allowed}");
        assert_eq!(told(&with(entry(name, EntryType::Regular, b""))), expected);
    }
    for kind in [
        EntryType::Link,
        EntryType::Symlink,
        EntryType::Char,
        EntryType::Block,
        EntryType::Directory,
        EntryType::Fifo,
        EntryType::Continuous,
        EntryType::GNULongName,
        EntryType::GNUSparse,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        assert_eq!(
            told(&with(entry("README.md", kind, b""))),
            "the package holds \"README.md\", which is no plain file: make it with `lectern plugin build`, not with tar",
            "{kind:?}"
        );
    }
    assert_eq!(told(&with(manifest.clone())), "the package holds \"plugin.toml\" twice");
    assert_eq!(told(&tar_of(std::slice::from_ref(&manifest))), "the package holds no plugin.wasm");
    assert_eq!(told(&tar_of(std::slice::from_ref(&component))), "the package holds no plugin.toml");
    assert_eq!(told(&with(entry("README.md", EntryType::Regular, b"\xff"))), "README.md is not text in UTF-8");
}

#[test]
fn there_is_one_way_to_write_a_package() {
    let manifest = entry("plugin.toml", EntryType::Regular, parts().manifest.as_bytes());
    let component = entry("plugin.wasm", EntryType::Regular, HEADER);
    let good = tar_of(&[manifest.clone(), component.clone()]);
    assert!(Package::read(&good).is_ok());
    let of = |at: &str| {
        format!(
            "the package is not written as `lectern plugin build` writes it; the first difference is at {at}: build it again"
        )
    };
    assert_eq!(told(&tar_of(&[component, manifest])), of("plugin.wasm"));
    let mut longer = good.clone();
    longer.extend([0; 512]);
    assert_eq!(told(&longer), of("its end"));
    let mut trailing = good.clone();
    trailing.push(1);
    assert_eq!(told(&trailing), of("its end"));
    assert_eq!(told(&good[..good.len() - 512]), of("its end"));
    let mut padding = good.clone();
    let end = padding.len() - 1024;
    padding[end - 1] = 1;
    assert_eq!(told(&padding), of("plugin.wasm"));
    // Another owner, with a checksum that fits.
    let mut owned = good;
    let mut header = Header::from_byte_slice(&owned[..512]).clone();
    header.set_uid(1000);
    header.set_cksum();
    owned[..512].copy_from_slice(header.as_bytes());
    assert_eq!(told(&owned), of("plugin.toml"));
}

#[test]
fn every_file_has_a_bound() {
    let told = |parts: Parts| parts.write().unwrap_err().to_string();
    assert_eq!(
        told(Parts { manifest: "#".repeat(MANIFEST_BYTES + 1), ..parts() }),
        "plugin.toml has 65537 bytes, more than 65536"
    );
    assert_eq!(
        told(Parts { component: vec![0; COMPONENT_BYTES + 1], ..parts() }),
        "plugin.wasm has 50331649 bytes, more than 50331648"
    );
    let long = "x".repeat(README_BYTES + 1);
    assert_eq!(
        told(Parts { schema: Some(long.clone()), ..parts() }),
        "config.schema.json has 262145 bytes, more than 262144"
    );
    assert_eq!(told(Parts { readme: Some(long.clone()), ..parts() }), "README.md has 262145 bytes, more than 262144");
    assert_eq!(
        told(Parts { cases: [("a.toml".into(), long)].into(), ..parts() }),
        "cases/a.toml has 262145 bytes, more than 262144"
    );
    let many = (0..=CASE_FILES).map(|n| (format!("c{n}.toml"), String::new())).collect();
    assert_eq!(
        told(Parts { cases: many, ..parts() }),
        "the package holds 65 files of cases, more than 64: one file may hold many cases"
    );
    let full = "x".repeat(README_BYTES);
    let most = Parts {
        component: vec![0; COMPONENT_BYTES],
        cases: (0..CASE_FILES).map(|n| (format!("c{n}.toml"), full.clone())).collect(),
        ..parts()
    };
    assert!(told(most).ends_with("more than 67108864"));

    // What a header claims is believed only as far as the bound goes.
    let mut claims = entry("plugin.toml", EntryType::Regular, b"");
    let mut header = Header::from_byte_slice(&claims).clone();
    for size in [u64::MAX, 1 << 40, 70_000] {
        header.set_size(size);
        header.set_cksum();
        claims.copy_from_slice(header.as_bytes());
        assert_eq!(
            Package::read(&tar_of(&[claims.clone()])).unwrap_err().to_string(),
            format!("plugin.toml has {size} bytes, more than 65536")
        );
    }
}

#[test]
fn all_that_is_wrong_with_its_files_is_told_together() {
    let parts = Parts {
        manifest: parts().manifest.replace("1.0.0", "1").replace("route", "routes"),
        component: b"\0asm\x01\0\0\0".to_vec(),
        schema: Some("{".into()),
        readme: None,
        cases: [("x.toml".into(), "[[case]]".into())].into(),
    };
    assert_eq!(
        parts.check().unwrap_err().to_string(),
        "plugin.wasm: is a core module: build it with `--target wasm32-wasip2`\n\
         plugin.toml: plugin.version = \"1\": must be a version of three numbers, as \"1.2.0\" (semver.org), of at most 64 characters\n\
         plugin.toml: plugin.hooks = (a list): must be a list of route, authenticate and pages; \"routes\" is none\n\
         config.schema.json: is not JSON: EOF while parsing an object at line 1 column 1\n\
         cases/x.toml: case 1: name: missing: must be one line that says what the case shows\n\
         cases/x.toml: case 1: hook: missing: must be one of route, select, authenticate, page, check\n\
         cases/x.toml: case 1: expect: missing: a case says what must come out in [case.expect]"
    );
}

#[test]
fn the_files_must_fit_each_other() {
    let told = |parts: Parts| parts.check().unwrap_err().to_string();
    assert_eq!(
        told(Parts { manifest: parts().manifest + "[config]\na = \"x\"", ..whole() }),
        "plugin.toml [config]: /a = \"x\": must be a whole number"
    );
    let case = CASE.replace("route", "authenticate").replace("next", "abstain");
    assert_eq!(
        told(Parts { cases: [("x.toml".into(), case)].into(), ..parts() }),
        "cases/x.toml: case \"n\": hook = \"authenticate\": the manifest's hooks do not name authenticate"
    );
    assert_eq!(
        told(Parts { component: b"(component)".to_vec(), ..parts() }),
        "plugin.wasm: is not a WebAssembly component"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(Package::read(&bytes).is_err());
    }

    #[test]
    fn packages_survive_writing(
        component in proptest::collection::vec(any::<u8>(), 0..2000),
        readme in proptest::option::of("\\PC{0,600}"),
        cases in proptest::collection::btree_map("[a-zA-Z0-9_-]{1,64}\\.toml", Just(CASE.to_owned()), 0..8),
    ) {
        let parts = Parts { component: [HEADER, &component].concat(), readme, cases, ..parts() };
        let bytes = parts.write().unwrap();
        prop_assert_eq!(bytes.len() % 512, 0);
        let package = Package::read(&bytes).unwrap();
        prop_assert_eq!(&package.parts, &parts);
        prop_assert_eq!(package.parts.write().unwrap(), bytes);
    }

    /// Whatever is changed is refused or is in a file, where the digest and the signature tell.
    #[test]
    fn no_change_hides_between_the_files(bit in any::<proptest::sample::Index>()) {
        let before = whole();
        let mut bytes = before.write().unwrap();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(package) = Package::read(&bytes) {
            prop_assert_ne!(&package.parts, &before);
            prop_assert_ne!(package.digest, PackageDigest::of(&before.write().unwrap()));
        }
    }

    #[test]
    fn what_is_cut_off_is_refused(at in any::<proptest::sample::Index>()) {
        let bytes = whole().write().unwrap();
        prop_assert!(Package::read(&bytes[..at.index(bytes.len())]).is_err());
    }
}
