//! Tokens that are good, and attacks with ones that are not.
#![allow(clippy::unwrap_used, clippy::panic)]

mod attacks;
mod fetching;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::json;

use super::testing::{NOW_S, Signer, algorithms, any, ed25519, encode, jwks, p256, p384, rsa, shared, verified};
use super::{Expectations, Keys, TokenRefusal};

#[tokio::test]
async fn every_algorithm_with_its_kind_of_key() {
    let secret = shared();
    let shared = || Signer::Shared(secret.clone());
    let cases = [
        ("RS256", rsa()),
        ("RS384", rsa()),
        ("RS512", rsa()),
        ("PS256", rsa()),
        ("PS384", rsa()),
        ("PS512", rsa()),
        ("ES256", p256()),
        ("ES384", p384()),
        ("EdDSA", ed25519()),
        ("HS256", shared()),
        ("HS384", shared()),
        ("HS512", shared()),
    ];
    for (algorithm, signer) in cases {
        let is_shared = matches!(signer, Signer::Shared(_));
        let keys = if is_shared { Keys::Secret } else { Keys::Jwks(jwks(&[signer.jwk("k")])) };
        let expected = algorithms(&[algorithm]);
        let token = signer.token(algorithm, "k");
        let good = verified(&token, &keys, &expected, Some(&secret)).await.unwrap();
        assert_eq!(good.valid_seconds, Some(60), "{algorithm}");
        assert_eq!(good.claims, json!({"sub": "ada", "exp": NOW_S + 60}).to_string());
        assert_eq!(good.header, json!({"alg": algorithm, "kid": "k", "typ": "JWT"}).to_string());

        let (signed, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{}.{}", encode(json!({"alg": algorithm, "kid": "k"}).to_string()), encode("{}"));
        for (what, wrong) in [
            ("other claims", format!("{forged}.{signature}")),
            ("no signature", format!("{signed}.")),
            ("half a signature", format!("{signed}.{}", &signature[..signature.len() / 2 / 4 * 4])),
            ("a longer one", format!("{signed}.{signature}AAAA")),
            ("zeros", format!("{signed}.{}", encode([0; 64]))),
            ("zeros of P-384", format!("{signed}.{}", encode([0; 96]))),
            ("zeros of RSA", format!("{signed}.{}", encode([0; 256]))),
        ] {
            let outcome = verified(&wrong, &keys, &expected, Some(&secret)).await;
            let is_refused = matches!(outcome, Err(TokenRefusal::Signature | TokenRefusal::Malformed(_)));
            assert!(is_refused, "{algorithm}: {what}: {outcome:?}");
        }
    }
}

/// RFC 7515, appendices A.1 to A.3: other people's signatures.
#[tokio::test]
async fn the_tokens_of_the_standard() {
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let secret =
        super::jws::base64url("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
    let rsa = json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-\
        Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSX\
        ndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmou\
        dF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"});
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let cases = [
        ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", Keys::Secret),
        (
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUA\
             r7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--\
             xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_Io\
             ypGlUPQGe77Rw",
            Keys::Jwks(jwks(&[rsa])),
        ),
        (
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            Keys::Jwks(jwks(&[ec])),
        ),
    ];
    for (header, signature, keys) in cases {
        let outcome = verified(&format!("{header}.{payload}.{signature}"), &keys, &any(), secret.as_deref()).await;
        // Their time was over in 2011.
        let good = outcome.unwrap_or_else(|refusal| panic!("{header}: {refusal:?}"));
        assert_eq!(good.valid_seconds, Some(300_819_380));
        assert!(good.claims.contains("\"iss\":\"joe\",\r\n"), "{}", good.claims);
    }
}

/// AWS load balancers pad the parts, and sign them so.
#[tokio::test]
async fn padding_is_signed_as_it_came() {
    let signer = p256();
    let keys = Keys::Jwks(jwks(&[signer.jwk("k")]));
    let (header, claims) = (r#"{"alg":"ES256","kid":"k"}"#, r#"{"sub":"x"}"#);
    let signed = format!("{}.{}", URL_SAFE.encode(header), URL_SAFE.encode(claims));
    assert!(signed.matches('=').count() >= 3, "{signed}");
    let signature = signer.sign("ES256", signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE.encode(&signature));
    assert_eq!(verified(&token, &keys, &any(), None).await.unwrap().claims, claims);
    let bare = token.replace('=', "");
    assert_eq!(verified(&bare, &keys, &any(), None).await, Err(TokenRefusal::Signature), "it was not signed so");
}

#[tokio::test]
async fn keys_are_chosen_by_name_kind_and_use() {
    let (one, two, other) = (p256(), p256(), p384());
    let edited = |signer: &Signer, change: serde_json::Value| {
        let mut key = signer.jwk("one");
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        key
    };
    let unnamed = |signer: &Signer| {
        let mut key = signer.jwk("");
        key.as_object_mut().unwrap().remove("kid");
        key
    };
    let unfit = || Err(TokenRefusal::Algorithm("it does not fit the key".into()));
    let named = one.token("ES256", "one");
    let nameless = one.token_of("ES256", r#"{"alg":"ES256"}"#, "{}");
    let cases = [
        ("by name", &named, vec![two.jwk("two"), one.jwk("one")], Ok(())),
        ("not there", &named, vec![two.jwk("two")], Err(TokenRefusal::UnknownKey)),
        ("empty", &named, vec![], Err(TokenRefusal::UnknownKey)),
        ("the name of another's", &named, vec![two.jwk("one")], Err(TokenRefusal::Signature)),
        ("letter case counts", &named, vec![one.jwk("One")], Err(TokenRefusal::UnknownKey)),
        ("another curve", &named, vec![other.jwk("one")], unfit()),
        ("same name, two kinds", &named, vec![other.jwk("one"), one.jwk("one")], Ok(())),
        ("for signatures", &named, vec![edited(&one, json!({"use": "sig", "alg": "ES256"}))], Ok(())),
        ("for encryption", &named, vec![edited(&one, json!({"use": "enc"}))], Err(TokenRefusal::UnknownKey)),
        ("to verify", &named, vec![edited(&one, json!({"key_ops": ["verify"]}))], Ok(())),
        ("to derive", &named, vec![edited(&one, json!({"key_ops": ["deriveKey"]}))], Err(TokenRefusal::UnknownKey)),
        ("for another algorithm", &named, vec![edited(&one, json!({"alg": "ES384"}))], unfit()),
        ("for an unknown one", &named, vec![edited(&one, json!({"alg": "ECDH-ES"}))], Err(TokenRefusal::UnknownKey)),
        ("not on the curve", &named, vec![edited(&one, json!({"y": encode([1; 32])}))], Err(TokenRefusal::Signature)),
        ("a short point", &named, vec![edited(&one, json!({"y": encode([1; 31])}))], Err(TokenRefusal::UnknownKey)),
        ("no name, one key", &nameless, vec![unnamed(&one)], Ok(())),
        ("no name, one that fits", &nameless, vec![other.jwk("x"), one.jwk("y"), rsa().jwk("z")], Ok(())),
        ("no name, two", &nameless, vec![one.jwk("x"), two.jwk("y")], Err(TokenRefusal::UnknownKey)),
        ("no name, none that fits", &nameless, vec![other.jwk("x")], unfit()),
        (
            "keys beyond 64",
            &named,
            (0..64).map(|_| two.jwk("x")).chain([one.jwk("one")]).collect(),
            Err(TokenRefusal::UnknownKey),
        ),
    ];
    for (what, token, keys, expected) in cases {
        let outcome = verified(token, &Keys::Jwks(jwks(&keys)), &any(), None).await;
        assert_eq!(outcome.map(drop), expected, "{what}");
    }
}

#[tokio::test]
async fn key_sets_that_cannot_be_read() {
    let signer = p256();
    let token = signer.token("ES256", "k");
    let twice = format!(r#"{{"keys":[],"keys":[{}]}}"#, signer.jwk("k"));
    let large = format!(r#"{{"x":"{}","keys":[{}]}}"#, "x".repeat(256 << 10), signer.jwk("k"));
    for text in ["", "{}", "[]", r#"{"keys":{}}"#, "<html>", &twice, &large] {
        let outcome = verified(&token, &Keys::Jwks(text.to_owned()), &any(), None).await;
        assert!(matches!(outcome, Err(TokenRefusal::Keys(_))), "{outcome:?}");
    }
    let mixed = format!(r#"{{"keys":[1,null,{{}},{{"kty":1}},{{"kty":"PQ"}},{}]}}"#, signer.jwk("k"));
    assert!(verified(&token, &Keys::Jwks(mixed), &any(), None).await.is_ok(), "what is not understood is left out");
}

#[tokio::test]
async fn expectations_apply() {
    let signer = ed25519();
    let keys = Keys::Jwks(jwks(&[signer.jwk("k")]));
    let token = signer.token("EdDSA", "k");
    let expected = Expectations { issuers: vec!["x".into()], ..any() };
    assert_eq!(verified(&token, &keys, &expected, None).await, Err(TokenRefusal::Issuer));
    let expected = Expectations { required: vec!["email".into()], ..any() };
    assert_eq!(verified(&token, &keys, &expected, None).await, Err(TokenRefusal::Missing("email".into())));
}
