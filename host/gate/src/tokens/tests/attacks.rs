//! Tokens that others have been fooled with.

use serde_json::json;

use super::super::testing::{
    Issuer, NOW_S, RSA_PEM, Signer, algorithms, any, encode, jwks, p256, rsa, shared, verified,
};
use super::super::{KeySets, Keys, TokenRefusal};

fn is_algorithm<T>(outcome: &Result<T, TokenRefusal>) -> bool {
    matches!(outcome, Err(TokenRefusal::Algorithm(_)))
}

#[tokio::test]
async fn unsigned_tokens() {
    let signer = rsa();
    let keys = Keys::Jwks(jwks(&[signer.jwk("k")]));
    for name in
        ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "RS1", "RSA1_5", "dir", "ES256K", "ES512", "HS256\0"]
    {
        for (kind, keys) in [("public", &keys), ("secret", &Keys::Secret)] {
            let header = json!({"alg": name, "kid": "k"}).to_string();
            let token = Signer::Nobody.token_of("", &header, r#"{"sub":"root"}"#);
            let outcome = verified(&token, keys, &any(), Some(&shared())).await;
            assert!(is_algorithm(&outcome), "{name} {kind}: {outcome:?}");
            // Not even where the list was made with them.
            let outcome = verified(&token, keys, &algorithms(&[name, "RS256"]), Some(&shared())).await;
            assert!(is_algorithm(&outcome), "{name} {kind}: {outcome:?}");
        }
    }
    let token = signer.token("RS256", "k");
    assert!(is_algorithm(&verified(&token, &keys, &algorithms(&[]), None).await), "an empty list accepts nothing");
    assert!(is_algorithm(&verified(&token, &keys, &algorithms(&["PS256"]), None).await), "another one is accepted");
}

/// The public key, which everybody has, as a secret for HMAC.
#[tokio::test]
async fn public_keys_are_no_secrets() {
    let signer = rsa();
    let key = signer.jwk("k");
    let n = super::super::jws::base64url(key["n"].as_str().unwrap()).unwrap();
    let guesses = [RSA_PEM.as_bytes().to_vec(), RSA_PEM.trim().as_bytes().to_vec(), key.to_string().into_bytes(), n];
    let keys = Keys::Jwks(jwks(&[key]));
    for guess in guesses {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let token = Signer::Shared(guess.clone()).token(algorithm, "k");
            assert!(is_algorithm(&verified(&token, &keys, &any(), None).await), "{algorithm}");
        }
    }
    // A secret in a public set is none; nor does a public algorithm go with a secret.
    let secret = shared();
    let signer_shared = Signer::Shared(secret.clone());
    let token = signer_shared.token("HS256", "k");
    let set = Keys::Jwks(jwks(&[signer_shared.jwk("k")]));
    assert!(is_algorithm(&verified(&token, &set, &any(), Some(&secret)).await));
    assert!(is_algorithm(&verified(&signer.token("RS256", "k"), &Keys::Secret, &any(), Some(&secret)).await));
}

#[tokio::test]
async fn secrets_must_be_there_and_long() {
    let secret = shared();
    let token = Signer::Shared(secret.clone()).token("HS256", "k");
    assert!(matches!(verified(&token, &Keys::Secret, &any(), None).await, Err(TokenRefusal::Keys(_))));
    assert_eq!(verified(&token, &Keys::Secret, &any(), Some(&shared())).await, Err(TokenRefusal::Signature));
    for (algorithm, bytes, is_long) in
        [("HS256", 0, false), ("HS256", 31, false), ("HS256", 32, true), ("HS384", 47, false), ("HS512", 63, false)]
    {
        let short = &secret[..bytes];
        let token = Signer::Shared(short.to_vec()).token(algorithm, "k");
        let outcome = verified(&token, &Keys::Secret, &any(), Some(short)).await;
        assert_eq!(outcome.is_ok(), is_long, "{algorithm} {bytes}: {outcome:?}");
    }
}

/// Whoever makes a token can write their own key into it.
#[tokio::test]
async fn keys_inside_tokens_mean_nothing() {
    let (honest, forger) = (p256(), p256());
    let issuer = Issuer::default();
    issuer.answers("https://evil.example/jwks", 200, "", &jwks(&[forger.jwk("k")]));
    for (field, value) in [
        ("jwk", forger.jwk("k")),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/jwks")),
        ("x5c", json!(["MIIB"])),
    ] {
        for kid in ["k", "https://evil.example/jwks"] {
            let header = json!({"alg": "ES256", "kid": kid, field: value}).to_string();
            let token = forger.token_of("ES256", &header, "{}");
            let keys = Keys::Jwks(jwks(&[honest.jwk("k")]));
            let outcome = KeySets::new().verify(&token, &keys, &any(), None, &issuer, NOW_S * 1_000).await;
            assert!(matches!(outcome, Err(TokenRefusal::Signature | TokenRefusal::UnknownKey)), "{outcome:?}");
        }
    }
    assert_eq!(issuer.asked(), 0);
}

#[tokio::test]
async fn headers_with_more_than_is_understood() {
    let signer = p256();
    let keys = Keys::Jwks(jwks(&[signer.jwk("k")]));
    for header in [
        r#"{"alg":"ES256","kid":"k","crit":["exp"]}"#,
        r#"{"alg":"ES256","kid":"k","crit":[]}"#,
        r#"{"alg":"ES256","kid":"k","crit":null}"#,
        r#"{"alg":"ES256","kid":"k","b64":false}"#,
        r#"{"alg":"ES256","kid":"k","b64":false,"crit":["b64"]}"#,
        r#"{"alg":"ES256","kid":"k","b64":"true"}"#,
        r#"{"alg":"ES256","alg":"none","kid":"k"}"#,
        r#"{"alg":"none","kid":"k","\u0061lg":"ES256"}"#,
        r#"{"alg":["ES256"],"kid":"k"}"#,
        r#"{"alg":null,"kid":"k"}"#,
        r#"{"kid":"k"}"#,
        r#"{"alg":"ES256","kid":1}"#,
        r#"{"alg":"ES256","kid":null}"#,
        r#"["ES256"]"#,
        r#"{"alg":"ES256","kid":"k"} "x""#,
        r#"{"alg":"ES256","kid":"k""#,
        "",
    ] {
        let outcome = verified(&signer.token_of("ES256", header, "{}"), &keys, &any(), None).await;
        assert!(matches!(outcome, Err(TokenRefusal::Malformed(_))), "{header}: {outcome:?}");
    }
    let long = json!({"alg": "ES256", "kid": "k".repeat(1025)}).to_string();
    let outcome = verified(&signer.token_of("ES256", &long, "{}"), &keys, &any(), None).await;
    assert!(matches!(outcome, Err(TokenRefusal::Malformed(_))), "{outcome:?}");
}

#[tokio::test]
async fn tokens_that_are_not_three_parts() {
    let signer = p256();
    let keys = Keys::Jwks(jwks(&[signer.jwk("k")]));
    let token = signer.token("ES256", "k");
    assert!(verified(&token, &keys, &any(), None).await.is_ok());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{token}") };
    let swapped = signer.token_of("ES256", r#"{"sub":"ada"}"#, r#"{"alg":"ES256","kid":"k"}"#);
    let large =
        signer.token_of("ES256", r#"{"alg":"ES256","kid":"k"}"#, &format!(r#"{{"x":"{}"}}"#, "x".repeat(16 << 10)));
    let mixed = |part: &str| part.replacen(['-', '_'], "+", 1);
    for wrong in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{header}.{claims}"),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{header}.{claims}.{signature}.x.y"),
        format!(".{header}.{claims}.{signature}"),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{claims}.{header}.{signature}"),
        format!("{signature}.{claims}.{header}"),
        format!("{header}.{signature}.{claims}"),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{header}\n.{claims}.{signature}"),
        format!("{token}\0"),
        format!("{token}!"),
        format!("{token}===="),
        format!("Bearer {token}"),
        format!("{header}.{claims}.+{}", &signature[1..]),
        format!("{}.{}.{}", mixed("a-_8"), claims, signature),
        // One more bit than the bytes need: another text for the same bytes.
        format!("{header}.{claims}.{}B", &signature[..signature.len() - 1]),
        format!("{header}.{claims}.ä"),
        json!({"protected": header, "payload": claims, "signature": signature}).to_string(),
        swapped,
        large,
    ] {
        let outcome = verified(&wrong, &keys, &any(), None).await;
        assert!(matches!(outcome, Err(TokenRefusal::Malformed(_))), "{wrong:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn claims_with_two_meanings() {
    let signer = p256();
    let keys = Keys::Jwks(jwks(&[signer.jwk("k")]));
    for claims in [
        r#"{"sub":"ada","sub":"root"}"#,
        r#"{"sub":"ada","\u0073ub":"root"}"#,
        r#"{"exp":1,"exp":9999999999}"#,
        r#"{"roles":{"admin":false,"admin":true}}"#,
        r#"{"exp":1e999}"#,
        r#"{"exp":"9999999999"}"#,
        r#"{"exp":9999999999} {"sub":"root"}"#,
        r#"{"exp":9999999999}x"#,
        r#""text""#,
        "null",
        "[]",
        "",
        "sub=ada",
    ] {
        let token = signer.token_of("ES256", r#"{"alg":"ES256","kid":"k"}"#, claims);
        let outcome = verified(&token, &keys, &any(), None).await;
        assert!(matches!(outcome, Err(TokenRefusal::Malformed(_))), "{claims}: {outcome:?}");
    }
    let bytes = |payload: &[u8]| {
        let signed = format!("{}.{}", encode(r#"{"alg":"ES256","kid":"k"}"#), encode(payload));
        format!("{signed}.{}", encode(signer.sign("ES256", signed.as_bytes())))
    };
    for payload in [&b"{\"sub\":\"\xff\"}"[..], b"\xef\xbb\xbf{}", b"{}\0"] {
        let outcome = verified(&bytes(payload), &keys, &any(), None).await;
        assert!(matches!(outcome, Err(TokenRefusal::Malformed(_))), "{outcome:?}");
    }
}

/// DER is another form of the same signature: only one form is accepted (RFC 7518 §3.4).
#[tokio::test]
async fn signatures_in_another_form() {
    let signer = p256();
    let keys = Keys::Jwks(jwks(&[signer.jwk("k")]));
    let token = signer.token("ES256", "k");
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let raw = super::super::jws::base64url(signature).unwrap();
    let integer = |bytes: &[u8]| {
        let sign: &[u8] = if bytes[0] >= 0x80 { &[0] } else { &[] };
        [&[2, u8::try_from(sign.len() + bytes.len()).unwrap()], sign, bytes].concat()
    };
    let body = [integer(&raw[..32]), integer(&raw[32..])].concat();
    let der = [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat();
    let outcome = verified(&format!("{signed}.{}", encode(der)), &keys, &any(), None).await;
    assert_eq!(outcome, Err(TokenRefusal::Signature));
}

#[tokio::test]
async fn weak_rsa_keys() {
    let signer = rsa();
    let token = signer.token("RS256", "k");
    let n = signer.jwk("k")["n"].as_str().unwrap().to_owned();
    let short = encode([0xff; 128]);
    let long = encode([0xff; 1025]);
    let with = |n: &str, e: &str| Keys::Jwks(jwks(&[json!({"kty": "RSA", "kid": "k", "n": n, "e": e})]));
    for (what, keys) in [
        ("1,024 bits", with(&short, "AQAB")),
        ("8,200 bits", with(&long, "AQAB")),
        ("no exponent", with(&n, "")),
        ("exponent 0", with(&n, "AA")),
        ("a large exponent", with(&n, &encode([0xff; 6]))),
    ] {
        assert_eq!(verified(&token, &keys, &any(), None).await, Err(TokenRefusal::UnknownKey), "{what}");
    }
    // Everything to the power of 1 is its own signature.
    assert_eq!(verified(&token, &with(&n, "AQ"), &any(), None).await, Err(TokenRefusal::Signature));
    let padded = encode([&[0, 0][..], &super::super::jws::base64url(&n).unwrap()].concat());
    assert!(verified(&token, &with(&padded, "AAEAAQ"), &any(), None).await.is_ok(), "zeros before it change nothing");
}
