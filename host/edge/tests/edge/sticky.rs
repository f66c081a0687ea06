//! Sessions that belong with a worker, and the cookie that says so.

use std::sync::Arc;

use http::Method;
use lectern_domain::{AppMode, BundleId};
use lectern_edge::Worker;

use crate::harness::{Answer, PUBLIC, Setup, World, fields, mount, ok, snapshot};

async fn shiny() -> World {
    let snapshot = snapshot(|content| content.mode = AppMode::Shiny);
    World::with(Setup { snapshot, ..Setup::default() }).await
}

/// A worker that answers with its name and the cookies it saw, and tries to set Lectern's own.
fn named(world: &World, name: &'static str) -> Arc<Worker> {
    world.worker_for(1, move |request| async move {
        let cookies: Vec<String> = fields(request.headers())
            .into_iter()
            .filter(|(field, _)| field == "cookie")
            .map(|(_, value)| value)
            .collect();
        let mut answer = ok(format!("{name} {}", cookies.join("|")));
        answer.headers_mut().append("set-cookie", "lectern-worker=mine; Path=/".parse().unwrap());
        answer
    })
}

/// The worker cookie that an answer sets, as the browser sends it back.
fn given(answer: &Answer) -> Option<String> {
    let cookies: Vec<&str> = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(cookies.len() <= 1 && !cookies.iter().any(|cookie| cookie.contains("mine")), "{cookies:?}");
    cookies.first().map(|cookie| {
        assert!(cookie.contains(&format!("Path={}/; HttpOnly; SameSite=Lax", mount(PUBLIC))), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_with_its_worker_while_that_lives() {
    let world = shiny().await;
    let (a, b) = (named(&world, "a"), named(&world, "b"));
    let show = |workers: &[&Arc<Worker>]| {
        world.stage.show(BundleId(1), &workers.iter().map(|worker| Arc::clone(worker)).collect::<Vec<_>>());
    };
    let target = format!("{}/", mount(PUBLIC));
    // Someone who comes new.
    show(&[&b]);
    let first = world.get(&target).await;
    assert_eq!(first.text(), "b ");
    let cookie = given(&first).expect("a cookie");
    // The first worker is the one that newcomers get; whoever was with the other one stays there, and content never sees it.
    show(&[&a, &b]);
    for sent in [cookie.clone(), format!("x=1; {cookie}; y=2")] {
        let again = world.ask(Method::GET, &target, &[("cookie", &sent)]).await;
        assert!(again.text().starts_with('b') && !again.text().contains("lectern-worker"), "{}", again.text());
        assert_eq!(given(&again), None, "once is enough");
    }
    assert!(world.get(&target).await.text().starts_with('a'));
    // It is gone: another one, and another cookie.
    show(&[&a]);
    let moved = world.ask(Method::GET, &target, &[("cookie", &cookie)]).await;
    assert!(moved.text().starts_with('a'));
    assert!(given(&moved).is_some_and(|new| new != cookie));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_the_worker_it_began_with() {
    let world = shiny().await;
    let (old, new) = (named(&world, "old"), named(&world, "new"));
    let target = format!("{}/", mount(PUBLIC));
    world.stage.show(BundleId(1), std::slice::from_ref(&old));
    let cookie = given(&world.get(&target).await).unwrap();
    // The session's WebSocket, and then another version.
    let socket = old.try_begin(10).unwrap();
    old.close();
    world.stage.show(BundleId(1), &[new]);
    world.stage.leaving.lock().push(old.clone());
    let poll = world.ask(Method::GET, &target, &[("cookie", &cookie), ("sec-fetch-mode", "cors")]).await;
    assert!(poll.text().starts_with("old") && given(&poll).is_none(), "{}", poll.text());
    // A page that is opened is the new version's, and so is everybody without that session.
    let page = world.ask(Method::GET, &target, &[("cookie", &cookie), ("sec-fetch-mode", "navigate")]).await;
    assert!(page.text().starts_with("new") && given(&page).is_some());
    assert!(world.get(&target).await.text().starts_with("new"));
    // The session is over.
    drop(socket);
    assert!(world.ask(Method::GET, &target, &[("cookie", &cookie)]).await.text().starts_with("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_cookies_choose_nothing() {
    let world = shiny().await;
    let (a, b) = (named(&world, "a"), named(&world, "b"));
    let target = format!("{}/", mount(PUBLIC));
    world.stage.show(BundleId(1), std::slice::from_ref(&b));
    let cookie = given(&world.get(&target).await).unwrap();
    world.stage.show(BundleId(1), &[a, b.clone()]);
    let bare = cookie.strip_prefix("lectern-worker=").unwrap();
    let forged = [
        format!("A{}", &bare[1..]),
        format!("{bare}x"),
        b.job().to_string(),
        String::new(),
        "\"".into(),
        "=".repeat(5_000),
    ];
    for value in forged {
        let answer = world.ask(Method::GET, &target, &[("cookie", &format!("lectern-worker={value}"))]).await;
        assert!(answer.text().starts_with('a'), "{value}: {}", answer.text());
        assert!(given(&answer).is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_without_sessions_gets_no_cookie() {
    let world = World::start().await;
    let worker = named(&world, "a");
    world.stage.show(BundleId(1), &[worker]);
    let answer = world.ask(Method::GET, &format!("{}/", mount(PUBLIC)), &[("cookie", "lectern-worker=x; z=1")]).await;
    assert_eq!((answer.text().as_str(), given(&answer)), ("a z=1", None));
}
