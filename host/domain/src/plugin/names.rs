//! Names of plugins, bindings, packages and releases.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that cannot be a plugin's or a binding's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} must be 1 to 64 lower-case letters, digits and `-`, beginning with a letter")]
pub struct BadPluginName(String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadPluginName;
            fn from_str(text: &str) -> Result<Self, BadPluginName> {
                let fits = (1..=64).contains(&text.len())
                    && text.starts_with(|c: char| c.is_ascii_lowercase())
                    && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
                if fits { Ok(Self(text.to_owned())) } else { Err(BadPluginName(text.chars().take(80).collect())) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadPluginName;
            fn try_from(text: String) -> Result<Self, BadPluginName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// Names a plugin: 1 to 64 lower-case letters, digits and `-`, beginning with a letter. Its pages stand below
    /// `/__plugin__/<name>/`.
    PluginName
);
name!(
    /// Names a binding, in the form of a plugin's name. A plugin's first binding has the plugin's own name.
    BindingName
);

/// A digest was not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: 64 hexadecimal digits")]
pub struct BadDigest(String);

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first 12 hexadecimal digits: enough to tell the few that a server knows apart.
            pub fn short(&self) -> String {
                self.to_string()[..12].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = BadDigest;
            fn from_str(text: &str) -> Result<Self, BadDigest> {
                blake3::Hash::from_hex(text)
                    .map(|hash| Self(*hash.as_bytes()))
                    .map_err(|_| BadDigest(text.chars().take(80).collect()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest!(
    /// Names a package: the BLAKE3 hash of its file.
    PackageDigest
);
digest!(
    /// Names a release: the BLAKE3 hash of everything that changes what it does (component, configuration, grants, limits).
    ReleaseHash
);
digest!(
    /// Names an entry of the history with all that came before it.
    HistoryHash
);

impl PackageDigest {
    /// The name of these bytes.
    pub fn of(package: &[u8]) -> Self {
        Self(*blake3::hash(package).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_parts_of_addresses() {
        for good in ["a", "api-key", "x1", &"a".repeat(64)] {
            assert_eq!(good.parse::<PluginName>().unwrap().as_str(), good);
        }
        for bad in ["", "1a", "-a", "A", "a_b", "a/b", "ä", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_round_trip() {
        let digest = PackageDigest::of(b"package");
        assert_eq!(digest.to_string().parse::<PackageDigest>().unwrap(), digest);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<PackageDigest>(&json).unwrap(), digest);
        assert_eq!(digest.short().len(), 12);
        assert!("12".parse::<PackageDigest>().is_err());
    }
}
