//! Signed tokens: asked for, confirmed, and the requests that are signed with them. The other side of the signature is OpenSSL's.

use std::path::{Path, PathBuf};
use std::process::Command;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lectern_api::{ClientAddress, claim};
use lectern_domain::access::Principal;
use lectern_metadata::{sessions, signed_tokens, users};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

use crate::support::{Reply, Server, page_bundle, request};

const ID: &str = "T0123456789abcdef0123456789abcdef";

fn openssl(directory: &Path, words: &[&str]) -> Vec<u8> {
    let run = Command::new("openssl").args(words).current_dir(directory).output().unwrap();
    assert!(run.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&run.stderr));
    run.stdout
}

/// A program with a key of its own.
pub(crate) struct Program {
    directory: PathBuf,
    token: String,
}

impl Program {
    pub(crate) fn new(server: &Server, bits: &str) -> Self {
        let directory = server.directory.path().to_owned();
        openssl(&directory, &["genrsa", "-out", "key.pem", bits]);
        Self { directory, token: ID.into() }
    }

    /// What it sends to ask for a token.
    pub(crate) fn wanted(&self) -> Value {
        let der = openssl(&self.directory, &["rsa", "-in", "key.pem", "-pubout", "-outform", "DER"]);
        json!({"token": self.token, "public_key": STANDARD.encode(der), "user_id": 0})
    }

    fn signature(&self, text: &str) -> String {
        std::fs::write(self.directory.join("text"), text).unwrap();
        STANDARD.encode(openssl(&self.directory, &["dgst", "-sha1", "-sign", "key.pem", "text"]))
    }

    /// A request at `date`, signed as if its path were `path` and its body `body`.
    pub(crate) fn signed(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        date: OffsetDateTime,
    ) -> Vec<(&'static str, String)> {
        let date = date.format(&Rfc2822).unwrap().replace("+0000", "GMT");
        let checksum = STANDARD.encode(Md5::digest(body));
        let signature = self.signature(&format!("{method}\n{path}\n{date}\n{checksum}"));
        vec![
            ("x-auth-token", self.token.clone()),
            ("x-auth-signature", signature),
            ("date", date),
            ("x-content-checksum", checksum),
        ]
    }
}

pub(crate) async fn send(server: &Server, method: &str, path: &str, body: Vec<u8>, fields: &[(&str, String)]) -> Reply {
    let request = fields.iter().fold(request(method, path), |request, (name, value)| request.header(*name, value));
    server.send(None, request.body(Body::from(body)).unwrap()).await
}

async fn ask(server: &Server, wanted: &Value) -> Reply {
    server.ask(None, "POST", "/__api__/tokens", wanted.clone()).await
}

/// A program whose token `who` has confirmed.
pub(crate) async fn confirmed(server: &Server, who: &Principal) -> Program {
    let program = Program::new(server, "2048");
    ask(server, &program.wanted()).await.ok();
    claim(&mut server.database.client().await.unwrap(), ID, who.user).await.unwrap();
    program
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

#[tokio::test]
async fn a_token_is_asked_for_confirmed_and_used() {
    let server = Server::new().await;
    let program = Program::new(&server, "2048");
    let asked = ask(&server, &program.wanted()).await.ok();
    assert_eq!(asked, json!({"token_claim_url": format!("https://lectern.example/pub/connect/tokens/{ID}")}));
    assert_eq!(ask(&server, &program.wanted()).await.refusal(), (400, 85));
    let me = "/__api__/users/current";
    let fields = program.signed("GET", me, b"", now());
    // R's old client takes only this for "not yet".
    assert_eq!(send(&server, "GET", me, vec![], &fields).await.refusal(), (500, 30), "not confirmed yet");
    let newer = "/__api__/v1/user";
    let fields = program.signed("GET", newer, b"", now());
    assert_eq!(send(&server, "GET", newer, vec![], &fields).await.refusal(), (401, 30), "not confirmed yet");

    let claims = format!("/__api__/tokens/{ID}/claim");
    let mut lesser = server.owner.clone();
    lesser.role = lectern_domain::UserRole::Viewer;
    assert_eq!(server.ask(Some(&lesser), "POST", &claims, Value::Null).await.refusal(), (403, 22));
    assert_eq!(server.ask(None, "POST", &claims, Value::Null).await.refusal(), (401, 24));
    assert_eq!(server.ask(Some(&server.owner), "POST", &claims, Value::Null).await.status, 204);
    assert_eq!(server.ask(Some(&server.stranger), "POST", &claims, Value::Null).await.refusal(), (403, 84));
    // The path may be signed with the prefix that the server is published below, and with the slash that was sent.
    for (sent, path) in [(me, me.to_owned()), (me, format!("/pub{me}")), ("/__api__/me/", "/__api__/me/".to_owned())] {
        let fields = program.signed("GET", &path, b"", now());
        let user = send(&server, "GET", &format!("{sent}?x=1"), vec![], &fields).await.ok();
        assert_eq!(user["username"], "owner", "{path}");
        // Clients poll more often than once a second: reading again is no replay.
        assert_eq!(send(&server, "GET", sent, vec![], &fields).await.status, 200);
    }
    let listed = server.get(&server.owner, &format!("/__api__/v1/users/{}/tokens", server.owner.guid)).await.ok();
    assert_eq!(listed[0]["id"], ID);
    assert!(listed[0]["last_used_time"].is_string(), "{listed}");
    let end = format!("/__api__/v1/users/{}/tokens/{ID}", server.owner.guid);
    assert_eq!(server.ask(Some(&server.stranger), "DELETE", &end, Value::Null).await.refusal(), (403, 20));
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &end, Value::Null).await.status, 204);
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &end, Value::Null).await.refusal(), (404, 17));
    let fields = program.signed("GET", me, b"", now());
    assert_eq!(send(&server, "GET", me, vec![], &fields).await.refusal(), (401, 30), "ended");
}

#[tokio::test]
async fn what_is_asked_for_is_whole_and_bounded() {
    let server = Server::new().await;
    let program = Program::new(&server, "2048");
    let good = program.wanted();
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    for wanted in [
        json!({}),
        with("token", Value::Null),
        with("token", json!("")),
        with("token", json!("T1")),
        with("token", json!("T".repeat(129))),
        with("token", json!("T0123456789abcdef/../x")),
        with("public_key", Value::Null),
        with("public_key", json!("x")),
        with("public_key", json!(STANDARD.encode([0x30; 400]))),
    ] {
        assert_eq!(ask(&server, &wanted).await.refusal(), (400, 86), "{wanted}");
    }
    let weak = Program::new(&server, "1024");
    assert_eq!(ask(&server, &weak.wanted()).await.refusal(), (400, 86), "1024 bits");
    let elliptic =
        openssl(&program.directory, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-outform", "DER"]);
    assert_eq!(ask(&server, &with("public_key", json!(STANDARD.encode(elliptic)))).await.refusal(), (400, 86));

    // One address cannot keep all others from asking.
    let from = |n: usize, address: &str| {
        let wanted = with("token", json!(format!("{ID}{n}")));
        let asked = request("POST", "/__api__/tokens").extension(ClientAddress(address.parse().unwrap()));
        server.send(None, asked.body(Body::from(wanted.to_string())).unwrap())
    };
    for n in 0..50 {
        assert_eq!(from(n, "192.0.2.1").await.status, 200);
    }
    assert_eq!(from(50, "192.0.2.1").await.refusal(), (429, 22));
    assert_eq!(from(50, "192.0.2.2").await.status, 200);
}

#[tokio::test]
async fn late_is_late() {
    let server = Server::new().await;
    let program = Program::new(&server, "2048");
    ask(&server, &program.wanted()).await.ok();
    let client = server.database.client().await.unwrap();
    client.execute("UPDATE signed_tokens SET expires_at = now()", &[]).await.unwrap();
    let claims = format!("/__api__/tokens/{ID}/claim");
    assert_eq!(server.ask(Some(&server.owner), "POST", &claims, Value::Null).await.refusal(), (401, 29));
    let unknown = "/__api__/tokens/T00000000000000000/claim";
    assert_eq!(server.ask(Some(&server.owner), "POST", unknown, Value::Null).await.refusal(), (404, 4));
    let me = "/__api__/v1/user";
    let fields = program.signed("GET", me, b"", now());
    assert_eq!(send(&server, "GET", me, vec![], &fields).await.refusal(), (401, 29));
}

#[tokio::test]
async fn forged_signatures_prove_nothing() {
    let server = Server::new().await;
    let program = confirmed(&server, &server.owner).await;
    let (path, body) = ("/__api__/v1/content", json!({"name": "signed"}).to_string().into_bytes());
    let good = program.signed("POST", path, &body, now());
    let with = |name: &str, value: &str| -> Vec<(&'static str, String)> {
        good.iter().map(|(field, old)| (*field, if *field == name { value.to_owned() } else { old.clone() })).collect()
    };
    let date = |offset: Duration| (now() + offset).format(&Rfc2822).unwrap().replace("+0000", "GMT");
    let empty = "1B2M2Y8AsgTpgAmY7PhCfg==";
    for (what, fields) in [
        ("another token", with("x-auth-token", "T9")),
        ("another date", with("date", &date(Duration::minutes(1)))),
        ("no date", with("date", "now")),
        ("another checksum", with("x-content-checksum", empty)),
        ("no signature", with("x-auth-signature", "")),
        ("not base64", with("x-auth-signature", "***")),
        ("long", with("x-auth-signature", &"A".repeat(4000))),
        ("of another method", program.signed("PUT", path, &body, now())),
        ("of another path", program.signed("POST", "/__api__/v1/users", &body, now())),
        ("of another server's prefix", program.signed("POST", "/other/__api__/v1/content", &body, now())),
        ("old", program.signed("POST", path, &body, now() - Duration::minutes(6))),
        ("early", program.signed("POST", path, &body, now() + Duration::minutes(6))),
    ] {
        assert_eq!(send(&server, "POST", path, body.clone(), &fields).await.refusal(), (401, 30), "{what}");
    }
    for absent in 1..good.len() {
        let mut fields = good.clone();
        let (name, _) = fields.remove(absent);
        assert_eq!(send(&server, "POST", path, body.clone(), &fields).await.refusal(), (401, 30), "without {name}");
    }
    // Public routes refuse them as well.
    let settings = "/__api__/server_settings";
    let forged = program.signed("GET", "/__api__/v1/user", b"", now());
    assert_eq!(send(&server, "GET", settings, vec![], &forged).await.refusal(), (401, 30));

    // Another body than the one signed is found where it ends; nothing is done with it.
    let other = json!({"name": "forged"}).to_string().into_bytes();
    assert_eq!(send(&server, "POST", path, other, &good).await.refusal(), (400, 104));
    let fresh = program.signed("POST", path, &body, now() - Duration::minutes(2));
    assert_eq!(send(&server, "POST", path, body.clone(), &fresh).await.ok()["name"], "signed");
    // The same again is a replay, however it is dressed.
    assert_eq!(send(&server, "POST", path, body.clone(), &fresh).await.refusal(), (401, 30));
    assert_eq!(send(&server, "POST", &format!("{path}?again"), body, &fresh).await.refusal(), (401, 30));
    let names = server.get(&server.owner, path).await.ok();
    assert_eq!(names.as_array().unwrap().len(), 1, "{names}");
}

#[tokio::test]
async fn uploads_are_checked_as_they_arrive() {
    let server = Server::new().await;
    let program = confirmed(&server, &server.owner).await;
    let guid = server.content("app").await;
    let path = format!("/__api__/v1/content/{guid}/bundles");
    let bundle = page_bundle("hello");
    let fields = program.signed("POST", &path, &bundle, now());
    let mut bent = bundle.clone();
    *bent.last_mut().unwrap() ^= 1;
    let chunks = |bytes: &[u8]| {
        let pieces: Vec<_> =
            bytes.chunks(64).map(|piece| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(piece))).collect();
        Body::from_stream(futures_util::stream::iter(pieces))
    };
    let post = async |body: Body, fields: &[(&'static str, String)]| {
        let request = fields.iter().fold(request("POST", &path), |request, (name, value)| request.header(*name, value));
        server.send(None, request.body(body).unwrap()).await
    };
    assert_eq!(post(chunks(&bent), &fields).await.refusal(), (400, 104));
    assert_eq!(server.stored(), (0, 0), "nothing is kept of it");
    // Its signature was used: the client signs anew, at another time.
    let again = program.signed("POST", &path, &bundle, now() - Duration::minutes(2));
    assert_eq!(post(chunks(&bundle), &again).await.status, 200);
    assert_eq!(server.stored().0, 1);
}

#[tokio::test]
async fn a_signature_is_worth_what_its_user_is() {
    let server = Server::new().await;
    let program = confirmed(&server, &server.viewer).await;
    let (path, body) = ("/__api__/v1/content", b"{}".to_vec());
    let fields = program.signed("POST", path, &body, now());
    assert_eq!(send(&server, "POST", path, body, &fields).await.refusal(), (403, 22), "a viewer publishes nothing");
    let mut client = server.database.client().await.unwrap();
    let me = "/__api__/v1/user";
    let asked = async || {
        let fields = program.signed("GET", me, b"", now());
        send(&server, "GET", me, vec![], &fields).await
    };
    client.execute("UPDATE users SET confirmed = false WHERE username = 'viewer'", &[]).await.unwrap();
    assert_eq!(asked().await.refusal(), (400, 40));
    users::set_locked(&client, server.viewer.user, true).await.unwrap();
    assert_eq!(asked().await.refusal(), (403, 50));
    // Who is locked confirms nothing either.
    signed_tokens::create(&client, "T00000000000000000", b"k", "x", now() + Duration::HOUR).await.unwrap();
    let refused = claim(&mut client, "T00000000000000000", server.viewer.user).await.unwrap_err();
    assert_eq!(refused.code(), 50);
    assert!(sessions::list(&client, server.viewer.user, 1).await.unwrap().is_empty());
}
