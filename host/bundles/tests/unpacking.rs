//! Archives that are taken, and many that are refused, each for its own reason and leaving nothing.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use common::{Tar, gz, noise, sample, snapshot};
use lectern_bundles::{Limits, UnpackError, inspect, read_manifest, unpack};

/// The name of the error's variant; of the inner one for those of the archive as a whole.
fn variant(error: &UnpackError) -> String {
    let text = format!("{error:?}");
    let text = text.strip_prefix("Archive(").unwrap_or(&text);
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}

fn small_limits() -> Limits {
    Limits {
        max_entries: 50,
        max_total_bytes: 1 << 20,
        max_file_bytes: 100 << 10,
        max_ratio: 100,
        ratio_from_bytes: 64 << 10,
        max_path_bytes: 1000,
        max_depth: 10,
    }
}

/// Unpacks in a directory that also holds a file to attack.
fn attempt(archive: impl Read, limits: &Limits, then: impl FnOnce(&Path, Result<(), UnpackError>)) {
    let directory = tempfile::tempdir().unwrap();
    let (outside, trees) = (directory.path().join("outside"), directory.path().join("trees"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "untouched").unwrap();
    fs::create_dir(&trees).unwrap();
    let result = unpack(archive, &trees.join("tree"), limits);
    let left: Vec<_> = fs::read_dir(&trees).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    if result.is_ok() {
        assert_eq!(left, ["tree"])
    } else {
        assert!(left.is_empty(), "left behind: {left:?}")
    }
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    then(&trees.join("tree"), result.map(drop));
}

fn refused(label: &str, archive: &[u8], expected: &str, in_message: &str) {
    attempt(archive, &small_limits(), |_, result| {
        let error = result.expect_err(label);
        assert_eq!(variant(&error), expected, "{label}: {error}");
        assert!(error.to_string().contains(in_message), "{label}: {error}");
        assert!(error.is_bad_archive(), "{label}");
    });
}

fn taken(label: &str, archive: &[u8], expected: &[(&str, &str, &str)]) {
    attempt(archive, &small_limits(), |tree, result| {
        result.unwrap_or_else(|error| panic!("{label}: {error}"));
        let found = snapshot(tree);
        let found: Vec<_> = found
            .iter()
            .map(|(path, (kind, content))| (path.as_str(), kind.as_str(), std::str::from_utf8(content).unwrap()))
            .collect();
        assert_eq!(found, expected, "{label}");
    });
}

#[test]
fn names_that_lead_out() {
    for name in ["../secret", "a/../../secret", "a/..", "..", "./../x", "a/../b", "a/../"] {
        refused(name, &Tar::new().file(name, b"").gz(), "Traversal", name);
        refused(name, &Tar::new().dir(name).gz(), "Traversal", name);
        refused(name, &Tar::new().gnu_long(b'L', name.as_bytes()).file("a", b"").gz(), "Traversal", name);
        refused(name, &Tar::new().pax(b'x', &[("path", name.as_bytes())]).file("a", b"").gz(), "Traversal", name);
    }
    for name in ["/etc/passwd", "//", "//x", "/../x"] {
        refused(name, &Tar::new().file(name, b"").gz(), "Absolute", name);
        refused(name, &Tar::new().symlink(name, "x").gz(), "Absolute", name);
        refused(name, &Tar::new().pax(b'x', &[("path", name.as_bytes())]).file("a", b"").gz(), "Absolute", name);
    }
    // The prefix field of ustar is the front of the name.
    let prefixed = |prefix: &'static [u8]| {
        Tar::new().raw(b"x", b'0', b"", b"", |header| header[345..345 + prefix.len()].copy_from_slice(prefix)).gz()
    };
    refused("prefix", &prefixed(b".."), "Traversal", "../x");
    refused("prefix", &prefixed(b"/etc"), "Absolute", "/etc/x");
}

#[test]
fn links_that_lead_out() {
    let check = |tar: Tar, name: &str| refused(name, &tar.gz(), "LinkEscapes", name);
    check(Tar::new().symlink("abs", "/etc/passwd"), "abs");
    check(Tar::new().symlink("up", ".."), "up");
    check(Tar::new().symlink("up/deep", "../../outside/secret"), "deep");
    check(Tar::new().dir("a").symlink("a/up", "../../x"), "a/up");
    check(Tar::new().symlink("missing", "nowhere/../../x"), "missing");
    check(Tar::new().file("f", b"").symlink("below", "f/../../x"), "below");
    // Through other links: each is harmless where the other is not there.
    check(Tar::new().dir("a/b").symlink("a/b/top", "../..").symlink("out", "a/b/top/../x"), "out");
    check(Tar::new().symlink("out", "d/../../x").dir("real/deep").symlink("d", "real/deep/.."), "out");
    check(Tar::new().symlink("one", "two/..").symlink("two", "three").symlink("three", "."), "one");
    check(Tar::new().gnu_long(b'K', b"../../outside/secret").symlink("long", "x"), "long");
    check(Tar::new().pax(b'x', &[("linkpath", b"/etc")]).symlink("pax", "x"), "pax");
    check(Tar::new().hardlink("hard", "../outside/secret"), "hard");
    check(Tar::new().hardlink("hard", "/etc/passwd"), "hard");

    let check = |tar: Tar, name: &str| refused(name, &tar.gz(), "ThroughSymlink", name);
    check(Tar::new().symlink("out", "../outside").file("out/secret", b"x"), "out/secret");
    check(Tar::new().symlink("etc", "../../../etc").file("etc/x", b"x"), "etc/x");
    check(Tar::new().symlink("a", ".").symlink("a/b", "..").file("a/b/x", b"x"), "a/b");
    check(Tar::new().dir("d").symlink("in", "d").file("in/x", b"x"), "in/x");
    check(Tar::new().symlink("out", "../outside").dir("out/new"), "out/new");
    check(Tar::new().symlink("out", "../outside").hardlink("out/new", "x"), "out/new");

    let check = |tar: Tar, name: &str| refused(name, &tar.gz(), "HardlinkTarget", name);
    check(Tar::new().hardlink("early", "later").file("later", b"x"), "early");
    check(Tar::new().hardlink("self", "self"), "self");
    check(Tar::new().dir("d").hardlink("todir", "d"), "todir");
    check(Tar::new().hardlink("root", "./"), "root");
    check(Tar::new().symlink("s", "../outside/secret").hardlink("h", "s"), "h");
    check(Tar::new().symlink("out", "../outside").hardlink("h", "out/secret"), "h");
    check(Tar::new().hardlink("bad", "a\nb"), "bad");

    let circle = Tar::new().symlink("a", "b").symlink("b", "a");
    refused("circle", &circle.gz(), "LinkTangled", "links");
    let chain = (0..45).fold(Tar::new(), |tar, i| tar.symlink(&format!("l{i}"), &format!("l{}", i + 1)));
    refused("chain", &chain.gz(), "LinkTangled", "links");
    // Each doubles the way: 2 to the 30 steps if they were followed.
    let bomb = (1..40)
        .fold(Tar::new().symlink("b0", "."), |tar, i| tar.symlink(&format!("b{i}"), &format!("b{}/b{}", i - 1, i - 1)));
    refused("bomb", &bomb.gz(), "LinkTangled", "links");
}

#[test]
fn what_is_no_file() {
    for (flag, kind) in [(b'3', "character device"), (b'4', "block device"), (b'6', "fifo")] {
        refused(kind, &Tar::new().raw(b"dev/x", flag, b"", b"", |_| {}).gz(), "Special", kind);
    }
    refused("sparse", &Tar::new().raw(b"holes", b'S', b"", b"", |_| {}).gz(), "Sparse", "holes");
    for key in ["GNU.sparse.major", "GNU.sparse.map"] {
        refused(key, &Tar::new().pax(b'x', &[(key, b"1")]).file("holes", b"x").gz(), "Sparse", "holes");
    }
    for flag in [b'M', b'V', b'D', b'9', 0xff] {
        refused("unknown", &Tar::new().raw(b"odd", flag, b"", b"", |_| {}).gz(), "Unknown", "odd");
    }
}

#[test]
fn names_twice() {
    let check = |tar: Tar| refused("twice", &tar.gz(), "Duplicate", "a");
    check(Tar::new().file("a", b"1").file("a", b"2"));
    check(Tar::new().file("a", b"1").file("./a", b"2"));
    check(Tar::new().file("d/a", b"1").file("d//a", b"2"));
    check(Tar::new().file("d/a", b"1").file("d/./a", b"2"));
    check(Tar::new().file("a", b"1").dir("a/"));
    check(Tar::new().dir("a/").file("a", b"1"));
    check(Tar::new().file("a/b", b"1").file("a", b"1"));
    check(Tar::new().file("a", b"1").symlink("a", "b"));
    check(Tar::new().symlink("a", "b").file("a", b"1"));
    check(Tar::new().symlink("a", ".").dir("a"));
    check(Tar::new().file("x", b"").file("a", b"1").hardlink("a", "x"));
    check(Tar::new().file("a", b"1").gnu_long(b'L', b"a").file("b", b"2"));
    check(Tar::new().file("a", b"1").pax(b'x', &[("path", b"a")]).file("b", b"2"));
    refused("below a file", &Tar::new().file("a", b"1").file("a/b", b"2").gz(), "BelowFile", "a/b");
}

#[test]
fn names_that_cannot_be() {
    let check = |name: &[u8], reason: &str| {
        let archive = Tar::new().pax(b'x', &[("path", name)]).file("a", b"x").gz();
        refused(reason, &archive, "Unrepresentable", reason);
    };
    check(b"a\xff\xfe", "not UTF-8");
    check(b"a\0b", "NUL");
    check(b"a\nb", "control character");
    check(b"a\x1b[31m", "control character");
    check(b"a\x7f", "control character");
    check("a\u{85}b".as_bytes(), "control character");
    check(&[b'x'; 256], "255 bytes");
    check(&"é".repeat(128).into_bytes(), "255 bytes");
    check(&b"abcdefghi/x".repeat(101), "longer than a path");
    refused("latin 1", &Tar::new().raw(b"caf\xe9", b'0', b"", b"", |_| {}).gz(), "Unrepresentable", "not UTF-8");
    refused("root file", &Tar::new().file("./", b"x").gz(), "BadHeader", "directory has content");
    refused("root file", &Tar::new().file(".", b"x").gz(), "Unrepresentable", "root");
    refused("root slash", &Tar::new().dir("/").gz(), "NoEntries", "no files");
    refused("root slash", &Tar::new().symlink("/", "x").gz(), "Absolute", "/");
    refused("root link", &Tar::new().symlink("./", "x").gz(), "Unrepresentable", "root");
    refused("no target", &Tar::new().symlink("x", "").gz(), "Unrepresentable", "without a target");
    let long = Tar::new().gnu_long(b'K', &[b'x'; 1001]).symlink("x", "y").gz();
    refused("long target", &long, "Unrepresentable", "target longer");
    refused("deep", &Tar::new().file("1/2/3/4/5/6/7/8/9/10/11", b"").gz(), "TooDeep", "1/2/3");
}

#[test]
fn too_much() {
    let many = (0..51).fold(Tar::new(), |tar, i| tar.file(&format!("f{i}"), b""));
    refused("files", &many.gz(), "TooManyEntries", "50");
    let links = (0..51).fold(Tar::new().file("f", b""), |tar, i| tar.hardlink(&format!("h{i}"), "f"));
    refused("links", &links.gz(), "TooManyEntries", "50");
    // Directories without entries of their own count too.
    let nested = (0..10).fold(Tar::new(), |tar, i| tar.file(&format!("{i}/a/b/c/d/f"), b""));
    refused("directories", &nested.gz(), "TooManyEntries", "50");

    refused("file", &Tar::new().file("big", &noise((100 << 10) + 1, 1)).gz(), "FileTooLarge", "big");
    let stated = Tar::new().raw(b"big", b'0', b"", b"", |header| header[124..135].copy_from_slice(b"77777777777"));
    refused("stated size", &stated.gz(), "FileTooLarge", "8589934591");
    let base256 = Tar::new().raw(b"big", b'0', b"", b"", |h| {
        h[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    });
    refused("stated size", &base256.gz(), "BadHeader", "beyond all measure");
    let pax = Tar::new().pax(b'x', &[("size", b"18446744073709551615")]).file("big", b"");
    refused("stated size", &pax.gz(), "FileTooLarge", "18446744073709551615");

    let total = (0..12).fold(Tar::new(), |tar, i| tar.file(&format!("f{i}"), &noise(100 << 10, i)));
    refused("total", &total.gz(), "TooLarge", "1048576");
    refused("ratio", &Tar::new().file("f", &[0; 100 << 10]).gz(), "RatioTooHigh", "100 times");
    refused("zeros after the end", &gz(&vec![0; 2 << 20]), "RatioTooHigh", "100 times");
    let long = Tar::new().raw(b"x", b'L', b"", b"", |header| header[124..135].copy_from_slice(b"00007777777"));
    refused("long name", &long.gz(), "HeaderTooLarge", "2097151");
    let pax = Tar::new().raw(b"x", b'x', b"", b"", |header| header[124..135].copy_from_slice(b"00007777777"));
    refused("pax", &pax.gz(), "HeaderTooLarge", "2097151");
}

#[test]
fn the_default_limits_stop_a_bomb_early() {
    // 96 MiB of zeros are about 100 KiB.
    let bomb = Tar::new().file("zeros", &vec![0; 96 << 20]).gz();
    attempt(&bomb[..], &Limits::default(), |_, result| {
        let error = result.unwrap_err();
        assert_eq!(variant(&error), "RatioTooHigh", "{error}");
    });
}

#[test]
fn what_is_no_gzipped_tar() {
    refused("empty", b"", "EmptyInput", "empty");
    refused("text", b"hello", "NotGzip", "not gzip");
    refused("zip", b"PK\x03\x04", "NotGzip", "not gzip");
    refused("plain tar", &sample().bytes(), "NotGzip", "not gzip");
    refused("one byte", b"\x1f", "Truncated", "cut off");
    refused("two bytes", b"\x1f\x8b", "Truncated", "cut off");
    refused("method", b"\x1f\x8b\x07\0\0\0\0\0\0\0abc", "CorruptGzip", "damaged");
    refused("gzip of nothing", &gz(b""), "NotTar", "not tar");
    refused("gzip of text", &gz(b"hello"), "NotTar", "not tar");
    refused("gzip of much text", &gz(&b"hello world ".repeat(1000)), "NotTar", "not tar");
    refused("gzip of gzip", &gz(&sample().gz()), "NotTar", "not tar");
    refused("no entries", &Tar::new().gz(), "NoEntries", "no files");
    refused("only the root", &Tar::new().dir("./").gz(), "NoEntries", "no files");

    let mut archive = sample().gz();
    archive.extend_from_slice(b"x");
    refused("garbage", &archive, "TrailingGarbage", "gzip stream");
    let twice = [sample().gz(), Tar::new().file("b", b"").gz()].concat();
    refused("second member", &twice, "TrailingGarbage", "gzip stream");
    let mut bytes = sample().bytes();
    bytes.extend_from_slice(&Tar::new().file("hidden", b"").bytes());
    refused("after the end", &gz(&bytes), "TrailingGarbage", "tar");
    let mut bytes = [sample().0, vec![0; 512], Tar::new().file("hidden", b"").0].concat();
    refused("after one zero block", &gz(&bytes), "TrailingGarbage", "tar");
    bytes.truncate(sample().0.len());
    bytes.extend_from_slice(&[b'x'; 512]);
    refused("no header", &gz(&bytes), "BadHeader", "checksum");
    bytes.truncate(sample().0.len() + 100);
    refused("half a header", &gz(&bytes), "Truncated", "cut off");
    let cut = Tar::new().file("f", &noise(5000, 1)).0;
    refused("content missing", &gz(&cut[..2000]), "Truncated", "cut off");
    refused("padding missing", &gz(&cut[..5512]), "Truncated", "cut off");
    // The checksum at the end: all data is there.
    let mut archive = sample().gz();
    let at = archive.len() - 6;
    archive[at] ^= 1;
    refused("wrong checksum", &archive, "CorruptGzip", "damaged");

    let bad = |tar: Tar, reason: &str| refused(reason, &tar.gz(), "BadHeader", reason);
    bad(Tar::new().raw(b"x", b'0', b"", b"", |h| h[124..135].copy_from_slice(b"99999999999")), "not a number");
    bad(Tar::new().raw(b"x", b'0', b"", b"", |h| h[124..136].fill(0xff)), "negative");
    bad(Tar::new().pax(b'x', &[("size", b"5")]).file("x", b"123"), "two sizes");
    bad(Tar::new().pax(b'x', &[("path", b"a")]).pax(b'x', &[("path", b"b")]).file("x", b""), "repeated");
    bad(Tar::new().gnu_long(b'L', b"a").gnu_long(b'L', b"b").file("x", b""), "repeated");
    bad(Tar::new().gnu_long(b'K', b"a").gnu_long(b'K', b"b").file("x", b""), "repeated");
    bad(Tar::new().file("x", b"").gnu_long(b'L', b"a"), "describes no entry");
    bad(Tar::new().raw(b"x", b'x', b"", b"nonsense", |_| {}).file("x", b""), "malformed");
    bad(Tar::new().pax(b'g', &[("path", b"everything")]).file("x", b""), "global");
    bad(Tar::new().pax(b'g', &[("size", b"0")]).file("x", b""), "global");
}

#[test]
fn every_cut_is_an_error() {
    let archive = sample().gz();
    for length in 0..archive.len() {
        attempt(&archive[..length], &Limits::default(), |_, result| {
            let error = result.expect_err("cut");
            let expected = if length == 0 { "EmptyInput" } else { "Truncated" };
            assert_eq!(variant(&error), expected, "{length}: {error}");
        });
    }
}

#[test]
fn every_flipped_byte_is_an_error_or_changes_nothing() {
    let (archive, mut original) = (sample().gz(), None);
    attempt(&archive[..], &Limits::default(), |tree, _| original = Some(snapshot(tree)));
    for at in 0..archive.len() {
        let mut flipped = archive.clone();
        flipped[at] ^= 0x10;
        attempt(&flipped[..], &Limits::default(), |tree, result| match result {
            // Time and operating system in the gzip header.
            Ok(()) => assert_eq!(Some(snapshot(tree)), original, "byte {at}"),
            Err(error) => assert!(error.is_bad_archive(), "byte {at}: {error}"),
        });
    }
}

#[test]
fn input_that_fails_is_not_the_archives_fault() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
    let archive = sample().gz();
    for length in [0, 1, 2, 100, archive.len() - 1, archive.len()] {
        attempt((&archive[..length]).chain(Fails), &Limits::default(), |_, result| {
            let error = result.unwrap_err();
            assert_eq!(variant(&error), "Read", "{error}");
            assert!(!error.is_bad_archive());
        });
    }
}

#[test]
fn what_clients_write_is_taken() {
    let file = |path, content| (path, "file 444", content);
    taken("./", &Tar::new().dir("./").file("./manifest.json", b"{}").gz(), &[file("manifest.json", "{}")]);
    // The root with an empty name, plain and as Python writes it for pins.
    taken("slash", &Tar::new().dir("/").file("data.txt", b"d").gz(), &[file("data.txt", "d")]);
    taken("empty name", &Tar::new().dir("").file("data.txt", b"d").gz(), &[file("data.txt", "d")]);
    taken("empty file name", &Tar::new().file("", b"").file("data.txt", b"d").gz(), &[file("data.txt", "d")]);
    let nested = &[("a", "dir 555", ""), ("a/b", "dir 555", ""), file("a/b/c", "x")];
    taken("no parents", &Tar::new().file("a/b/c", b"x").gz(), nested);
    taken("parents late", &Tar::new().file("a/b/c", b"x").dir("a/").dir("./a/b").dir("a").gz(), nested);
    taken("old directory", &Tar::new().file("a/", b"").file("a/b/c", b"x").gz(), nested);
    taken("old file", &Tar::new().raw(b"f", 0, b"", b"x", |_| {}).gz(), &[file("f", "x")]);
    taken("empty directory", &Tar::new().dir("empty").gz(), &[("empty", "dir 555", "")]);
    let modes = Tar::new().mode("a", b"0000600").mode("b", b"0004755").mode("c", b"0007777").mode("d", b"0000011").gz();
    let x = |path| (path, "file 555", "x");
    taken("modes", &modes, &[file("a", "x"), x("b"), x("c"), file("d", "x")]);
    taken("blank mode", &Tar::new().mode("a", b"       ").gz(), &[file("a", "x")]);

    let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
    let expected = [(&"d".repeat(150)[..], "dir 555", ""), file(&long, "x")];
    taken("GNU", &Tar::new().gnu_long(b'L', long.as_bytes()).file("dummy", b"x").gz(), &expected);
    taken("pax", &Tar::new().pax(b'x', &[("path", long.as_bytes())]).file("dummy", b"x").gz(), &expected);
    let both = Tar::new().gnu_long(b'L', b"other").pax(b'x', &[("path", long.as_bytes())]).file("dummy", b"x");
    taken("pax before GNU", &both.gz(), &expected);
    let prefix = Tar::new().raw(b"c", b'0', b"", b"x", |header| header[345..348].copy_from_slice(b"a/b"));
    taken("prefix", &prefix.gz(), nested);
    let size = Tar::new().pax(b'x', &[("size", b"1")]).raw(b"f", b'0', b"", b"x", |header| {
        header[124..135].copy_from_slice(b"00000000000");
    });
    taken("pax size", &size.gz(), &[file("f", "x")]);
    let global = Tar::new().pax(b'g', &[("comment", b"0123456789abcdef")]).file("f", b"x");
    taken("git archive", &global.gz(), &[file("f", "x")]);

    let links = Tar::new().file("a/f", b"x").symlink("a/l", "f").symlink("l", "a/../a/l").symlink("none", "a/none/x");
    let link = |path, target| (path, "link", target);
    let expected =
        [("a", "dir 555", ""), file("a/f", "x"), link("a/l", "f"), link("l", "a/../a/l"), link("none", "a/none/x")];
    taken("links", &links.gz(), &expected);
    // R's tar() states the size of what the link points to, and writes no content.
    let r = Tar::new().raw(b"l", b'2', b"f", b"", |h| h[124..135].copy_from_slice(b"00000001000")).file("f", b"x");
    taken("R link", &r.gz(), &[file("f", "x"), link("l", "f")]);
    let hard = Tar::new().file("f", b"x").hardlink("g", "./f").hardlink("d/h", "g");
    taken("hard", &hard.gz(), &[("d", "dir 555", ""), file("d/h", "x"), file("f", "x"), file("g", "x")]);

    taken("no end marker", &gz(&Tar::new().file("f", b"x").0), &[file("f", "x")]);
    taken("one zero block", &gz(&[Tar::new().file("f", b"x").0, vec![0; 512]].concat()), &[file("f", "x")]);
    let padded = [Tar::new().file("f", b"x").0, vec![0; 9000]].concat();
    taken("record padding", &gz(&padded), &[file("f", "x")]);
}

#[test]
fn counts_and_modes_of_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().join("tree");
    let done = unpack(&sample().gz()[..], &into, &Limits::default()).unwrap();
    assert_eq!((done.files, done.directories, done.symlinks), (6, 5, 2));
    assert_eq!(done.bytes, 13 + 2000 + 1 + 4 + 3);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&into).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o555);
    let error = unpack(&sample().gz()[..], &into, &Limits::default()).unwrap_err();
    assert_eq!(variant(&error), "Exists");
    assert!(!error.is_bad_archive());
}

/// A path that fits by itself, but not below the directory: no program could open it by its name.
#[test]
fn paths_fit_with_their_root() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("r".repeat(200));
    fs::create_dir(&deep).unwrap();
    let path = |parts| vec!["p".repeat(199); parts].join("/");
    let archive = |parts| Tar::new().pax(b'x', &[("path", path(parts).as_bytes())]).file("f", b"x").gz();
    let error = unpack(&archive(20)[..], &deep.join("tree"), &Limits::default()).unwrap_err();
    assert_eq!(variant(&error), "Unrepresentable", "{error}");
    unpack(&archive(18)[..], &deep.join("tree"), &Limits::default()).unwrap();
    assert_eq!(fs::read_to_string(deep.join("tree").join(path(18))).unwrap(), "x");
}

#[test]
fn manifests() {
    let manifest = |tar: Tar| read_manifest(&tar.gz()[..]).map_err(|error| error.to_string());
    assert_eq!(manifest(sample()).unwrap(), b"{\"version\":1}");
    assert_eq!(manifest(Tar::new().file("a", &noise(99_999, 1)).file("manifest.json", b"1")).unwrap(), b"1");
    assert_eq!(manifest(Tar::new().pax(b'x', &[("path", b"manifest.json")]).file("m", b"2")).unwrap(), b"2");
    let error = |tar| manifest(tar).unwrap_err();
    assert_eq!(error(Tar::new().file("app/manifest.json", b"1")), "archive has no manifest.json");
    assert_eq!(error(Tar::new().symlink("manifest.json", "x")), "manifest.json of the archive is not a file");
    assert_eq!(error(Tar::new().dir("manifest.json")), "manifest.json of the archive is not a file");
    let large = Tar::new().file("manifest.json", &noise((16 << 20) + 1, 1));
    assert_eq!(error(large), "manifest.json of the archive has 16777217 bytes, more than 16777216");
    let limit = Tar::new().file("manifest.json", &noise(16 << 20, 1));
    assert_eq!(manifest(limit).unwrap().len(), 16 << 20);
    assert_eq!(read_manifest(&b""[..]).unwrap_err().to_string(), "archive is empty");
    let cut = Tar::new().file("manifest.json", &noise(9999, 1)).gz();
    assert!(read_manifest(&cut[..5000]).unwrap_err().is_bad_archive());
}

#[test]
fn inspection_reads_to_the_end() {
    let manifest = Tar::new().file("manifest.json", b"{}");
    assert_eq!(inspect(&manifest.clone().file("a", b"x").gz()[..]).unwrap(), b"{}");
    let cut = manifest.clone().file("a", &noise(200_000, 1)).gz();
    let cut = &cut[..cut.len() - 1000];
    assert_eq!(read_manifest(cut).unwrap(), b"{}");
    let check = |archive: &[u8], expected: &str| {
        let error = inspect(archive).unwrap_err();
        assert!(error.is_bad_archive() && error.to_string().contains(expected), "{error}");
    };
    check(cut, "cut off");
    check(&[&manifest.gz()[..], b"x"].concat(), "goes on after the end of its gzip stream");
    check(&gz(&[manifest.bytes(), b"x".to_vec()].concat()), "goes on after the end of its tar");
    check(&manifest.file("zeros", &vec![0; 96 << 20]).gz(), "expands more than 200 times");
    check(&Tar::new().file("a", b"x").gz(), "no manifest.json");
}
