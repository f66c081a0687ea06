//! What is asked of a package before it is admitted, besides its cases.

use std::collections::BTreeSet;
use std::sync::Arc;

use lectern_domain::plugin::Hook;
use lectern_gate::{Failure, GateError, LoadError, Release};
use lectern_packages::{Contract, Manifest};

/// The contract that is spoken here. A patch adds interfaces and takes nothing away, so it is not told apart.
const CONTRACT: Contract = Contract { major: 0, minor: 1 };

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// What keeps the package out; each says what to change. Empty: it is admitted.
    pub findings: Vec<String>,
    /// What is good to know.
    pub notes: Vec<String>,
}

/// A manifest for another contract. What the component itself was built for is read from its imports.
pub(crate) fn contract(manifest: &Manifest) -> Option<String> {
    let wanted = manifest.contract;
    (wanted != CONTRACT).then(|| {
        format!("plugin.toml: plugin.contract = \"{wanted}\": this Lectern speaks {CONTRACT}: build it for that one")
    })
}

/// What loading a package's component says about it, for whoever admits packages. `lacks`: why the settings of the manifest alone
/// break the schema, if they do. A check that wants settings of the operator keeps no package out: they come when it is bound. The
/// error is a component that does not load.
pub fn judge(
    manifest: &Manifest,
    lacks: Option<String>,
    loaded: Result<Arc<Release>, LoadError>,
) -> Result<Admission, LoadError> {
    let wants = |why: &str| Admission { findings: Vec::new(), notes: vec![only_with_settings(why)] };
    match (loaded, lacks) {
        (Ok(release), lacks) => Ok(Admission {
            findings: hooks(manifest, &release.hooks()).into_iter().collect(),
            notes: lacks.iter().map(|lacks| only_with_settings(lacks)).collect(),
        }),
        // It answered, so all but its configuration is in order.
        (Err(LoadError::Check { .. }), Some(lacks)) => Ok(wants(&lacks)),
        (Err(LoadError::Check { cause, .. }), None) if is_misconfigured(&cause) => Ok(wants(&cause.to_string())),
        (Err(error), _) => Err(error),
    }
}

fn is_misconfigured(error: &GateError) -> bool {
    matches!(error, GateError::Failed { failure: Failure::Misconfigured(_), .. })
}

/// Hooks that the manifest names and the component does not export. More exports than hooks are no mistake: they are not called.
fn hooks(manifest: &Manifest, exported: &[Hook]) -> Option<String> {
    let exported: BTreeSet<Hook> = exported.iter().copied().collect();
    let missing: Vec<&str> = manifest.hooks.difference(&exported).map(|hook| hook.as_str()).collect();
    let has: Vec<&str> = exported.iter().map(|hook| hook.as_str()).collect();
    (!missing.is_empty()).then(|| {
        let (missing, has) = (missing.join(", "), has.join(", "));
        format!("plugin.toml: plugin.hooks names {missing}, which the component does not export; it exports {has}")
    })
}

/// Without the operator's settings it does not run, which keeps no package out.
fn only_with_settings(lacks: &str) -> String {
    format!("it needs settings of the operator: {}", lacks.replace('\n', "; "))
}

/// An error with its causes.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.ends_with(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn manifest(contract: &str, hooks: &str) -> Manifest {
        let text = format!(
            "[plugin]\nname = \"p\"\nversion = \"0.1.0\"\ndescription = \"d\"\ncontract = \"{contract}\"\nhooks = {hooks}\n"
        );
        Manifest::parse(&text).unwrap()
    }

    #[test]
    fn findings_say_what_to_change() {
        assert_eq!(contract(&manifest("0.1", "[\"route\"]")), None);
        assert_eq!(
            contract(&manifest("0.2", "[\"route\"]")).unwrap(),
            "plugin.toml: plugin.contract = \"0.2\": this Lectern speaks 0.1: build it for that one"
        );
        let both = manifest("0.1", "[\"route\", \"pages\"]");
        assert_eq!(hooks(&both, &[Hook::Route, Hook::Pages, Hook::Authenticate]), None);
        assert_eq!(
            hooks(&both, &[Hook::Route]).unwrap(),
            "plugin.toml: plugin.hooks names pages, which the component does not export; it exports route"
        );
    }
}
