//! Signing in and out through the shipped page, and what the cookie is good for.

use http::{Method, StatusCode};

use crate::harness::{Answer, LISTED, World, mirror, mount};

const FORM: &str = "/__plugin__/password-login/";

async fn sign_in(world: &World, body: &str, site: &str) -> Answer {
    let fields = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", site)];
    world.send(Method::POST, FORM, &fields, body.to_owned().into()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_and_out() {
    let world = World::start().await;
    world.worker(mirror);
    assert_eq!(world.ask(Method::GET, FORM, &[("accept", "text/html")]).await.status, StatusCode::OK);
    let wrong = sign_in(&world, "username=viewer&password=guess", "same-origin").await;
    assert_eq!((wrong.status, wrong.field("set-cookie")), (StatusCode::FORBIDDEN, None));

    let target = format!("{}/", mount(LISTED));
    let body = format!("username=viewer&password=pw-viewer&next={target}");
    let answer = sign_in(&world, &body, "same-origin").await;
    assert_eq!((answer.status, answer.field("location")), (StatusCode::SEE_OTHER, Some(target.as_str())));
    let cookie = answer.field("set-cookie").unwrap();
    assert!(
        cookie.starts_with("lectern=") && cookie.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap().to_owned();

    let seen = world.ask(Method::GET, &target, &[("cookie", &format!("a=1; {cookie}"))]).await;
    assert_eq!(seen.status, StatusCode::OK);
    let fields = seen.json()["fields"].to_string();
    assert!(fields.contains(r#"["cookie","a=1"]"#) && !fields.contains(&cookie), "{fields}");
    assert!(fields.contains("viewer"));

    let out = world
        .send(
            Method::POST,
            &format!("{FORM}sign-out"),
            &[("cookie", &cookie), ("sec-fetch-site", "same-origin")],
            "".into(),
        )
        .await;
    assert_eq!(out.status, StatusCode::SEE_OTHER);
    assert!(out.field("set-cookie").unwrap().starts_with("lectern=; Path=/; Max-Age=0"));
    let after = world.ask(Method::GET, &target, &[("cookie", &cookie)]).await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED, "the session itself is over, not only the cookie");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_bounded_and_belong_to_plugins() {
    let world = World::start().await;
    let large = format!("username=viewer&password={}", "x".repeat(70 * 1024));
    assert_eq!(sign_in(&world, &large, "same-origin").await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let forged = sign_in(&world, "username=viewer&password=pw-viewer", "cross-site").await;
    assert_eq!(forged.field("set-cookie"), None);
    for nobody in
        ["/__plugin__/none/", "/__plugin__/content-router/", "/__plugin__/api-key/x", "/__plugin__/", "/__plugin__"]
    {
        assert_eq!(world.get(nobody).await.status, StatusCode::NOT_FOUND, "{nobody}");
    }
    let locked = sign_in(&world, "username=gone&password=pw-gone", "same-origin").await;
    assert_eq!(locked.field("set-cookie"), None, "a locked account");
}
