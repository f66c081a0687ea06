//! Claims, roles and names.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Mock;

fn claims(json: &str) -> Claims {
    Claims::parse(json).unwrap()
}

#[test]
fn claims_are_found_and_read() {
    let said = claims(
        r#"{"a": "x", "n": 7, "yes": true, "empty": "", "o": {"roles": ["r1", 2, null], "a/b": "deep"}, "https://x.example/g": "y",
            "list": "a, b,,c", "text": "[\"a\", \"b,c\"]", "scope": "r w", "exp": 12.9}"#,
    );
    for (name, value) in [
        ("a", Some("x")),
        ("n", Some("7")),
        ("yes", Some("true")),
        ("empty", None),
        ("o", None),
        ("none", None),
        ("/o/a~1b", Some("deep")),
        ("/o/none", None),
        ("/none/a", None),
        ("https://x.example/g", Some("y")),
    ] {
        assert_eq!(said.text(name).as_deref(), value, "{name}");
    }
    assert_eq!(said.list("/o/roles"), ["r1", "2"]);
    assert_eq!(said.list("list"), ["a", "b", "c"]);
    assert_eq!(said.list("text"), ["a", "b,c"]);
    assert_eq!(said.list("none"), [""; 0]);
    assert_eq!(said.words("scope"), ["r", "w"]);
    assert_eq!((said.seconds("exp"), said.seconds("n"), said.seconds("a")), (Some(12), Some(7), None));
    assert!(Claims::parse("[]").is_none() && Claims::parse("{").is_none());
}

#[test]
fn requirements_are_all_met_or_named() {
    let said = claims(r#"{"hd": "example.org", "email_verified": true, "amr": ["pwd", "otp"], "n": 3}"#);
    let lacks = |json: &str| {
        let required: BTreeMap<String, AnyOf> = serde_json::from_str(json).unwrap();
        said.lacks(&required).map(str::to_owned)
    };
    for (required, missing) in [
        ("{}", None),
        (r#"{"hd": "example.org", "email_verified": true, "n": "3"}"#, None),
        (r#"{"amr": ["otp", "hwk"]}"#, None),
        (r#"{"hd": ["a", "example.org"]}"#, None),
        (r#"{"hd": "Example.org"}"#, Some("hd")),
        (r#"{"hd": []}"#, Some("hd")),
        (r#"{"email_verified": false}"#, Some("email_verified")),
        (r#"{"amr": "hwk"}"#, Some("amr")),
        (r#"{"absent": "x"}"#, Some("absent")),
    ] {
        assert_eq!(lacks(required).as_deref(), missing, "{required}");
    }
}

#[test]
fn the_highest_role_of_all_groups_counts() {
    let rules = |json: &str| serde_json::from_str::<Accounts>(json).unwrap();
    let mapped = r#"{"roles": {"administrator": ["admins"], "publisher": ["staff", "authors"]}}"#;
    let role = |rules: &Accounts, groups: &str| {
        let said = claims(&format!(r#"{{"groups": {groups}}}"#));
        rules.profile("i", "s", &said, &ClaimNames::default()).map(|profile| profile.role)
    };
    let some = |role: &str| Ok(Some(role.to_owned()));
    for (groups, expected) in [
        (r#"["admins", "staff"]"#, some("administrator")),
        (r#"["authors"]"#, some("publisher")),
        (r#"["Admins", "admins2"]"#, some("viewer")),
        ("[]", some("viewer")),
        ("null", some("viewer")),
    ] {
        assert_eq!(role(&rules(mapped), groups), expected, "{groups}");
    }
    assert_eq!(role(&rules("{}"), r#"["admins"]"#), Ok(None));
    let closed = rules(r#"{"allowed_groups": ["a"]}"#);
    assert_eq!(role(&closed, r#"["a"]"#), Ok(None));
    assert!(role(&closed, r#"["b"]"#).is_err() && role(&closed, "null").is_err());
    for bad in [r#"{"roles": {"root": ["a"]}}"#, r#"{"role": {}}"#] {
        assert!(serde_json::from_str::<Accounts>(bad).is_err(), "{bad}");
    }
}

#[test]
fn accounts_are_named_after_the_first_claim_that_fits() {
    let named = |json: &str| {
        let profile = Accounts::default().profile("i", "s", &claims(json), &ClaimNames::default()).unwrap();
        (profile.username, profile.email)
    };
    let pair = |username: &str, email: &str| (username.to_owned(), email.to_owned());
    for (said, expected) in [
        (r#"{"preferred_username": "ada", "email": "a@x.org"}"#, pair("ada", "a@x.org")),
        (r#"{"preferred_username": "Ada Lovelace", "email": "a@x.org"}"#, pair("a@x.org", "a@x.org")),
        (r#"{"preferred_username": "../ada", "email": "a@x.org", "email_verified": true}"#, pair("a@x.org", "a@x.org")),
        (r#"{"email": "a@x.org", "email_verified": false}"#, pair("", "")),
        (r#"{"email": "a@x.org", "email_verified": "false"}"#, pair("", "")),
        ("{}", pair("", "")),
    ] {
        assert_eq!(named(said), expected, "{said}");
    }
}

#[test]
fn groups_that_the_host_refuses_are_left_out() {
    let long = "g".repeat(257);
    let many: Vec<String> = (0..1_100).map(|n| format!("g{n}")).collect();
    let said = format!(r#"{{"groups": ["{long}", "a\u0007b", {:?}]}}"#, "ok").replace('\'', "\"");
    let rules = Accounts { roles: [(Role::Publisher, vec!["g1050".to_owned()])].into(), ..Accounts::default() };
    let of = |json: &str| rules.profile("i", "s", &claims(json), &ClaimNames::default()).unwrap();
    assert_eq!(of(&said).groups, ["ok"]);
    let full = of(&serde_json::json!({ "groups": many }).to_string());
    // The role was decided before the list was cut.
    assert_eq!((full.groups.len(), full.role.as_deref()), (1_000, Some("publisher")));
}

#[test]
fn refusals_deny_and_outages_fail() {
    let mock = Mock::get("/");
    for refusal in [
        SignInRefusal::Unknown,
        SignInRefusal::Locked,
        SignInRefusal::NameTaken,
        SignInRefusal::Invalid("name".into()),
        SignInRefusal::NotGranted,
    ] {
        let said = format!("{refusal:?}");
        assert!(matches!(outcome(&mock, Err(refusal)), Ok(Outcome::Rejected(_))), "{said}");
    }
    assert!(mock.logged()[0].contains("above the grant"));
    assert!(matches!(outcome(&mock, Err(SignInRefusal::Unavailable)), Err(Failure::Unavailable(_))));
    assert!(matches!(outcome(&mock, Ok(Identity::new("u"))), Ok(Outcome::Authenticated(_))));
}

#[test]
fn claims_to_keep_go_with_the_identity() {
    let names = ClaimNames { keep: vec!["dept".into(), "none".into(), "long".into()], ..ClaimNames::default() };
    let said = claims(&format!(r#"{{"dept": "r&d", "long": "{}"}}"#, "x".repeat(257)));
    let whole = names.complete(Identity::new("u"), &said, &["g".to_owned()]);
    assert_eq!((whole.groups, whole.claims), (vec!["g".to_owned()], vec![("dept".to_owned(), "r&d".to_owned())]));
}
