//! What is in a package's archive, looked at before anything is unpacked.
//!
//! The archive is unpacked behind walls, by R's own means. What is checked here is said to the publisher in clear words, and
//! never gets that far: names that lead out, devices, sizes, an archive of another package, one that was cut short.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use lectern_domain::r_packages::{Need, needs, same_version};
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Most bytes of an archive that are fetched. The largest on CRAN are below 150 MiB; binaries of some have 300.
pub(super) const MOST_BYTES: u64 = 1 << 30;
/// Most bytes that an archive may unpack to.
const MOST_UNPACKED: u64 = 4 << 30;
/// Most members; `BH` has 12,000.
const MOST_MEMBERS: u64 = 200_000;
/// Longest DESCRIPTION; the longest on CRAN have some 20 KiB.
const LONGEST_DESCRIPTION: u64 = 1 << 20;

/// An archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a gzipped tar archive, or not a whole one.
    #[error("it is damaged or was cut short: {0}")]
    Damaged(io::Error),
    /// Another file than the index speaks of.
    #[error("its {kind} is {found}, and the repository's index says {expected}")]
    WrongHash {
        /// `MD5` or `SHA-256`.
        kind: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A member that no package has.
    #[error("it has a member {0:?} that {1}")]
    BadMember(String, &'static str),
    /// More than is unpacked.
    #[error("it unpacks to more than {MOST_UNPACKED} bytes or {MOST_MEMBERS} files")]
    TooLarge,
    /// No DESCRIPTION where it must be.
    #[error("it has no file {0}")]
    NoDescription(String),
    /// Another package.
    #[error("it holds {found}, not {wanted}")]
    Other {
        /// What its DESCRIPTION says.
        found: String,
        /// What was wanted.
        wanted: String,
    },
}

/// The hashes of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hashes {
    pub(super) blake3: String,
    pub(super) md5: String,
    pub(super) sha256: String,
}

/// What an archive's DESCRIPTION says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) version: String,
    /// `Depends`, `Imports` and `LinkingTo`, as they are written.
    pub(super) needs: String,
    /// For a binary: the R and the platform it was built for.
    pub(super) built: Option<Built>,
    /// `SystemRequirements`.
    pub(super) system: Option<String>,
    /// The directory that holds everything.
    pub(super) top: String,
}

/// `Built: R 4.2.2; x86_64-pc-linux-gnu; 2023-01-01 00:00:00 UTC; unix`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Built {
    pub(super) r: String,
    /// Empty for a package without compiled code.
    pub(super) platform: String,
}

impl Description {
    /// What the package needs, R included.
    pub(super) fn needs(&self) -> Vec<Need> {
        needs(&self.needs)
    }
}

impl Built {
    /// Whether R `version` on `platform` can load it: packages are made for one minor version of R.
    pub(super) fn fits(&self, version: &str, platform: &str) -> bool {
        let minor = |text: &str| text.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
        minor(&self.r) == minor(version) && (self.platform.is_empty() || self.platform == platform)
    }
}

/// Hashes a file. Blocks.
pub(super) fn hashes(path: &Path) -> io::Result<Hashes> {
    let (mut blake3, mut md5, mut sha256) = (blake3::Hasher::new(), Md5::default(), Sha256::default());
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        let bytes = &buffer[..length];
        blake3.update(bytes);
        md5::Digest::update(&mut md5, bytes);
        sha256.update(bytes);
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(Hashes {
        blake3: blake3.finalize().to_hex().to_string(),
        md5: hex(&md5::Digest::finalize(md5)),
        sha256: hex(&sha256.finalize()),
    })
}

/// Compares with what the index says, as far as it says something.
pub(super) fn check_hashes(found: &Hashes, md5: Option<&str>, sha256: Option<&str>) -> Result<(), ArchiveError> {
    for (kind, found, expected) in [("SHA-256", &found.sha256, sha256), ("MD5", &found.md5, md5)] {
        if let Some(expected) = expected.filter(|expected| expected != found) {
            return Err(ArchiveError::WrongHash { kind, found: found.clone(), expected: expected.to_owned() });
        }
    }
    Ok(())
}

/// Reads a whole archive and says what it holds; the package is at its top, or in `subdir` below that. Blocks.
pub(super) fn inspect(path: &Path, subdir: Option<&str>) -> Result<Description, ArchiveError> {
    let file = File::open(path).map_err(ArchiveError::Damaged)?;
    let decoder = MultiGzDecoder::new(BufReader::new(file)).take(MOST_UNPACKED + 1);
    let mut archive = tar::Archive::new(decoder);
    let (mut top, mut text, mut members) = (None::<String>, None::<Vec<u8>>, 0);
    let mut description = PathBuf::new();
    for entry in archive.entries().map_err(ArchiveError::Damaged)? {
        let mut entry = entry.map_err(ArchiveError::Damaged)?;
        members += 1;
        if members > MOST_MEMBERS {
            return Err(ArchiveError::TooLarge);
        }
        let name = entry.path().map_err(ArchiveError::Damaged)?.into_owned();
        let kind = entry.header().entry_type();
        if matches!(kind, tar::EntryType::XGlobalHeader) {
            continue;
        }
        let bad = |reason| ArchiveError::BadMember(name.to_string_lossy().chars().take(200).collect(), reason);
        let parts = parts(&name).ok_or_else(|| bad("leads out of its directory"))?;
        match kind {
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::Directory => {}
            tar::EntryType::Symlink | tar::EntryType::Link => {
                let target = entry.link_name().map_err(ArchiveError::Damaged)?.unwrap_or_default();
                let from =
                    if kind == tar::EntryType::Link { Path::new("") } else { name.parent().unwrap_or(Path::new("")) };
                if !stays_inside(from, &target) {
                    return Err(bad("links to a place outside its directory"));
                }
            }
            _ => return Err(bad("is neither a file nor a directory nor a link")),
        }
        let Some(first) = parts.first() else { continue };
        match &top {
            None => {
                description = Path::new(first).join(subdir.unwrap_or("")).join("DESCRIPTION");
                top = Some(first.clone());
            }
            Some(top) if top != first => return Err(bad("is not in the directory of the others")),
            Some(_) => {}
        }
        if text.is_none() && parts.iter().collect::<PathBuf>() == description {
            let mut bytes = Vec::new();
            entry.by_ref().take(LONGEST_DESCRIPTION).read_to_end(&mut bytes).map_err(ArchiveError::Damaged)?;
            text = Some(bytes);
        }
    }
    // To the end, where the checksum is.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(ArchiveError::Damaged)?;
    if rest.limit() == 0 {
        return Err(ArchiveError::TooLarge);
    }
    let top = top.ok_or_else(|| ArchiveError::Damaged(io::Error::other("it is empty")))?;
    let text = text.ok_or_else(|| ArchiveError::NoDescription(description.display().to_string()))?;
    Ok(describe(&String::from_utf8_lossy(&text), top))
}

/// Whether an archive holds what was wanted.
pub(super) fn check_identity(found: &Description, name: &str, version: Option<&str>) -> Result<(), ArchiveError> {
    if found.name == name && version.is_none_or(|version| same_version(&found.version, version)) {
        return Ok(());
    }
    let wanted = version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"));
    Err(ArchiveError::Other { found: format!("{} {}", found.name, found.version).chars().take(200).collect(), wanted })
}

/// The parts of a member's name, or `None` when it leads out.
fn parts(name: &Path) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts)
}

/// Whether a link in `from` to `target` ends below the archive's root.
fn stays_inside(from: &Path, target: &Path) -> bool {
    let mut depth = 0i64;
    for component in from.components().chain(target.components()) {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            _ => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    true
}

/// Reads the fields of a DESCRIPTION (Debian control format: a line that begins with a blank continues the one before).
fn describe(text: &str, top: String) -> Description {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key, value.trim().to_owned()));
        }
    }
    let field = |key: &str| fields.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
    let all = ["Depends", "Imports", "LinkingTo"].iter().filter_map(|key| field(key));
    let built = field("Built").map(|text| {
        let mut parts = text.split(';').map(str::trim);
        let r = parts.next().unwrap_or_default().trim_start_matches("R ").trim().to_owned();
        Built { r, platform: parts.next().unwrap_or_default().to_owned() }
    });
    Description {
        name: field("Package").unwrap_or_default(),
        version: field("Version").unwrap_or_default(),
        needs: all.collect::<Vec<_>>().join(", "),
        built,
        system: field("SystemRequirements").filter(|text| !text.is_empty()),
        top,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use tar::EntryType;

    type Member<'a> = (&'a str, EntryType, &'a str, &'a str);

    fn pack(members: &[Member<'_>]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for (name, kind, link, text) in members {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            out.write_all(header.as_bytes()).unwrap();
            out.write_all(text.as_bytes()).unwrap();
            out.write_all(&vec![0; text.len().next_multiple_of(512) - text.len()]).unwrap();
        }
        out.write_all(&[0; 1024]).unwrap();
        out.finish().unwrap()
    }

    fn look(bytes: &[u8]) -> Result<Description, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar.gz");
        std::fs::write(&path, bytes).unwrap();
        inspect(&path, None).map_err(|error| error.to_string())
    }

    const DESCRIPTION: Member<'_> = (
        "glue/DESCRIPTION",
        EntryType::Regular,
        "",
        "Package: glue\nVersion: 1.6-2\nDepends: R (>= 3.4)\nImports: methods,\n    rlang\nLinkingTo: cpp11\nBuilt: R 4.2.2; ; 2023; unix\n",
    );

    #[test]
    fn a_good_one() {
        let found = look(&pack(&[DESCRIPTION, ("glue/R/a.R", EntryType::Regular, "", "1")])).unwrap();
        let needed: Vec<String> = found.needs().into_iter().map(|need| need.name).collect();
        assert_eq!(needed, ["R", "methods", "rlang", "cpp11"]);
        let built = found.built.clone().unwrap();
        assert!(built.fits("4.2.9", "any") && !built.fits("4.3.0", "any"));
        let compiled = Built { platform: "x86_64-pc-linux-gnu".into(), ..built };
        assert!(compiled.fits("4.2.0", "x86_64-pc-linux-gnu") && !compiled.fits("4.2.0", "aarch64-unknown-linux-gnu"));
        assert!(check_identity(&found, "glue", Some("1.6.2")).is_ok());
        let error = check_identity(&found, "rlang", Some("1.0")).unwrap_err().to_string();
        assert_eq!(error, "it holds glue 1.6-2, not rlang 1.0");
    }

    #[test]
    fn bad_ones() {
        let file = |name| (name, EntryType::Regular, "", "x");
        for (members, expected) in [
            (vec![DESCRIPTION, file("glue/../../etc/cron.d/x")], "leads out"),
            (vec![DESCRIPTION, file("/etc/cron.d/x")], "leads out"),
            (vec![DESCRIPTION, file("other/x")], "not in the directory of the others"),
            (vec![DESCRIPTION, ("glue/l", EntryType::Symlink, "../../../etc", "")], "links to a place outside"),
            (vec![DESCRIPTION, ("glue/l", EntryType::Symlink, "/etc", "")], "links to a place outside"),
            (vec![DESCRIPTION, ("glue/d", EntryType::Block, "", "")], "neither a file"),
            (vec![file("glue/NAMESPACE")], "no file glue/DESCRIPTION"),
            (vec![], "it is empty"),
        ] {
            let error = look(&pack(&members)).unwrap_err();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
        let whole = pack(&[DESCRIPTION, file("glue/R/a.R")]);
        for length in [0, 10, whole.len() / 2, whole.len() - 4] {
            assert!(look(&whole[..length]).unwrap_err().contains("cut short"), "{length}");
        }
        let inside = pack(&[DESCRIPTION, ("glue/inst/l", EntryType::Symlink, "../R", "")]);
        assert!(look(&inside).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..2000), zipped in any::<bool>()) {
            if zipped {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(&bytes).unwrap();
                bytes = out.finish().unwrap();
            }
            let _ = look(&bytes);
            let _ = describe(&String::from_utf8_lossy(&bytes), String::new());
        }
    }

    #[test]
    fn hashes_are_compared() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let found = hashes(&path).unwrap();
        assert_eq!(found.md5, "900150983cd24fb0d6963f7d28e17f72");
        assert!(check_hashes(&found, Some("900150983cd24fb0d6963f7d28e17f72"), None).is_ok());
        let error = check_hashes(&found, None, Some("00")).unwrap_err().to_string();
        assert!(error.starts_with("its SHA-256 is ba7816bf"), "{error}");
    }
}
