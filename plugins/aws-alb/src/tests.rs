//! Tokens of load balancers on a mocked host, honest and otherwise.
#![allow(clippy::unwrap_used, clippy::panic)]

mod settings;

use lectern_plugin::web::base64url;
use lectern_plugin::{Mock, SignInRefusal};
use serde_json::{Value, json};

use super::*;

const SIGNER: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/apps/50dc6c495c0c9188";
const KID: &str = "12345678-1234-1234-1234-123456789012";
const NOW: u64 = 1_800_000_000;

fn changed(mut all: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        } else {
            all[name] = value.clone();
        }
    }
    all
}

fn settings(changes: &Value) -> String {
    changed(json!({ "signers": [SIGNER] }), changes).to_string()
}

fn header(changes: &Value) -> Value {
    let usual = json!({
        "typ": "JWT", "alg": "ES256", "kid": KID, "signer": SIGNER, "iss": "https://idp.example", "client": "c-1",
        "exp": NOW + 120,
    });
    changed(usual, changes)
}

fn claims(changes: &Value) -> Value {
    let usual = json!({
        "sub": "s-1", "preferred_username": "ada", "email": "ada@example.org", "groups": ["staff"], "exp": NOW + 120,
        "iss": "https://idp.example",
    });
    changed(usual, changes)
}

/// The token with padding, as load balancers write it.
fn token(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| {
        let text = base64url(value.to_string().as_bytes());
        format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4))
    };
    format!("{}.{}.c2lnbmF0dXJl", part(header), part(claims))
}

/// A request with a token that the host finds good, on a server that knows ada.
fn request(rules: &Value, header: &Value, claims: &Value) -> Mock {
    let token = token(header, claims);
    let valid_seconds = claims["exp"].as_u64().map(|exp| u32::try_from(exp.saturating_sub(NOW)).unwrap());
    let verified = Verified { header: header.to_string(), claims: claims.to_string(), valid_seconds };
    Mock::get("/x")
        .now(NOW * 1_000)
        .document(&settings(rules))
        .header(DATA, &token)
        .token(&token, Ok(verified))
        .user("ada", Identity::new("guid-of-ada"))
}

fn usual(rules: &Value, header_changes: &Value, claim_changes: &Value) -> Mock {
    request(rules, &header(header_changes), &claims(claim_changes))
}

/// The outcome on one line.
fn line(mock: &Mock) -> String {
    match AwsAlb::authenticate(mock) {
        Ok(Outcome::Abstain) => "abstain".into(),
        Ok(Outcome::Authenticated(who)) => format!("{} for {}", who.subject, who.ttl.unwrap()),
        Ok(Outcome::Challenge(_)) => panic!("a challenge"),
        Ok(Outcome::Rejected(reason)) => format!("rejected: {reason}"),
        Err(failure) => format!("{failure:?}"),
    }
}

#[test]
fn a_token_of_our_load_balancer_is_its_user() {
    let none = json!({});
    let mock = usual(&json!({ "claims": { "keep": ["email"] } }), &none, &none);
    let Ok(Outcome::Authenticated(who)) = AwsAlb::authenticate(&mock) else { panic!("{}", line(&mock)) };
    assert_eq!((who.subject.as_str(), who.ttl, who.groups.join(" ")), ("guid-of-ada", Some(60), "staff".into()));
    assert_eq!(who.claims, [("email".to_owned(), "ada@example.org".to_owned())]);
    // No clock: the host checked the end.
    assert_eq!(mock.asked(), ["header x-amzn-oidc-data", "verify", "sign-in ada"]);
    let (_, keys, expected) = &mock.verified()[0];
    assert!(
        matches!(keys, Keys::PemUrl(url) if url == "https://public-keys.auth.elb.eu-central-1.amazonaws.com/{kid}")
    );
    assert_eq!((expected.algorithms.join(" "), expected.leeway_seconds), ("ES256".into(), 30));
    let profile = &mock.signed_in()[0];
    assert_eq!((profile.issuer.as_str(), profile.subject.as_str()), ("https://idp.example", "s-1"));
    let nobody = Mock::get("/x").document(&settings(&none));
    assert_eq!(line(&nobody), "abstain");
    assert_eq!(nobody.asked(), ["header x-amzn-oidc-data"]);
}

#[test]
fn fields_that_hold_no_good_token() {
    let none = json!({});
    let good = token(&header(&none), &claims(&none));
    for values in [
        vec![""],
        vec!["ada"],
        vec!["a.b.c"],
        vec!["\u{e9}"],
        vec![good.as_str(), good.as_str()],
        vec!["", good.as_str()],
    ] {
        let mock = Mock::get("/x").document(&settings(&none));
        let mock = values.iter().fold(mock, |mock, value| mock.header("X-Amzn-OIDC-Data", value));
        assert!(line(&mock).starts_with("rejected"), "{values:?}: {}", line(&mock));
        assert!(mock.verified().is_empty());
    }
    for (refusal, expected) in [
        (TokenRefusal::Signature, "rejected: wrong signature"),
        (TokenRefusal::Expired, "rejected: expired"),
        (TokenRefusal::NotYet, "rejected: from the future"),
        (TokenRefusal::UnknownKey, "rejected: signed with an unknown key"),
        (TokenRefusal::Algorithm("HS256".into()), "rejected: algorithm HS256"),
        (TokenRefusal::Malformed("x".into()), "rejected: malformed token: x"),
        (TokenRefusal::Keys("timeout".into()), "Failure::Unavailable(\"the load balancer's key: timeout\")"),
    ] {
        let mock = usual(&none, &none, &none).token(&good, Err(refusal));
        assert_eq!(line(&mock), expected);
        assert!(mock.signed_in().is_empty());
    }
}

#[test]
fn tokens_of_other_load_balancers() {
    let none = json!({});
    for signer in [
        json!(null),
        json!(""),
        // Another account, with an identity provider of its own.
        json!(SIGNER.replace("123456789012", "210987654321")),
        json!(SIGNER.replace("eu-central-1", "us-east-1")),
        json!(format!("{SIGNER}x")),
        json!([SIGNER]),
    ] {
        let mock = usual(&none, &json!({ "signer": signer }), &none);
        assert_eq!(line(&mock), "rejected: signed by a load balancer that is not ours", "{signer}");
        // Not even its key is asked for.
        assert!(mock.verified().is_empty());
        assert!(mock.logged()[0].starts_with("a token of a load balancer that is not ours"), "{:?}", mock.logged());
    }
    // Where keys stand in a bucket among others, a name with a path would choose another's.
    for kid in [
        json!(null),
        json!(""),
        json!("../other/key"),
        json!("a/b"),
        json!("a?b"),
        json!("%2e%2e"),
        json!("k".repeat(65)),
    ] {
        let mock = usual(&none, &json!({ "kid": kid }), &none);
        assert_eq!(line(&mock), "rejected: a token whose key has no usable name", "{kid}");
        assert!(mock.verified().is_empty());
    }
}

#[test]
fn what_a_token_must_say() {
    for (rules, in_header, in_claims, expected) in [
        (json!({ "client": "c-1" }), json!({}), json!({}), "guid"),
        (json!({ "client": "c-2" }), json!({}), json!({}), "rejected: of another client"),
        (
            json!({ "client": "c-1" }),
            json!({ "client": null }),
            json!({ "client": "c-1" }),
            "rejected: of another client",
        ),
        (json!({ "issuer": "https://idp.example" }), json!({}), json!({}), "guid"),
        (json!({ "issuer": "https://idp.example" }), json!({}), json!({ "iss": null }), "guid"),
        (json!({ "issuer": "https://other.example" }), json!({}), json!({}), "rejected: of another identity provider"),
        (json!({}), json!({ "iss": "https://other.example" }), json!({}), "rejected: of another identity provider"),
        (json!({}), json!({ "iss": null }), json!({}), "guid"),
        (json!({}), json!({ "iss": null }), json!({ "iss": null }), "rejected: a token without issuer"),
        (json!({ "required": { "hd": "example.org" } }), json!({}), json!({}), "rejected: the claim hd"),
        (json!({}), json!({}), json!({ "sub": null }), "rejected: without the claim sub"),
        (json!({ "accounts": { "allowed_groups": ["x"] } }), json!({}), json!({}), "rejected: member of none"),
        // Cognito and user info endpoints write lists as texts.
        (json!({ "accounts": { "allowed_groups": ["a"] } }), json!({}), json!({ "groups": "[\"a\",\"b\"]" }), "guid"),
        (json!({ "user": "name", "subject_claim": "username" }), json!({}), json!({ "username": "ada" }), "guid"),
        (json!({ "user": "name" }), json!({}), json!({}), "rejected: there is no such user"),
    ] {
        let got = line(&usual(&rules, &in_header, &in_claims));
        assert!(got.starts_with(expected), "{rules} {in_header} {in_claims}: {got}");
    }
}

#[test]
fn the_end_may_stand_in_the_header_alone() {
    let none = json!({});
    for (in_header, in_claims, expected) in [
        (json!(NOW + 120), json!(NOW + 120), "guid-of-ada for 60"),
        (json!(NOW + 20), json!(NOW + 20), "guid-of-ada for 20"),
        (json!(null), json!(NOW + 7), "guid-of-ada for 7"),
        (json!(NOW + 7), json!(null), "guid-of-ada for 7"),
        (json!(NOW + 7), json!(NOW + 100), "guid-of-ada for 7"),
        (json!(NOW + 100), json!(NOW + 7), "guid-of-ada for 7"),
        // Clocks may differ by 30 seconds.
        (json!(NOW - 29), json!(null), "guid-of-ada for 0"),
        (json!(NOW - 30), json!(null), "rejected: expired"),
        (json!(NOW - 3_600), json!(NOW + 100), "rejected: expired"),
        (json!(null), json!(null), "rejected: a token without an end"),
        (json!("soon"), json!(null), "rejected: a token without an end"),
    ] {
        let mock = usual(&none, &json!({ "exp": in_header }), &json!({ "exp": in_claims }));
        assert_eq!(line(&mock), expected, "{in_header} {in_claims}");
    }
}

#[test]
fn people_without_an_open_account() {
    let none = json!({});
    for (refusal, expected) in [
        (SignInRefusal::Unknown, "rejected: no account"),
        (SignInRefusal::Locked, "rejected: the account is locked"),
        (SignInRefusal::NameTaken, "rejected: the user name belongs"),
        (SignInRefusal::NotGranted, "rejected: the role is above"),
        (SignInRefusal::Unavailable, "Failure::Unavailable"),
    ] {
        assert!(line(&usual(&none, &none, &none).signing_in(Err(refusal))).starts_with(expected), "{expected}");
    }
    let mapped = json!({ "accounts": { "create": true, "roles": { "administrator": ["staff"] } } });
    let mock = usual(&mapped, &none, &none);
    line(&mock);
    assert_eq!((mock.signed_in()[0].create, mock.signed_in()[0].role.as_deref()), (true, Some("administrator")));
}

#[test]
fn content_sees_no_credentials_of_the_load_balancer() {
    let content = "content:0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";
    let route = |rules: Value, target: &str, cookie: Option<&str>| {
        let mock = Mock::get("/x").document(&settings(&rules)).target(target);
        let mock = cookie.into_iter().fold(mock, |mock, cookie| mock.header("cookie", cookie));
        match AwsAlb::route(&mock).unwrap() {
            Decision::Next => "next".to_owned(),
            Decision::Respond(_) => panic!("a reply"),
            Decision::Forward(forward) => {
                assert_eq!(forward.target, content);
                let removed: Vec<_> =
                    forward.remove_headers.iter().map(|name| name.replace("x-amzn-oidc-", "")).collect();
                let set: String = forward.set_headers.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
                format!("{} | {set}", removed.join(" "))
            }
        }
    };
    let session = "AWSELBAuthSessionCookie-0=x; app=1; AWSELBAuthSessionCookie-1=y";
    let all = "data accesstoken identity";
    assert_eq!(route(json!({}), content, None), format!("{all} | "));
    assert_eq!(route(json!({}), content, Some("app=1")), format!("{all} | "));
    assert_eq!(route(json!({}), content, Some(session)), format!("{all} | app=1"));
    assert_eq!(route(json!({}), content, Some("AWSELBAuthSessionCookie-0=x")), format!("{all} cookie | "));
    let renamed = json!({ "session_cookie": "staff" });
    assert_eq!(route(renamed, content, Some("staff-0=x; app=1")), format!("{all} | app=1"));
    assert_eq!(route(json!({ "pass_on": true }), content, Some(session)), "next");
    assert_eq!(route(json!({}), "system:api", Some(session)), "next");
    assert_eq!(route(json!({}), "", Some(session)), "next");
}
