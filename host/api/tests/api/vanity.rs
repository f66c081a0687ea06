//! `/v1/content/{guid}/vanity` and `/v1/vanities`.

use serde_json::{Value, json};

use crate::support::Server;

#[tokio::test]
async fn a_path_is_given_moved_and_taken_away() {
    let server = Server::new().await;
    let one = server.content("one").await;
    let other = server.content("other").await;
    let at = |guid: &str| format!("/__api__/v1/content/{guid}/vanity");
    let put = async |guid: &str, body| server.ask(Some(&server.owner), "PUT", &at(guid), body).await;
    assert_eq!(server.get(&server.owner, &at(&one)).await.refusal(), (404, 4));
    let set = put(&one, json!({"path": "example"})).await.ok();
    assert_eq!((&set["path"], &set["content_guid"]), (&json!("/example/"), &json!(one)));
    assert_eq!(server.get(&server.owner, &at(&one)).await.ok(), set);
    assert_eq!(server.get(&server.owner, "/__api__/v1/vanities").await.ok(), json!([set]));
    assert_eq!(server.get(&server.stranger, "/__api__/v1/vanities").await.ok(), json!([]), "not theirs to see");
    assert_eq!(put(&other, json!({"path": "/example/"})).await.refusal(), (409, 51));
    assert_eq!(put(&other, json!({"path": "/example/", "force": true})).await.ok()["content_guid"], other);
    assert_eq!(server.get(&server.owner, &at(&one)).await.refusal(), (404, 4));
    assert_eq!(put(&other, json!({"path": "a/b"})).await.ok()["path"], "/a/b/");
    for (body, refusal) in [(json!({}), (400, 12)), (json!({"path": "/__api__/"}), (400, 52))] {
        assert_eq!(put(&one, body).await.refusal(), refusal);
    }
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &at(&other), Value::Null).await.status, 204);
    assert_eq!(server.ask(Some(&server.owner), "DELETE", &at(&other), Value::Null).await.refusal(), (404, 17));
}

#[tokio::test]
async fn force_takes_only_what_one_may_change() {
    let server = Server::new().await;
    let mine = server.content("mine").await;
    let at = format!("/__api__/v1/content/{mine}/vanity");
    server.ask(Some(&server.owner), "PUT", &at, json!({"path": "wanted"})).await.ok();
    let body = json!({"name": "theirs"});
    let theirs = server.ask(Some(&server.stranger), "POST", "/__api__/v1/content", body).await.ok();
    let theirs = format!("/__api__/v1/content/{}/vanity", theirs["guid"].as_str().unwrap());
    let force = json!({"path": "wanted", "force": true});
    assert_eq!(server.ask(Some(&server.stranger), "PUT", &theirs, force.clone()).await.refusal(), (403, 19));
    assert_eq!(server.get(&server.owner, &at).await.status, 200);
    assert_eq!(server.ask(Some(&server.admin), "PUT", &theirs, force).await.status, 200);
    assert_eq!(server.get(&server.owner, &at).await.refusal(), (404, 4));
}

#[tokio::test]
async fn paths_that_mean_something_else_are_refused() {
    let server = Server::new().await;
    let guid = server.content("tricky").await;
    let at = format!("/__api__/v1/content/{guid}/vanity");
    let tricks = [
        "",
        "/",
        "//",
        "..",
        "/../x",
        "a/../../__api__",
        "%2e%2e/x",
        "a%2fb",
        "a//b",
        "//evil.example",
        "a\\b",
        "a b",
        "a?b",
        "a#b",
        "ä",
        "a\u{200b}",
        "nul\u{0}",
        "/__api__",
        "__API__/v1",
        "/connect",
        "Connect/x",
        "content",
        "/CONTENT/x",
        ".well-known/acme-challenge",
        "robots.txt",
        "https://evil.example/",
    ];
    for path in tricks {
        let reply = server.ask(Some(&server.owner), "PUT", &at, json!({"path": path})).await;
        assert_eq!(reply.refusal(), (400, 52), "{path:?}");
    }
    for body in [json!({"path": 7}), json!({"path": ["a"]}), json!({"path": "a", "force": "yes"})] {
        assert_eq!(server.ask(Some(&server.owner), "PUT", &at, body.clone()).await.refusal(), (400, 121), "{body}");
    }
    assert_eq!(server.get(&server.owner, &at).await.refusal(), (404, 4), "nothing was set");
    for who in [&server.viewer, &server.stranger] {
        let reply = server.ask(Some(who), "PUT", &at, json!({"path": "mine"})).await;
        assert_eq!(reply.refusal(), (403, 19));
    }
}

#[tokio::test]
async fn nobody_gets_a_path_inside_anothers() {
    let server = Server::new().await;
    let mine = server.content("mine").await;
    let second = server.content("second").await;
    let theirs =
        server.ask(Some(&server.stranger), "POST", "/__api__/v1/content", json!({"name": "theirs"})).await.ok();
    let theirs = theirs["guid"].as_str().unwrap();
    let put = async |who, guid: &str, body| {
        server.ask(Some(who), "PUT", &format!("/__api__/v1/content/{guid}/vanity"), body).await
    };
    put(&server.owner, &mine, json!({"path": "/sales/"})).await.ok();
    for path in ["/Sales/", "/sales/login/", "/SALES/x"] {
        assert_eq!(put(&server.stranger, theirs, json!({"path": path})).await.refusal(), (409, 51), "{path}");
    }
    let force = json!({"path": "/sales/login/", "force": true});
    assert_eq!(put(&server.stranger, theirs, force).await.refusal(), (409, 51), "not by force either");
    put(&server.owner, &second, json!({"path": "/sales/plan/"})).await.ok();
    put(&server.stranger, theirs, json!({"path": "/sale/"})).await.ok();
    // Letters in another case are a new spelling of one's own path.
    assert_eq!(put(&server.owner, &mine, json!({"path": "/Sales/"})).await.ok()["path"], "/Sales/");
}

#[tokio::test]
async fn of_two_who_want_a_path_one_gets_it() {
    let server = Server::new().await;
    let mut wanted = Vec::new();
    for n in 0..6 {
        wanted.push(server.content(&format!("rival-{n}")).await);
    }
    let ask = |guid: &String| {
        let path = format!("/__api__/v1/content/{guid}/vanity");
        let server = &server;
        async move { server.ask(Some(&server.owner), "PUT", &path, json!({"path": "prize"})).await.status.as_u16() }
    };
    let mut statuses = futures_util::future::join_all(wanted.iter().map(ask)).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409]);
}
