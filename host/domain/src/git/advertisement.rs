//! The references of a repository, as its server lists them (gitprotocol-http(5), gitprotocol-pack(5)).

use super::commit::Commit;
use super::location::Branch;
use super::packet::{self, BadPacket, Packet};

/// Most references of one repository: hosts hide the thousands that they keep for reviews, and a list of so many has 10 MiB.
const MOST: usize = 200_000;

/// A reference and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The full name: `refs/heads/main`, or `HEAD`. A tag that is an object of its own comes a second time, with `^{}` after its
    /// name, and then stands for its commit.
    pub name: String,
    /// The object's name.
    pub commit: Commit,
}

/// What a server says of a repository before anything is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    references: Vec<Named>,
    capabilities: Vec<String>,
}

/// Why a list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAdvertisement {
    /// Not packets.
    #[error(transparent)]
    Packet(#[from] BadPacket),
    /// Packets, but not such a list.
    #[error("what it sends is not a list of references")]
    Form,
    /// The server says what is wrong.
    #[error("it says: {0}")]
    Said(String),
    /// Too many references.
    #[error("it has more than {MOST} references")]
    TooMany,
    /// Objects are named by another hash.
    #[error("its objects are named by {0}; this server reads repositories of sha1")]
    Hash(String),
}

/// Why a commit cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wanted {
    /// There is no such reference.
    #[error("it has no branch or tag {wanted}; it has {known}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// Some that there are.
        known: String,
    },
    /// There are no references at all.
    #[error("it is empty: nothing was pushed to it yet")]
    Empty,
    /// A single commit is not given.
    #[error("its server gives commits only where a branch or a tag points to; {0} is none of these")]
    NotGiven(Commit),
    /// Only whole histories are given.
    #[error("its server gives no commit without its whole history")]
    NoShallow,
}

impl Advertisement {
    /// Reads the whole list.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadAdvertisement> {
        let mut rest = bytes;
        let mut next = || -> Result<Option<Packet<'_>>, BadPacket> {
            if rest.is_empty() {
                return Ok(None);
            }
            let (packet, length) = packet::first(rest)?.ok_or(BadPacket::Short)?;
            rest = &rest[length..];
            Ok(Some(packet))
        };
        let mut this = Self { references: Vec::new(), capabilities: Vec::new() };
        match next()? {
            Some(Packet::Data(data)) if packet::text(data) == "# service=git-upload-pack" => {}
            Some(Packet::Data(data)) => {
                return Err(packet::refusal(data).map_or(BadAdvertisement::Form, BadAdvertisement::Said));
            }
            Some(Packet::Flush) | None => return Err(BadAdvertisement::Form),
        }
        if next()? != Some(Packet::Flush) {
            return Err(BadAdvertisement::Form);
        }
        let mut is_first = true;
        loop {
            let data = match next()? {
                Some(Packet::Data(data)) => data,
                Some(Packet::Flush) => return Ok(this),
                // It ended before its end.
                None => return Err(BadAdvertisement::Form),
            };
            if let Some(said) = packet::refusal(data) {
                return Err(BadAdvertisement::Said(said));
            }
            let mut parts = data.splitn(2, |byte| *byte == 0);
            let reference = packet::text(parts.next().unwrap_or_default());
            if let (true, Some(capabilities)) = (is_first, parts.next()) {
                this.capabilities = packet::text(capabilities).split_whitespace().map(str::to_owned).collect();
                this.check_hash()?;
            }
            is_first = false;
            if reference.starts_with("shallow ") {
                continue;
            }
            let (commit, name) = reference.split_once(' ').ok_or(BadAdvertisement::Form)?;
            let commit: Commit = commit.parse().map_err(|_| BadAdvertisement::Form)?;
            if this.references.len() == MOST {
                return Err(BadAdvertisement::TooMany);
            }
            // An empty repository has one line, for its capabilities; of older servers none at all.
            if !commit.is_zero() {
                this.references.push(Named { name: name.to_owned(), commit });
            }
        }
    }

    fn check_hash(&self) -> Result<(), BadAdvertisement> {
        let named = self.capabilities.iter().find_map(|one| one.strip_prefix("object-format="));
        match named {
            Some(other) if other != "sha1" => Err(BadAdvertisement::Hash(packet::said(other.as_bytes()))),
            _ => Ok(()),
        }
    }

    fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|one| one == capability)
    }

    fn find(&self, name: &str) -> Option<Commit> {
        self.references.iter().find(|one| one.name == name).map(|one| one.commit)
    }

    /// The branches, by their short names, in the server's order.
    pub fn branches(&self) -> impl Iterator<Item = (&str, Commit)> {
        self.references.iter().filter_map(|one| Some((one.name.strip_prefix("refs/heads/")?, one.commit)))
    }

    /// The commit that `wanted` stands for: a branch, a tag, a full name of a reference, or a commit by its digits.
    pub fn resolve(&self, wanted: &Branch) -> Result<Commit, Wanted> {
        let name = wanted.as_str();
        let candidates = [format!("refs/heads/{name}"), format!("refs/tags/{name}^{{}}"), format!("refs/tags/{name}")];
        let found = candidates.iter().find_map(|candidate| self.find(candidate));
        let full = || {
            let is_full = name == "HEAD" || name.starts_with("refs/");
            self.find(&format!("{name}^{{}}")).or_else(|| self.find(name)).filter(|_| is_full)
        };
        if let Some(commit) = found.or_else(full) {
            return Ok(commit);
        }
        if self.references.is_empty() {
            return Err(Wanted::Empty);
        }
        let Ok(commit) = name.parse::<Commit>() else {
            return Err(Wanted::Unknown { wanted: name.to_owned(), known: self.some_names() });
        };
        let given = self.references.iter().any(|one| one.commit == commit)
            || self.can("allow-reachable-sha1-in-want")
            || self.can("allow-any-sha1-in-want");
        if given { Ok(commit) } else { Err(Wanted::NotGiven(commit)) }
    }

    fn some_names(&self) -> String {
        // Enough to see a misspelling.
        const SHOWN: usize = 10;
        let more = self.branches().count().saturating_sub(SHOWN);
        let names = self.branches().take(SHOWN).map(|(name, _)| packet::said(name.as_bytes()));
        let names: Vec<String> = names.collect();
        match (names.is_empty(), more) {
            (true, _) => "no branch".to_owned(),
            (false, 0) => names.join(", "),
            (false, more) => format!("{} and {more} more", names.join(", ")),
        }
    }

    /// The body of a request for `commit` alone, in the form [`super::REQUEST_TYPE`].
    pub fn request(&self, commit: Commit) -> Result<Vec<u8>, Wanted> {
        if !self.can("shallow") {
            return Err(Wanted::NoShallow);
        }
        let used = ["side-band-64k", "ofs-delta", "no-progress"].into_iter().filter(|one| self.can(one));
        let used: Vec<&str> = used.collect();
        let mut body = Vec::new();
        packet::line(&format!("want {commit} {}\n", used.join(" ")), &mut body);
        packet::line("deepen 1\n", &mut body);
        packet::flush(&mut body);
        packet::line("done\n", &mut body);
        Ok(body)
    }

    /// Whether the answer to [`Advertisement::request`] comes in channels.
    pub fn has_channels(&self) -> bool {
        self.can("side-band-64k")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "cccccccccccccccccccccccccccccccccccccccc";

    fn list(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet::line("# service=git-upload-pack\n", &mut bytes);
        packet::flush(&mut bytes);
        for line in lines {
            packet::line(&format!("{line}\n"), &mut bytes);
        }
        packet::flush(&mut bytes);
        bytes
    }

    fn usual(capabilities: &str) -> Advertisement {
        let lines = [
            format!("{A} HEAD\0{capabilities}"),
            format!("{A} refs/heads/main"),
            format!("{B} refs/heads/feature/x"),
            format!("{C} refs/tags/v1"),
            format!("{B} refs/tags/v1^{{}}"),
            format!("{A} refs/tags/light"),
        ];
        Advertisement::parse(&list(&lines.each_ref().map(String::as_str))).unwrap()
    }

    fn resolve(this: &Advertisement, wanted: &str) -> Result<String, Wanted> {
        this.resolve(&wanted.parse().unwrap()).map(|commit| commit.to_string())
    }

    #[test]
    fn names_are_found() {
        let this = usual("shallow side-band-64k ofs-delta thin-pack agent=git/2.39");
        for (wanted, commit) in [
            ("main", A),
            ("feature/x", B),
            ("v1", B),
            ("light", A),
            ("HEAD", A),
            ("refs/heads/feature/x", B),
            ("refs/tags/v1", B),
            (B, B),
        ] {
            assert_eq!(resolve(&this, wanted), Ok(commit.to_owned()), "{wanted}");
        }
        let unknown = resolve(&this, "mian").unwrap_err().to_string();
        assert_eq!(unknown, "it has no branch or tag mian; it has main, feature/x");
        let digits = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(resolve(&this, digits), Err(Wanted::NotGiven(digits.parse().unwrap())));
        let open = usual("shallow allow-tip-sha1-in-want allow-reachable-sha1-in-want");
        assert_eq!(resolve(&open, digits), Ok(digits.to_owned()));
        assert_eq!(this.branches().map(|(name, _)| name).collect::<Vec<_>>(), ["main", "feature/x"]);
    }

    #[test]
    fn requests() {
        let this = usual("multi_ack shallow side-band-64k ofs-delta no-progress");
        let body = this.request(A.parse().unwrap()).unwrap();
        let expected = format!("0056want {A} side-band-64k ofs-delta no-progress\n000ddeepen 1\n00000009done\n");
        assert_eq!(String::from_utf8(body).unwrap(), expected);
        assert!(this.has_channels());
        assert_eq!(usual("side-band-64k").request(A.parse().unwrap()), Err(Wanted::NoShallow));
    }

    #[test]
    fn empty_and_wrong_lists() {
        let none = format!("{} capabilities^{{}}\0shallow", "0".repeat(40));
        let empty = Advertisement::parse(&list(&[&none])).unwrap();
        assert_eq!(resolve(&empty, "main"), Err(Wanted::Empty));
        assert_eq!(resolve(&Advertisement::parse(&list(&[])).unwrap(), "main"), Err(Wanted::Empty));
        let parse = |bytes: &[u8]| Advertisement::parse(bytes).unwrap_err();
        assert_eq!(parse(b""), BadAdvertisement::Form);
        let whole = list(&[&none]);
        assert_eq!(parse(&whole[..whole.len() - 4]), BadAdvertisement::Form);
        assert_eq!(parse(b"<html>"), BadAdvertisement::Packet(BadPacket::Length));
        assert_eq!(parse(b"0010# service="), BadAdvertisement::Packet(BadPacket::Short));
        assert_eq!(parse(b"0018ERR no such project\n"), BadAdvertisement::Said("no such project".into()));
        assert_eq!(parse(&list(&["ERR gone"])), BadAdvertisement::Said("gone".into()));
        assert_eq!(parse(&list(&["no-commit refs/heads/main"])), BadAdvertisement::Form);
        let sha256 = format!("{A} HEAD\0object-format=sha256");
        assert_eq!(parse(&list(&[&sha256])), BadAdvertisement::Hash("sha256".into()));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..400) {
            let _ = Advertisement::parse(&bytes);
            let mut good = list(&[&format!("{A} HEAD\0shallow"), &format!("{A} refs/heads/main")]);
            good.truncate(cut);
            let _ = Advertisement::parse(&good);
        }
    }
}
