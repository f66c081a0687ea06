//! What the API, the dashboard and health checks get.

use http::{Method, StatusCode};

use crate::harness::{Setup, World};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_learns_who_asks_and_decides_itself() {
    let world = World::start().await;
    let told = world.send(Method::POST, "/__api__/v1/content?x=1", &[], "{}".into()).await.json();
    assert_eq!((told["target"].as_str(), told["target_uri"].as_str()), (Some("Api"), Some("/__api__/v1/content?x=1")));
    assert_eq!((&told["principal"], &told["rejected"]), (&serde_json::Value::Null, &false.into()));
    assert_eq!((told["base_url"].as_str(), told["body"].as_str()), (Some("http://apps.example.org"), Some("{}")));
    let fields = [
        ("authorization", "Key key-owner"),
        ("cookie", "a=1; lectern=t"),
        ("x-forwarded-for", "6.6.6.6"),
        ("rstudio-connect-credentials", "evil"),
        ("x-lectern-role", "evil"),
        ("x-rsc-xsrf", "kept"),
    ];
    let answer = world.ask(Method::GET, "/__api__/v1/user", &fields).await;
    let told = answer.json();
    assert_eq!((told["principal"].as_str(), told["client"].as_str()), (Some("owner"), Some("127.0.0.1")));
    assert_eq!(told["request_id"].as_str(), answer.field("x-request-id"));
    let seen = told["fields"].to_string();
    assert!(seen.contains(r#"["cookie","a=1"]"#) && seen.contains("kept") && seen.contains("key-owner"), "{seen}");
    assert!(!seen.contains("evil") && !seen.contains("6.6.6.6"), "{seen}");
    for key in ["Key wrong", "Key ", "Key key-gone"] {
        let told = world.ask(Method::GET, "/__api__/server_settings", &[("authorization", key)]).await.json();
        assert_eq!((&told["principal"], &told["rejected"]), (&serde_json::Value::Null, &true.into()), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_can_ask_for_a_sign_in() {
    let world = World::start().await;
    let browser = [("accept", "text/html")];
    assert_eq!(world.ask(Method::GET, "/", &browser).await.field("location"), Some("/connect/"));
    assert_eq!(world.ask(Method::GET, "/connect/", &browser).await.json()["target"], "Dashboard");
    let answer = world.ask(Method::GET, "/connect/private", &browser).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(answer.field("location").unwrap().starts_with("/__plugin__/password-login/"));
    let answer = world.get("/connect/private").await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::UNAUTHORIZED, "sign in"), "nobody offers a form");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_passes_no_gate() {
    let world = World::start().await;
    for path in ["/__ping__", "/__live__"] {
        // Also with a credential that the gate would refuse.
        let answer = world.ask(Method::GET, path, &[("authorization", "Key wrong")]).await;
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "{}"), "{path}");
        assert_eq!(answer.field("content-type"), Some("application/json"));
    }
    let answer = world.get("/__ready__").await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("the database is away"))
    );
    assert_eq!(world.ask(Method::POST, "/__ping__", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_prefix_is_part_of_the_base_url() {
    let mut setup = Setup::default();
    setup.config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let world = World::with(setup).await;
    let fields =
        [("x-forwarded-proto", "https"), ("x-forwarded-host", "p.example.org"), ("x-forwarded-prefix", "/rsc/")];
    let told = world.ask(Method::GET, "/__api__/x", &fields).await.json();
    assert_eq!(told["base_url"], "https://p.example.org/rsc");
}
