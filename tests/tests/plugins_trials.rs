//! Releases on trial: a candidate in the shadow tells how it differs and changes nothing, a canary answers for some.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lectern_tests::apps;
use lectern_tests::http::RUNTIME;
use lectern_tests::plugins::{Operator, Plugin};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::Server;
use lectern_tests::wait::until;
use serde_json::{Value, json};

/// Comparisons are written down every second.
const WRITTEN: Duration = Duration::from_secs(60);

#[test]
fn a_shadow_reports_differences_without_secrets() {
    let server = Server::new();
    let operator = Operator::new(&server, "grace");
    let guid = Publisher::new(&server, &operator.account).publish("page", &apps::page("Seen"));
    let live = operator.binding("content-router")["live"].clone();
    let candidate = json!({"release": {"config": {"hosts": {"other.example": guid}}}, "reason": "on trial"});
    let refused = operator.post("/bindings/content-router/swap", &{
        let mut swap = candidate.clone();
        swap["require_shadow"] = json!(0);
        swap
    });
    println!("swap before the trial   {} {}", refused.status, refused.text());
    assert_eq!(refused.status, 409);
    operator.post("/bindings/content-router/shadow", &candidate).expect(200);

    // What must not be in any report: a key, a cookie, a query, a body.
    let secrets = ["s3cret-cookie-value", "s3cret-query-value", "s3cret-body-value", &operator.account.key];
    let ask = |host: &str| {
        let reply = server.post("/?token=s3cret-query-value").header("host", host).key(&operator.account.key);
        reply.header("cookie", "session=s3cret-cookie-value").body("s3cret-body-value").send()
    };
    let before = ask("other.example");
    for _ in 0..10 {
        let same = ask("other.example");
        assert_eq!((same.status, same.body), (before.status, before.body.clone()), "the candidate answers nobody");
        assert_ne!(ask("lectern.example").status, 500);
    }
    let report = until("the report", WRITTEN, || {
        let report = operator.get("/bindings/content-router/shadow");
        (report["differing"].as_u64()? >= 11).then_some(report)
    });
    println!("{}", serde_json::to_string_pretty(&report).unwrap());
    assert!(report["compared"].as_u64() >= report["differing"].as_u64(), "{report}");
    assert_eq!((&report["failures"], &report["live"]), (&json!(0), &live));
    let differences = report["differences"].as_array().unwrap();
    assert!(!differences.is_empty() && differences.iter().all(|one| one["example"]["request"].is_string()), "{report}");
    let history = operator.get("/history").to_string();
    for secret in secrets {
        for text in [&report.to_string(), &history, &server.log()] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }

    let swap = |most: u64| operator.post("/bindings/content-router/swap", &json!({"require_shadow": most}));
    let refused = swap(0);
    println!("swap --require-shadow 0     {} {}", refused.status, refused.text());
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(operator.binding("content-router")["live"], live);
    let allowed = swap(10_000).expect(200).json();
    println!("swap --require-shadow 100%  200, {} is live", allowed["binding"]["live"]);
    let shown = server.get("/").header("host", "other.example").key(&operator.account.key).send();
    assert!(shown.text().contains("Seen"), "{}", shown.text());
}

/// Asks from an address of its own.
fn ask_from(address: [u8; 4], url: &str) -> String {
    let mut connector = HttpConnector::new();
    connector.set_local_address(Some(address.into()));
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    RUNTIME.block_on(async {
        let reply = client.request(Request::get(url).body(Full::default()).unwrap()).await.unwrap();
        String::from_utf8_lossy(&reply.into_body().collect().await.unwrap().to_bytes()).into_owned()
    })
}

#[test]
fn a_canary_answers_for_a_share_and_for_named_users() {
    let server = Server::new();
    let operator = Operator::new(&server, "grace");
    operator.install(&Plugin::flaky("1.0.0", json!({"answer": "old"})));
    let by_share = json!({"plugin": "flaky", "settings": {"matcher": {"paths": ["/flaky"]}}});
    operator.post("/bindings", &by_share).expect(200);
    operator
        .post("/bindings/flaky/canary", &json!({"release": {"config": {"answer": "new"}}, "per_ten_thousand": 5_000}))
        .expect(200);
    let url = format!("{}/flaky", server.url());
    let round = || -> Vec<String> { (1..=60).map(|n| ask_from([127, 0, 0, n], &url)).collect() };
    let first = round();
    let new = first.iter().filter(|answer| *answer == "new").count();
    println!("share of 50 %: {new} of 60 addresses get the candidate");
    assert!((15..=45).contains(&new) && first.iter().all(|answer| answer == "new" || answer == "old"), "{first:?}");
    assert_eq!(round(), first, "the same visitor stays on the same side");
    operator.post("/bindings/flaky/promote", &json!({"reason": "good"})).expect(200);
    assert!(round().iter().all(|answer| answer == "new"), "promoted: everybody gets it");

    // By user: who it is, is known in the phase select.
    let publisher = Publisher::new(&server, &operator.account);
    let guid = publisher.publish("page", &apps::page("Behind"));
    assert!(publisher.change(&guid, &json!({"access_type": "logged_in"})).status < 300);
    let (ada, bob) = (server.account("ada", "viewer"), server.account("bob", "viewer"));
    let by_user = json!({
        "plugin": "flaky", "name": "flaky-select", "release": {"config": {"answer": "old"}},
        "settings": {"phases": ["select"], "matcher": {"content": [guid]}},
    });
    operator.post("/bindings", &by_user).expect(200);
    operator
        .post("/bindings/flaky-select/canary", &json!({"release": {"config": {"answer": "new"}}, "users": ["ada"]}))
        .expect(200);
    let ask = |key: &str| server.get(&format!("/content/{guid}/")).key(key).send().expect(200).text();
    let seen = [ask(&ada.key), ask(&bob.key), ask(&operator.account.key)];
    println!("users [ada]: ada gets {}, bob gets {}, grace gets {}", seen[0], seen[1], seen[2]);
    assert_eq!(seen, ["new", "old", "old"]);
    operator.ask(Method::POST, "/bindings/flaky-select/withdraw").json(&json!({})).send().expect(200);
    assert_eq!([ask(&ada.key), ask(&bob.key)], ["old", "old"], "withdrawn: nobody gets it");

    let actions: Vec<Value> = operator.history("flaky").iter().map(|entry| entry["action"].clone()).collect();
    println!("history of flaky, newest first: {actions:?}");
    assert_eq!(operator.get("/history/verify")["whole"], true);
}
