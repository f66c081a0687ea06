//! Finds PostgreSQL's server programs.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest major version that is used: the one Ubuntu 22.04 packages. The queries need nothing newer.
pub const OLDEST_MAJOR: u32 = 14;

/// PostgreSQL's server programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The directory they are in.
    pub dir: PathBuf,
    /// Their major version.
    pub major: u32,
    /// Their version as printed, `15.8`.
    pub version: String,
}

/// No usable programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BinariesError {
    /// None at all.
    #[error(
        "no directory with `initdb` and `postgres` found (looked in {}): install them (Debian, Ubuntu: `apt-get install \
         postgresql`; Fedora, RHEL: `dnf install postgresql-server`), name their directory, or use a database elsewhere \
         with database.url",
        list(looked)
    )]
    Missing {
        /// Where they were looked for.
        looked: Vec<PathBuf>,
    },
    /// Only old ones.
    #[error("PostgreSQL {OLDEST_MAJOR} or newer is needed; found {}: install a newer one", versions(found))]
    TooOld {
        /// What was found.
        found: Vec<Binaries>,
    },
    /// The data was made by another major version.
    #[error(
        "the private database was made by PostgreSQL {wanted}, whose programs are not here (found {}): install \
         PostgreSQL {wanted}, or move the data with pg_upgrade",
        versions(found)
    )]
    OtherMajor {
        /// The version that is needed.
        wanted: u32,
        /// What was found.
        found: Vec<Binaries>,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn versions(found: &[Binaries]) -> String {
    let one = |binaries: &Binaries| format!("{} in {}", binaries.version, binaries.dir.display());
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Finds the programs in `configured`, or else where `pg_config --bindir` says, in the packages' usual places, and in `PATH`.
///
/// `major` is the version of existing data, which only its own programs can open; without it the newest are taken.
pub fn find_binaries(configured: Option<&Path>, major: Option<u32>) -> Result<Binaries, BinariesError> {
    let looked = configured.map_or_else(usual_places, |dir| vec![dir.to_owned()]);
    let found: Vec<Binaries> = looked.iter().filter_map(|dir| inspect(dir)).collect();
    choose(looked, found, major)
}

fn choose(looked: Vec<PathBuf>, found: Vec<Binaries>, major: Option<u32>) -> Result<Binaries, BinariesError> {
    if found.is_empty() {
        return Err(BinariesError::Missing { looked });
    }
    if let Some(wanted) = major {
        let same = found.iter().find(|binaries| binaries.major == wanted).cloned();
        return same.ok_or(BinariesError::OtherMajor { wanted, found });
    }
    // The first of the newest: places are in the order of preference, and the last of equals would win.
    let newest = found.iter().rev().max_by_key(|binaries| binaries.major);
    let newest = newest.filter(|newest| newest.major >= OLDEST_MAJOR);
    newest.cloned().ok_or(BinariesError::TooOld { found })
}

fn usual_places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    // Only a hint: Debian's pg_config comes with the client library and names a directory that may hold no server.
    places.extend(printed_by(Path::new("pg_config"), "--bindir").map(PathBuf::from));
    let numbered = |parent: &str, prefix: &str, tail: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let versions: BTreeSet<PathBuf> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join(tail))
            .collect();
        versions.into_iter().collect()
    };
    places.extend(numbered("/usr/lib/postgresql", "", "bin"));
    places.extend(numbered("/usr", "pgsql-", "bin"));
    places.push(PathBuf::from("/usr/local/pgsql/bin"));
    places.extend(env::var_os("PATH").iter().flat_map(env::split_paths).filter(|dir| dir.is_absolute()));
    let mut seen = BTreeSet::new();
    places.retain(|place| seen.insert(place.clone()));
    places
}

/// The programs in `dir`, when all that are needed are there and run. Links to them are followed: PostgreSQL finds its
/// other files beside the real ones.
fn inspect(dir: &Path) -> Option<Binaries> {
    if !dir.join("initdb").is_file() {
        return None;
    }
    let server = dir.join("postgres").canonicalize().ok()?;
    let dir = server.parent().filter(|dir| dir.join("initdb").is_file())?.to_owned();
    let (major, version) = parse_version(&printed_by(&server, "--version")?)?;
    Some(Binaries { dir, major, version })
}

/// `postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)` → 15, `15.8`.
fn parse_version(printed: &str) -> Option<(u32, String)> {
    let version = printed.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version.to_owned()))
}

fn printed_by(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn some(major: u32) -> Binaries {
        Binaries { dir: format!("/pg/{major}").into(), major, version: format!("{major}.1") }
    }

    #[test]
    fn versions_are_read() {
        let cases = [
            ("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)", Some((15, "15.8"))),
            ("postgres (PostgreSQL) 18beta1", Some((18, "18beta1"))),
            ("postgres (PostgreSQL) devel", None),
            ("something else", None),
        ];
        for (printed, expected) in cases {
            assert_eq!(parse_version(printed), expected.map(|(major, text)| (major, text.to_owned())), "{printed}");
        }
    }

    #[test]
    fn the_newest_is_chosen_unless_data_says_otherwise() {
        let chosen = |found: &[u32], major| {
            choose(vec!["/pg".into()], found.iter().copied().map(some).collect(), major).map(|binaries| binaries.major)
        };
        assert_eq!(chosen(&[15, 17, 16], None), Ok(17));
        assert_eq!(chosen(&[13, 15], None), Ok(15));
        assert_eq!(chosen(&[15, 17], Some(15)), Ok(15));
        assert_eq!(chosen(&[13], None), Err(BinariesError::TooOld { found: vec![some(13)] }));
        assert_eq!(chosen(&[17], Some(15)), Err(BinariesError::OtherMajor { wanted: 15, found: vec![some(17)] }));
        let missing = chosen(&[], None).unwrap_err();
        assert!(missing.to_string().contains("apt-get install postgresql"), "{missing}");
    }

    #[test]
    fn a_directory_without_the_server_does_not_count() {
        let empty = tempfile::tempdir().unwrap();
        let error = find_binaries(Some(empty.path()), None).unwrap_err();
        assert_eq!(error, BinariesError::Missing { looked: vec![empty.path().to_owned()] });
    }
}
