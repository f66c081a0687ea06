//! Identifiers: each kind is a type of its own, so that one can never be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An identifier was not in its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {kind}")]
pub struct BadId {
    kind: &'static str,
    text: String,
}

/// A GUID newtype: the hyphenated lower-case form is the only one printed; parsing takes that form in either case.
macro_rules! guid {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = || BadId { kind: $kind, text: text.chars().take(80).collect() };
                // Uuid accepts braces, urn: and the unhyphenated form; clients only ever send this one.
                if text.len() != 36 {
                    return Err(bad());
                }
                Uuid::try_parse(text).map(Self).map_err(|_| bad())
            }
        }
    };
}

/// A number newtype: a positive 64-bit row number, printed in decimal; the protocol carries most of them as strings.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                match text.parse::<i64>() {
                    // `+7` and `007` parse as numbers but are not what was printed.
                    Ok(n) if n > 0 && n.to_string() == text => Ok(Self(n)),
                    _ => Err(BadId { kind: $kind, text: text.chars().take(80).collect() }),
                }
            }
        }
    };
}

guid!(
    /// Names a content item to everyone outside.
    ContentGuid, "content GUID"
);
guid!(
    /// Names a user to everyone outside.
    UserGuid, "user GUID"
);
guid!(
    /// Names an execution environment.
    EnvironmentGuid, "environment GUID"
);
guid!(
    /// Names a permission to use an execution environment.
    EnvironmentPermissionGuid, "environment permission GUID"
);
guid!(
    /// Names an integration.
    IntegrationGuid, "integration GUID"
);
guid!(
    /// Names an entry in the list of who may use an integration.
    IntegrationPermissionGuid, "integration permission GUID"
);
guid!(
    /// Names what a user got by signing in to an integration.
    OAuthSessionGuid, "OAuth session GUID"
);
number!(
    /// The row number of an integration.
    IntegrationId, "integration id"
);
number!(
    /// The row number of a content item; the legacy protocol's application id.
    ContentId, "content id"
);
number!(
    /// The row number of a user; the legacy protocol's account id.
    UserId, "user id"
);
number!(
    /// The number of a bundle, unique over the whole server.
    BundleId, "bundle id"
);
guid!(
    /// Names a group of users to everyone outside.
    GroupGuid, "group GUID"
);
number!(
    /// The row number of a group.
    GroupId, "group id"
);
number!(
    /// The number of a tag.
    TagId, "tag id"
);
number!(
    /// The row number of a permission entry of a content item.
    PermissionId, "permission id"
);
number!(
    /// The row number of a request for access to a content item.
    PermissionRequestId, "permission request id"
);
number!(
    /// The row number of what a user allowed a program.
    OAuthGrantId, "grant id"
);
number!(
    /// The row number of an API key.
    KeyId, "key id"
);

number!(
    /// The number of a variant: one way in which a content item is rendered.
    VariantId, "variant id"
);
number!(
    /// The number of a variant's schedule.
    ScheduleId, "schedule id"
);

/// An opaque token of 16 to 64 letters and digits.
macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Makes one from 16 random bytes, as 32 hexadecimal digits.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes).simple().to_string())
            }

            /// The text as printed.
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
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let fits = (16..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
                if fits { Ok(Self(text.to_owned())) } else {
                    Err(BadId { kind: $kind, text: text.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
    };
}

token!(
    /// Names a task that a client polls.
    TaskId, "task id"
);
token!(
    /// Names one run of a native process. Safe as a file name.
    JobKey, "job key"
);

/// Names a bundle: the 32-byte BLAKE3 hash of the bytes as uploaded. Printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundleHash(pub [u8; 32]);

impl fmt::Display for BundleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for BundleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleHash({self})")
    }
}

impl FromStr for BundleHash {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId { kind: "bundle hash", text: text.chars().take(80).collect() };
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad());
        }
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| bad())
    }
}

impl TryFrom<String> for BundleHash {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<BundleHash> for String {
    fn from(hash: BundleHash) -> String {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_parse_only_as_printed() {
        let good = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";
        assert_eq!(good.parse::<ContentGuid>().map(|g| g.to_string()).as_deref(), Ok(good));
        assert_eq!(good.to_uppercase().parse::<ContentGuid>().map(|g| g.to_string()).as_deref(), Ok(good));
        for bad in ["", "x", "0f4b8f5e3a6c4a8e9c2b1d2e3f405162", "{0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162}", "../../etc"]
        {
            assert!(bad.parse::<ContentGuid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_parse_only_as_printed() {
        assert_eq!("33".parse::<BundleId>(), Ok(BundleId(33)));
        for bad in ["", "0", "-1", "+7", "007", "1.0", " 1", "99999999999999999999"] {
            assert!(bad.parse::<BundleId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_safe_file_names() {
        let key = JobKey::from_random([7; 16]);
        assert_eq!(key.as_str().len(), 32);
        assert_eq!(key.as_str().parse::<JobKey>(), Ok(key));
        for bad in ["", "short", "../../../../etc/passwd", "aaaaaaaaaaaaaaaa/", &"a".repeat(65)] {
            assert!(bad.parse::<JobKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bundle_hash_prints_and_parses() {
        let hash = BundleHash(*blake3::hash(b"lectern").as_bytes());
        assert_eq!(hash.to_string().parse::<BundleHash>(), Ok(hash));
        assert!(hash.to_string().to_uppercase().parse::<BundleHash>().is_err());
        assert!("ab".parse::<BundleHash>().is_err());
    }
}
