//! The shipped plugins in the real gate.

use bytes::Bytes;
use lectern_domain::{BundleId, PrincipalVia};
use lectern_gate::{Authenticated, Page, Routed};

use crate::support::{CONTENT, ada, api, gate, request, shipped};

#[tokio::test]
async fn routes() {
    let gate = gate();
    gate.swap(shipped(&gate).await);
    let chain = gate.chain();
    let line = async |method: &str, target: &str| {
        let head = request(method, target, &[]);
        match gate.route(&chain, &head).await.unwrap() {
            Routed::NotMine => "404".to_owned(),
            Routed::Respond { reply, .. } => {
                format!("{} {}", reply.status.as_u16(), reply.headers["location"].to_str().unwrap())
            }
            Routed::Forward(forward) => {
                let bundle = forward.bundle.map(|BundleId(id)| format!(" bundle {id}")).unwrap_or_default();
                let (path, base) = (forward.target_path(&head.path), forward.base_path(&head.path));
                format!("{} {path} below {base:?}{bundle}", forward.target)
            }
        }
    };
    let base = format!("/content/{CONTENT}");
    let cases = [
        ("GET", "/".to_owned(), "307 /connect/".to_owned()),
        ("GET", "/connect/".into(), "system:dashboard /connect/ below \"\"".into()),
        ("POST", "/__api__/v1/content".into(), "system:api /__api__/v1/content below \"\"".into()),
        ("GET", format!("{base}?a=%2F"), format!("307 {base}/?a=%2F")),
        ("GET", format!("{base}/"), format!("content:{CONTENT} / below {base:?}")),
        ("GET", format!("{base}/a%2Fb/./c%20d"), format!("content:{CONTENT} /a%2Fb/c%20d below {base:?}")),
        ("GET", format!("{base}/../../connect/"), "system:dashboard /connect/ below \"\"".into()),
        ("GET", format!("{base}/_bundle9/x"), format!("content:{CONTENT} /x below \"{base}/_bundle9\" bundle 9")),
        ("GET", "/content/nonsense/".into(), "404".into()),
        ("GET", "/sales".into(), "307 /sales/".into()),
        ("GET", "/sales/q/1".into(), format!("content:{CONTENT} /q/1 below \"/sales\"")),
        ("GET", "/else".into(), "404".into()),
    ];
    for (method, target, expected) in cases {
        assert_eq!(line(method, &target).await, expected, "{method} {target}");
    }
}

#[tokio::test]
async fn visitors() {
    let gate = gate();
    gate.swap(shipped(&gate).await);
    let chain = gate.chain();
    let line = async |target: &str, fields: &[(&str, &str)]| {
        let head = request("GET", target, fields);
        match gate.authenticate(&chain, &head, &api()).await.unwrap() {
            Authenticated::Identity(vouched) => {
                format!(
                    "{} by {} {:?}",
                    vouched.identity.display_name.as_ref().unwrap(),
                    vouched.plugin,
                    vouched.principal.as_ref().unwrap().via
                )
            }
            Authenticated::Rejected { plugin, .. } => format!("rejected by {plugin}"),
            Authenticated::Anonymous { challenge: None } => "anonymous".into(),
            Authenticated::Anonymous { challenge: Some(challenge) } => {
                format!("sign in at {}", challenge.reply_to(&head).headers["location"].to_str().unwrap())
            }
        }
    };
    const HTML: (&str, &str) = ("accept", "text/html");
    type Fields = &'static [(&'static str, &'static str)];
    let cases: &[(&str, Fields, &str)] = &[
        ("/x", &[], "anonymous"),
        ("/x?y=1", &[HTML], "sign in at /__plugin__/password-login/?next=/x%3Fy%3D1"),
        ("/__api__/v1/user", &[HTML], "anonymous"),
        ("/x", &[("authorization", "Key k1")], "ada by api-key Key(KeyId(7))"),
        ("/x", &[("authorization", "Key k2"), ("cookie", "lectern=s1")], "rejected by api-key"),
        ("/x", &[("authorization", "Bearer t"), ("cookie", "a=b; lectern=s1")], "ada by password-login Session"),
        ("/x", &[("cookie", "lectern=expired"), HTML], "sign in at /__plugin__/password-login/?next=/x"),
        ("/x", &[("cookie", "lectern=expired")], "anonymous"),
        ("/x", &[("x-auth-token", "anonymous-access")], "anonymous"),
    ];
    for (target, fields, expected) in cases {
        assert_eq!(line(target, fields).await, *expected, "{target} {fields:?}");
    }
}

#[tokio::test]
async fn signing_in_and_out() {
    let gate = gate();
    gate.swap(shipped(&gate).await);
    let chain = gate.chain();
    let post = async |path: &str, body: &'static str| {
        let head = request("POST", path, &[("sec-fetch-site", "same-origin")]);
        gate.page(&chain, "password-login", &head, Bytes::from_static(body.as_bytes())).await.unwrap()
    };
    let base = "/__plugin__/password-login/";
    match post(base, "username=ada&password=pw&next=%2Fsales%2F").await {
        Page::SignedIn { vouched, reply } => {
            assert_eq!(vouched.principal, Some(ada(PrincipalVia::Session)));
            assert_eq!(reply.headers["location"], "/sales/");
        }
        other => panic!("{other:?}"),
    }
    match post(base, "username=ada&password=no").await {
        Page::Reply(reply) => assert_eq!(reply.status, 403),
        other => panic!("{other:?}"),
    }
    assert!(matches!(post(&format!("{base}sign-out"), "").await, Page::SignedOut(_)));
    // api-key has no pages of its own, and no crash either.
    let head = request("GET", "/__plugin__/api-key/", &[]);
    match gate.page(&chain, "api-key", &head, Bytes::new()).await.unwrap() {
        Page::Reply(reply) => assert_eq!(reply.status, 404),
        other => panic!("{other:?}"),
    }
}
