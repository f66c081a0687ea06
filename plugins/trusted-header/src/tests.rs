//! Requests through the proxy and past it, on a mocked host.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_plugin::{Certificate, Mock, SignInRefusal};
use serde_json::{Value, json};

use super::*;

const PROOF: &str = "proof-of-the-proxy";

fn settings(changes: &Value) -> String {
    let mut all = json!({ "secret": "proxy" });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        } else {
            all[name] = value.clone();
        }
    }
    all.to_string()
}

/// A request with these fields, on a server that knows ada and the proxy's secret.
fn request(changes: &Value, fields: &[(&str, &str)]) -> Mock {
    let mock = Mock::get("/x").document(&settings(changes)).secret("proxy", PROOF.as_bytes());
    let mock = mock.user("ada", Identity::new("guid-of-ada"));
    fields.iter().fold(mock, |mock, (name, value)| mock.header(name, value))
}

fn certificate(sha256: &str) -> Certificate {
    Certificate {
        sha256: sha256.into(),
        subject: "CN=proxy,O=Example".into(),
        dns_names: vec!["Proxy.example".into(), "other.example".into()],
    }
}

/// The outcome on one line.
fn line(mock: &Mock) -> String {
    let got = match TrustedHeader::authenticate(mock) {
        Ok(Outcome::Abstain) => "abstain".into(),
        Ok(Outcome::Authenticated(who)) => who.subject,
        Ok(Outcome::Challenge(_)) => panic!("a challenge"),
        Ok(Outcome::Rejected(reason)) => format!("rejected: {reason}"),
        Err(failure) => format!("{failure:?}"),
    };
    assert!(!got.contains(PROOF) && !mock.logged().join("").contains(PROOF), "the secret in the log");
    got
}

#[test]
fn a_name_with_its_proof_is_the_user() {
    let plain = json!({});
    let (user, proof) = (("x-auth-user", "ada"), ("x-auth-proof", PROOF));
    let long = "x".repeat(257);
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "abstain"),
        (&[proof], "abstain"),
        (&[("x-auth-proof", "wrong")], "abstain"),
        (&[("x-auth-user", "")], "abstain"),
        (&[("x-auth-user", " "), proof], "abstain"),
        (&[user, proof], "guid-of-ada"),
        (&[("X-Auth-USER", " Ada "), ("X-AUTH-Proof", PROOF)], "guid-of-ada"),
        (&[("x-auth-user", "bob"), proof], "rejected: there is no such user"),
        // Past the proxy.
        (&[user], "rejected: the proxy's secret is missing"),
        (&[user, ("x-auth-proof", "")], "rejected: the proxy's secret is wrong"),
        (&[user, ("x-auth-proof", "proof-of-the-prox")], "rejected: the proxy's secret is wrong"),
        (&[user, ("x-auth-proof", "PROOF-OF-THE-PROXY")], "rejected: the proxy's secret is wrong"),
        (&[user, ("x-auth-user-proof", PROOF)], "rejected: the proxy's secret is missing"),
        // Smuggled through it.
        (&[user, user, proof], "rejected: the field x-auth-user is there more than once"),
        (&[("x-auth-user", "bob"), user, proof], "rejected: the field x-auth-user is there more than once"),
        (&[("x-auth-user", ""), user, proof], "rejected: the field x-auth-user is there more than once"),
        (&[("X-AUTH-USER", "bob"), user, proof], "rejected: the field x-auth-user is there more than once"),
        (&[user, proof, proof], "rejected: the proxy's secret is there more than once"),
        (&[user, ("x-auth-proof", "wrong"), proof], "rejected: the proxy's secret is there more than once"),
        (&[("x-auth-user", "ada,bob"), proof], "rejected: there is no such user"),
        (&[("x-auth-user", "ada\u{7}"), proof], "rejected: the field x-auth-user is no text"),
        (&[("x-auth-user", &long), proof], "rejected: the field x-auth-user is no text"),
        // Another field, which servers of the CGI kind would read as the same.
        (&[("x_auth_user", "ada"), proof], "abstain"),
    ];
    for (fields, expected) in cases {
        let got = line(&request(&plain, fields));
        assert!(got.starts_with(expected), "{fields:?}: {got}");
    }
}

#[test]
fn unproven_names_are_told_to_the_operator() {
    let mock = request(&json!({}), &[("x-auth-user", "ada")]).peer_ip("203.0.113.9");
    line(&mock);
    assert_eq!(
        mock.logged(),
        [
            "a user's name without the proxy's proof field=x-auth-user reason=the proxy's secret is missing peer.ip=203.0.113.9"
        ]
    );
    assert!(!mock.asked().iter().any(|question| question.starts_with("find-user")));
}

#[test]
fn a_request_costs_few_and_narrow_questions() {
    let none = request(&json!({}), &[]);
    line(&none);
    assert_eq!(none.asked(), ["header x-auth-user"]);
    let proven = request(&json!({}), &[("x-auth-user", "ada"), ("x-auth-proof", PROOF)]);
    line(&proven);
    assert_eq!(
        proven.asked(),
        ["header x-auth-user", "header x-auth-proof", "matches proxy", "header x-auth-user", "find-user ada"]
    );
}

#[test]
fn everything_that_is_set_must_hold() {
    let hash = "a".repeat(64);
    let fields = [("x-auth-user", "ada"), ("x-auth-proof", PROOF)];
    let all = json!({ "certificate": { "sha256": [hash] }, "peers": ["10.0.0.0/8"] });
    let whole = || request(&all, &fields).certificate(certificate(&hash)).peer_ip("10.1.2.3").client_ip("192.0.2.7");
    assert_eq!(line(&whole()), "guid-of-ada");
    // The client's own address is not the connection's.
    assert!(line(&whole().peer_ip("192.0.2.7").client_ip("10.1.2.3")).contains("none of the proxy's"));
    assert!(line(&whole().peer_ip("")).contains("none of the proxy's"));
    assert!(line(&whole().certificate(certificate(&"b".repeat(64)))).contains("proxy's certificate"));
    assert!(line(&request(&all, &fields).peer_ip("10.1.2.3")).contains("proxy's certificate"));
    let unproven = request(&all, &fields[..1]).certificate(certificate(&hash)).peer_ip("10.1.2.3");
    assert!(line(&unproven).contains("secret is missing"));
    // There is nothing to compare with: the operator forgot something, and nobody gets in.
    let none = Mock::get("/x").document(&settings(&json!({}))).header("x-auth-user", "ada").header("x-auth-proof", "");
    assert!(line(&none).starts_with("Failure::Misconfigured"), "{}", line(&none));
}

#[test]
fn certificates_are_named_by_hash_subject_or_dns_name() {
    let hash = "a".repeat(64);
    let with = |named: Value| {
        let changes = json!({ "secret": null, "certificate": named });
        line(&request(&changes, &[("x-auth-user", "ada")]).certificate(certificate(&hash)))
    };
    for good in [
        json!({ "sha256": ["b".repeat(64), hash] }),
        json!({ "subjects": ["CN=proxy,O=Example"] }),
        json!({ "dns_names": ["proxy.example"] }),
        json!({ "sha256": ["b".repeat(64)], "dns_names": ["other.example"] }),
    ] {
        assert_eq!(with(good.clone()), "guid-of-ada", "{good}");
    }
    for bad in [
        json!({ "sha256": ["b".repeat(64)] }),
        json!({ "subjects": ["CN=proxy"] }),
        json!({ "subjects": ["CN=proxy,O=Example,C=DE"] }),
        json!({ "dns_names": ["evil.proxy.example", "example"] }),
    ] {
        assert!(with(bad.clone()).starts_with("rejected"), "{bad}");
    }
}

#[test]
fn accounts_are_linked_and_made_where_that_is_set() {
    let linked = json!({
        "user": "account", "issuer": "sso", "email_header": "x-auth-email", "groups_header": "x-auth-groups",
        "first_name_header": "x-auth-first", "last_name_header": "x-auth-last",
        "accounts": { "create": true, "roles": { "publisher": ["staff"] } },
    });
    let fields = [
        ("x-auth-user", "ada"),
        ("x-auth-proof", PROOF),
        ("x-auth-email", "ada@example.org"),
        ("x-auth-first", "Ada"),
        ("x-auth-last", "L\u{f6}velace"),
        ("x-auth-groups", "guests, staff"),
    ];
    let mock = request(&linked, &fields).signing_in(Ok(Identity::new("guid")));
    let Ok(Outcome::Authenticated(who)) = TrustedHeader::authenticate(&mock) else { panic!("{}", line(&mock)) };
    assert_eq!((who.subject.as_str(), who.ttl, who.groups.join(" ")), ("guid", Some(60), "guests staff".into()));
    let profile = &mock.signed_in()[0];
    let texts =
        [&profile.issuer, &profile.subject, &profile.username, &profile.email, &profile.first_name, &profile.last_name];
    assert_eq!(texts.map(String::as_str), ["sso", "ada", "ada", "ada@example.org", "Ada", "L\u{f6}velace"]);
    assert_eq!((profile.create, profile.role.as_deref()), (true, Some("publisher")));
    for (refusal, expected) in [
        (SignInRefusal::Unknown, "rejected: no account"),
        (SignInRefusal::Locked, "rejected: the account is locked"),
        (SignInRefusal::NameTaken, "rejected: the user name belongs"),
        (SignInRefusal::NotGranted, "rejected: the role is above"),
        (SignInRefusal::Unavailable, "Failure::Unavailable"),
    ] {
        assert!(line(&request(&linked, &fields).signing_in(Err(refusal))).starts_with(expected), "{expected}");
    }
    // A second list of groups, perhaps the client's.
    let mut doubled = fields.to_vec();
    doubled.push(("x-auth-groups", "admins"));
    assert!(line(&request(&linked, &doubled)).contains("x-auth-groups is there more than once"));
    // Groups limit who comes in by name, too.
    let closed = json!({ "groups_header": "x-auth-groups", "accounts": { "allowed_groups": ["staff"] } });
    assert_eq!(line(&request(&closed, &fields)), "guid-of-ada");
    assert!(line(&request(&closed, &fields[..2])).starts_with("rejected: member of none"));
}

#[test]
fn content_sees_neither_proof_nor_name() {
    let content = "content:0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";
    let route = |changes: Value, target: &str| {
        let mock = request(&changes, &[]).target(target);
        match TrustedHeader::route(&mock).unwrap() {
            Decision::Next => "next".to_owned(),
            Decision::Forward(forward) => {
                assert_eq!((forward.target.as_str(), mock.asked()), (content, vec!["target".to_owned()]));
                forward.remove_headers.join(" ")
            }
            Decision::Respond(_) => panic!("a reply"),
        }
    };
    assert_eq!(route(json!({}), content), "x-auth-proof x-auth-user");
    assert_eq!(route(json!({ "groups_header": "x-groups" }), content), "x-auth-proof x-auth-user x-groups");
    assert_eq!(route(json!({ "pass_on": true }), content), "x-auth-proof");
    let by_certificate = json!({ "secret": null, "certificate": { "dns_names": ["proxy.example"] }, "pass_on": true });
    assert_eq!(route(by_certificate, content), "next");
    assert_eq!(route(json!({}), "system:api"), "next");
    assert_eq!(route(json!({}), ""), "next");
}

#[test]
fn settings_are_refused_before_they_take_traffic() {
    let check = |changes: &Value| <TrustedHeader as Authenticator>::check(&Mock::get("/").document(&settings(changes)));
    let hash = "a".repeat(64);
    for good in [
        json!({}),
        json!({ "secret": null, "certificate": { "sha256": [hash] } }),
        json!({ "header": "x-forwarded-user", "groups_header": "x-forwarded-groups", "peers": ["10.0.0.0/8", "::1"] }),
    ] {
        assert!(check(&good).is_ok(), "{good}");
    }
    for bad in [
        json!({ "secret": null }),
        json!({ "secret": null, "peers": ["127.0.0.1"] }),
        json!({ "secret": null, "certificate": {} }),
        json!({ "certificate": { "sha256": [] } }),
        json!({ "certificate": { "sha256": ["A".repeat(64)] } }),
        json!({ "certificate": { "sha256": ["ab"] } }),
        json!({ "certificate": { "subjects": [""] } }),
        json!({ "certificate": { "dns_names": ["Proxy.example"] } }),
        json!({ "peers": ["10.1.2.3/8"] }),
        json!({ "peers": ["proxy"] }),
        json!({ "header": "" }),
        json!({ "header": "X-Auth-User" }),
        json!({ "header": "x_auth_user" }),
        json!({ "header": "x-auth user" }),
        json!({ "header": "authorization" }),
        json!({ "header": "remote-user" }),
        json!({ "header": "x-auth-proof" }),
        json!({ "groups_header": "x-auth-user" }),
        json!({ "issuer": "" }),
        json!({ "user": "map" }),
        json!({ "proof": "x" }),
    ] {
        assert!(matches!(check(&bad), Err(Failure::Misconfigured(_))), "{bad}");
    }
}
