//! Tokens, and what comes in their place.

use lectern_plugin::{FetchError, TokenRefusal};

use super::*;

#[test]
fn tokens_that_the_host_refuses() {
    let document = settings(json!({}));
    for (refusal, status, logged) in [
        (TokenRefusal::Signature, "403", "wrong signature"),
        (TokenRefusal::Expired, "403", "expired"),
        (TokenRefusal::NotYet, "403", "from the future"),
        (TokenRefusal::Issuer, "403", "of another issuer"),
        (TokenRefusal::Audience, "403", "for another client"),
        (TokenRefusal::UnknownKey, "403", "unknown key"),
        (TokenRefusal::Algorithm("none".into()), "403", "algorithm none"),
        (TokenRefusal::Malformed("two parts".into()), "403", "malformed"),
        (TokenRefusal::Missing("nonce".into()), "403", "without nonce"),
        (TokenRefusal::Keys("timeout".into()), "503", "the provider's keys"),
    ] {
        let begun = Begun::new(&document, "");
        let mock = tokens(begun.back(&document, GOOD), "t").token("t", Err(refusal));
        assert_eq!(&line(&mock)[..3], status, "{logged}");
        assert!(mock.logged().join("\n").contains(logged), "{:?}", mock.logged());
        assert!(mock.signed_in().is_empty());
    }
}

#[test]
fn tokens_that_are_not_of_this_sign_in() {
    let document = settings(json!({ "max_age": 300 }));
    let fresh = json!({ "auth_time": 1_799_999_700 });
    let cases = [
        (fresh.clone(), None),
        (json!({ "auth_time": 1_799_999_640.5 }), None),
        (json!({ "auth_time": 1_799_999_000 }), Some("too long ago")),
        (json!({}), Some("without auth_time")),
        (json!({ "nonce": "another" }), Some("its nonce is another")),
        (json!({ "nonce": null }), Some("its nonce is another")),
        (json!({ "nonce": "" }), Some("its nonce is another")),
        (json!({ "aud": ["lectern", "other"] }), Some("without azp")),
        (json!({ "aud": ["lectern", "other"], "azp": "other" }), Some("another client")),
        (json!({ "azp": "other" }), Some("another client")),
        (json!({ "aud": ["lectern", "other"], "azp": "lectern", "auth_time": 1_799_999_900 }), None),
        (json!({ "aud": ["lectern"], "auth_time": 1_799_999_900 }), None),
        (json!({ "sub": "" }), Some("no name")),
        (json!({ "sub": "\u{e9}" }), Some("no name")),
        (json!({ "sub": "x".repeat(256) }), Some("no name")),
    ];
    for (changes, flaw) in cases {
        let begun = Begun::new(&document, "");
        let mock = tokens(begun.back(&document, GOOD), "t").token("t", Ok(begun.claims(changes.clone())));
        match flaw {
            None => assert_eq!(line(&mock), "guid-of-ada to /connect/", "{changes}"),
            Some(flaw) => {
                assert!(line(&mock).starts_with("403 What "), "{changes}: {}", line(&mock));
                assert!(mock.logged().join("\n").contains(flaw), "{changes}: {:?}", mock.logged());
                assert!(mock.signed_in().is_empty());
            }
        }
    }
}

#[test]
fn token_endpoints_that_give_none() {
    let document = settings(json!({}));
    for (fetched, expected) in [
        (Ok(answer(400, &json!({ "error": "invalid_grant" }))), "400 This sign-in was used already"),
        (Ok(answer(401, &json!({ "error": "invalid_client" }))), "403 What your identity provider sent"),
        (Ok(answer(200, &json!({ "access_token": "at" }))), "403 What your identity provider sent"),
        (Ok(answer(200, &json!(["id_token"]))), "403 What your identity provider sent"),
        (Ok(answer(400, &json!({ "id_token": "t" }))), "403 What your identity provider sent"),
        (Ok(answer(502, &json!({}))), "503 your identity provider cannot be reached"),
        (Err(FetchError::Timeout), "503 your identity provider cannot be reached"),
        (Err(FetchError::TooLarge), "503 your identity provider cannot be reached"),
        (Err(FetchError::Forbidden("secret client-secret".into())), "Failure::Misconfigured"),
    ] {
        let begun = Begun::new(&document, "");
        let mock = begun.back(&document, GOOD).fetching("POST", TOKEN, fetched).user("ada", Identity::new("a"));
        assert!(line(&mock).starts_with(expected), "{expected}: {}", line(&mock));
        assert!(mock.signed_in().is_empty());
    }
}
