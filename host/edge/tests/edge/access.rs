//! Who may open what, through the real gate.

use http::{Method, StatusCode};

use lectern_domain::picture::Kind;
use lectern_domain::snapshot::{ContentEntry, Picture};

use crate::harness::{
    EMPTY, FILES, LISTED, LOCKED, PICTURE, PUBLIC, SIGNED_IN, Setup, UNKNOWN, VANITY, World, mirror, mount, snapshot,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_visitor_against_every_access_type() {
    let world = World::start().await;
    let worker = world.worker(mirror);
    world.stage.offer(2, &worker);
    // Content, then the status for: nobody, a bad key, stranger, viewer, owner, admin.
    let rows = [
        (format!("{}/", mount(PUBLIC)), [200, 401, 200, 200, 200, 200]),
        (format!("{}/", mount(SIGNED_IN)), [401, 401, 200, 200, 200, 200]),
        (format!("{}/", mount(LISTED)), [401, 401, 403, 200, 200, 403]),
        (format!("{}/", mount(FILES)), [401, 401, 403, 200, 200, 403]),
        // The active version by number is what the plain address shows; the other one is for collaborators.
        (format!("{}/_bundle1/", mount(PUBLIC)), [200, 401, 200, 200, 200, 200]),
        (format!("{}/_rev1/x", mount(LISTED)), [401, 401, 403, 200, 200, 403]),
        (format!("{}/_bundle2/", mount(PUBLIC)), [401, 401, 403, 403, 200, 200]),
        (format!("{}/_bundle2/", mount(LISTED)), [401, 401, 403, 403, 200, 200]),
        (format!("{}/_bundle3/", mount(PUBLIC)), [401, 401, 403, 403, 404, 404]),
        // The default variant is what the plain address shows; there is no other.
        (format!("{}/va7c3f09e/x", mount(PUBLIC)), [200, 401, 200, 200, 200, 200]),
        (format!("{}/va7c3f09e/", mount(LISTED)), [401, 401, 403, 200, 200, 403]),
        (format!("{}/va7c3f09e/_rev1/", mount(LISTED)), [401, 401, 403, 200, 200, 403]),
        (format!("{}/va7c3f09e/_rev2/", mount(LISTED)), [401, 401, 403, 403, 200, 200]),
        (format!("{}/vb7c3f09e/", mount(PUBLIC)), [404, 401, 404, 404, 404, 404]),
        (format!("{}/vb7c3f09e/_rev1/", mount(LISTED)), [401, 401, 403, 404, 404, 403]),
        (format!("{}/", mount(UNKNOWN)), [404, 404, 404, 404, 404, 404]),
        ("/content/not-a-guid/".into(), [404, 404, 404, 404, 404, 404]),
        ("/nothing/here".into(), [404, 404, 404, 404, 404, 404]),
        (format!("{}/", mount(LOCKED)), [423, 401, 423, 423, 423, 423]),
        (format!("{}/", mount(EMPTY)), [404, 401, 404, 404, 404, 404]),
    ];
    for (target, statuses) in rows {
        for (key, status) in
            ["", "wrong", "key-stranger", "key-viewer", "key-owner", "key-admin"].into_iter().zip(statuses)
        {
            let authorization = format!("Key {key}");
            let fields = if key.is_empty() { vec![] } else { vec![("authorization", authorization.as_str())] };
            let answer = world.ask(Method::GET, &target, &fields).await;
            assert_eq!(answer.status.as_u16(), status, "{target} for {key:?}: {}", answer.text());
            if status == 401 {
                assert_eq!(answer.field("www-authenticate"), Some("Key"), "{target} for {key:?}");
            }
            assert!(answer.field("x-request-id").is_some());
        }
    }
    let answer = world.ask(Method::GET, &format!("{}/", mount(LISTED)), &[("authorization", "Key key-gone")]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "a locked account's key");
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_shown_the_way() {
    let world = World::start().await;
    world.worker(mirror);
    let browser = ("accept", "text/html,*/*;q=0.8");
    let answer = world.ask(Method::GET, &format!("{}/page?x=1", mount(LISTED)), &[browser]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let to = answer.field("location").unwrap();
    assert!(to.starts_with("/__plugin__/password-login/?next="), "{to}");
    assert_eq!(world.ask(Method::GET, &format!("{}/", mount(PUBLIC)), &[browser]).await.status, StatusCode::OK);
    let answer =
        world.ask(Method::GET, &format!("{}/", mount(LISTED)), &[browser, ("authorization", "Key key-stranger")]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text().contains("signed in as stranger") && answer.text().contains("<!doctype html>"));
    let answer = world.ask(Method::GET, &format!("{}/", mount(LOCKED)), &[browser]).await;
    assert!(answer.text().contains("Back on &lt;b&gt;Monday&lt;/b&gt;"), "{}", answer.text());
    // Nothing published: those who can do something about it are told where to look.
    let text = |key: &'static str| async {
        world.ask(Method::GET, &format!("{}/", mount(EMPTY)), &[("authorization", key)]).await.text()
    };
    assert!(text("Key key-owner").await.contains("last deployment"));
    assert!(!text("Key key-viewer").await.contains("last deployment"));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_directories() {
    let world = World::start().await;
    world.worker(mirror);
    for (target, to) in [
        (mount(PUBLIC), format!("{}/", mount(PUBLIC))),
        (format!("{}?x=1", mount(PUBLIC)), format!("{}/?x=1", mount(PUBLIC))),
        ("/sales/plan".to_owned(), "/sales/plan/".to_owned()),
    ] {
        let answer = world.get(&target).await;
        assert_eq!((answer.status, answer.field("location")), (StatusCode::TEMPORARY_REDIRECT, Some(to.as_str())));
    }
    // What is no page is not redirected: not every client repeats its body.
    let answer = world.send(Method::POST, &mount(PUBLIC), &[], "body".into()).await;
    assert_eq!((answer.json()["uri"].as_str(), answer.json()["body"].as_str()), (Some("/"), Some("body")));
    assert_eq!(world.get("/sales/plan/deep/er?x").await.json()["uri"], "/deep/er?x");
    assert_eq!(world.get(&format!("{}/", mount(VANITY))).await.json()["uri"], "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_by_the_edge_itself() {
    let world = World::start().await;
    let key = [("authorization", "Key key-viewer")];
    let answer = world.ask(Method::GET, &format!("{}/", mount(FILES)), &key).await;
    assert_eq!((answer.text().as_str(), answer.field("content-type")), ("<h1>page</h1>", Some("text/html")));
    let tag = answer.field("etag").unwrap();
    let again = world.ask(Method::GET, &format!("{}/", mount(FILES)), &[key[0], ("if-none-match", tag)]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    // The default variant's own address shows the same; what only begins like one is the content's.
    let variant = world.ask(Method::GET, &format!("{}/va7c3f09e/", mount(FILES)), &key).await;
    assert_eq!((variant.text().as_str(), variant.field("etag")), ("<h1>page</h1>", Some(tag)));
    let bare = world.ask(Method::GET, &format!("{}/va7c3f09e", mount(FILES)), &key).await;
    assert_eq!(bare.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(bare.field("location").unwrap().ends_with("/va7c3f09e/"), "{:?}", bare.field("location"));
    // Another bundle, another tag, though the file's bytes and times are the same.
    let owner = [("authorization", "Key key-owner"), ("if-none-match", tag)];
    assert_eq!(world.ask(Method::GET, &format!("{}/_bundle2/", mount(FILES)), &owner).await.status, StatusCode::OK);
    for hidden in ["manifest.json", "%6danifest.json", "../../../etc/passwd", "..%2fmanifest.json"] {
        let answer = world.ask(Method::GET, &format!("{}/{hidden}", mount(FILES)), &key).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{hidden}: {}", answer.status);
    }
    let written = world.ask(Method::POST, &format!("{}/", mount(FILES)), &key).await;
    assert_eq!((written.status, written.field("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD")));
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_are_for_those_who_may_see_the_item() {
    let picture = Picture { kind: Kind::Gif, hash: [7; 32] };
    let pictured = |entry: &mut ContentEntry| entry.thumbnail = Some(picture);
    let world = World::with(Setup { snapshot: snapshot(pictured), ..Setup::default() }).await;
    // Content, then the status for: nobody, a bad key, stranger, viewer, owner, admin. No worker is ever asked.
    let rows = [
        (format!("{}/__thumbnail__", mount(PUBLIC)), [200, 401, 200, 200, 200, 200]),
        (format!("{}/__thumbnail__", mount(SIGNED_IN)), [401, 401, 200, 200, 200, 200]),
        (format!("{}/__thumbnail__", mount(LISTED)), [401, 401, 403, 200, 200, 200]),
        (format!("{}/__thumbnail__", mount(LOCKED)), [200, 401, 200, 200, 200, 200]),
        (format!("{}/__thumbnail__", mount(EMPTY)), [200, 401, 200, 200, 200, 200]),
        ("/sales/plan/__thumbnail__".into(), [200, 401, 200, 200, 200, 200]),
        (format!("{}/__thumbnail__", mount(UNKNOWN)), [404, 404, 404, 404, 404, 404]),
    ];
    for (target, statuses) in rows {
        for (key, status) in
            ["", "wrong", "key-stranger", "key-viewer", "key-owner", "key-admin"].into_iter().zip(statuses)
        {
            let authorization = format!("Key {key}");
            let fields = if key.is_empty() { vec![] } else { vec![("authorization", authorization.as_str())] };
            let answer = world.ask(Method::GET, &target, &fields).await;
            assert_eq!(answer.status.as_u16(), status, "{target} for {key:?}: {}", answer.text());
            if status == 200 {
                assert_eq!((answer.text().as_bytes(), answer.field("content-type")), (PICTURE, Some("image/gif")));
                assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
            }
        }
    }
    let target = format!("{}/__thumbnail__", mount(PUBLIC));
    let tag = world.ask(Method::GET, &target, &[]).await.field("etag").unwrap().to_owned();
    assert_eq!(world.ask(Method::GET, &target, &[("if-none-match", &tag)]).await.status, StatusCode::NOT_MODIFIED);
    let written = world.ask(Method::POST, &target, &[]).await;
    assert_eq!((written.status, written.field("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD")));
    let head = world.ask(Method::HEAD, &target, &[]).await;
    assert_eq!((head.status, head.text().len()), (StatusCode::OK, 0));
    // Where there is none, that is said, and no worker is asked.
    let none = World::start().await;
    let answer = none.ask(Method::GET, &target, &[]).await;
    assert_eq!((answer.status, answer.text().len()), (StatusCode::NO_CONTENT, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_noted_of_those_who_may_enter() {
    let world = World::start().await;
    for (who, path, noted) in [
        ("viewer", "", true),
        ("viewer", "index.html?x=1", true),
        ("viewer", "missing.css", false),
        // A version that somebody works on.
        ("owner", "_bundle2/", false),
        ("owner", "_bundle1/", true),
        ("stranger", "", false),
        ("gone", "", false),
    ] {
        let key = format!("Key key-{who}");
        world.ask(Method::GET, &format!("{}/{path}", mount(FILES)), &[("authorization", &key)]).await;
        let seen = std::mem::take(&mut *world.visits.0.lock());
        assert_eq!(seen.len(), usize::from(noted), "{who} {path}: {seen:?}");
        assert!(seen.iter().all(|(user, at)| user.is_some() && at != "/_bundle1/"), "{who} {path}: {seen:?}");
    }
}
