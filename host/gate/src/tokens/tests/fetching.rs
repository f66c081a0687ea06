//! Keys that are fetched: rotation works, floods do not reach the issuer.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde_json::json;

use super::super::testing::{Issuer, NOW_S, RSA_PEM, Signer, any, encode, jwks, p256, rsa};
use super::super::{KeySets, Keys, TokenRefusal, Verified};

const URL: &str = "https://issuer.example/jwks";
const PEM: &str = "https://keys.example/{kid}";

/// A token that is good for a week.
fn lasting(signer: &Signer, kid: &str) -> String {
    let header = json!({"alg": if matches!(signer, Signer::Rsa(_)) { "RS256" } else { "ES256" }, "kid": kid});
    let algorithm = header["alg"].as_str().unwrap().to_owned();
    signer.token_of(&algorithm, &header.to_string(), &json!({"exp": NOW_S + 604_800}).to_string())
}

struct Server {
    sets: KeySets,
    issuer: Issuer,
}

impl Server {
    fn new() -> Self {
        Self { sets: KeySets::new(), issuer: Issuer::default() }
    }

    async fn verify(&self, token: &str, after_s: u64) -> Result<(), TokenRefusal> {
        self.with(token, &Keys::JwksUrl(URL.into()), after_s).await.map(drop)
    }

    async fn pem(&self, token: &str, after_s: u64) -> Result<(), TokenRefusal> {
        self.with(token, &Keys::PemUrl(PEM.into()), after_s).await.map(drop)
    }

    async fn with(&self, token: &str, keys: &Keys, after_s: u64) -> Result<Verified, TokenRefusal> {
        self.sets.verify(token, keys, &any(), None, &self.issuer, (NOW_S + after_s) * 1_000).await
    }
}

fn poll<F: Future>(future: &mut std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn keys_are_kept_and_renewed() {
    let server = Server::new();
    let signer = p256();
    let token = lasting(&signer, "k");
    server.issuer.answers(URL, 200, "", &jwks(&[signer.jwk("k")]));
    for (after, asked) in [(0, 1), (1, 1), (599, 1), (600, 2), (601, 2), (1_200, 3)] {
        assert_eq!(server.verify(&token, after).await, Ok(()), "{after}");
        assert_eq!(server.issuer.asked(), asked, "after {after} s");
    }
    server.issuer.answers(URL, 200, "max-age=7200", &jwks(&[signer.jwk("k")]));
    for (after, asked) in [(1_800, 4), (8_999, 4), (9_000, 5)] {
        assert_eq!(server.verify(&token, after).await, Ok(()), "{after}");
        assert_eq!(server.issuer.asked(), asked, "after {after} s");
    }
    // A key that the issuer took back is not used after the next renewal.
    server.issuer.answers(URL, 200, "", &jwks(&[]));
    assert_eq!(server.verify(&token, 16_200).await, Err(TokenRefusal::UnknownKey));
}

#[tokio::test]
async fn sets_have_a_version_while_they_are_fresh() {
    let server = Server::new();
    let (one, other) = (p256(), p256());
    let version = |name: &str, after_s: u64| server.sets.version(name, (NOW_S + after_s) * 1_000);
    assert_eq!(Keys::JwksUrl(URL.into()).name_of_set("anything").as_deref(), Some(URL));
    assert_eq!(version(URL, 0), None);
    server.issuer.answers(URL, 200, "", &jwks(&[one.jwk("k")]));
    server.verify(&lasting(&one, "k"), 0).await.unwrap();
    let first = version(URL, 0).unwrap();
    assert_eq!([version(URL, 599), version(URL, 600)], [Some(first), None]);
    server.verify(&lasting(&one, "k"), 600).await.unwrap();
    assert_eq!(version(URL, 600), Some(first), "the keys are the same");
    server.issuer.answers(URL, 200, "", &jwks(&[one.jwk("k"), other.jwk("l")]));
    server.verify(&lasting(&other, "l"), 700).await.unwrap();
    assert!(version(URL, 700).unwrap() > first);
    // One key at an address made of its name.
    let token = lasting(&rsa(), "r1");
    let name = Keys::PemUrl(PEM.into()).name_of_set(&token).unwrap();
    assert_eq!((&*name, version(&name, 0)), ("https://keys.example/{kid}#r1", None));
    server.issuer.answers("https://keys.example/r1", 200, "", RSA_PEM);
    server.pem(&token, 0).await.unwrap();
    assert!(version(&name, 0).is_some());
    assert_eq!(version("https://keys.example/{kid}#r2", 0), None);
    assert_eq!(Keys::Secret.name_of_set(&token), None);
}

#[tokio::test]
async fn rotation_shows_at_once_or_half_a_minute_later() {
    let server = Server::new();
    let (old, new, newer) = (p256(), p256(), p256());
    server.issuer.answers(URL, 200, "", &jwks(&[old.jwk("old")]));
    assert_eq!(server.verify(&lasting(&old, "old"), 0).await, Ok(()));
    server.issuer.answers(URL, 200, "", &jwks(&[old.jwk("old"), new.jwk("new")]));
    assert_eq!(server.verify(&lasting(&new, "new"), 29).await, Err(TokenRefusal::UnknownKey));
    assert_eq!(server.verify(&lasting(&new, "new"), 30).await, Ok(()));
    assert_eq!(server.verify(&lasting(&old, "old"), 30).await, Ok(()));
    server.issuer.answers(URL, 200, "", &jwks(&[newer.jwk("newer")]));
    assert_eq!(server.verify(&lasting(&newer, "newer"), 100).await, Ok(()));
    assert_eq!(server.verify(&lasting(&old, "old"), 100).await, Err(TokenRefusal::UnknownKey), "withdrawn");
    assert_eq!(server.issuer.asked(), 3);
}

#[tokio::test]
async fn floods_of_unknown_keys_do_not_reach_the_issuer() {
    let server = Server::new();
    let (honest, forger) = (p256(), p256());
    server.issuer.answers(URL, 200, "", &jwks(&[honest.jwk("k")]));
    let good = lasting(&honest, "k");
    assert_eq!(server.verify(&good, 0).await, Ok(()));
    for n in 0..300 {
        let outcome = server.verify(&lasting(&forger, &format!("k{n}")), n / 5).await;
        assert_eq!(outcome, Err(TokenRefusal::UnknownKey));
        assert_eq!(server.verify(&good, n / 5).await, Ok(()), "others are not held up");
    }
    assert_eq!(server.issuer.asked(), 2, "once more within a minute");
    // Tokens that are of no use anyway never do.
    let server = Server::new();
    for claims in [r#"{"exp":1}"#, r#"{"nbf":9999999999}"#, r#"{"exp":"x"}"#] {
        let token = forger.token_of("ES256", r#"{"alg":"ES256","kid":"k"}"#, claims);
        assert!(server.verify(&token, 0).await.is_err());
    }
    assert_eq!(server.issuer.asked(), 0);
}

#[tokio::test]
async fn old_keys_do_while_the_issuer_is_away() {
    let server = Server::new();
    let signer = p256();
    let (good, other) = (lasting(&signer, "k"), lasting(&signer, "other"));
    server.issuer.answers(URL, 200, "", &jwks(&[signer.jwk("k")]));
    assert_eq!(server.verify(&good, 0).await, Ok(()));
    server.issuer.is_away(URL);
    assert_eq!(server.verify(&good, 601).await, Ok(()));
    assert_eq!(server.verify(&good, 602).await, Ok(()));
    assert_eq!(server.issuer.asked(), 2, "it is not asked with every token");
    assert!(matches!(server.verify(&other, 603).await, Err(TokenRefusal::Keys(_))), "it may be there by now");
    // What is no key set is no answer.
    for (n, (status, body)) in [(500, "{}"), (200, "<html>"), (200, "{}"), (302, ""), (404, "")].iter().enumerate() {
        server.issuer.answers(URL, *status, "", body);
        assert_eq!(server.verify(&good, 700 + 100 * n as u64).await, Ok(()), "{status} {body}");
    }
    assert_eq!(server.verify(&good, 86_400 + 599).await, Ok(()));
    let outcome = server.verify(&good, 86_400 + 600).await;
    assert!(
        matches!(&outcome, Err(TokenRefusal::Keys(reason)) if reason.contains(URL)),
        "a day is enough: {outcome:?}"
    );
    let asked = server.issuer.asked();
    assert!(server.verify(&good, 86_400 + 603).await.is_err());
    assert_eq!(server.issuer.asked(), asked, "not with every token");
    server.issuer.answers(URL, 200, "", &jwks(&[signer.jwk("k")]));
    assert_eq!(server.verify(&good, 86_400 + 604).await, Ok(()), "back after seconds");
}

#[tokio::test]
async fn one_fetch_at_a_time() {
    let issuer = Issuer::holding();
    let server = Server { sets: KeySets::new(), issuer };
    let signer = p256();
    let good = lasting(&signer, "k");
    server.issuer.answers(URL, 200, "", &jwks(&[signer.jwk("k")]));
    let hold = server.issuer.hold.as_ref().unwrap();
    {
        let (mut one, mut two, mut three) =
            (pin!(server.verify(&good, 0)), pin!(server.verify(&good, 0)), pin!(server.verify(&good, 1)));
        assert!(poll(&mut one).is_pending() && poll(&mut two).is_pending() && poll(&mut three).is_pending());
        assert_eq!(server.issuer.asked(), 1);
        hold.add_permits(1);
        assert_eq!(one.await, Ok(()));
        assert_eq!((two.await, three.await), (Ok(()), Ok(())), "who waited is told too");
        assert_eq!(server.issuer.asked(), 1);
    }
    {
        // While old keys are renewed, they do.
        let (mut one, mut two) = (pin!(server.verify(&good, 700)), pin!(server.verify(&good, 700)));
        assert!(poll(&mut one).is_pending());
        assert_eq!(poll(&mut two), Poll::Ready(Ok(())));
        assert_eq!(server.issuer.asked(), 2);
        hold.add_permits(1);
        assert_eq!(one.await, Ok(()));
    }
    // Who hangs up has tried.
    let strange = lasting(&signer, "strange");
    {
        let mut one = pin!(server.verify(&strange, 800));
        assert!(poll(&mut one).is_pending());
        assert_eq!(server.issuer.asked(), 3);
    }
    assert_eq!(server.verify(&strange, 829).await, Err(TokenRefusal::UnknownKey));
    assert_eq!(server.issuer.asked(), 3);
}

#[tokio::test]
async fn a_first_fetch_that_is_given_up_is_made_by_the_next() {
    let issuer = Issuer::holding();
    let server = Server { sets: KeySets::new(), issuer };
    let signer = p256();
    let good = lasting(&signer, "k");
    server.issuer.answers(URL, 200, "", &jwks(&[signer.jwk("k")]));
    let mut two = pin!(server.verify(&good, 0));
    {
        let mut one = pin!(server.verify(&good, 0));
        assert!(poll(&mut one).is_pending() && poll(&mut two).is_pending());
        assert_eq!(server.issuer.asked(), 1);
    }
    server.issuer.hold.as_ref().unwrap().add_permits(1);
    assert_eq!(two.await, Ok(()));
    assert_eq!(server.issuer.asked(), 2);
}

#[tokio::test]
async fn who_waits_for_a_fetch_that_fails_does_not_try_again() {
    let issuer = Issuer::holding();
    let server = Server { sets: KeySets::new(), issuer };
    let good = lasting(&p256(), "k");
    let (mut one, mut two) = (pin!(server.verify(&good, 0)), pin!(server.verify(&good, 1)));
    assert!(poll(&mut one).is_pending() && poll(&mut two).is_pending());
    server.issuer.hold.as_ref().unwrap().add_permits(1);
    assert!(matches!((one.await, two.await), (Err(TokenRefusal::Keys(_)), Err(TokenRefusal::Keys(_)))));
    assert_eq!(server.issuer.asked(), 1);
}

#[tokio::test]
async fn sets_are_bounded() {
    let server = Server::new();
    let signer = p256();
    let good = lasting(&signer, "k");
    let url = |n: usize| format!("https://issuer.example/{n}");
    for n in 0..200 {
        server.issuer.answers(&url(n), 200, "", &jwks(&[signer.jwk("k")]));
        assert!(server.with(&good, &Keys::JwksUrl(url(n)), 0).await.is_ok());
    }
    assert_eq!(server.issuer.asked(), 200);
    assert!(server.with(&good, &Keys::JwksUrl(url(199)), 0).await.is_ok());
    assert_eq!(server.issuer.asked(), 200, "the last ones are kept");
    assert!(server.with(&good, &Keys::JwksUrl(url(0)), 0).await.is_ok());
    assert_eq!(server.issuer.asked(), 201, "the first ones are not");
}

#[tokio::test]
async fn addresses_that_are_none() {
    let server = Server::new();
    let good = lasting(&p256(), "k");
    for url in [
        "",
        "jwks",
        "/jwks",
        "file:///etc/passwd",
        "data:application/json,{}",
        "ftp://issuer.example/",
        "https://",
        "https://user@issuer.example/",
        "https://:pass@issuer.example/",
        "https://issuer.example/#x",
    ] {
        for keys in [Keys::JwksUrl(url.into()), Keys::PemUrl(url.into())] {
            assert!(matches!(keys.address(), Err(TokenRefusal::Keys(_))), "{url}");
            assert!(matches!(server.with(&good, &keys, 0).await, Err(TokenRefusal::Keys(_))), "{url}");
        }
    }
    for template in ["https://{kid}/x", "https://{kid}.example/x", "https://a:{kid}/", "{kid}://a/", "https://a{kid}"] {
        assert!(matches!(Keys::PemUrl(template.into()).address(), Err(TokenRefusal::Keys(_))), "{template}");
    }
    let address = |keys: Keys| keys.address().unwrap().map(String::from);
    assert_eq!(address(Keys::PemUrl(PEM.into())).as_deref(), Some("https://keys.example/kid"));
    assert_eq!(
        address(Keys::JwksUrl("https://Issuer.Example:443/x".into())).as_deref(),
        Some("https://issuer.example/x")
    );
    assert_eq!(address(Keys::Secret), None);
    assert_eq!(server.issuer.asked(), 0);
}

#[tokio::test]
async fn pem_keys_by_name() {
    let server = Server::new();
    let signer = rsa();
    let names = ["k", "a1-b2_c3.d4", &"x".repeat(128)];
    for kid in names {
        server.issuer.answers(&PEM.replace("{kid}", kid), 200, "", RSA_PEM);
        assert_eq!(server.pem(&lasting(&signer, kid), 0).await, Ok(()), "{kid}");
        assert_eq!(server.pem(&lasting(&signer, kid), 599).await, Ok(()));
    }
    assert_eq!(server.issuer.asked(), names.len());
    assert_eq!(
        server.pem(&p256().token("ES256", "k"), 0).await,
        Err(TokenRefusal::Algorithm("it does not fit the key".into()))
    );
    // A key that is withdrawn, and one that cannot be renewed.
    server.issuer.answers("https://keys.example/k", 404, "", "");
    assert_eq!(server.pem(&lasting(&signer, "k"), 600).await, Err(TokenRefusal::UnknownKey));
    server.issuer.is_away("https://keys.example/a1-b2_c3.d4");
    assert_eq!(server.pem(&lasting(&signer, names[1]), 600).await, Ok(()));
    // An address without a place for names is that of the only key.
    let only = Keys::PemUrl("https://keys.example/only".into());
    server.issuer.answers("https://keys.example/only", 200, "", RSA_PEM);
    assert!(server.with(&lasting(&signer, "../any"), &only, 0).await.is_ok());
}

#[tokio::test]
async fn names_of_keys_do_not_walk() {
    let server = Server::new();
    let signer = rsa();
    for kid in [
        "",
        ".",
        "..",
        "...",
        ".k",
        "../admin",
        "..%2fadmin",
        "%2e%2e",
        "a/b",
        "/",
        "a\\b",
        "k?x=1",
        "k#x",
        "k x",
        "k\n",
        "k\0",
        "@evil.example",
        "{kid}",
        "ключ",
        &"x".repeat(129),
    ] {
        assert_eq!(server.pem(&lasting(&signer, kid), 0).await, Err(TokenRefusal::UnknownKey), "{kid:?}");
    }
    let nameless = signer.token_of("RS256", r#"{"alg":"RS256"}"#, "{}");
    assert!(matches!(server.pem(&nameless, 0).await, Err(TokenRefusal::Malformed(_))));
    assert_eq!(server.issuer.asked(), 0);
}

#[tokio::test]
async fn floods_of_names_do_not_reach_the_store_of_keys() {
    let server = Server::new();
    let signer = rsa();
    server.issuer.answers("https://keys.example/k", 200, "max-age=3600", RSA_PEM);
    server.issuer.answers("https://keys.example/new", 200, "max-age=3600", RSA_PEM);
    let good = lasting(&signer, "k");
    assert_eq!(server.pem(&good, 0).await, Ok(()));
    for n in 0..1_000 {
        let kid = format!("x{n}");
        server.issuer.answers(&format!("https://keys.example/{kid}"), 404, "", "");
        assert_eq!(server.pem(&lasting(&Signer::Nobody, &kid), 1).await, Err(TokenRefusal::UnknownKey));
        assert_eq!(server.pem(&good, 1).await, Ok(()), "what is known stays");
    }
    assert_eq!(server.issuer.asked(), 10);
    assert_eq!(server.pem(&lasting(&signer, "new"), 29).await, Err(TokenRefusal::UnknownKey));
    assert_eq!(server.pem(&lasting(&signer, "new"), 30).await, Ok(()), "it passes");
}

#[tokio::test]
async fn pem_texts() {
    let server = Server::new();
    let signer = rsa();
    let good = lasting(&signer, "k");
    let crlf = RSA_PEM.replace('\n', "\r\n");
    let certificate = RSA_PEM.replace("PUBLIC KEY", "CERTIFICATE");
    let private = RSA_PEM.replace("PUBLIC KEY", "PRIVATE KEY");
    let cut = format!("{}-----END PUBLIC KEY-----\n", &RSA_PEM[..200]);
    let swapped = RSA_PEM.replacen("MIIBIjAN", "MIIBIjAO", 1);
    let body = |der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    };
    let cases = [
        (RSA_PEM, true),
        (&format!("a note\n{RSA_PEM}"), true),
        (&crlf, true),
        (&certificate, false),
        (&private, false),
        (&cut, false),
        (&swapped, false),
        ("", false),
        (&body(b""), false),
        (&body(&[0x30]), false),
        (&body(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), false),
        (&body(&[0x30, 0x82, 0xff, 0xff, 0x30]), false),
        (&body(&[0x30, 0x81, 0x02, 0x30, 0x00]), false),
        (&body(&[0x30, 0x80, 0x30, 0x00, 0, 0]), false),
    ];
    for (n, (text, is_key)) in cases.iter().enumerate() {
        let url = format!("https://keys.example/{n}");
        server.issuer.answers(&url, 200, "", text);
        let outcome = server.with(&good, &Keys::PemUrl(url), 40 * n as u64).await;
        assert_eq!(outcome.is_ok(), *is_key, "{text}: {outcome:?}");
    }
    for signer in [p256(), super::p384(), super::ed25519()] {
        let key = signer.jwk("k");
        let bytes = |name: &str| super::super::jws::base64url(key[name].as_str().unwrap()).unwrap();
        let (algorithm, kind, bits) = match &key["crv"] {
            curve if curve == "P-256" => {
                ("ES256", rustls_pki_types::alg_id::ECDSA_P256, [vec![4], bytes("x"), bytes("y")].concat())
            }
            curve if curve == "P-384" => {
                ("ES384", rustls_pki_types::alg_id::ECDSA_P384, [vec![4], bytes("x"), bytes("y")].concat())
            }
            _ => ("EdDSA", rustls_pki_types::alg_id::ED25519, bytes("x")),
        };
        let tlv = |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).unwrap()], value].concat();
        let info = [tlv(0x30, kind.as_ref()), tlv(0x03, &[&[0], &bits[..]].concat())].concat();
        let url = format!("https://keys.example/{algorithm}");
        server.issuer.answers(&url, 200, "", &body(&tlv(0x30, &info)));
        let token = signer.token(algorithm, "any");
        assert!(server.with(&token, &Keys::PemUrl(url), 0).await.is_ok(), "{algorithm} {}", encode(&info));
    }
}
