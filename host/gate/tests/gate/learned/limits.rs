//! Time to live, and what operators see of what was learned.

use std::sync::Arc;

use lectern_domain::plugin::Phase;
use lectern_gate::Limits;
use lectern_gate::learn::Settings;

use super::world::{NOON_MS, One, Server, asking, counted, gate};
use crate::support::{get, request};

#[tokio::test]
async fn a_time_to_live_ends() {
    let server = Server::new();
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    let at = |seconds: u64| format!("subject: \"{}\"", NOON_MS + seconds * 1_000);
    let head = request("GET", "/", &[("x-seconds", "10")]);
    // The guest reads the clock; its word is that the answer holds for ten seconds. What is timed is never compared.
    for _ in 0..3 {
        assert!(one.authenticate(&head).await.contains(&at(0)));
    }
    server.wait_seconds(9);
    assert!(one.authenticate(&head).await.contains(&at(0)));
    assert_eq!(one.calls(), 1);
    server.wait_seconds(1);
    for _ in 0..3 {
        assert!(one.authenticate(&head).await.contains(&at(10)));
    }
    assert_eq!(one.calls(), 2);
    let none = request("GET", "/", &[("x-seconds", "0")]);
    for _ in 0..3 {
        one.authenticate(&none).await;
    }
    assert_eq!(one.calls(), 5, "nothing lives for no time");
    let without = request("GET", "/", &[("x-seconds", "-")]);
    for _ in 0..3 {
        one.authenticate(&without).await;
    }
    assert_eq!(one.calls(), 8, "and nothing that read the clock lives without a time");
}

#[tokio::test]
async fn reports_say_what_is_asked_and_never_what_is_secret() {
    let server = Server::new();
    server.secrets.lock().insert("s".into(), b"secret-of-the-plugin".to_vec());
    server.sessions.lock().insert("token-of-ada".into(), (lectern_domain::UserId(1), Arc::default()));
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    for _ in 0..4 {
        one.route(&request("GET", "/forward", &[("x-tenant", "tenant-of-ada")])).await;
        one.route(&request("GET", "/log", &[("x-tenant", "tenant-of-bob")])).await;
        one.route(&get("/secret")).await;
        one.authenticate(&request("GET", "/", &[("x-key", "k1")])).await;
        one.authenticate(&request("GET", "/", &[("x-user", "ada")])).await;
        one.authenticate(&request("GET", "/", &[("cookie", "lectern=token-of-ada")])).await;
    }
    let mut all = String::new();
    for phase in Phase::ALL {
        let report = one.release.explain(phase, NOON_MS).unwrap();
        all += &format!("{report}\n{report:?}\n{}", serde_json::to_string(&report).unwrap());
    }
    all += &format!("{:?} {:?}", one.release, one.chain);
    for shown in [
        "path-prefix 1",
        "header x-tenant",
        "header x-key",
        "find-key",
        "session",
        "/forward",
        "sets x-tenant",
        "secret s",
    ] {
        assert!(all.contains(shown), "{shown} in {all}");
    }
    for secret in ["tenant-of", "secret-of", "token-of", "k1", "ada", "bob", "and found"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[tokio::test]
async fn nothing_is_learned_where_it_is_switched_off_or_there_is_no_room() {
    let server = Server::new();
    let gate = gate(&server);
    let off = One::load(&gate, super::world::forgetful(&asking())).await;
    let none = Settings { leaves: 0, bytes: 0, rerun_one_in: 0 };
    let full = counted(asking());
    let full = lectern_gate::Spec { limits: Limits { learned: Some(none), ..full.limits.clone() }, ..full };
    let full = One::load(&gate, full).await;
    for one in [&off, &full] {
        for _ in 0..5 {
            assert!(one.route(&get("/count")).await.contains(" 0 "));
        }
        assert_eq!((one.calls(), one.counts().learned.leaves), (5, 0));
    }
    assert!(off.release.explain(Phase::Route, NOON_MS).is_none());
}

#[tokio::test]
async fn a_share_of_what_is_found_is_compared() {
    let server = Server::new();
    let gate = gate(&server);
    let spec = asking();
    let often = Some(Settings { rerun_one_in: 2, ..Settings::default() });
    let one =
        One::load(&gate, lectern_gate::Spec { limits: Limits { learned: often, ..spec.limits.clone() }, ..spec }).await;
    for _ in 0..200 {
        one.route(&get("/count")).await;
    }
    let counts = one.counts();
    assert!((60..140).contains(&counts.learned.reruns), "{counts:?}");
    assert_eq!((counts.routes, counts.learned.differences), (1 + counts.learned.reruns, 0));
    assert!(one.release.learning_off(Phase::Route).is_none());
}
