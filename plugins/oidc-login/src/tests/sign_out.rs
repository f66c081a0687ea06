//! The way out.

use lectern_plugin::FetchError;

use super::*;

fn post() -> Mock {
    let mock = Mock::post(&format!("{BASE}sign-out")).header("sec-fetch-site", "same-origin");
    known(mock.document(&settings(json!({}))))
}

fn signed_out(mock: &Mock) -> Reply {
    match OidcLogin::page(mock, b"").unwrap() {
        Handled::SignedOut(reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_form_asks_first() {
    let asked = reply(&known(Mock::get(&format!("{BASE}sign-out")).document(&settings(json!({})))));
    let html = text(&asked);
    assert_eq!(asked.status, 200);
    assert!(html.contains(r#"<form method="post" action="/__plugin__/oidc-login/sign-out">"#), "{html}");
    // Browsers hold the redirect that answers the form to the page's policy.
    let policy = asked.field("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self' https://idp.example;"), "{policy}");
    let here = settings(json!({ "sign_out": "here" }));
    let local = reply(&Mock::get(&format!("{BASE}sign-out")).document(&here));
    assert!(local.field("content-security-policy").unwrap().contains("form-action 'self';"));
}

#[test]
fn both_sessions_end() {
    let left = post();
    let reply = signed_out(&left);
    let location = reply.field("location").unwrap();
    let (endpoint, query) = location.split_once('?').unwrap();
    assert_eq!((reply.status, endpoint), (303, "https://idp.example/logout"));
    let pairs = form(query.as_bytes());
    let names: Vec<_> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["client_id", "post_logout_redirect_uri", "state"]);
    assert_eq!(pairs[1].1, "https://lectern.example/__plugin__/oidc-login/signed-out");
    let cookie = reply.field("set-cookie").unwrap();
    assert!(cookie.starts_with(&format!("__Host-lectern-oidc-login-out={};", pairs[2].1)), "{cookie}");
    // Back from the provider.
    let back = |state: &str, cookie: &str| {
        let mock = Mock::get(&format!("{BASE}signed-out?state={state}")).header("cookie", cookie);
        text(&super::reply(&mock.document(&settings(json!({})))))
    };
    let both = "signed out here and at your identity provider";
    let pair = cookie.split(';').next().unwrap();
    assert!(back(&pairs[2].1, pair).contains(both));
    for (state, cookie) in
        [("other", pair), ("", ""), (pairs[2].1.as_str(), ""), ("", "__Host-lectern-oidc-login-out=")]
    {
        let html = back(state, cookie);
        assert!(html.contains("You are signed out here.") && !html.contains(both), "{state} {cookie}");
    }
    // Who still has a session is not told otherwise.
    let linked = Mock::get(&format!("{BASE}signed-out")).session(Identity::new("ada"));
    assert!(text(&super::reply(&known(linked.document(&settings(json!({})))))).contains("<form method=\"post\""));
}

#[test]
fn forms_of_other_sites_are_refused() {
    let own = "https://lectern.example";
    for (fields, forged) in [
        (vec![("sec-fetch-site", "cross-site")], true),
        (vec![("sec-fetch-site", "same-site")], true),
        (vec![("sec-fetch-site", "cross-site"), ("origin", own)], true),
        (vec![("origin", "https://evil.example")], true),
        (vec![("origin", "null")], true),
        (vec![("origin", own)], false),
        (vec![("sec-fetch-site", "same-origin")], false),
    ] {
        let mock = Mock::post(&format!("{BASE}sign-out")).document(&settings(json!({})));
        let mock = known(fields.iter().fold(mock, |mock, (name, value)| mock.header(name, value)));
        let handled = OidcLogin::page(&mock, b"").unwrap();
        assert_eq!(matches!(&handled, Handled::Reply(reply) if reply.status == 403), forged, "{fields:?}");
        assert_eq!(matches!(handled, Handled::SignedOut(_)), !forged, "{fields:?}");
    }
}

#[test]
fn the_session_here_ends_whatever_the_provider_does() {
    let plain = |answer| {
        let mock = Mock::post(&format!("{BASE}sign-out")).document(&settings(json!({})));
        signed_out(&mock.fetching("GET", DISCOVERY, answer)).field("location").map(str::to_owned)
    };
    let here = Some("/__plugin__/oidc-login/signed-out".to_owned());
    assert_eq!(plain(Err(FetchError::Timeout)), here);
    assert_eq!(plain(Err(FetchError::Forbidden("origin".into()))), here);
    assert_eq!(plain(Ok(discovery(json!({ "end_session_endpoint": null })))), here);
    let set = Mock::post(&format!("{BASE}sign-out")).document(&settings(json!({ "sign_out": "here" })));
    assert_eq!(signed_out(&set).field("location").map(str::to_owned), here);
    assert!(set.fetched().is_empty());
}
