//! Machine tokens of a real issuer: the right ones stand for their user, all others for nobody.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use http::Method;
use jsonwebtoken::{EncodingKey, Header, encode};
use lectern_tests::apps;
use lectern_tests::forger::base64url;
use lectern_tests::http::Reply;
use lectern_tests::idp::Idp;
use lectern_tests::plugins::Operator;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::Server;
use lectern_tests::wait::until;
use serde_json::{Value, json};

/// What tokens are for.
const HERE: &str = "https://lectern.example/";
const ELSEWHERE: &str = "https://other.example/";

fn issuer(ttl: u32) -> Idp {
    Idp::start(&json!({
        "clients": [{
            "client_id": "ci", "client_secret": "s3cret", "token_endpoint_auth_method": "client_secret_post",
            "grant_types": ["client_credentials"], "redirect_uris": [], "response_types": [],
        }],
        "resources": {(HERE): {"alg": "ES256", "ttl": ttl}, (ELSEWHERE): {"alg": "ES256", "ttl": 300}},
    }))
}

/// A token's three parts, decoded where that is possible.
fn parts(token: &str) -> (String, String, String) {
    let mut parts = token.split('.').map(str::to_owned);
    (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
}

#[test]
fn only_tokens_of_the_issuer_for_this_server_count() {
    let (idp, stranger, brief) = (issuer(300), issuer(300), issuer(1));
    let allowed = [&idp, &stranger, &brief].map(|one| one.address().to_string()).join(",");
    let server = Server::setup().env("LECTERN_GATE__OUTBOUND_ALLOW", allowed).start();
    let operator = Operator::new(&server, "grace");
    let deployer = server.account("deployer", "publisher");
    let guid = Publisher::new(&server, &deployer).publish("report", &apps::page("Report"));
    let bind = |name: &str, idp: &Idp| {
        let binding = json!({
            "plugin": "jwt-bearer", "name": name,
            "release": {
                "config": {
                    "issuer": idp.issuer, "audiences": [HERE], "jwks_url": format!("{}/jwks", idp.issuer),
                    "users": {"ci": "deployer"}, "leeway_seconds": 0,
                },
                "grants": ["tokens", "directory", "accounts:viewer", format!("outbound:{}", idp.issuer)],
            },
        });
        operator.post("/bindings", &binding).expect(200);
    };
    bind("pipeline", &idp);
    bind("brief", &brief);
    let ask = |token: &str| -> Reply {
        server.ask(Method::GET, "/__api__/v1/user").header("authorization", &format!("Bearer {token}")).send()
    };
    let fresh = |resource: &str| idp.machine_token("ci", "s3cret", resource, "");

    let good = fresh(HERE);
    let seen = ask(&good).expect(200).json();
    assert_eq!(seen["username"], "deployer", "{seen}");
    let opened = server.get(&format!("/content/{guid}/")).header("authorization", &format!("Bearer {good}")).send();
    assert!(opened.expect(200).text().contains("Report"));

    let (head, claims, signature) = parts(&good);
    let flipped: String = {
        let first = if signature.starts_with('A') { "B" } else { "A" };
        format!("{first}{}", &signature[1..])
    };
    let none = base64url(br#"{"alg":"none","typ":"at+jwt"}"#);
    let payload = |claims: &Value| base64url(claims.to_string().as_bytes());
    let hs256 = {
        // The confusion of RFC 8725 §2.1: the public key, as the issuer publishes it, taken for a shared secret.
        let claims = json!({"iss": idp.issuer, "aud": HERE, "sub": "ci", "exp": 4_102_444_800_u64});
        encode(&Header::default(), &claims, &EncodingKey::from_secret(idp.jwks().to_string().as_bytes())).unwrap()
    };
    let expired = brief.machine_token("ci", "s3cret", HERE, "");
    // It lives for one second.
    until("the end of a token", Duration::from_secs(30), || (ask(&expired).status == 401).then_some(()));
    let other_claims = payload(&json!({"iss": idp.issuer, "aud": HERE, "sub": "grace", "exp": 4_102_444_800_u64}));

    let cases = [
        ("changed signature", format!("{head}.{claims}.{flipped}")),
        ("other claims under a good signature", format!("{head}.{other_claims}.{signature}")),
        ("alg none, no signature", format!("{none}.{claims}.")),
        ("alg none, old signature", format!("{none}.{claims}.{signature}")),
        ("HS256 with the public keys as secret", hs256),
        ("audience of another service", fresh(ELSEWHERE)),
        ("token of another issuer", stranger.machine_token("ci", "s3cret", HERE, "")),
        ("expired", expired),
        ("cut off", good[..good.len() - 10].to_owned()),
        ("no token", "nothing".into()),
    ];
    println!("keys were read {} times for the good token", idp.asked("/jwks"));
    println!("{:45} status  what the client reads", "token");
    for (what, token) in &cases {
        let reply = ask(token);
        println!("{what:45} {}     {}", reply.status, reply.text().lines().next().unwrap_or_default());
        assert_eq!(reply.status, 401, "{what}: {}", reply.text());
        assert!(!reply.text().contains("deployer"), "{what}");
    }
    assert_eq!(ask(&good).expect(200).json()["username"], "deployer", "nothing of that harmed the right one");

    // New keys: they are read when a token names one that is not known, at most every half minute. What the old key signed is
    // refused from then on, but for the time for which an identity is reused.
    let before = idp.asked("/jwks");
    idp.rotate_keys();
    let new = fresh(HERE);
    until("the new key", Duration::from_secs(120), || (ask(&new).status == 200).then_some(()));
    let old = until("the end of the old key", Duration::from_secs(120), || {
        let reply = ask(&good);
        (reply.status != 200).then_some(reply.status)
    });
    println!("{:45} {old}", "signed with a key that the issuer took away");
    println!("keys were read {} times because of the change", idp.asked("/jwks") - before);
    assert_eq!(old, 401);
    assert_eq!(ask(&new).expect(200).json()["username"], "deployer");
}
