//! What is to be built, in which order, under which keys: values, decided from what was found.

use std::collections::{BTreeMap, BTreeSet};

use lectern_domain::r_packages::{Need, OrderError, order, same_version};

use super::find::Found;
use crate::r_library::Installed;

/// Whatever changes how packages are built changes this, and with it all keys.
const BUILD_SETTINGS: &str = "R CMD INSTALL 1";

/// A need that nothing chosen meets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The R that was chosen does not do.
    #[error(
        "the R package {package} needs R {required}, and this content runs with R {version}; other versions of R can be added to the server, or choose an older version of the package"
    )]
    R {
        /// Which package.
        package: String,
        /// What it needs.
        required: String,
        /// What there is.
        version: String,
    },
    /// Another package's version does not do.
    #[error("the R package {package} needs {needed} {required}, and the version wanted is {version}")]
    Version {
        /// Which package.
        package: String,
        /// Which other.
        needed: String,
        /// What it needs of that.
        required: String,
        /// What there is.
        version: String,
    },
}

/// One package to have.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) found: Found,
    /// Names what is built, by all that determines it.
    pub(super) key: String,
    /// Of the others in the plan, those it needs.
    pub(super) needs: BTreeSet<String>,
}

/// What a need is met by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Met {
    /// A package of the plan.
    Planned,
    /// The host, in this version.
    Host(String),
    /// Nothing yet.
    Nothing,
}

/// Which packages of the host count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    pub(super) version: &'a str,
    pub(super) interpreter: &'a str,
    pub(super) installed: &'a Installed,
    pub(super) use_installed: bool,
}

impl Host<'_> {
    /// The version of a package that is used from the host when nothing else has it: R's own always, others if they count.
    fn offers(&self, name: &str) -> Option<&str> {
        let package = self.installed.packages.get(name)?;
        (self.use_installed || package.library == self.installed.own).then_some(package.version.as_str())
    }

    /// Whether this is a part of R, which has the version of R and comes with nothing else.
    fn is_base(&self, name: &str) -> bool {
        let package = self.installed.packages.get(name);
        package.is_some_and(|one| one.library == self.installed.own && same_version(&one.version, self.version))
    }

    /// Whether exactly this version need not be restored; of R's own parts any, because there is no other.
    pub(super) fn has(&self, name: &str, version: Option<&str>) -> bool {
        if self.is_base(name) {
            return true;
        }
        let offered = self.offers(name);
        offered.is_some_and(|offered| version.is_none_or(|version| same_version(version, offered)))
    }

    /// What meets a need.
    pub(super) fn meets(&self, need: &Need, planned: &BTreeMap<String, Found>) -> Met {
        if planned.contains_key(&need.name) {
            return Met::Planned;
        }
        let fits = |version: &&str| need.required.as_ref().is_none_or(|required| required.is_met_by(version));
        match self.offers(&need.name).filter(fits) {
            Some(version) => Met::Host(version.to_owned()),
            None => Met::Nothing,
        }
    }
}

/// Orders what was found and names what is built of it.
pub(super) fn plan(found: BTreeMap<String, Found>, host: &Host<'_>) -> Result<Vec<Node>, PlanError> {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, package) in &found {
        let wants = graph.entry(name.clone()).or_default();
        for need in package.description.needs() {
            check(package, &need, &found, host)?;
            if need.name != *name && found.contains_key(&need.name) {
                wants.insert(need.name);
            }
        }
    }
    let mut nodes: Vec<Node> = Vec::with_capacity(found.len());
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    let mut found = found;
    for name in order(&graph)? {
        let (Some(package), Some(needs)) = (found.get(&name).cloned(), graph.remove(&name)) else { continue };
        let key = key(&package, &needs, &keys, host);
        keys.insert(name.clone(), key.clone());
        found.insert(name, package.clone());
        nodes.push(Node { found: package, key, needs });
    }
    Ok(nodes)
}

fn check(package: &Found, need: &Need, found: &BTreeMap<String, Found>, host: &Host<'_>) -> Result<(), PlanError> {
    let Some(required) = &need.required else { return Ok(()) };
    let name = || format!("{} {}", package.description.name, package.description.version);
    let words = || format!("{} {}", required.operator, required.version);
    if need.name == "R" {
        if required.is_met_by(host.version) {
            return Ok(());
        }
        return Err(PlanError::R { package: name(), required: words(), version: host.version.to_owned() });
    }
    match found.get(&need.name) {
        Some(other) if !required.is_met_by(&other.description.version) => Err(PlanError::Version {
            package: name(),
            needed: need.name.clone(),
            required: words(),
            version: other.description.version.clone(),
        }),
        _ => Ok(()),
    }
}

/// The key of a package: name, version, archive, R, platform, how it is built, and the keys of all that it needs, which stand
/// for what those need in turn.
fn key(package: &Found, needs: &BTreeSet<String>, keys: &BTreeMap<String, String>, host: &Host<'_>) -> String {
    let mut hash = blake3::Hasher::new_derive_key("lectern r package 1");
    let mut add = |label: &str, value: &str| {
        hash.update(&(label.len() as u64).to_le_bytes()).update(label.as_bytes());
        hash.update(&(value.len() as u64).to_le_bytes()).update(value.as_bytes());
    };
    add("settings", BUILD_SETTINGS);
    add("name", &package.description.name);
    add("version", &package.description.version);
    add("archive", &package.blake3);
    add("subdir", package.subdir.as_deref().unwrap_or(""));
    add("r", host.version);
    add("interpreter", host.interpreter);
    add("platform", &host.installed.platform);
    for name in needs {
        add("needs", keys.get(name).map_or("", String::as_str));
    }
    let mut of_host: Vec<String> = package.description.needs().into_iter().map(|need| need.name).collect();
    of_host.sort();
    for name in of_host.iter().filter(|name| !needs.contains(*name)) {
        // Base packages have R's version, recommended ones their own.
        add("host", &format!("{name} {}", host.offers(name).unwrap_or("")));
    }
    hash.finalize().to_hex()[..32].to_owned()
}

/// All that `name` needs, directly or not, among `nodes`, which are in order.
pub(super) fn closure(nodes: &[Node], name: &str) -> BTreeSet<String> {
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let is = |node: &&Node, name: &str| node.found.description.name == name;
    // Needs come before: one way back through the order meets all.
    let start = nodes.iter().position(|node| is(&node, name)).map_or(0, |at| at + 1);
    for node in nodes[..start].iter().rev() {
        if is(&node, name) || wanted.contains(&node.found.description.name) {
            wanted.extend(node.needs.iter().cloned());
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::r::archive::Description;
    use crate::r_library::InstalledPackage;

    fn found(name: &str, version: &str, needs: &str, archive: &str) -> Found {
        let description = Description {
            name: name.into(),
            version: version.into(),
            needs: needs.into(),
            built: None,
            system: None,
            top: name.into(),
        };
        Found { description, blake3: archive.into(), from: "CRAN".into(), url: String::new(), subdir: None }
    }

    fn installed() -> Installed {
        let package =
            |version: &str, library: &str| InstalledPackage { version: version.into(), library: library.into() };
        let packages = [
            ("methods", package("4.2.2", "/r/library")),
            ("MASS", package("7.3-58", "/r/library")),
            ("plumber", package("1.2.1", "/r/site")),
        ];
        let packages = packages.map(|(name, package)| (name.to_owned(), package)).into();
        Installed { platform: "x86_64-pc-linux-gnu".into(), own: "/r/library".into(), packages }
    }

    fn keys(all: &[Found], host: &Host<'_>) -> Vec<String> {
        let found = all.iter().map(|one| (one.description.name.clone(), one.clone())).collect();
        plan(found, host)
            .unwrap()
            .into_iter()
            .map(|node| format!("{} {}", node.found.description.name, node.key))
            .collect()
    }

    #[test]
    fn a_key_is_all_that_determines_a_package() {
        let installed = installed();
        let host = Host { version: "4.2.2", interpreter: "/usr/bin/R", installed: &installed, use_installed: false };
        let all = [
            found("R6", "2.5.1", "R (>= 3.0)", "a"),
            found("ps", "1.7.2", "R (>= 3.4), utils", "b"),
            found("processx", "3.8.0", "R (>= 3.4), ps (>= 1.2.0), R6, utils", "c"),
        ];
        let before = keys(&all, &host);
        assert_eq!(before.iter().map(|one| &one[..3]).collect::<Vec<_>>(), ["R6 ", "ps ", "pro"]);
        assert_eq!(keys(&all, &host), before, "the same for the same");
        let mut other = all.clone();
        other[1].blake3 = "z".into();
        let after = keys(&other, &host);
        assert_eq!(after[0], before[0]);
        assert!(after[1] != before[1] && after[2] != before[2], "what needs it changes with it");
        let newer = Host { version: "4.2.3", ..host };
        assert!(keys(&all, &newer).iter().zip(&before).all(|(one, other)| one != other));
        let nodes = plan(all.iter().map(|one| (one.description.name.clone(), one.clone())).collect(), &host).unwrap();
        assert_eq!(closure(&nodes, "processx"), ["R6", "ps"].map(str::to_owned).into());
        assert!(closure(&nodes, "ps").is_empty());
    }

    #[test]
    fn needs_that_cannot_be_met() {
        let installed = installed();
        let host = Host { version: "4.2.2", interpreter: "/usr/bin/R", installed: &installed, use_installed: false };
        let refused = |all: &[Found]| {
            let found = all.iter().map(|one| (one.description.name.clone(), one.clone())).collect();
            plan(found, &host).unwrap_err().to_string()
        };
        let error = refused(&[found("new", "1.0", "R (>= 4.3)", "a")]);
        assert!(
            error.starts_with("the R package new 1.0 needs R >= 4.3, and this content runs with R 4.2.2"),
            "{error}"
        );
        let error = refused(&[found("a1", "1.0", "b1 (>= 2.0)", "a"), found("b1", "1.9", "", "b")]);
        assert_eq!(error, "the R package a1 1.0 needs b1 >= 2.0, and the version wanted is 1.9");
        let error = refused(&[found("a1", "1.0", "b1", "a"), found("b1", "1.9", "a1", "b")]);
        assert!(error.contains("a1 → b1 → a1"), "{error}");
    }

    #[test]
    fn what_the_host_offers() {
        let installed = installed();
        let host = Host { version: "4.2.2", interpreter: "/usr/bin/R", installed: &installed, use_installed: false };
        assert!(host.has("MASS", Some("7.3.58")) && !host.has("MASS", Some("7.3-60")));
        assert!(!host.has("plumber", Some("1.2.1")));
        assert!(host.has("methods", Some("4.3.1")), "a part of R");
        let trusting = Host { use_installed: true, ..host };
        assert!(trusting.has("plumber", Some("1.2.1")) && !trusting.has("plumber", Some("1.2.0")));
        let need = |text: &str| lectern_domain::r_packages::needs(text).remove(0);
        let none = BTreeMap::new();
        assert_eq!(host.meets(&need("methods"), &none), Met::Host("4.2.2".into()));
        assert_eq!(host.meets(&need("MASS (>= 8.0)"), &none), Met::Nothing);
        assert_eq!(host.meets(&need("plumber"), &none), Met::Nothing);
        assert_eq!(trusting.meets(&need("plumber (>= 1.0)"), &none), Met::Host("1.2.1".into()));
    }
}
