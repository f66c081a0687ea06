#![allow(clippy::unwrap_used)]
use lectern_domain::plugin::GrantKind;
use proptest::prelude::*;

use super::*;

const WHOLE: &str = r#"
[plugin]
name = "rate-limit"
version = "1.2.0-rc.1+7"
description = "Lets each visitor make so many requests a minute"
contract = "0.1"
hooks = ["route", "pages"]
license = "Apache-2.0"
homepage = "https://example.org/rate-limit"

[plugin.defaults]
on_failure = "skip"
instances = "warm"
order = 20
phases = ["select", "route"]

[grants]
limiter = "counts requests"
"outbound:*" = "asks the identity provider"

[config]
per_minute = 60
paths = ["/a", "/b"]
"#;

const LEAST: &str = r#"
[plugin]
name = "a"
version = "1.0.0"
description = "d"
contract = "0.1"
hooks = ["route"]
"#;

#[test]
fn a_whole_manifest_is_read() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    assert_eq!(manifest.name.as_str(), "rate-limit");
    assert_eq!(manifest.file_name(), "rate-limit-1.2.0-rc.1+7.lectern");
    assert_eq!(manifest.contract, Contract { major: 0, minor: 1 });
    assert_eq!(manifest.hooks, [Hook::Route, Hook::Pages].into());
    assert_eq!(
        manifest.defaults,
        Defaults {
            on_failure: OnFailure::Skip,
            instances: Instances::Warm,
            order: 20,
            phases: [Phase::Route, Phase::Select].into()
        }
    );
    assert!(manifest.asked().opens(GrantKind::Limiter) && manifest.asked().opens(GrantKind::Outbound));
    assert_eq!(manifest.grants[&"limiter".parse().unwrap()], "counts requests");
    assert_eq!(Json::Object(manifest.config), serde_json::json!({"per_minute": 60, "paths": ["/a", "/b"]}));
}

#[test]
fn what_is_left_out_is_as_careful_as_can_be() {
    let manifest = Manifest::parse(LEAST).unwrap();
    assert_eq!(
        manifest.defaults,
        Defaults {
            on_failure: OnFailure::Fail,
            instances: Instances::Fresh,
            order: 100,
            phases: [Phase::Route].into()
        }
    );
    assert!(manifest.grants.is_empty() && manifest.config.is_empty());
    for (hooks, phases) in [
        (r#"["pages"]"#, vec![]),
        (r#"["authenticate", "pages"]"#, vec![Phase::Authenticate]),
        (r#"["route", "authenticate"]"#, vec![Phase::Route, Phase::Authenticate]),
    ] {
        let manifest = Manifest::parse(&LEAST.replace(r#"["route"]"#, hooks)).unwrap();
        assert_eq!(manifest.defaults.phases, phases.into_iter().collect(), "{hooks}");
    }
}

#[test]
fn each_mistake_says_what_is_allowed() {
    // What replaces what in the whole manifest, and what is said.
    let cases: &[(&str, &str, &str)] = &[
        (
            r#"name = "rate-limit""#,
            r#"name = "Rate Limit""#,
            "plugin.name = \"Rate Limit\": must be 1 to 64 lower-case letters, digits and `-`, beginning with a letter",
        ),
        (
            r#"version = "1.2.0-rc.1+7""#,
            r#"version = "1.2""#,
            "plugin.version = \"1.2\": must be a version of three numbers, as \"1.2.0\" (semver.org), of at most 64 characters",
        ),
        (
            r#"version = "1.2.0-rc.1+7""#,
            "version = 1",
            "plugin.version = 1: must be a version of three numbers, as \"1.2.0\" (semver.org), of at most 64 characters",
        ),
        (
            r#"description = "Lets each visitor make so many requests a minute""#,
            "",
            "plugin.description: missing: must be one line that says what the plugin does",
        ),
        (
            r#"description = "Lets each visitor make so many requests a minute""#,
            "description = \"a\\nb\"",
            "plugin.description = \"a\\nb\": must be one line of 1 to 200 characters",
        ),
        (
            r#"contract = "0.1""#,
            r#"contract = "0.1.0""#,
            "plugin.contract = \"0.1.0\": must be the version of lectern:plugin that it is built for, as \"0.1\"",
        ),
        (
            r#"hooks = ["route", "pages"]"#,
            r#"hooks = ["route", "auth"]"#,
            "plugin.hooks = (a list): must be a list of route, authenticate and pages; \"auth\" is none",
        ),
        (
            r#"hooks = ["route", "pages"]"#,
            "hooks = []",
            "plugin.hooks = (a list): must name at least one of route, authenticate and pages",
        ),
        (
            r#"hooks = ["route", "pages"]"#,
            r#"hooks = ["route", "route"]"#,
            "plugin.hooks = (a list): must name each hook once",
        ),
        (
            r#"homepage = "https://example.org/rate-limit""#,
            r#"homepage = "javascript:alert(1)""#,
            "plugin.homepage = \"javascript:alert(1)\": must be an address that begins with https:// or http://",
        ),
        (r#"license = "Apache-2.0""#, "licence = 1", "plugin.licence: no such key; did you mean plugin.license?"),
        (
            r#"on_failure = "skip""#,
            r#"on_failure = "ignore""#,
            "plugin.defaults.on_failure = \"ignore\": must be \"fail\" or \"skip\"",
        ),
        (r#"instances = "warm""#, "instances = 1", "plugin.defaults.instances = 1: must be \"fresh\" or \"warm\""),
        ("order = 20", "order = -1", "plugin.defaults.order = -1: must be a whole number from 0 to 9999"),
        (
            r#"phases = ["select", "route"]"#,
            r#"phases = ["authenticate"]"#,
            "plugin.defaults.phases = (a list): the phase authenticate asks the hook authenticate, which plugin.hooks does not name",
        ),
        (
            r#"phases = ["select", "route"]"#,
            "phases = []",
            "plugin.defaults.phases = (a list): must name at least one phase, or be left out",
        ),
        (
            r#"limiter = "counts requests""#,
            "limiter = 1",
            "grants.limiter = 1: must be the reason for it: one sentence of at most 200 characters",
        ),
        (
            r#"limiter = "counts requests""#,
            r#"files = "reads files""#,
            "grants.files = \"reads files\": grant \"files\" is none of: clock, random, content, directory, tokens, key-value, \
             limiter, outbound:<origin>, redirect:<origin>, secret:<name>, secret-value:<name>, accounts:<highest role>",
        ),
        (
            r#"limiter = "counts requests""#,
            "\"redirect:https://a\" = \"a\"\n\"redirect:https://a:443\" = \"b\"",
            "grants = \"redirect:https://a:443\": is redirect:https://a once more",
        ),
        (
            "per_minute = 60",
            "per_minute = 2026-01-01",
            "config = (a table): must be written as a text, in quotes: JSON knows no dates",
        ),
        ("[config]", "[konfig]", "konfig: no such key; did you mean config?"),
    ];
    for (good, bad, expected) in cases {
        let text = WHOLE.replace(good, bad);
        assert_ne!(text, WHOLE, "{good} is not there");
        assert_eq!(Manifest::parse(&text).unwrap_err().to_string(), *expected, "{bad}");
    }
}

#[test]
fn skipping_is_for_those_who_route() {
    let text = LEAST.replace(r#"["route"]"#, r#"["authenticate"]"#) + "[plugin.defaults]\non_failure = \"skip\"";
    assert_eq!(
        Manifest::parse(&text).unwrap_err().to_string(),
        "plugin.defaults.on_failure = \"skip\": is for plugins that route: a failure of one that authenticates always denies"
    );
}

#[test]
fn all_mistakes_are_told_together() {
    let text = "[plugin]\nname = 1\nhooks = [\"route\"]\norder = 1\n[grants]\nfiles = \"\"\n[x]";
    let told = Manifest::parse(text).unwrap_err().to_string();
    let keys: Vec<&str> = told.lines().filter_map(|line| line.split([' ', ':']).next()).collect();
    assert_eq!(
        keys,
        ["plugin.name", "plugin.version", "plugin.description", "plugin.contract", "plugin.order", "grants.files", "x"]
    );
}

#[test]
fn what_is_no_manifest_is_told_apart() {
    assert_eq!(Manifest::parse("").unwrap_err().to_string(), "plugin: missing: a manifest begins with [plugin]");
    assert_eq!(
        Manifest::parse("[plugin]\nname = \n").unwrap_err().to_string(),
        "is not TOML: line 2: string values must be quoted, expected literal string"
    );
    let long = "#".repeat(MANIFEST_BYTES + 1);
    assert_eq!(Manifest::parse(&long).unwrap_err().to_string(), "has 65537 bytes, more than 65536");
    // Nesting that would exhaust the stack of a careless parser.
    for deep in ["[".repeat(60_000), format!("a = {}", "[".repeat(60_000)), format!("a = {}", "{b=".repeat(20_000))] {
        assert!(matches!(Manifest::parse(&deep), Err(ManifestError::NotToml(_))));
    }
    let dotted = format!("[{}a]", "a.".repeat(30_000));
    assert!(Manifest::parse(&dotted).is_err());
}

#[test]
fn contracts_are_read() {
    for good in ["0.1", "1.0", "12.34"] {
        assert_eq!(good.parse::<Contract>().unwrap().to_string(), good);
    }
    for bad in ["", "1", "0.1.0", "a.b", "+1.0", "01.1", "1.", "70000.1"] {
        assert!(bad.parse::<Contract>().is_err(), "{bad}");
    }
    assert_eq!(
        "1".parse::<Contract>().unwrap_err().to_string(),
        "\"1\" must be two numbers with a dot between them, as \"0.1\""
    );
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\PC*|[\\[\\]a-z=\". \n{},0-9-]*") {
        let _ = Manifest::parse(&text);
    }

    #[test]
    fn a_changed_manifest_panics_nowhere(at in 0..WHOLE.len(), byte in any::<u8>()) {
        let mut bytes = WHOLE.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = Manifest::parse(&String::from_utf8_lossy(&bytes));
    }
}
