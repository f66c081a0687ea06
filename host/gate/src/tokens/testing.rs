//! Keys, tokens and an issuer for tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{CACHE_CONTROL, HeaderMap};
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use ring::{hmac, rand};
use serde_json::{Value, json};

use super::{Expectations, KeySets, Keys, TokenRefusal, Verified};
use crate::backend::{Outbound, OutboundError, OutboundRequest, OutboundResponse, Secret};

/// An RSA key of 2,048 bits in PKCS#8, made for these tests: `ring` makes none.
const RSA: &str = "\
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDZk+OhpdHo9fvvyMVcNABisXudnXeHC9jatQwAM9eSpDjBoKT0WR5jT5ayKs\
n2C7zeHCudspx9RR5JBx+zsYlx5BlNaZY3fXC/A4ing6NBpmhqNtoUqtIavNzaXhJ3VlxjNra+OZeJYKpgFhH2dSrldloz9OwCv0f5yT7868HV\
e5B8BmrRRAP30LjI09BdwWyk/8/lyU2DKAugpZjPP9Zk/1NMuv10FEMgsBhUwt3ARVsweIVT12UX/Gt2g7Hz3KlyVzrhZ2O/06nCfkZ9C35s4n\
GnQpLKRAuMr1UAs0hQd10DIwJMsf7BKiNXnTwctMT43M9xCdpY7cIWxhJZSvMfAgMBAAECggEAW1qyAAQ8r6DgyFw3KbCX3NiCe7pLHoPF6IaN\
5GPgBq03O2109TeZ/77CGkrHA60H/wY69fqxpBNqVOVN1Ugc2poYWZ2UufXMahdUwGkQGheBzd78ECNtFlboMDPBcyPqpKmrbxGFY+QXhUKfBi\
lJ+pCH7TrQAZNI6EMsVEu01ipGL4NTdZ1jUNnXVSm3uAMbRyJ17PJxskeaxPQ+L5TsvdInsUEJYwLUbWeaHPqveFuAidlrsGHrI5L22OqB+QCo\
hdGPLPXDZUT1tyZ6kxRX1BDK4Rt2LotRsIKFB/l1Rg+3dKiPsW+f3cx1BJnVzHVCJALCZJ/4FO/8jiMbQl+ZEQKBgQD2bai+VvREzUUloWzQVb\
QJYumUwVh8jXyIyNkVU8RN8WiQ79B/RFIirzqFb2Xecq/HGANKvnbnJOLWwHUif0k4CuczZUPu4RLqH/E2GK80po87uHDsG8e7Q2JAUAMV7emK\
4zIg/iYktHWgsLhwh8jhcrkh+u07mR/4b7saEmYveQKBgQDiB1sRrhhm3bBZZhQXAQCCW2KS3BgvyCe89wx2pTdfrWacE25yDfdwqeli4qOm5v\
8imc/bYl7QAoFbEZuU2Lh0whRMYXBAlcYzUisaOHCw9qsxYAv2NNu+vxkZGGp8DaR6mtG9EgGqm6N8qPhBDWFr7VLZ3zeyEFecspdoy94ZVwKB\
gD2pnPLb8U2SC75p0T+kYmOC4638X3bzNHlJwMBMcK+MO70gtQxTfTX+oOcow9XQ3tkz0gcO99PI8BYKnITgUuL6H3ZF3aTVnxUEnygJLzY+g1\
LPSTpbjTP3nYs4Oj1vhePiC/Yjgknm+hQWhGBsKcD4Iwk0r84c99oDo07X0cgJAoGAJ4mx3H3ftt7AomLA0OVT+XmS3K2zbWhNyzhL7dUowovK\
jzK29yyKRCL0uF980Q1HQ/4z5eRnQWuuxQdnd7oRShtJAbNpt2J7sS6Ga6fDzrDXcWOjtAW7CrrS4RjsR5b7VpcOaUxlDjr7dir4giidCgwRmh\
r52yQQr1BuO96tkzECgYEAy8S5NBRL+b5CWTFQ1blKd7eBa9tvxhj7S6ulDihntVk03fkIHPqYAhzhSsMSt/tecgIvYx4Xherww4k/yJV39swF\
1dK18isk7EfeelrJODqhu7LB40n+2gnC+DBKgJlY1SFC4thXHZUVk9Hv571NgN+AhSAS3hZdckvg8EyKqkw=";
/// Its public half, as OpenSSL writes it.
pub(super) const RSA_PEM: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA2ZPjoaXR6PX778jFXDQA\n\
YrF7nZ13hwvY2rUMADPXkqQ4waCk9FkeY0+WsirJ9gu83hwrnbKcfUUeSQcfs7GJ\n\
ceQZTWmWN31wvwOIp4OjQaZoajbaFKrSGrzc2l4Sd1ZcYza2vjmXiWCqYBYR9nUq\n\
5XZaM/TsAr9H+ck+/OvB1XuQfAZq0UQD99C4yNPQXcFspP/P5clNgygLoKWYzz/W\n\
ZP9TTLr9dBRDILAYVMLdwEVbMHiFU9dlF/xrdoOx89ypclc64Wdjv9Opwn5GfQt+\n\
bOJxp0KSykQLjK9VALNIUHddAyMCTLH+wSojV508HLTE+NzPcQnaWO3CFsYSWUrz\n\
HwIDAQAB\n\
-----END PUBLIC KEY-----\n";
/// 2001-09-09 01:46:40 UTC.
pub(super) const NOW_S: u64 = 1_000_000_000;

/// Signs.
pub(super) enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(&'static str, Box<EcdsaKeyPair>),
    Ed(Ed25519KeyPair),
    Shared(Vec<u8>),
    /// Signs with nothing.
    Nobody,
}

pub(super) fn rsa() -> Signer {
    Signer::Rsa(Box::new(RsaKeyPair::from_pkcs8(&STANDARD.decode(RSA).unwrap()).unwrap()))
}

pub(super) fn p256() -> Signer {
    ec("P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING)
}

pub(super) fn p384() -> Signer {
    ec("P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING)
}

fn ec(curve: &'static str, algorithm: &'static signature::EcdsaSigningAlgorithm) -> Signer {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    Signer::Ec(curve, Box::new(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap()))
}

pub(super) fn ed25519() -> Signer {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Signer::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// The public half as a JSON Web Key.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "kid": kid, "n": encode(public.n), "e": encode(public.e)})
            }
            Self::Ec(curve, key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
                json!({"kty": "EC", "crv": curve, "kid": kid, "x": encode(x), "y": encode(y)})
            }
            Self::Ed(key) => json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(key.public_key())}),
            Self::Shared(secret) => json!({"kty": "oct", "kid": kid, "k": encode(secret)}),
            Self::Nobody => panic!("nobody has no key"),
        }
    }

    pub(super) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let encoding: &dyn signature::RsaEncoding = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    other => panic!("{other}"),
                };
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(encoding, &random, message, &mut out).unwrap();
                out
            }
            Self::Ec(_, key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
            Self::Shared(secret) => {
                let kind = match algorithm {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(kind, secret), message).as_ref().to_vec()
            }
            Self::Nobody => Vec::new(),
        }
    }

    /// A token of these texts, which may be anything.
    pub(super) fn token_of(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", encode(signature))
    }

    /// An ordinary token that is good for a minute.
    pub(super) fn token(&self, algorithm: &str, kid: &str) -> String {
        let header = json!({"alg": algorithm, "kid": kid, "typ": "JWT"}).to_string();
        self.token_of(algorithm, &header, &json!({"sub": "ada", "exp": NOW_S + 60}).to_string())
    }
}

/// 64 random bytes: enough for every shared algorithm.
pub(super) fn shared() -> Vec<u8> {
    rand::generate::<[u8; 64]>(&SystemRandom::new()).unwrap().expose().to_vec()
}

pub(super) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// Expects one of these algorithms, and nothing else.
pub(super) fn algorithms(names: &[&str]) -> Expectations {
    Expectations { algorithms: names.iter().map(|&name| name.to_owned()).collect(), ..Expectations::default() }
}

/// Every algorithm there is.
pub(super) fn any() -> Expectations {
    algorithms(&[
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ])
}

/// Verifies with keys that need nobody to be asked.
pub(super) async fn verified(
    token: &str,
    keys: &Keys,
    expected: &Expectations,
    secret: Option<&[u8]>,
) -> Result<Verified, TokenRefusal> {
    let secret = secret.map(|bytes| Secret::new(bytes.to_vec()));
    let issuer = Issuer::default();
    let outcome = KeySets::new().verify(token, keys, expected, secret.as_ref(), &issuer, NOW_S * 1_000).await;
    assert_eq!(issuer.asked(), 0, "nobody is asked");
    outcome
}

/// An issuer of keys, as far as the network goes.
#[derive(Default)]
pub(super) struct Issuer {
    answers: Mutex<HashMap<String, (u16, String, String)>>,
    asked: AtomicUsize,
    /// Where there is one, an answer needs a permit.
    pub(super) hold: Option<tokio::sync::Semaphore>,
}

impl Issuer {
    /// Every answer needs a permit.
    pub(super) fn holding() -> Self {
        Self { hold: Some(tokio::sync::Semaphore::new(0)), ..Self::default() }
    }

    /// What the address answers from now on: status, `cache-control` and body.
    pub(super) fn answers(&self, url: &str, status: u16, cache: &str, body: &str) {
        self.answers.lock().insert(url.to_owned(), (status, cache.to_owned(), body.to_owned()));
    }

    /// The address cannot be reached from now on.
    pub(super) fn is_away(&self, url: &str) {
        self.answers.lock().remove(url);
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Outbound for Issuer {
    async fn fetch(&self, request: OutboundRequest) -> Result<OutboundResponse, OutboundError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(hold) = &self.hold {
            hold.acquire().await.unwrap().forget();
        }
        let answer = self.answers.lock().get(request.url.as_str()).cloned();
        let (status, cache, body) = answer.ok_or_else(|| OutboundError::Failed("nobody listens".into()))?;
        let mut headers = HeaderMap::new();
        if !cache.is_empty() {
            headers.insert(CACHE_CONTROL, cache.parse().unwrap());
        }
        Ok(OutboundResponse { status: status.try_into().unwrap(), headers, body: body.into_bytes() })
    }
}
