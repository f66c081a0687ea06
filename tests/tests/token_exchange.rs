//! Identity tokens exchanged for access tokens (RFC 8693): by the stock client, and by who has no right to.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use lectern_tests::client::{directory, rsconnect_raw};
use lectern_tests::forger::{Forger, Key, base64url};
use lectern_tests::http::Reply;
use lectern_tests::plugins::Operator;
use lectern_tests::server::{Account, Server};
use serde_json::{Value, json};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

static ISSUER: LazyLock<Forger> = LazyLock::new(Forger::start);
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    Server::setup()
        .env("LECTERN_GATE__OUTBOUND_ALLOW", ISSUER.address().to_string())
        .env("LECTERN_ID_TOKENS__ISSUER", &*ISSUER.issuer)
        .env("LECTERN_ID_TOKENS__AUDIENCE", "lectern")
        .env("LECTERN_ID_TOKENS__JWKS_URL", format!("{}/jwks", ISSUER.issuer))
        .start()
});
static ADMIN: LazyLock<Account> = LazyLock::new(|| SERVER.account("root", "administrator"));

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The claims of a good token, with a name of its own.
fn claims(subject: &str) -> Value {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    json!({
        "iss": ISSUER.issuer, "aud": "lectern", "sub": subject, "iat": now(), "exp": now() + 300, "jti": format!("{subject}-{number}"),
    })
}

/// Those claims with others in their place; `null` takes one away.
fn with(subject: &str, change: &Value) -> Value {
    let mut claims = claims(subject);
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn exchange_with(token: &str, more: &[(&str, &str)]) -> Reply {
    let mut fields = vec![
        ("grant_type", EXCHANGE),
        ("subject_token_type", ID_TOKEN),
        ("requested_token_type", ACCESS_TOKEN),
        ("subject_token", token),
    ];
    for (name, value) in more {
        fields.retain(|(field, _)| field != name);
        fields.push((name, value));
    }
    fields.retain(|(_, value)| !value.is_empty());
    SERVER.post("/__api__/oauth/token").form(&fields).send()
}

fn exchange(token: &str) -> Reply {
    exchange_with(token, &[])
}

fn whoami(key: &str) -> Reply {
    SERVER.get("/__api__/v1/user").key(key).send()
}

/// Has somebody sign in once with a token of the issuer, which makes and links the account, and gives it a role.
fn linked(subject: &str, role: &str) {
    static SIGN_IN: LazyLock<()> = LazyLock::new(|| {
        let binding = json!({
            "plugin": "jwt-bearer", "name": "people",
            "release": {
                "config": {
                    "issuer": ISSUER.issuer, "audiences": ["first-login"], "jwks_url": format!("{}/jwks", ISSUER.issuer),
                    "user": "account", "accounts": {"create": true}, "claims": {"username": ["sub"]},
                },
                "grants": ["tokens", "directory", "accounts:viewer", format!("outbound:{}", ISSUER.issuer)],
            },
        });
        Operator::new(&SERVER, "operator").post("/bindings", &binding).expect(200);
    });
    LazyLock::force(&SIGN_IN);
    let token = ISSUER.key.sign(&with(subject, &json!({"aud": "first-login"})));
    let me =
        SERVER.get("/__api__/v1/user").header("authorization", &format!("Bearer {token}")).send().expect(200).json();
    let guid = me["guid"].as_str().unwrap();
    SERVER
        .ask(Method::PUT, &format!("/__api__/v1/users/{guid}"))
        .key(&ADMIN.key)
        .json(&json!({"user_role": role}))
        .send()
        .expect(200);
}

#[test]
fn the_stock_client_logs_in_with_an_identity_token_and_publishes() {
    linked("pipeline", "publisher");
    let token = ISSUER.key.sign(&claims("pipeline"));
    let login = ["login", &SERVER.url(), "--name", "here"];
    let run = rsconnect_raw(&SERVER, &login, &[("CONNECT_IDENTITY_TOKEN", &token)]).expect_success();
    println!("{}", run.printed);
    assert!(run.printed.contains("via identity token exchange"), "{}", run.printed);
    let page = directory(&SERVER, "page", &[("index.html", "<h1>by a pipeline</h1>")]);
    let run = rsconnect_raw(&SERVER, &["deploy", "html", "--name", "here", "--title", "by a pipeline", &page], &[]);
    println!("{}", run.expect_success().stdout);
    let made = SERVER.get("/__api__/v1/content").key(&ADMIN.key).send().expect(200).json();
    let made = made.as_array().unwrap().iter().find(|one| one["title"] == "by a pipeline").expect("what was published");
    let owner =
        SERVER.get(&format!("/__api__/v1/users/{}", made["owner_guid"].as_str().unwrap())).key(&ADMIN.key).send();
    assert_eq!(owner.expect(200).json()["username"], "pipeline");
    // The client's own words for a second time.
    let again = rsconnect_raw(&SERVER, &login, &[("CONNECT_IDENTITY_TOKEN", &token)]).expect_failure();
    println!("{}", again.printed);
}

#[test]
fn what_is_given_ends_within_the_hour_and_administers_nothing() {
    linked("chief", "administrator");
    let metadata = SERVER.get("/.well-known/oauth-authorization-server").send().expect(200).json();
    assert!(metadata["grant_types_supported"].as_array().unwrap().contains(&json!(EXCHANGE)), "{metadata}");
    let reply = exchange(&ISSUER.key.sign(&claims("chief"))).expect(200);
    assert_eq!(reply.header("cache-control"), "no-store");
    let given = reply.json();
    assert_eq!((&given["issued_token_type"], &given["token_type"]), (&json!(ACCESS_TOKEN), &json!("Bearer")));
    assert_eq!((&given["scope"], &given["expires_in"]), (&json!("publisher"), &json!(3600)));
    assert!(given.get("refresh_token").is_none());
    let key = given["access_token"].as_str().unwrap();
    let me = whoami(key).expect(200).json();
    assert_eq!(me["username"], "chief");
    // The account is an administrator's.
    SERVER.get("/__api__/v1/audit_logs").key(key).send().expect_error(403, 22);
    SERVER.get("/__lectern__/v1/bindings").key(key).send().expect(403);
    let bearer = SERVER.get("/__api__/v1/user").header("authorization", &format!("Bearer {key}")).send();
    assert_eq!(bearer.expect(200).json()["username"], "chief");
    let keys = format!("/__api__/v1/users/{}/keys", me["guid"].as_str().unwrap());
    assert_eq!(SERVER.get(&keys).key(key).send().expect(200).json(), json!([]), "it is none of the account's own keys");
    let less = exchange_with(&ISSUER.key.sign(&claims("chief")), &[("scope", "viewer")]).expect(200).json();
    assert_eq!(less["scope"], "viewer");
    // A lock counts at once.
    let lock = format!("/__api__/v1/users/{}/lock", me["guid"].as_str().unwrap());
    SERVER.post(&lock).key(&ADMIN.key).json(&json!({"locked": true})).send();
    whoami(key).expect_error(401, 30);
    let locked = exchange(&ISSUER.key.sign(&claims("chief"))).expect(400).json();
    assert_eq!(locked["error"], "invalid_grant", "{locked}");
}

#[test]
fn nobody_else_gets_anything() {
    linked("grace", "publisher");
    let good = claims("grace");
    let token = ISSUER.key.sign(&good);
    exchange(&token).expect(200);
    let forged = |change: Value| ISSUER.key.sign(&with("grace", &change));
    let (head, rest) = token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let other = Key::new();
    let unknown_kid = {
        let header = Header { kid: Some("another".into()), ..Header::new(Algorithm::ES256) };
        let payload = base64url(claims("grace").to_string().as_bytes());
        format!("{}.{payload}.{signature}", base64url(serde_json::to_string(&header).unwrap().as_bytes()))
    };
    let confused = {
        let header = Header { kid: Some("published".into()), ..Header::default() };
        encode(&header, &claims("grace"), &EncodingKey::from_secret(ISSUER.key.jwks().to_string().as_bytes())).unwrap()
    };
    let none = format!("{}.{payload}.", base64url(br#"{"alg":"none","kid":"published"}"#));
    let own_key = {
        let header =
            json!({"alg": "ES256", "kid": "published", "jwk": other.jwks()["keys"][0], "jku": "http://127.0.0.1:1/"});
        let signed = other.sign(&claims("grace"));
        let mut parts = signed.split('.');
        let (_, claims, signature) = (parts.next(), parts.next().unwrap(), parts.next().unwrap());
        format!("{}.{claims}.{signature}", base64url(header.to_string().as_bytes()))
    };
    let cases = [
        ("the same token again", token.clone(), "exchanged before"),
        (
            "the same name in another token",
            ISSUER.key.sign(&with("grace", &json!({"jti": good["jti"]}))),
            "exchanged before",
        ),
        ("another audience", forged(json!({"aud": "first-login"})), "audience"),
        ("no audience", forged(json!({"aud": null})), "audience"),
        ("another issuer", forged(json!({"iss": "https://elsewhere.example"})), "issuer"),
        ("expired", forged(json!({"exp": now() - 120, "iat": now() - 300})), "time is over"),
        ("without an end", forged(json!({"exp": null})), "has no exp"),
        ("good for a year", forged(json!({"exp": now() + 31_536_000})), "more than a day"),
        ("not yet", forged(json!({"nbf": now() + 600})), "has not come"),
        ("issued in the future", forged(json!({"iat": now() + 600})), "has not come"),
        ("without a date", forged(json!({"iat": null})), "has no iat"),
        ("without a subject", forged(json!({"sub": null})), "has no sub"),
        ("a subject that is no text", forged(json!({"sub": 1})), "sub is not"),
        ("signed by another key", other.sign(&claims("grace")), "signature is wrong"),
        ("an unknown key", unknown_kid, "key that the issuer does not show"),
        ("a key of its own", own_key, "signature is wrong"),
        ("HS256 with the public keys as secret", confused, "HS256 is not accepted"),
        ("alg none", none, "none is not accepted"),
        (
            "other claims",
            format!("{head}.{}.{signature}", base64url(claims("grace").to_string().as_bytes())),
            "signature is wrong",
        ),
        ("no token", "nothing".to_owned(), "verified"),
        ("nobody that is linked", ISSUER.key.sign(&claims("mallory")), "no account here"),
        ("a user's name", ISSUER.key.sign(&claims("root")), "no account here"),
    ];
    for (what, token, expected) in &cases {
        let reply = exchange(token);
        println!("{what:38} {} {}", reply.status, reply.text());
        let body = reply.expect(400).json();
        assert_eq!(body["error"], "invalid_grant", "{what}");
        assert!(body["error_description"].as_str().unwrap().contains(expected), "{what}: {body}");
    }
    let asked = [
        ("subject_token_type", ACCESS_TOKEN, "invalid_request"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token", "invalid_request"),
        ("subject_token", "", "invalid_request"),
        ("subject_token_type", "", "invalid_request"),
        ("actor_token", "x", "invalid_request"),
        ("audience", "https://elsewhere.example", "invalid_target"),
        ("scope", "administrator", "invalid_scope"),
        ("scope", "everything", "invalid_scope"),
    ];
    for (field, value, expected) in asked {
        let reply = exchange_with(&ISSUER.key.sign(&claims("grace")), &[(field, value)]);
        println!("{field}={value:38} {} {}", reply.status, reply.text());
        assert_eq!(reply.expect(400).json()["error"], expected, "{field}={value}");
    }
    let log = SERVER.log();
    assert!(cases.iter().all(|(_, token, _)| token.len() < 20 || !log.contains(token.as_str())), "a token in the log");
}

#[test]
fn without_an_issuer_there_is_no_such_grant() {
    let server = Server::new();
    let metadata = server.get("/.well-known/oauth-authorization-server").send().expect(200).json();
    assert!(!metadata["grant_types_supported"].as_array().unwrap().contains(&json!(EXCHANGE)), "{metadata}");
    let fields = [("grant_type", EXCHANGE), ("subject_token_type", ID_TOKEN), ("subject_token", "x.y.z")];
    let reply = server.post("/__api__/oauth/token").form(&fields).send().expect(400).json();
    assert_eq!(reply["error"], "unsupported_grant_type", "{reply}");
}
