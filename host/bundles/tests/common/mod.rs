//! Tar archives written byte by byte, also such as no tar program would write, and looks at directories.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use lectern_domain::BundleHash;
use tar::Header;

#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry with its header as given, changed by `change` before the checksum is set.
    pub fn raw(mut self, name: &[u8], flag: u8, link: &[u8], content: &[u8], change: impl FnOnce(&mut [u8])) -> Self {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        let bytes = header.as_mut_bytes();
        bytes[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        bytes[156] = flag;
        bytes[157..157 + link.len()].copy_from_slice(link);
        change(bytes);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.content(content)
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(name.as_bytes(), b'0', b"", content, |_| {})
    }

    pub fn mode(self, name: &str, mode: &[u8; 7]) -> Self {
        self.raw(name.as_bytes(), b'0', b"", b"x", |header| header[100..107].copy_from_slice(mode))
    }

    pub fn dir(self, name: &str) -> Self {
        self.raw(name.as_bytes(), b'5', b"", b"", |_| {})
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(name.as_bytes(), b'2', target.as_bytes(), b"", |_| {})
    }

    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.raw(name.as_bytes(), b'1', target.as_bytes(), b"", |_| {})
    }

    /// GNU's long name (`L`) or long link (`K`) for the next entry.
    pub fn gnu_long(self, flag: u8, name: &[u8]) -> Self {
        let mut content = name.to_vec();
        content.push(0);
        self.raw(b"././@LongLink", flag, b"", &content, |_| {})
    }

    /// A pax header, for the next entry (`x`) or for all (`g`).
    pub fn pax(self, flag: u8, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.raw(b"pax", flag, b"", &content, |_| {})
    }

    /// With the end marker.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    pub fn gz(&self) -> Vec<u8> {
        gz(&self.bytes())
    }
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive with a bit of everything that is taken.
pub fn sample() -> Tar {
    let long = format!("long/{}/{}.txt", "d".repeat(120), "f".repeat(120));
    Tar::new()
        .dir("./")
        .file("./manifest.json", b"{\"version\":1}")
        .dir("app/")
        .file("app/main.py", &b"import os\n".repeat(200))
        .mode("bin/run.sh", b"0000755")
        .symlink("app/latest.py", "main.py")
        .symlink("app/up", "../bin/run.sh")
        .hardlink("copy.py", "app/main.py")
        .gnu_long(b'L', long.as_bytes())
        .file("short", b"long")
        .pax(b'x', &[("path", "données/図.txt".as_bytes()), ("mtime", b"1700000000.5")])
        .file("ascii", b"pax")
}

pub fn hash_of(bytes: &[u8]) -> BundleHash {
    BundleHash(*blake3::hash(bytes).as_bytes())
}

/// What lies below `root`, links not followed: path to kind, permissions and content or target.
pub fn snapshot(root: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let data = fs::symlink_metadata(&path).unwrap();
            let mode = data.permissions().mode() & 0o7777;
            let (kind, content) = if data.is_symlink() {
                ("link".to_owned(), fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
            } else if data.is_dir() {
                left.push(path.clone());
                (format!("dir {mode:o}"), Vec::new())
            } else if data.is_file() {
                (format!("file {mode:o}"), fs::read(&path).unwrap())
            } else {
                ("special".to_owned(), Vec::new())
            };
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), (kind, content));
        }
    }
    found
}

/// Deterministic bytes that do not compress.
pub fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
    bytes
}

/// Runs one test of this same binary in a process of its own, with `LECTERN_TEST_CHILD` set to `argument`.
pub fn child(test: &str, argument: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env("LECTERN_TEST_CHILD", argument);
    command
}

/// The argument, in such a process.
pub fn child_argument() -> Option<std::path::PathBuf> {
    std::env::var_os("LECTERN_TEST_CHILD").map(Into::into)
}
