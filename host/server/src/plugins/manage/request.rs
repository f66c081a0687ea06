//! What operators ask for, as JSON: the bodies of `/__lectern__/v1` and of the admin socket.

use std::collections::BTreeSet;

use lectern_domain::ContentGuid;
use lectern_domain::plugin::{
    BindingName, Budget, Grant, Instances, Matcher, OnFailure, Phase, PluginName, ReleaseHash,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a change expects to find, so that of two operators one is told.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    /// The revision that the operator saw; none: whatever is there now.
    #[serde(default)]
    pub(crate) revision: Option<i64>,
}

/// Which release: a version with a configuration and grants. What is left out is as in the live release, or as the package says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReleaseRequest {
    /// An existing release; excludes the rest.
    pub(crate) release: Option<ReleaseHash>,
    /// The version; none: the newest installed when binding, the live one's otherwise.
    pub(crate) version: Option<String>,
    /// The whole configuration.
    pub(crate) config: Option<Map<String, Value>>,
    /// Single settings on top of it, or of the live configuration. Done here because operators do not see its secrets.
    pub(crate) set: Map<String, Value>,
    /// All grants.
    pub(crate) grants: Option<BTreeSet<Grant>>,
    /// How instances are used.
    pub(crate) instances: Option<Instances>,
}

/// `POST /bindings`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BindRequest {
    /// The plugin.
    pub(crate) plugin: PluginName,
    /// The binding's name; none: the plugin's.
    #[serde(default)]
    pub(crate) name: Option<BindingName>,
    /// Its release.
    #[serde(default)]
    pub(crate) release: ReleaseRequest,
    /// The rest.
    #[serde(default)]
    pub(crate) settings: SettingsRequest,
    /// Why.
    #[serde(default)]
    pub(crate) reason: String,
}

/// Settings of a binding; what is left out stays, or is as the package says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SettingsRequest {
    /// The phases it stands in.
    pub(crate) phases: Option<BTreeSet<Phase>>,
    /// Its place.
    pub(crate) position: Option<i32>,
    /// Which requests it concerns.
    pub(crate) matcher: Option<MatcherRequest>,
    /// What becomes of failures while routing.
    pub(crate) on_failure: Option<OnFailure>,
    /// How many failures it tolerates.
    pub(crate) budget: Option<Budget>,
    /// Whether it is asked.
    pub(crate) enabled: Option<bool>,
}

/// Which requests a binding concerns: a list replaces the list of its kind, and an empty one means all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MatcherRequest {
    /// Host names.
    pub(crate) hosts: Option<BTreeSet<String>>,
    /// Path prefixes.
    pub(crate) paths: Option<BTreeSet<String>>,
    /// Content items.
    pub(crate) content: Option<BTreeSet<ContentGuid>>,
}

impl MatcherRequest {
    /// The matcher that comes of `before`.
    pub(crate) fn over(self, before: Matcher) -> Matcher {
        Matcher {
            hosts: self.hosts.unwrap_or(before.hosts),
            paths: self.paths.unwrap_or(before.paths),
            content: self.content.unwrap_or(before.content),
        }
    }
}

/// `POST /bindings/{name}/swap`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SwapRequest {
    /// To which release; nothing at all: to the candidate.
    pub(crate) release: ReleaseRequest,
    /// What is expected.
    pub(crate) expect: Expect,
    /// Refuse unless the release has been the candidate in the shadow, and decided otherwise in at most this share of calls, in
    /// hundredths of a percent.
    pub(crate) require_shadow: Option<u16>,
    /// Why.
    pub(crate) reason: String,
}

/// `POST /bindings/{name}/shadow`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ShadowRequest {
    /// Which release.
    pub(crate) release: ReleaseRequest,
    /// What is expected.
    pub(crate) expect: Expect,
    /// Why.
    pub(crate) reason: String,
}

/// `POST /bindings/{name}/canary`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CanaryRequest {
    /// Which release.
    pub(crate) release: ReleaseRequest,
    /// Of all visitors, in hundredths of a percent.
    pub(crate) per_ten_thousand: u16,
    /// Users by name.
    pub(crate) users: BTreeSet<String>,
    /// What is expected.
    pub(crate) expect: Expect,
    /// Why.
    pub(crate) reason: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_list_of_a_matcher_is_changed_by_itself() {
        let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
        let before = Matcher { hosts: set(&["a.example"]), paths: set(&["/a"]), content: BTreeSet::new() };
        let after = |request: &str| serde_json::from_str::<MatcherRequest>(request).unwrap().over(before.clone());
        assert_eq!(after("{}"), before);
        assert_eq!(after(r#"{"hosts": []}"#), Matcher { hosts: BTreeSet::new(), ..before.clone() });
        assert_eq!(after(r#"{"paths": ["/b", "/c"]}"#), Matcher { paths: set(&["/b", "/c"]), ..before.clone() });
        assert!(serde_json::from_str::<MatcherRequest>(r#"{"host": []}"#).is_err());
    }
}
