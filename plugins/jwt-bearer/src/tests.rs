//! Tokens on a mocked host, honest and otherwise.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_plugin::web::base64url;
use lectern_plugin::{Keys, Mock, SignInRefusal, Verified};
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://idp.example";

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
    let usual = json!({
        "issuer": ISSUER, "audiences": ["https://lectern.example"], "jwks_url": "https://idp.example/jwks",
        "users": { "ci": "deployer" },
    });
    changed(usual, changes).to_string()
}

fn claims(changes: &Value) -> Value {
    let usual = json!({ "iss": ISSUER, "aud": "https://lectern.example", "sub": "ci", "exp": 1_800_000_300 });
    changed(usual, changes)
}

/// A token that says this; whether it is good is what the mock is told.
fn token(claims: &Value) -> String {
    format!("{}.{}.c2ln", base64url(br#"{"alg":"RS256"}"#), base64url(claims.to_string().as_bytes()))
}

fn good(claims: &Value, valid_seconds: Option<u32>) -> Result<Verified, TokenRefusal> {
    Ok(Verified { header: r#"{"alg":"RS256","typ":"at+JWT"}"#.into(), claims: claims.to_string(), valid_seconds })
}

/// A request with a good token of these claims, on a server that knows the user `deployer`.
fn request(settings_changes: &Value, claim_changes: &Value) -> Mock {
    let said = claims(claim_changes);
    let token = token(&said);
    Mock::get("/content/x/api")
        .document(&settings(settings_changes))
        .header("authorization", &format!("Bearer {token}"))
        .token(&token, good(&said, Some(300)))
        .user("deployer", Identity::new("guid-of-deployer"))
}

/// The outcome on one line.
fn line(mock: &Mock) -> String {
    match JwtBearer::authenticate(mock) {
        Ok(Outcome::Abstain) => "abstain".into(),
        Ok(Outcome::Authenticated(who)) => format!("{} for {}", who.subject, who.ttl.unwrap()),
        Ok(Outcome::Challenge(_)) => panic!("a challenge"),
        Ok(Outcome::Rejected(reason)) => format!("rejected: {reason}"),
        Err(failure) => format!("{failure:?}"),
    }
}

#[test]
fn a_good_token_is_its_user_for_a_minute_at_most() {
    let mock = request(&json!({}), &json!({}));
    assert_eq!(line(&mock), "guid-of-deployer for 60");
    assert_eq!(mock.asked(), ["header authorization", "verify", "find-user deployer"]);
    let (_, keys, expected) = &mock.verified()[0];
    assert!(matches!(keys, Keys::JwksUrl(url) if url == "https://idp.example/jwks"));
    assert_eq!(expected.issuers, [ISSUER]);
    assert_eq!(expected.audiences, ["https://lectern.example"]);
    assert_eq!((expected.algorithms.join(" "), expected.leeway_seconds), ("RS256 ES256".into(), 30));
    assert_eq!(expected.required, ["exp", "aud"]);
    let said = claims(&json!({}));
    for (valid, ttl) in [(Some(7), 7), (Some(60), 60), (None, 60), (Some(0), 0)] {
        let mock = request(&json!({}), &json!({})).token(&token(&said), good(&said, valid));
        assert_eq!(line(&mock), format!("guid-of-deployer for {ttl}"));
    }
}

#[test]
fn a_visitor_without_a_token_costs_one_question() {
    let mock = Mock::get("/x").document(&settings(&json!({})));
    assert_eq!(line(&mock), "abstain");
    assert_eq!(mock.asked(), ["header authorization"]);
}

#[test]
fn every_form_of_the_field() {
    let said = claims(&json!({}));
    let good_token = token(&said);
    let foreign = token(&claims(&json!({ "iss": "https://other.example" })));
    let nobodys = token(&claims(&json!({ "iss": null })));
    let long = format!("Bearer {good_token}{}", "x".repeat(16 << 10));
    let field = |text: &str| text.replace("GOOD", &good_token).replace("FOREIGN", &foreign).replace("NONE", &nobodys);
    // What is sent; the outcome usually; the outcome with strict.
    let (yes, no, both) = ("guid-of-deployer", "abstain", "rejected");
    for (values, usual, strict) in [
        (vec!["Bearer GOOD"], yes, yes),
        (vec!["bearer   GOOD "], yes, yes),
        (vec!["BEARER\tGOOD"], yes, yes),
        (vec!["Basic YTpi", "Bearer GOOD"], yes, yes),
        (vec!["Bearer GOOD", "Bearer GOOD"], both, both),
        (vec!["Bearer opaque", "bearer GOOD"], both, both),
        (vec!["Bearer GOOD, Bearer GOOD"], no, both),
        (vec!["Bearer opaque"], no, both),
        (vec!["Bearer "], no, no),
        (vec!["Bearer"], no, no),
        (vec!["GOOD"], no, no),
        (vec!["Key GOOD"], no, no),
        (vec!["BearerGOOD"], no, no),
        (vec!["Bearer \u{e9}.\u{e9}.\u{e9}"], no, both),
        (vec!["Bearer FOREIGN"], no, no),
        (vec!["Bearer NONE"], no, both),
        (vec!["Bearer GOOD.x"], no, both),
        (vec![long.as_str()], no, both),
    ] {
        for (changes, expected) in [(json!({}), usual), (json!({ "strict": true }), strict)] {
            let mock = Mock::get("/x").document(&settings(&changes)).token(&good_token, good(&said, None));
            let mock = mock.user("deployer", Identity::new("guid-of-deployer"));
            let mock = values.iter().fold(mock, |mock, value| mock.header("Authorization", &field(value)));
            assert!(line(&mock).starts_with(expected), "{values:?} {changes}: {}", line(&mock));
        }
    }
}

#[test]
fn tokens_of_this_issuer_are_good_or_rejected() {
    let said = claims(&json!({}));
    for (refusal, expected) in [
        (TokenRefusal::Signature, "rejected: wrong signature"),
        (TokenRefusal::Expired, "rejected: expired token"),
        (TokenRefusal::NotYet, "rejected: token from the future"),
        (TokenRefusal::Issuer, "rejected: token of another issuer"),
        (TokenRefusal::Audience, "rejected: token for another audience"),
        (TokenRefusal::UnknownKey, "rejected: signed with an unknown key"),
        (TokenRefusal::Algorithm("none".into()), "rejected: algorithm none"),
        (TokenRefusal::Malformed("x".into()), "rejected: malformed token: x"),
        (TokenRefusal::Missing("exp".into()), "rejected: token without exp"),
        // Never anonymous because the keys are away.
        (TokenRefusal::Keys("timeout".into()), "Failure::Unavailable(\"keys of https://idp.example: timeout\")"),
    ] {
        let mock = request(&json!({}), &json!({})).token(&token(&said), Err(refusal));
        assert_eq!(line(&mock), expected);
        assert!(!mock.asked().iter().any(|question| question.starts_with("find-user")));
    }
}

#[test]
fn what_a_token_must_say_beside() {
    for (rules, said, expected) in [
        (json!({ "types": ["at+jwt"] }), json!({}), "guid"),
        (json!({ "types": ["application/at+jwt", "x"] }), json!({}), "guid"),
        (json!({ "types": ["JWT"] }), json!({}), "rejected: a token of another type"),
        (json!({ "required": { "env": "prod" } }), json!({ "env": "prod" }), "guid"),
        (json!({ "required": { "env": "prod" } }), json!({ "env": "test" }), "rejected: the claim env"),
        (json!({ "required": { "env": "prod" } }), json!({}), "rejected: the claim env"),
        (json!({ "scopes": ["read"] }), json!({ "scope": "write read" }), "guid"),
        (json!({ "scopes": ["read"] }), json!({ "scp": ["read"] }), "guid"),
        (json!({ "scopes": ["read", "write"] }), json!({ "scope": "read" }), "rejected: the scope write"),
        (json!({ "scopes": ["read"] }), json!({ "scope": "reads unread" }), "rejected: the scope read"),
        (json!({ "scopes": ["read"] }), json!({}), "rejected: the scope read"),
        (json!({ "subject_claim": "/act/sub" }), json!({ "act": { "sub": "ci" } }), "guid"),
        (json!({ "subject_claim": "client_id" }), json!({}), "rejected: without the claim client_id"),
    ] {
        let got = line(&request(&rules, &said));
        assert!(got.starts_with(expected), "{rules} {said}: {got}");
    }
}

#[test]
fn subjects_become_users_as_the_operator_says() {
    let by_name = json!({ "user": "name", "users": null });
    for (rules, said, expected) in [
        (json!({}), json!({ "sub": "deployer" }), "rejected: its subject is not among the users"),
        (json!({}), json!({ "sub": "CI" }), "rejected: its subject is not among the users"),
        (json!({ "users": { "ci": "gone" } }), json!({}), "rejected: there is no such user, or the account is locked"),
        (by_name.clone(), json!({ "sub": "Deployer" }), "guid-of-deployer"),
        (by_name.clone(), json!({}), "rejected: there is no such user"),
    ] {
        let got = line(&request(&rules, &said));
        assert!(got.starts_with(expected), "{rules} {said}: {got}");
    }
    let linked = json!({
        "user": "account", "users": null, "claims": { "username": ["sub"], "keep": ["team"] },
        "accounts": { "create": true, "roles": { "publisher": ["robots"] }, "allowed_groups": ["robots"] },
    });
    let said = json!({ "sub": "robot-1", "groups": ["robots"], "team": "blue" });
    let mock = request(&linked, &said).signing_in(Ok(Identity::new("guid-of-robot")));
    let Ok(Outcome::Authenticated(who)) = JwtBearer::authenticate(&mock) else { panic!("{}", line(&mock)) };
    assert_eq!((who.subject.as_str(), who.ttl, who.groups.join(" ")), ("guid-of-robot", Some(60), "robots".into()));
    assert_eq!(who.claims, [("team".to_owned(), "blue".to_owned())]);
    let profile = &mock.signed_in()[0];
    assert_eq!(
        (profile.issuer.as_str(), profile.subject.as_str(), profile.username.as_str()),
        (ISSUER, "robot-1", "robot-1")
    );
    assert_eq!((profile.create, profile.role.as_deref()), (true, Some("publisher")));
    assert!(line(&request(&linked, &json!({}))).starts_with("rejected: member of none"));
    for (refusal, expected) in [
        (SignInRefusal::Unknown, "rejected: no account"),
        (SignInRefusal::Locked, "rejected: the account is locked"),
        (SignInRefusal::NameTaken, "rejected: the user name belongs"),
        (SignInRefusal::NotGranted, "rejected: the role is above"),
        (SignInRefusal::Unavailable, "Failure::Unavailable"),
    ] {
        assert!(line(&request(&linked, &said).signing_in(Err(refusal))).starts_with(expected), "{expected}");
    }
}

#[test]
fn only_below_the_paths_that_are_set() {
    let said = claims(&json!({}));
    let token = token(&said);
    for (path, concerned) in [
        ("/__api__", true),
        ("/__api__/v1/user", true),
        ("/__api__x", false),
        ("/a/b", true),
        ("/a/b/c", true),
        ("/a/bc", false),
        ("/a", false),
    ] {
        let mock = Mock::get(path)
            .document(&settings(&json!({ "paths": ["/__api__", "/a/b"] })))
            .header("authorization", &format!("Bearer {token}"))
            .token(&token, good(&said, None))
            .user("deployer", Identity::new("guid-of-deployer"));
        assert_eq!(line(&mock) != "abstain", concerned, "{path}");
    }
}

#[test]
fn content_does_not_see_the_token() {
    let route = |mock: Mock| match JwtBearer::route(&mock).unwrap() {
        Decision::Next => "next".to_owned(),
        Decision::Forward(forward) => format!("{} without {}", forward.target, forward.remove_headers.join(" ")),
        Decision::Respond(_) => panic!("a reply"),
    };
    let content = "content:0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";
    let at = |changes: &Value, said: &Value, target: &str| route(request(changes, said).target(target));
    let plain = json!({});
    assert_eq!(at(&plain, &plain, content), format!("{content} without authorization"));
    assert_eq!(at(&json!({ "pass_on": true }), &plain, content), "next");
    assert_eq!(at(&plain, &json!({ "iss": "https://other.example" }), content), "next");
    assert_eq!(at(&plain, &plain, "system:api"), "next");
    // In the phase route there is no target.
    assert_eq!(at(&plain, &plain, ""), "next");
    let opaque = Mock::get("/").document(&settings(&plain)).target(content).header("authorization", "Bearer opaque");
    assert_eq!(route(opaque), "next");
    let none = Mock::get("/").document(&settings(&plain)).target(content);
    assert!(matches!(JwtBearer::route(&none), Ok(Decision::Next)));
    assert_eq!(none.asked(), ["header authorization"]);
}

#[test]
fn settings_are_refused_before_they_take_traffic() {
    let check = |changes: &Value| <JwtBearer as Authenticator>::check(&Mock::get("/").document(&settings(changes)));
    for good in [
        json!({}),
        json!({ "jwks_url": null, "jwks": "{\"keys\":[]}" }),
        json!({ "jwks_url": null, "secret": "shared", "algorithms": ["HS512"] }),
        json!({ "user": "account", "users": null }),
        json!({ "paths": ["/", "/a"] }),
    ] {
        assert!(check(&good).is_ok(), "{good}");
    }
    for bad in [
        json!({ "issuer": null }),
        json!({ "issuer": "" }),
        json!({ "audiences": null }),
        json!({ "audiences": [] }),
        json!({ "audiences": [""] }),
        json!({ "jwks_url": null }),
        json!({ "secret": "shared" }),
        json!({ "jwks_url": "http://idp.example/jwks" }),
        // The key that everybody knows, used as a secret (RFC 8725 §3.1).
        json!({ "algorithms": ["RS256", "HS256"] }),
        json!({ "algorithms": ["none"] }),
        json!({ "jwks_url": null, "secret": "shared", "algorithms": ["RS256"] }),
        json!({ "leeway_seconds": 301 }),
        json!({ "users": null }),
        json!({ "user": "name" }),
        json!({ "paths": ["a"] }),
        json!({ "paths": ["/a/"] }),
        json!({ "subject_claim": "" }),
        json!({ "audience": "x" }),
    ] {
        assert!(matches!(check(&bad), Err(Failure::Misconfigured(_))), "{bad}");
    }
}
