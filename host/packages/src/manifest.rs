//! `plugin.toml`: what a plugin is, which hooks it has, what it asks for, and where it stands unless the operator says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use lectern_domain::plugin::{Grant, Grants, Hook, Instances, OnFailure, Origin, Phase, PluginName};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::fields::{self, Fields};
use crate::mistake::Mistakes;

/// The longest manifest, in bytes: far more than anybody writes by hand.
pub const MANIFEST_BYTES: usize = 64 * 1024;
/// The longest description and the longest reason for a grant, in characters: they stand in lists.
const MAX_SENTENCE: usize = 200;
/// The longest version, in characters: it is part of a file name.
const MAX_VERSION: usize = 64;
/// The most grants: an operator has to read them all.
const MAX_GRANTS: usize = 64;
/// The default place in a phase, and the last one.
const ORDERS: (i32, i32) = (100, 9_999);

/// A version of the contract `lectern:plugin`, without its patch: patches add, and take nothing away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Contract {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
}

/// A text that is no version of the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} must be two numbers with a dot between them, as \"0.1\"")]
pub struct BadContract(String);

impl FromStr for Contract {
    type Err = BadContract;
    fn from_str(text: &str) -> Result<Self, BadContract> {
        let number = |text: &str| {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            text.parse().ok().filter(|_| plain)
        };
        let read = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self { major: number(major)?, minor: number(minor)? })
        };
        read().ok_or_else(|| BadContract(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl TryFrom<String> for Contract {
    type Error = BadContract;
    fn try_from(text: String) -> Result<Self, BadContract> {
        text.parse()
    }
}

impl From<Contract> for String {
    fn from(contract: Contract) -> Self {
        contract.to_string()
    }
}

/// How a plugin is bound and run unless the operator says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// What becomes of a request when it fails. Always `Fail` for a plugin that does not route.
    pub on_failure: OnFailure,
    /// How its instances are used.
    pub instances: Instances,
    /// Its place among the plugins of a phase, lowest first: 0 to 9,999.
    pub order: i32,
    /// The phases it stands in. Empty only for a plugin that has nothing but pages.
    pub phases: BTreeSet<Phase>,
}

/// What a plugin's author says about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Its name.
    pub name: PluginName,
    /// Its version.
    pub version: Version,
    /// What it does, in one line.
    pub description: String,
    /// The contract that it was built for.
    pub contract: Contract,
    /// What it can be asked; never empty.
    pub hooks: BTreeSet<Hook>,
    /// An SPDX expression.
    pub license: Option<String>,
    /// A web address.
    pub homepage: Option<String>,
    /// How it is bound and run.
    pub defaults: Defaults,
    /// What it asks for, each with the reason that the operator is shown.
    pub grants: BTreeMap<Grant, String>,
    /// Configuration values that are in force where the operator sets none.
    pub config: Map<String, Json>,
}

/// A manifest that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than any manifest.
    #[error("has {size_bytes} bytes, more than {MANIFEST_BYTES}")]
    TooLarge {
        /// Its length in bytes.
        size_bytes: usize,
    },
    /// It is not TOML; the parser says where.
    #[error("is not TOML: {0}")]
    NotToml(String),
    /// It says something that cannot be.
    #[error("{0}")]
    Mistakes(Mistakes),
}

impl Manifest {
    /// Reads the text of a `plugin.toml`.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { size_bytes: text.len() });
        }
        let table = text.parse().map_err(|error: toml::de::Error| ManifestError::NotToml(one_line(text, &error)))?;
        let mut mistakes = Mistakes::default();
        let manifest = read(Fields::new(table, "", &mut mistakes));
        match manifest {
            Some(manifest) if mistakes.is_empty() => Ok(manifest),
            _ => Err(ManifestError::Mistakes(mistakes)),
        }
    }

    /// What it asks for.
    pub fn asked(&self) -> Grants {
        self.grants.keys().cloned().collect()
    }

    /// The name of its package's file: `rate-limit-1.2.0.lectern`.
    pub fn file_name(&self) -> String {
        format!("{}-{}.lectern", self.name, self.version)
    }
}

/// A parser's message with its place, without the picture of the source that it draws.
pub(crate) fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
    let message: String = error.message().split('\n').collect::<Vec<_>>().join(", ");
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

/// `None` where a value that must be there is missing or wrong; the mistake is noted.
fn read(mut root: Fields<'_>) -> Option<Manifest> {
    let plugin = match root.table("plugin") {
        Some(plugin) => read_plugin(plugin),
        None => {
            root.refuse("plugin", None, "missing: a manifest begins with [plugin]");
            None
        }
    };
    let grants = read_grants(&mut root);
    let read_config = |value: &toml::Value| match value {
        toml::Value::Table(table) => fields::json_object(table),
        _ => Err("must be a table".into()),
    };
    let config = root.optional("config", read_config).unwrap_or_default();
    root.finish();
    let plugin = plugin?;
    Some(Manifest { grants, config, ..plugin })
}

/// All but the grants and the configuration.
fn read_plugin(mut plugin: Fields<'_>) -> Option<Manifest> {
    let name_form = "1 to 64 lower-case letters, digits and `-`, beginning with a letter";
    let name = plugin.required("name", name_form, |value| fields::word(value, name_form, |text| text.parse().ok()));
    let version_form = "a version of three numbers, as \"1.2.0\" (semver.org), of at most 64 characters";
    let version = plugin.required("version", version_form, |value| {
        fields::word(value, version_form, |text| text.parse().ok().filter(|_| text.len() <= MAX_VERSION))
    });
    let description =
        plugin.required("description", "one line that says what the plugin does", |v| fields::line(v, MAX_SENTENCE));
    let contract_form = "the version of lectern:plugin that it is built for, as \"0.1\"";
    let contract =
        plugin.required("contract", contract_form, |value| fields::word(value, contract_form, |t| t.parse().ok()));
    let hooks = plugin.required("hooks", "a list of route, authenticate and pages", read_hooks);
    let license = plugin.optional("license", |value| fields::line(value, MAX_SENTENCE));
    let homepage = plugin.optional("homepage", |value| {
        let is_url = |text: &str| Origin::of_url(text).is_some() && text.len() <= 1024;
        fields::word(value, "an address that begins with https:// or http://", |text| {
            (is_url(text) && !text.contains(|c: char| c.is_control() || c == ' ')).then(|| text.to_owned())
        })
    });
    let hooks_known = hooks.clone().unwrap_or_default();
    let defaults = match plugin.table("defaults") {
        Some(defaults) => read_defaults(defaults, &hooks_known),
        None => Defaults {
            on_failure: OnFailure::default(),
            instances: Instances::default(),
            order: ORDERS.0,
            phases: usual_phases(&hooks_known),
        },
    };
    plugin.finish();
    Some(Manifest {
        name: name?,
        version: version?,
        description: description?,
        contract: contract?,
        hooks: hooks?,
        license,
        homepage,
        defaults,
        grants: BTreeMap::new(),
        config: Map::new(),
    })
}

fn read_hooks(value: &toml::Value) -> Result<BTreeSet<Hook>, String> {
    let all = [Hook::Route, Hook::Authenticate, Hook::Pages];
    let hooks = fields::words(value, "route, authenticate and pages", |text| {
        all.into_iter().find(|hook| hook.as_str() == text)
    })?;
    let set: BTreeSet<Hook> = hooks.iter().copied().collect();
    match () {
        () if set.is_empty() => Err("must name at least one of route, authenticate and pages".into()),
        () if set.len() != hooks.len() => Err("must name each hook once".into()),
        () => Ok(set),
    }
}

/// Where a plugin stands when nobody says: as early as its hooks allow.
fn usual_phases(hooks: &BTreeSet<Hook>) -> BTreeSet<Phase> {
    let phase_of = |hook: &Hook| match hook {
        Hook::Route => Some(Phase::Route),
        Hook::Authenticate => Some(Phase::Authenticate),
        Hook::Pages => None,
    };
    hooks.iter().filter_map(phase_of).collect()
}

/// The hook that is asked in a phase.
fn hook_of(phase: Phase) -> Hook {
    match phase {
        Phase::Route | Phase::Select => Hook::Route,
        Phase::Authenticate => Hook::Authenticate,
    }
}

fn read_defaults(mut defaults: Fields<'_>, hooks: &BTreeSet<Hook>) -> Defaults {
    let on_failure = defaults.optional("on_failure", |value| {
        let mode = fields::word(value, "\"fail\" or \"skip\"", OnFailure::parse)?;
        if mode == OnFailure::Skip && !hooks.contains(&Hook::Route) && !hooks.is_empty() {
            return Err("is for plugins that route: a failure of one that authenticates always denies".into());
        }
        Ok(mode)
    });
    let instances = defaults
        .optional("instances", |value| fields::word(value, "\"fresh\" or \"warm\"", Instances::parse))
        .unwrap_or_default();
    let order = defaults
        .optional("order", |value| fields::number(value, 0, ORDERS.1.into()))
        .and_then(|order| i32::try_from(order).ok())
        .unwrap_or(ORDERS.0);
    let phases = defaults.optional("phases", |value| {
        let phases: BTreeSet<Phase> =
            fields::words(value, "route, authenticate and select", Phase::parse)?.into_iter().collect();
        // A wrong list of hooks is noted already; against it every phase would be wrong too.
        let unfit = phases.iter().find(|phase| !hooks.contains(&hook_of(**phase)) && !hooks.is_empty());
        match unfit {
            Some(phase) => {
                let (phase, hook) = (phase.as_str(), hook_of(*phase).as_str());
                Err(format!("the phase {phase} asks the hook {hook}, which plugin.hooks does not name"))
            }
            None if phases.is_empty() => Err("must name at least one phase, or be left out".into()),
            None => Ok(phases),
        }
    });
    defaults.finish();
    Defaults {
        on_failure: on_failure.unwrap_or_default(),
        instances,
        order,
        phases: phases.unwrap_or_else(|| usual_phases(hooks)),
    }
}

fn read_grants(root: &mut Fields<'_>) -> BTreeMap<Grant, String> {
    let read = |name: &str, value: &toml::Value| {
        let grant: Grant = name.parse().map_err(|error: lectern_domain::plugin::BadGrant| error.to_string())?;
        let reason = fields::line(value, MAX_SENTENCE)
            .map_err(|_| format!("must be the reason for it: one sentence of at most {MAX_SENTENCE} characters"))?;
        Ok((grant, reason))
    };
    let Some(read) = root.map("grants", read) else { return BTreeMap::new() };
    if read.len() > MAX_GRANTS {
        root.refuse("grants", None, format!("has {} grants, more than {MAX_GRANTS}", read.len()));
    }
    let mut grants = BTreeMap::new();
    for (name, (grant, reason)) in read {
        // Two spellings of one origin.
        if grants.contains_key(&grant) {
            root.refuse("grants", Some(format!("{name:?}")), format!("is {grant} once more"));
        }
        grants.insert(grant, reason);
    }
    grants
}

#[cfg(test)]
mod tests;
