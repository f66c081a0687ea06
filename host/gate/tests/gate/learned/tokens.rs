//! Tokens that were verified: found again while they are good and their keys are the same.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::world::{NOON_MS, One, Server, asking, counted, gate};
use crate::support::request;

const URL: &str = "https://issuer.example/keys";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token that ends after so many seconds.
fn token(algorithm: &str, seconds: u64, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let header = json!({"alg": algorithm, "kid": "k"}).to_string();
    let claims = json!({"sub": "ada", "exp": NOON_MS / 1_000 + seconds}).to_string();
    let signed = format!("{}.{}", encode(header), encode(claims));
    format!("{signed}.{}", encode(sign(signed.as_bytes())))
}

fn shared(token_seconds: u64, secret: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    token("HS256", token_seconds, |signed| ring::hmac::sign(&key, signed).as_ref().to_vec())
}

fn pair() -> Ed25519KeyPair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
}

fn key_set(pair: &Ed25519KeyPair) -> String {
    let x = encode(pair.public_key().as_ref());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]}).to_string()
}

async fn asked(one: &One<'_>, token: &str) -> (bool, u64) {
    let before = one.calls();
    let answer = one.authenticate(&request("GET", "/", &[("x-token", token)])).await;
    (answer.contains("Identity"), one.calls() - before)
}

#[tokio::test]
async fn a_token_under_a_shared_secret() {
    let server = Server::new();
    let (old, new) = (vec![1; 64], vec![2; 64]);
    server.secrets.lock().insert("s".into(), old.clone());
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    let token = shared(60, &old);
    assert_eq!(asked(&one, &token).await, (true, 1));
    assert_eq!(asked(&one, &token).await, (true, 0), "found: what is timed is not compared");
    // Another token is another answer.
    assert_eq!(asked(&one, &shared(61, &old)).await, (true, 1));
    server.wait_seconds(59);
    assert_eq!(asked(&one, &token).await, (true, 0));
    server.wait_seconds(1);
    assert_eq!(asked(&one, &token).await, (false, 1), "its time is over");
    assert_eq!(asked(&one, &token).await, (false, 1), "refusals are not learned");
    let token = shared(600, &old);
    assert_eq!([asked(&one, &token).await, asked(&one, &token).await], [(true, 1), (true, 0)]);
    server.secrets.lock().insert("s".into(), new.clone());
    assert_eq!(asked(&one, &token).await, (false, 1), "the secret was changed");
    assert_eq!(asked(&one, &shared(600, &new)).await, (true, 1));
    server.secrets.lock().clear();
    assert_eq!(asked(&one, &shared(600, &new)).await, (false, 1), "and taken away");
}

#[tokio::test]
async fn a_token_under_a_fetched_key() {
    let server = Server::new();
    let (old, new) = (pair(), pair());
    *server.key_set.lock() = key_set(&old);
    let gate = gate(&server);
    let mut spec = asking();
    spec.config.insert("jwks".into(), URL.into());
    let one = One::load(&gate, counted(spec)).await;
    let token = token("EdDSA", 86_400, |signed| old.sign(signed).as_ref().to_vec());
    assert_eq!(asked(&one, &token).await, (true, 1), "fetches the keys");
    assert_eq!(asked(&one, &token).await, (true, 1), "learned under their version");
    assert_eq!(asked(&one, &token).await, (true, 0));
    // After ten minutes the keys are asked for again. They are the same, and so is their version.
    server.wait_seconds(600);
    assert_eq!(asked(&one, &token).await, (true, 1));
    assert_eq!(asked(&one, &token).await, (true, 0));
    // Withdrawn keys show with the next renewal.
    *server.key_set.lock() = key_set(&new);
    assert_eq!(asked(&one, &token).await, (true, 0));
    server.wait_seconds(600);
    assert_eq!(asked(&one, &token).await, (false, 1));
    assert_eq!(asked(&one, &token).await, (false, 1));
}

#[tokio::test]
async fn what_is_no_token_is_left_alone_at_the_price_of_a_walk() {
    let server = Server::new();
    server.secrets.lock().insert("s".into(), vec![1; 64]);
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    let calls: Vec<u64> = [asked(&one, "opaque").await, asked(&one, "opaque").await, asked(&one, "opaque").await]
        .into_iter()
        .chain([asked(&one, "opaque").await])
        .map(|(_, calls)| calls)
        .collect();
    assert_eq!(calls, [1, 1, 1, 0]);
}
