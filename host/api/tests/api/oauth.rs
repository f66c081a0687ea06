//! OAuth: registration, consent, codes, refresh, devices, revocation, each error of the RFCs, and the attacks they speak of.

use axum::body::Body;
use lectern_api::oauth::{Asked, Declined, DeviceRefusal, allow, answer_device, device_waiting};
use lectern_api::{ClientAddress, Part};
use lectern_domain::UserRole;
use lectern_domain::access::Principal;
use lectern_metadata::{Client, oauth, snapshots};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::support::{Reply, Server, Told, request};

/// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const BACK: &str = "http://127.0.0.1:8123/callback";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn post(server: &Server, path: &str, body: String) -> Reply {
    let request = request("POST", &format!("/__api__/oauth/{path}"));
    server.send(None, request.body(Body::from(body)).unwrap()).await
}

/// Status and word of an error, which must have the RFCs' form and must not be kept by caches.
#[track_caller]
fn refusal(reply: &Reply) -> (u16, String) {
    assert!(!reply.status.is_success(), "{reply:?}");
    assert_eq!(reply.headers["cache-control"], "no-store", "{reply:?}");
    let body = reply.json();
    assert!(body["error_description"].as_str().is_some_and(|text| !text.is_empty()), "{reply:?}");
    (reply.status.as_u16(), body["error"].as_str().unwrap().to_owned())
}

fn is(word: &str) -> (u16, String) {
    (400, word.to_owned())
}

fn registration() -> Value {
    json!({
        "client_name": "Posit CLI", "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none", "response_types": ["code"],
        "grant_types": ["authorization_code", "refresh_token", DEVICE], "software_id": "passed over",
    })
}

async fn registered(server: &Server) -> String {
    let reply = post(server, "register", registration().to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.ok()["client_id"].as_str().unwrap().to_owned()
}

async fn database(server: &Server) -> Client {
    server.database.client().await.unwrap()
}

fn query(client: &str, more: &[(&str, &str)]) -> String {
    let mut pairs = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", BACK),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "s t&te"),
    ];
    pairs.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    pairs.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    form(&pairs)
}

/// What `who` allows is answered with a code.
async fn code(server: &Server, who: &Principal, query: &str) -> String {
    let database = database(server).await;
    let Ok(asked) = Asked::read(&database, query).await else { panic!("refused: {query}") };
    let address: url::Url = allow(&database, who, &asked).await.unwrap().parse().unwrap();
    assert!(address.as_str().starts_with(&format!("{BACK}?code=")), "{address}");
    let pairs: Vec<(String, String)> = address.query_pairs().into_owned().collect();
    assert_eq!(pairs[1], ("state".to_owned(), "s t&te".to_owned()));
    pairs[0].1.clone()
}

async fn redeem(server: &Server, client: &str, code: &str, more: &[(&str, &str)]) -> Reply {
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
    ];
    pairs.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    pairs.extend(more);
    post(server, "token", form(&pairs)).await
}

async fn refreshed(server: &Server, client: &str, token: &Value, more: &[(&str, &str)]) -> Reply {
    let token = token.as_str().unwrap();
    let pairs = [&[("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)], more].concat();
    post(server, "token", form(&pairs)).await
}

/// The role that an access token gives; `None`: it is worth nothing.
async fn worth(server: &Server, token: &Value) -> Option<UserRole> {
    let hash = *blake3::hash(token.as_str().unwrap().as_bytes()).as_bytes();
    snapshots::load_keys(&server.database).await.unwrap().get(&hash).map(|key| key.role)
}

#[tokio::test]
async fn a_program_is_allowed_and_acts() {
    let server = Server::new().await;
    let known = server.ask(None, "GET", "/.well-known/oauth-authorization-server", Value::Null).await.ok();
    assert_eq!(known["issuer"], "https://lectern.example/pub");
    assert_eq!(known["authorization_endpoint"], "https://lectern.example/pub/connect/oauth/authorize");
    assert_eq!(known["token_endpoint"], "https://lectern.example/pub/__api__/oauth/token");
    assert_eq!(known["code_challenge_methods_supported"], json!(["S256"]));

    let client = registered(&server).await;
    let code = code(&server, &server.owner, &query(&client, &[])).await;
    server.backstage.take();
    let reply = redeem(&server, &client, &code, &[]).await;
    assert_eq!(reply.headers["cache-control"], "no-store");
    let tokens = reply.ok();
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"], &tokens["scope"]),
        (&json!("Bearer"), &json!(3600), &json!("publisher"))
    );
    assert!(server.backstage.take().contains(&Told::Refresh(Part::Keys)), "it works when the answer is there");
    assert_eq!(worth(&server, &tokens["access_token"]).await, Some(UserRole::Publisher));
    // A token is not stored as its text, and is none of the keys that people keep.
    let keys = server.get(&server.owner, &format!("/__api__/v1/users/{}/keys", server.owner.guid)).await.ok();
    assert_eq!(keys, json!([]));

    let next = refreshed(&server, &client, &tokens["refresh_token"], &[]).await.ok();
    assert_ne!(next["access_token"], tokens["access_token"]);
    assert_ne!(next["refresh_token"], tokens["refresh_token"]);
    assert_eq!(worth(&server, &tokens["access_token"]).await, Some(UserRole::Publisher), "requests under way");
    let lesser = refreshed(&server, &client, &next["refresh_token"], &[("scope", "viewer")]).await.ok();
    assert_eq!(worth(&server, &lesser["access_token"]).await, Some(UserRole::Viewer));
    assert_eq!(worth(&server, &tokens["access_token"]).await, None, "two at a time");
    let more = refreshed(&server, &client, &lesser["refresh_token"], &[("scope", "administrator")]).await;
    assert_eq!(refusal(&more), is("invalid_scope"));

    let listed = format!("/__api__/v1/users/{}/oauth_grants", server.owner.guid);
    let grants = server.get(&server.owner, &listed).await.ok();
    assert_eq!((&grants[0]["client_name"], &grants[0]["role"]), (&json!("Posit CLI"), &json!("publisher")));
    let one = format!("{listed}/{}", grants[0]["id"].as_str().unwrap());
    assert_eq!(server.ask(Some(&server.stranger), "DELETE", &one, Value::Null).await.refusal(), (403, 20));
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &one, Value::Null).await.status, 204);
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &one, Value::Null).await.refusal(), (404, 17));
    assert_eq!(worth(&server, &lesser["access_token"]).await, None);
    assert_eq!(refusal(&refreshed(&server, &client, &lesser["refresh_token"], &[]).await), is("invalid_grant"));
}

#[tokio::test]
async fn a_scope_is_the_most_that_a_program_gets() {
    let server = Server::new().await;
    let client = registered(&server).await;
    for (scope, expected) in [("viewer", UserRole::Viewer), ("administrator", UserRole::Publisher)] {
        let code = code(&server, &server.owner, &query(&client, &[("scope", scope)])).await;
        let tokens = redeem(&server, &client, &code, &[]).await.ok();
        assert_eq!(worth(&server, &tokens["access_token"]).await, Some(expected), "{scope}");
        assert_eq!(tokens["scope"], expected.as_str());
    }
}

#[tokio::test]
async fn registrations_are_judged_and_bounded() {
    let server = Server::new().await;
    let with = |name: &str, value: Value| {
        let mut changed = registration();
        changed[name] = value;
        changed.to_string()
    };
    for uri in
        ["https://evil.example/", "http://localhost/cb", "javascript:alert(1)", "http://127.0.0.1@evil.example/", "x"]
    {
        let reply = post(&server, "register", with("redirect_uris", json!([uri]))).await;
        assert_eq!(refusal(&reply), is("invalid_redirect_uri"), "{uri}");
    }
    assert_eq!(refusal(&post(&server, "register", with("redirect_uris", json!([]))).await), is("invalid_redirect_uri"));
    for body in [
        String::new(),
        "[".into(),
        with("client_name", json!("x".repeat(101))),
        with("client_name", json!("a\u{202e}b")),
        with("client_name", json!(7)),
        with("token_endpoint_auth_method", json!("client_secret_basic")),
        with("grant_types", json!(["password"])),
        with("grant_types", json!([])),
        with("grant_types", json!(["refresh_token"])),
        with("response_types", json!(["token"])),
    ] {
        assert_eq!(refusal(&post(&server, "register", body.clone()).await), is("invalid_client_metadata"), "{body}");
    }
    // One address cannot keep all others from registering.
    let from = |address: &str| {
        let asked = request("POST", "/__api__/oauth/register").extension(ClientAddress(address.parse().unwrap()));
        server.send(None, asked.body(Body::from(registration().to_string())).unwrap())
    };
    for _ in 0..50 {
        assert_eq!(from("192.0.2.1").await.status, 201);
    }
    let full = from("192.0.2.1").await;
    assert_eq!(refusal(&full), (429, "temporarily_unavailable".into()));
    assert!(full.headers.contains_key("retry-after"));
    assert_eq!(from("192.0.2.2").await.status, 201);
}

#[tokio::test]
async fn nothing_is_sent_to_an_address_that_was_not_registered() {
    let server = Server::new().await;
    let client = registered(&server).await;
    let database = database(&server).await;
    for (name, value) in [
        ("client_id", "nobody"),
        ("client_id", ""),
        ("redirect_uri", ""),
        ("redirect_uri", "https://evil.example/callback"),
        ("redirect_uri", "http://127.0.0.1:8123/other"),
        ("redirect_uri", "http://127.0.0.1:8123/callback?next=https://evil.example"),
        ("redirect_uri", "http://127.0.0.1:8123@evil.example/callback"),
        ("redirect_uri", "http://[::1]:8123/callback"),
    ] {
        let read = Asked::read(&database, &query(&client, &[(name, value)])).await;
        assert!(matches!(read, Err(Declined::Page(_))), "{name}={value}");
    }
    let twice = format!("{}&redirect_uri=x", query(&client, &[]));
    assert!(matches!(Asked::read(&database, &twice).await, Err(Declined::Page(_))), "twice");
    // These the program is told, at its own address.
    for (name, value, word) in [
        ("response_type", "", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("scope", "openid", "invalid_scope"),
    ] {
        let Err(Declined::Program(address)) = Asked::read(&database, &query(&client, &[(name, value)])).await else {
            panic!("{name}={value}")
        };
        assert!(address.starts_with(&format!("{BACK}?error={word}&")), "{address}");
        assert!(address.ends_with("&state=s+t%26te"), "{address}");
    }
    let Ok(asked) = Asked::read(&database, &query(&client, &[])).await else { panic!("asked") };
    assert!(asked.denied().starts_with(&format!("{BACK}?error=access_denied&")), "{}", asked.denied());
    let devices = json!({"grant_types": [DEVICE]}).to_string();
    let other = post(&server, "register", devices).await.ok()["client_id"].as_str().unwrap().to_owned();
    assert!(
        matches!(Asked::read(&database, &query(&other, &[])).await, Err(Declined::Page(_))),
        "no address of its own"
    );
}

#[tokio::test]
async fn codes_are_worth_something_once_and_to_their_own_program() {
    let server = Server::new().await;
    let (client, other) = (registered(&server).await, registered(&server).await);
    let ask = query(&client, &[]);
    // Another program learns nothing by it, and spoils nothing.
    let held = code(&server, &server.owner, &ask).await;
    assert_eq!(refusal(&redeem(&server, &other, &held, &[]).await), is("invalid_grant"));
    let tokens = redeem(&server, &client, &held, &[]).await.ok();
    // Two hold the code: what came of it ends.
    server.backstage.take();
    assert_eq!(refusal(&redeem(&server, &client, &held, &[]).await), is("invalid_grant"));
    assert!(server.backstage.take().contains(&Told::Refresh(Part::Keys)), "at once");
    assert_eq!(refusal(&redeem(&server, &client, "nothing", &[]).await), is("invalid_grant"));
    assert!(server.backstage.take().is_empty(), "what changes nothing costs little");
    assert_eq!(worth(&server, &tokens["access_token"]).await, None);
    assert_eq!(refusal(&refreshed(&server, &client, &tokens["refresh_token"], &[]).await), is("invalid_grant"));
    // Who holds the code without having asked for it spoils it.
    let wrong = "x".repeat(43);
    for (name, value) in [
        ("code_verifier", wrong.as_str()),
        ("code_verifier", CHALLENGE),
        ("code_verifier", "short"),
        ("redirect_uri", "http://127.0.0.1:9999/callback"),
        ("redirect_uri", "http://127.0.0.1/callback"),
    ] {
        let held = code(&server, &server.owner, &ask).await;
        assert_eq!(refusal(&redeem(&server, &client, &held, &[(name, value)]).await), is("invalid_grant"), "{name}");
        assert_eq!(refusal(&redeem(&server, &client, &held, &[]).await), is("invalid_grant"), "spoiled by {name}");
    }
    let late = code(&server, &server.owner, &ask).await;
    database(&server).await.execute("UPDATE oauth_codes SET expires_at = now()", &[]).await.unwrap();
    assert_eq!(refusal(&redeem(&server, &client, &late, &[]).await), is("invalid_grant"));
    let locked = code(&server, &server.owner, &ask).await;
    let lock = "UPDATE users SET locked = true WHERE id = $1";
    database(&server).await.execute(lock, &[&server.owner.user.0]).await.unwrap();
    assert_eq!(refusal(&redeem(&server, &client, &locked, &[]).await), is("invalid_grant"));
    assert_eq!(refusal(&redeem(&server, &client, "nothing", &[]).await), is("invalid_grant"));
    let grants = oauth::grants(&database(&server).await, server.owner.user, 9).await.unwrap();
    assert!(grants.is_empty(), "{grants:?}");
}

#[tokio::test]
async fn of_two_who_present_a_code_at_once_none_keeps_anything() {
    let server = Server::new().await;
    let client = registered(&server).await;
    let held = code(&server, &server.owner, &query(&client, &[])).await;
    let (one, other) = tokio::join!(redeem(&server, &client, &held, &[]), redeem(&server, &client, &held, &[]));
    assert_eq!(i32::from(one.status == 200) + i32::from(other.status == 200), 1, "{one:?} {other:?}");
    let won = if one.status == 200 { one } else { other };
    assert_eq!(worth(&server, &won.ok()["access_token"]).await, None);
}

#[tokio::test]
async fn a_refresh_token_used_twice_ends_its_family() {
    let server = Server::new().await;
    let (client, other) = (registered(&server).await, registered(&server).await);
    let tokens = redeem(&server, &client, &code(&server, &server.owner, &query(&client, &[])).await, &[]).await.ok();
    let stranger = redeem(&server, &client, &code(&server, &server.owner, &query(&client, &[])).await, &[]).await.ok();
    assert_eq!(refusal(&refreshed(&server, &other, &tokens["refresh_token"], &[]).await), is("invalid_grant"));
    let next = refreshed(&server, &client, &tokens["refresh_token"], &[]).await.ok();
    assert_eq!(refusal(&refreshed(&server, &client, &tokens["refresh_token"], &[]).await), is("invalid_grant"));
    assert_eq!(refusal(&refreshed(&server, &client, &next["refresh_token"], &[]).await), is("invalid_grant"));
    assert_eq!(worth(&server, &next["access_token"]).await, None);
    // Another grant to the same program is another matter.
    let next = refreshed(&server, &client, &stranger["refresh_token"], &[]).await.ok();
    assert!(worth(&server, &next["access_token"]).await.is_some());
    let client_of_database = database(&server).await;
    client_of_database.execute("UPDATE oauth_grants SET expires_at = now()", &[]).await.unwrap();
    assert_eq!(refusal(&refreshed(&server, &client, &next["refresh_token"], &[]).await), is("invalid_grant"));
    for odd in ["x", "lectern_refresh_", "lectern_refresh_a_b"] {
        assert_eq!(refusal(&refreshed(&server, &client, &json!(odd), &[]).await), is("invalid_grant"), "{odd}");
    }
}

#[tokio::test]
async fn requests_are_whole_and_plain() {
    let server = Server::new().await;
    let client = registered(&server).await;
    let only_codes = json!({"redirect_uris": ["http://127.0.0.1/callback"]}).to_string();
    let only_codes = post(&server, "register", only_codes).await.ok()["client_id"].as_str().unwrap().to_owned();
    let (id, lesser) = (("client_id", client.as_str()), ("client_id", only_codes.as_str()));
    let code = ("grant_type", "authorization_code");
    for (pairs, expected) in [
        (vec![id], is("invalid_request")),
        (vec![("grant_type", "password"), id], is("unsupported_grant_type")),
        (vec![code], is("invalid_request")),
        (vec![code, ("client_id", "nobody")], (401, "invalid_client".into())),
        (vec![code, id], is("invalid_request")),
        (vec![code, id, ("code", "x"), ("redirect_uri", BACK)], is("invalid_request")),
        (vec![code, id, ("code", "x"), ("code_verifier", VERIFIER)], is("invalid_request")),
        (vec![code, id, id], is("invalid_request")),
        (vec![("grant_type", "refresh_token"), id], is("invalid_request")),
        (vec![("grant_type", "refresh_token"), lesser, ("refresh_token", "x")], is("unauthorized_client")),
        (vec![("grant_type", DEVICE), lesser, ("device_code", "x")], is("unauthorized_client")),
        (vec![("grant_type", DEVICE), id], is("invalid_request")),
        (vec![("grant_type", DEVICE), id, ("device_code", "x")], is("invalid_grant")),
    ] {
        assert_eq!(refusal(&post(&server, "token", form(&pairs)).await), expected, "{pairs:?}");
    }
    // Without a refresh token there is an hour.
    let held = self::code(&server, &server.owner, &query(&only_codes, &[])).await;
    let tokens = redeem(&server, &only_codes, &held, &[]).await.ok();
    assert!(tokens.get("refresh_token").is_none(), "{tokens}");
    // A browser's session is nothing here.
    let session = Principal { via: lectern_domain::access::PrincipalVia::Session, ..server.owner.clone() };
    let reply = server.ask(Some(&session), "POST", "/__api__/oauth/token", Value::Null).await;
    assert_eq!(reply.refusal(), (403, 92));
}

/// The codes of a program that waits: its own, and its user's.
async fn waits(server: &Server, client: &str) -> (String, String) {
    let begun = post(server, "device", form(&[("client_id", client)])).await.ok();
    let user_code = begun["user_code"].as_str().unwrap().to_owned();
    let complete = format!("https://lectern.example/pub/connect/oauth/device?user_code={user_code}");
    assert_eq!(begun["verification_uri_complete"], complete);
    assert_eq!((&begun["interval"], &begun["expires_in"]), (&json!(5), &json!(900)));
    (begun["device_code"].as_str().unwrap().to_owned(), user_code)
}

async fn asks(server: &Server, client: &str, device: &str) -> Reply {
    // As if it had waited its turn.
    database(server).await.execute("UPDATE oauth_devices SET polled_at = NULL", &[]).await.unwrap();
    post(server, "token", form(&[("grant_type", DEVICE), ("client_id", client), ("device_code", device)])).await
}

async fn say(server: &Server, who: &Principal, user_code: &str, yes: bool) -> bool {
    let database = database(server).await;
    let Ok(asked) = device_waiting(&database, who, user_code).await else { return false };
    assert_eq!(asked.name, "Posit CLI");
    answer_device(&database, who, user_code, &asked, yes).await.unwrap()
}

#[tokio::test]
async fn a_program_without_a_browser_waits() {
    let server = Server::new().await;
    let (client, other) = (registered(&server).await, registered(&server).await);
    let (device, user_code) = waits(&server, &client).await;
    assert_eq!(refusal(&asks(&server, &client, &device).await), is("authorization_pending"));
    let hasty = form(&[("grant_type", DEVICE), ("client_id", &client), ("device_code", &device)]);
    assert_eq!(refusal(&post(&server, "token", hasty).await), is("slow_down"));
    assert_eq!(refusal(&asks(&server, &other, &device).await), is("invalid_grant"));
    assert!(say(&server, &server.owner, &user_code.to_lowercase(), true).await);
    assert!(!say(&server, &server.stranger, &user_code, true).await, "answered already");
    let tokens = asks(&server, &client, &device).await.ok();
    assert_eq!(worth(&server, &tokens["access_token"]).await, Some(UserRole::Publisher));
    assert_eq!(refusal(&asks(&server, &client, &device).await), is("invalid_grant"), "once");
    refreshed(&server, &client, &tokens["refresh_token"], &[]).await.ok();

    let (device, user_code) = waits(&server, &client).await;
    assert!(say(&server, &server.owner, &user_code, false).await);
    assert_eq!(refusal(&asks(&server, &client, &device).await), is("access_denied"));
    let (device, user_code) = waits(&server, &client).await;
    database(&server).await.execute("UPDATE oauth_devices SET expires_at = now()", &[]).await.unwrap();
    assert!(!say(&server, &server.owner, &user_code, true).await, "late");
    assert_eq!(refusal(&asks(&server, &client, &device).await), is("expired_token"));

    let none = post(&server, "device", form(&[("client_id", "nobody")])).await;
    assert_eq!(refusal(&none), (401, "invalid_client".into()));
    let odd = post(&server, "device", form(&[("client_id", &client), ("scope", "openid")])).await;
    assert_eq!(refusal(&odd), is("invalid_scope"));
}

#[tokio::test]
async fn guessing_codes_is_slow() {
    let server = Server::new().await;
    let client = registered(&server).await;
    let (_, user_code) = waits(&server, &client).await;
    let database = database(&server).await;
    let enter = |code: &'static str| device_waiting(&database, &server.stranger, code);
    for _ in 0..5 {
        // What is right does not count; what cannot be a code does.
        assert!(device_waiting(&database, &server.stranger, &user_code).await.is_ok());
        assert!(matches!(enter("BBBB-BBBB").await, Err(DeviceRefusal::Unknown)));
        assert!(matches!(enter("x").await, Err(DeviceRefusal::Unknown)));
    }
    assert!(matches!(enter("BBBB-BBBB").await, Err(DeviceRefusal::TooMany)));
    let right = device_waiting(&database, &server.stranger, &user_code).await;
    assert!(matches!(right, Err(DeviceRefusal::TooMany)), "nor the right one");
    assert!(device_waiting(&database, &server.owner, &user_code).await.is_ok(), "somebody else");
    database.execute("UPDATE oauth_guesses SET since = now() - interval '11 minutes'", &[]).await.unwrap();
    assert!(device_waiting(&database, &server.stranger, &user_code).await.is_ok(), "after a while");
}

#[tokio::test]
async fn a_program_ends_its_own_access() {
    let server = Server::new().await;
    let (client, other) = (registered(&server).await, registered(&server).await);
    for which in ["access_token", "refresh_token"] {
        let held = code(&server, &server.owner, &query(&client, &[])).await;
        let tokens = redeem(&server, &client, &held, &[]).await.ok();
        let token = tokens[which].as_str().unwrap();
        let end = |client: &str| post(&server, "revoke", form(&[("client_id", client), ("token", token)]));
        assert_eq!(end(&other).await.status, 200);
        assert!(worth(&server, &tokens["access_token"]).await.is_some(), "not another's");
        assert_eq!(end(&client).await.status, 200);
        assert_eq!(worth(&server, &tokens["access_token"]).await, None, "{which}");
        assert_eq!(end(&client).await.status, 200, "ended already");
    }
    let id = [("client_id", client.as_str())];
    assert_eq!(refusal(&post(&server, "revoke", form(&id)).await), is("invalid_request"));
}

#[tokio::test]
async fn what_has_ended_is_swept() {
    let server = Server::new().await;
    let (client, unused) = (registered(&server).await, registered(&server).await);
    let held = code(&server, &server.owner, &query(&client, &[])).await;
    redeem(&server, &client, &held, &[]).await.ok();
    waits(&server, &client).await;
    let database = database(&server).await;
    let now = time::OffsetDateTime::now_utc();
    let year = time::Duration::days(365);
    assert_eq!(oauth::sweep(&database, now - year).await.unwrap(), 0);
    for table in ["oauth_codes", "oauth_devices", "oauth_grants"] {
        database.execute(&format!("UPDATE {table} SET expires_at = now() - interval '1 s'"), &[]).await.unwrap();
    }
    database.execute("UPDATE oauth_clients SET created_at = now() - interval '2 days'", &[]).await.unwrap();
    assert_eq!(oauth::sweep(&database, now - year).await.unwrap(), 4, "code, device, grant, and the unused client");
    assert!(oauth::get_client(&database, &unused).await.unwrap().is_none());
    assert!(oauth::get_client(&database, &client).await.unwrap().is_some());
    assert_eq!(oauth::sweep(&database, now + year).await.unwrap(), 1, "idle for long");
    let keys: i64 = database.query_one("SELECT count(*) FROM api_keys", &[]).await.unwrap().get(0);
    assert_eq!(keys, 0);
}
