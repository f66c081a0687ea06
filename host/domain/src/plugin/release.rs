//! A release: a package with everything that changes what it does, under the one name that follows from it.

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::fields::FieldHasher;
use super::{Grants, Instances, PackageDigest, ReleaseHash};

/// What a release is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSpec {
    /// The package: component, manifest and so the contract it was built for.
    pub package: PackageDigest,
    /// The configuration; never a secret.
    pub config: Document,
    /// What it may reach.
    pub grants: Grants,
    /// Limits that differ from the host's, by name.
    pub limits: Document,
    /// How its instances are used.
    pub instances: Instances,
}

impl ReleaseSpec {
    /// The release's name: any other content gives another.
    pub fn hash(&self) -> ReleaseHash {
        let mut grants: Vec<String> = self.grants.iter().map(ToString::to_string).collect();
        // By their text: a kind that is added later must not change the order, and with it old names.
        grants.sort_unstable();
        let mut hasher = FieldHasher::new("lectern plugin release v1");
        hasher.bytes(&self.package.0).bytes(self.config.as_str().as_bytes());
        // Lossless: a set in memory.
        hasher.number(grants.len() as i128);
        for grant in &grants {
            hasher.bytes(grant.as_bytes());
        }
        hasher.bytes(self.limits.as_str().as_bytes()).bytes(self.instances.as_str().as_bytes());
        ReleaseHash(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_part_changes_the_name() {
        let base = ReleaseSpec {
            package: PackageDigest([1; 32]),
            config: r#"{"a":1}"#.parse().unwrap(),
            grants: Grants::new(["clock".parse().unwrap()]),
            limits: Document::default(),
            instances: Instances::Fresh,
        };
        let others = [
            ReleaseSpec { package: PackageDigest([2; 32]), ..base.clone() },
            ReleaseSpec { config: r#"{"a":2}"#.parse().unwrap(), ..base.clone() },
            ReleaseSpec { grants: Grants::default(), ..base.clone() },
            ReleaseSpec { grants: Grants::new(["random".parse().unwrap()]), ..base.clone() },
            ReleaseSpec { limits: r#"{"a":1}"#.parse().unwrap(), config: Document::default(), ..base.clone() },
            ReleaseSpec { instances: Instances::Warm, ..base.clone() },
        ];
        for (at, one) in others.iter().enumerate() {
            assert_ne!(one.hash(), base.hash(), "{one:?}");
            assert!(others[at + 1..].iter().all(|other| other.hash() != one.hash()), "{one:?}");
        }
        let same = ReleaseSpec { config: r#"{ "a": 1 }"#.parse().unwrap(), ..base.clone() };
        assert_eq!(same.hash(), base.hash());
        // Names live longer than programs: this one was computed by the first version.
        assert_eq!(base.hash().short(), "a0303e0d46da", "{}", base.hash());
        let json = serde_json::to_string(&base).unwrap();
        assert_eq!(serde_json::from_str::<ReleaseSpec>(&json).unwrap(), base);
    }
}
