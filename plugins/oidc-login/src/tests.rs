//! Sign-ins on a mocked host, honest and otherwise.
#![allow(clippy::unwrap_used, clippy::panic)]

mod callback;
mod outside;
mod sign_out;
mod start;
mod token;

use lectern_plugin::web::form;
use lectern_plugin::{Fetched, Identity, Mock, Verified};
use serde_json::json;

use super::*;

const BASE: &str = "/__plugin__/oidc-login/";
const ISSUER: &str = "https://idp.example";
const DISCOVERY: &str = "https://idp.example/.well-known/openid-configuration";
const TOKEN: &str = "https://idp.example/token";
/// Where the store has what that issuer says of itself.
const PROVIDER: &str = "provider:USoza3m1frOt4APz9RC8rCP6Sw8Llk0C2SqgBdBrkcY";
const JWKS: &str = "https://idp.example/jwks";

/// Settings with these members changed or added.
fn settings(changes: serde_json::Value) -> String {
    let mut all = json!({ "issuer": ISSUER, "client_id": "lectern" });
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    all.to_string()
}

fn answer(status: u16, body: &serde_json::Value) -> Fetched {
    Fetched { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

/// What the provider says of itself, with these members changed.
fn discovery(changes: serde_json::Value) -> Fetched {
    let mut all = json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://idp.example/auth?tenant=1",
        "token_endpoint": TOKEN,
        "jwks_uri": JWKS,
        "end_session_endpoint": "https://idp.example/logout",
        "response_types_supported": ["code"],
    });
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    answer(200, &all)
}

fn known(mock: Mock) -> Mock {
    mock.fetching("GET", DISCOVERY, Ok(discovery(json!({}))))
}

fn reply(mock: &Mock) -> Reply {
    match OidcLogin::page(mock, b"").unwrap() {
        Handled::Reply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).unwrap()
}

/// A sign-in that was begun: the request that began it, and what the browser took away.
struct Begun {
    mock: Mock,
    /// The parameters of the address at the provider.
    parameters: Vec<(String, String)>,
    /// Name and value of the cookie.
    cookie: String,
}

impl Begun {
    fn new(document: &str, next: &str) -> Self {
        let mock = known(Mock::get(&format!("{BASE}start?next={next}")).document(document));
        let reply = reply(&mock);
        let location = reply.field("location").unwrap().to_owned();
        let parameters = form(location.split_once('?').unwrap().1.as_bytes());
        let cookie = reply.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        Self { mock, parameters, cookie }
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find_map(|(key, value)| (key == name).then_some(value.as_str())).unwrap()
    }

    /// The browser comes back with this query, in which `STATE` is the state, and its cookie.
    fn back(&self, document: &str, query: &str) -> Mock {
        self.back_without_cookie(document, query).header("cookie", &self.cookie)
    }

    fn back_without_cookie(&self, document: &str, query: &str) -> Mock {
        let query = query.replace("STATE", self.parameter("state"));
        Mock::get(&format!("{BASE}callback?{query}")).document(document).after(&self.mock)
    }

    /// Good claims for this sign-in, with these members changed; null removes one.
    fn claims(&self, changes: serde_json::Value) -> Verified {
        let mut all = json!({
            "iss": ISSUER, "aud": "lectern", "sub": "s-1", "exp": 1_800_000_600, "iat": 1_800_000_000,
            "nonce": self.parameter("nonce"), "preferred_username": "ada", "email": "ada@example.org", "groups": ["staff"],
        });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                all.as_object_mut().unwrap().remove(name);
            } else {
                all[name] = value.clone();
            }
        }
        Verified { header: "{}".into(), claims: all.to_string(), valid_seconds: Some(600) }
    }
}

/// The provider's answer to a good code, and a directory that knows ada.
fn tokens(mock: Mock, id_token: &str) -> Mock {
    mock.fetching(
        "POST",
        TOKEN,
        Ok(answer(200, &json!({ "access_token": "at", "token_type": "Bearer", "id_token": id_token }))),
    )
    .user("ada", Identity::new("guid-of-ada"))
}

/// The query of a good answer.
const GOOD: &str = "code=c-1&state=STATE";

/// The outcome of a callback on one line.
fn line(mock: &Mock) -> String {
    match OidcLogin::page(mock, b"") {
        Ok(Handled::SignedIn((who, reply))) => {
            assert_eq!((reply.status, reply.field("cache-control")), (303, Some("no-store")));
            assert!(reply.field("set-cookie").unwrap().contains("=; Max-Age=0; Path=/; Secure"));
            format!("{} to {}", who.subject, reply.field("location").unwrap())
        }
        Ok(Handled::Reply(reply)) => {
            let html = text(&reply);
            assert!(!html.contains("<script") && !html.contains("c-1"), "{html}");
            let from = html.find("role=\"alert\">").unwrap() + 13;
            format!("{} {}", reply.status, &html[from..from + html[from..].find("</p>").unwrap()])
        }
        Ok(other) => panic!("{other:?}"),
        Err(failure) => format!("{failure:?}"),
    }
}
