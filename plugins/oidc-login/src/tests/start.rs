//! The way to the provider.

use lectern_plugin::web::base64url;
use lectern_plugin::{FetchError, StoreError};
use sha2::{Digest, Sha256};

use super::*;

#[test]
fn browsers_are_sent_to_start_and_programs_are_not() {
    let at = |mock: Mock| match OidcLogin::authenticate(&mock.document(&settings(json!({})))).unwrap() {
        Outcome::Abstain => None,
        Outcome::Challenge(reply) => {
            assert_eq!((reply.status, reply.field("cache-control")), (303, Some("no-store")));
            reply.field("location").map(str::to_owned)
        }
        other => panic!("{other:?}"),
    };
    let browser = |path: &str| Mock::get(path).header("accept", "text/html,*/*;q=0.8");
    let start = Some("/__plugin__/oidc-login/start?next={here}".to_owned());
    assert_eq!(at(browser("/content/a b/?x=1")), start);
    assert_eq!(at(browser("/__apix/")), start);
    for mock in [
        Mock::get("/x"),
        Mock::get("/x").header("accept", "application/json"),
        Mock::post("/x").header("accept", "text/html"),
        browser("/__api__/v1/user"),
        browser("/__api__"),
    ] {
        assert_eq!(at(mock), None);
    }
    let named = browser("/x").document(&settings(json!({ "name": "staff" })));
    let Outcome::Challenge(reply) = OidcLogin::authenticate(&named).unwrap() else { panic!("no challenge") };
    assert_eq!(reply.field("location"), Some("/__plugin__/staff/start?next={here}"));
}

#[test]
fn a_request_costs_few_and_narrow_questions() {
    let signed_in = Mock::get("/x").session(Identity::new("ada"));
    assert!(
        matches!(OidcLogin::authenticate(&signed_in).unwrap(), Outcome::Authenticated(who) if who.subject == "ada")
    );
    assert_eq!(signed_in.asked(), ["session"]);
    let browser = Mock::get("/content/x/").header("accept", "text/html");
    OidcLogin::authenticate(&browser).unwrap();
    assert_eq!(browser.asked(), ["session", "method", "header accept", "path-has-prefix /__api__"]);
}

#[test]
fn the_provider_is_asked_for_a_code_with_pkce() {
    let document =
        settings(json!({ "scopes": ["email", "groups", "openid"], "prompt": "select_account", "max_age": 60 }));
    let begun = Begun::new(&document, "/content/x/%3Fa%3D1");
    let stored = begun.mock.stored(&format!("flow:{}", begun.parameter("state"))).unwrap();
    let flow: crate::flow::Flow = serde_json::from_slice(&stored).unwrap();
    let challenge = base64url(&Sha256::digest(&flow.verifier));
    let expected = [
        ("tenant", "1"),
        ("response_type", "code"),
        ("client_id", "lectern"),
        ("redirect_uri", "https://lectern.example/__plugin__/oidc-login/callback"),
        ("scope", "openid email groups"),
        ("state", begun.parameter("state")),
        ("nonce", flow.nonce.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("prompt", "select_account"),
        ("max_age", "60"),
    ];
    assert_eq!(begun.parameters, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    // Four values that have nothing to do with each other, each of 256 bits.
    let values = [begun.parameter("state"), &flow.nonce, &flow.verifier, &flow.browser];
    for (at, value) in values.iter().enumerate() {
        assert!(value.len() == 43 && !values[at + 1..].contains(value), "{values:?}");
    }
    assert_eq!((flow.next.as_str(), flow.issuer.as_str()), ("/content/x/?a=1", ISSUER));
    assert_eq!(begun.mock.lifetime(&format!("flow:{}", begun.parameter("state"))), Some(600));
}

#[test]
fn the_cookie_is_the_browsers_alone() {
    let of = |mock: Mock| reply(&known(mock.document(&settings(json!({}))))).field("set-cookie").unwrap().to_owned();
    let https = of(Mock::get(&format!("{BASE}start")));
    let (pair, attributes) = https.split_once(';').unwrap();
    assert!(pair.starts_with("__Host-lectern-oidc-login-"), "{https}");
    assert_eq!(attributes, " Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax");
    let http = of(Mock::get(&format!("{BASE}start")).http());
    let (pair, attributes) = http.split_once(';').unwrap();
    assert!(pair.starts_with("lectern-oidc-login-"), "{http}");
    assert_eq!(attributes, " Max-Age=600; Path=/__plugin__/oidc-login/; HttpOnly; SameSite=Lax");
}

#[test]
fn addresses_to_go_on_to_are_here() {
    for (next, kept) in [
        ("/content/x/", "/content/x/"),
        ("https://evil.example/", ""),
        ("//evil.example/", ""),
        ("/%5Cevil.example/", ""),
        ("/%09/evil.example/", ""),
        ("/a%0d%0aset-cookie:x", ""),
        ("javascript:alert(1)", ""),
        ("/__plugin__/oidc-login/sign-out", ""),
    ] {
        let begun = Begun::new(&settings(json!({})), next);
        let stored = begun.mock.stored(&format!("flow:{}", begun.parameter("state"))).unwrap();
        let flow: crate::flow::Flow = serde_json::from_slice(&stored).unwrap();
        assert_eq!(flow.next, kept, "{next}");
    }
    let at_home = |next: &str| {
        let mock = Mock::get(&format!("{BASE}start?next={next}")).session(Identity::new("ada"));
        reply(&mock.document(&settings(json!({})))).field("location").map(str::to_owned)
    };
    assert_eq!(at_home("/a").as_deref(), Some("/a"));
    assert_eq!(at_home("//evil.example").as_deref(), Some("/connect/"));
}

#[test]
fn the_address_of_this_server_is_the_operators_or_the_requests() {
    let redirect_uri = |document: &str, host: &str| {
        let mock = known(Mock::get(&format!("{BASE}start")).document(document).header("host", host));
        let reply = reply(&mock);
        let location = reply.field("location")?.to_owned();
        form(location.as_bytes()).into_iter().find_map(|(name, value)| (name == "redirect_uri").then_some(value))
    };
    let own = settings(json!({ "public_url": "https://apps.example.org" }));
    let plain = settings(json!({}));
    let callback = |origin: &str| Some(format!("{origin}/__plugin__/oidc-login/callback"));
    assert_eq!(redirect_uri(&own, "10.0.0.1:3939"), callback("https://apps.example.org"));
    assert_eq!(redirect_uri(&plain, "Apps.example.org:8443"), callback("https://apps.example.org:8443"));
    for forged in ["", "evil.example/x?", "a@evil.example", "a b"] {
        assert_eq!(redirect_uri(&plain, forged), None, "{forged}");
    }
}

#[test]
fn starts_are_limited_and_the_store_may_be_full() {
    let start = || Mock::get(&format!("{BASE}start")).document(&settings(json!({}))).client_ip("2001:db8::1");
    let limited = reply(&start().empty_bucket("start 2001:db8:0:0::/64", 7));
    assert_eq!((limited.status, limited.field("retry-after")), (429, Some("7")));
    for error in [StoreError::Quota, StoreError::Unavailable("gone".into())] {
        let mock = known(start()).store_failing(error);
        let full = reply(&mock);
        assert_eq!((full.status, full.field("retry-after")), (503, Some("5")));
        assert!(full.field("set-cookie").is_none() && mock.logged().iter().any(|line| line.contains("the store")));
    }
}

#[test]
fn the_provider_is_read_once_an_hour_and_kept_when_it_is_away() {
    let document = settings(json!({}));
    let first = known(Mock::get(&format!("{BASE}start")).document(&document));
    assert_eq!(reply(&first).status, 303);
    let later = |millis: u64| Mock::get(&format!("{BASE}start")).document(&document).after(&first).now(millis);
    let soon = later(1_800_000_000_000 + 3_599_000);
    assert_eq!((reply(&soon).status, soon.fetched().len()), (303, 0));
    // Away after an hour: what is kept goes on being used.
    let away = later(1_800_000_000_000 + 3_600_000).fetching("GET", DISCOVERY, Err(FetchError::Timeout));
    assert_eq!((reply(&away).status, away.fetched().len()), (303, 1));
    // Visitors do not ask a provider that is away again and again.
    let limited = later(1_800_000_000_000 + 3_600_000).empty_bucket(PROVIDER, 10);
    assert_eq!((reply(&limited).status, limited.fetched().len()), (303, 0));
    // Another issuer in the settings: what is kept is another's.
    let other = settings(json!({ "issuer": "https://other.example" }));
    let url = "https://other.example/.well-known/openid-configuration";
    let changed = Mock::get(&format!("{BASE}start")).document(&other).after(&first);
    let changed = changed.fetching("GET", url, Ok(discovery(json!({ "issuer": "https://other.example" }))));
    assert_eq!((reply(&changed).status, changed.fetched().len()), (303, 1));
}

#[test]
fn a_description_that_is_not_the_issuers_is_not_used() {
    let asked = |changes| {
        let mock = Mock::get(&format!("{BASE}start")).document(&settings(json!({})));
        let mock = mock.fetching("GET", DISCOVERY, Ok(discovery(changes)));
        let reply = reply(&mock);
        assert!(reply.field("location").is_none() && mock.stored_keys().is_empty(), "{:?}", mock.stored_keys());
        assert!(mock.logged()[0].contains("cannot be used"), "{:?}", mock.logged());
        reply.status
    };
    for changes in [
        json!({ "issuer": "https://idp.example/" }),
        json!({ "issuer": "https://evil.example" }),
        json!({ "issuer": null }),
        json!({ "token_endpoint": "http://idp.example/token" }),
        json!({ "token_endpoint": "https://idp.example@evil.example/token" }),
        json!({ "jwks_uri": "file:///etc/passwd" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
        json!({ "end_session_endpoint": "//evil.example" }),
        json!({ "jwks_uri": format!("https://idp.example/{}", "x".repeat(1_024)) }),
    ] {
        assert_eq!(asked(changes.clone()), 503, "{changes}");
    }
    let failing = |answer| {
        let mock = Mock::get(&format!("{BASE}start")).document(&settings(json!({}))).fetching("GET", DISCOVERY, answer);
        OidcLogin::page(&mock, b"").map(|handled| match handled {
            Handled::Reply(reply) => reply.status,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(failing(Ok(answer(404, &json!({})))).unwrap(), 503);
    assert_eq!(failing(Ok(Fetched { status: 200, headers: Vec::new(), body: vec![b'['; 70_000] })).unwrap(), 503);
    assert_eq!(failing(Err(FetchError::Failed("dns".into()))).unwrap(), 503);
    // Not granted: the operator has to change something.
    let refused = failing(Err(FetchError::Forbidden("https://idp.example".into())));
    assert!(matches!(refused, Err(Failure::Misconfigured(_))), "{refused:?}");
}

#[test]
fn settings_are_refused_before_they_take_traffic() {
    let check = |changes| OidcLogin::check(&Mock::get("/").document(&settings(changes)));
    assert!(check(json!({})).is_ok());
    let good = json!({
        "issuer": "http://127.0.0.1:8080/realms/x", "client_auth": "none", "accounts": { "create": true, "roles": { "publisher": ["a"] } },
        "claims": { "groups": "/realm_access/roles" }, "required": { "hd": "example.org" }, "sign_out": "here",
    });
    assert!(check(good).is_ok());
    for bad in [
        json!({ "issuer": "" }),
        json!({ "issuer": "idp.example" }),
        json!({ "issuer": "http://idp.example" }),
        json!({ "issuer": "https://idp.example?x" }),
        json!({ "client_id": "" }),
        json!({ "client_auth": "client_secret_post" }),
        json!({ "algorithms": [] }),
        json!({ "algorithms": ["none"] }),
        json!({ "algorithms": ["RS256", "HS256"] }),
        json!({ "public_url": "https://apps.example.org/" }),
        json!({ "public_url": "apps.example.org" }),
        json!({ "name": "a/b" }),
        json!({ "scopes": ["a b"] }),
        json!({ "prompt": "none" }),
        json!({ "leeway_seconds": 301 }),
        json!({ "starts_per_minute": 0 }),
        json!({ "accounts": { "roles": { "root": ["a"] } } }),
        json!({ "secret": "s3cret" }),
    ] {
        assert!(matches!(check(bad.clone()), Err(Failure::Misconfigured(_))), "{bad}");
    }
}
