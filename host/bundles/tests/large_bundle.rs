//! Memory does not grow with the bundle. Alone in its binary: the peak is one number for the whole process.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::io;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use lectern_bundles::{Cache, Limits, Store, read_manifest, unpack};

const MIB: u64 = 1 << 20;
const BUNDLE_BYTES: u64 = 2048 * MIB;

/// The peak of resident memory so far, in bytes (`VmHWM`).
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

fn step<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let (before, began) = (peak(), Instant::now());
    let result = work();
    let more = peak() - before;
    eprintln!("{name}: {:.1?}, {} KiB more at the peak", began.elapsed(), more / 1024);
    assert!(more < 64 * MIB, "{name} took {more} bytes more");
    result
}

#[test]
fn two_gibibytes_in_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("share")).unwrap();
    let cache = Cache::open(&directory.path().join("cache"), 0).unwrap();
    let hash = step("upload 2 GiB", || {
        let mut block = common::noise(MIB as usize, 1);
        let mut upload = store.begin(BUNDLE_BYTES).unwrap();
        for number in 0..BUNDLE_BYTES / MIB {
            block[..8].copy_from_slice(&number.to_le_bytes());
            upload.write(&block).unwrap();
        }
        upload.commit().unwrap().hash
    });
    let size_bytes = step("read and check 2 GiB", || store.verify(&hash).unwrap());
    assert_eq!(size_bytes, BUNDLE_BYTES);
    step("remove it", || store.remove(&hash).unwrap());

    // Less, since the local copy costs as much time again and what reads the share is the same.
    let length = 256 * MIB;
    let mut upload = store.begin(length).unwrap();
    (0..length / MIB).for_each(|number| upload.write(&[number as u8; MIB as usize]).unwrap());
    let hash = upload.commit().unwrap().hash;
    let size_bytes = step("fetch 256 MiB", || cache.fetch(&store, &hash).unwrap().size_bytes());
    assert_eq!(size_bytes, length);

    let archive = directory.path().join("archive");
    step("write an archive of 256 MiB in 3,001 files", || {
        let mut tar = tar::Builder::new(GzEncoder::new(fs::File::create(&archive).unwrap(), Compression::fast()));
        let mut add = |name: &str, size: u64| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(size);
            // Compresses about a hundred times.
            let text = b"0123456789abcdef".repeat(64);
            let content = Endless { text, at: 0 };
            tar.append_data(&mut header, name, io::Read::take(content, size)).unwrap();
        };
        add("large", 256 * MIB);
        (0..3000).for_each(|i| add(&format!("small/{i}"), 100));
        tar.into_inner().unwrap().finish().unwrap();
    });
    let open = || fs::File::open(&archive).unwrap();
    let limits = Limits { max_ratio: 1000, ..Limits::default() };
    let done = step("unpack it", || unpack(open(), &directory.path().join("tree"), &limits).unwrap());
    assert_eq!((done.files, done.bytes), (3001, 256 * MIB + 300_000));
    let error = step("look for a manifest in it", || read_manifest(open()).unwrap_err());
    assert!(error.is_bad_archive());
}

struct Endless {
    text: Vec<u8>,
    at: usize,
}

impl io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.text[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at = (self.at + count) % self.text.len();
        Ok(count)
    }
}
