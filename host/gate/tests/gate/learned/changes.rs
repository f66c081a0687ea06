//! What changes on the server shows with the next request, whatever was learned.

use lectern_domain::{ContentGuid, UserId, UserRole};
use uuid::Uuid;

use super::world::{CALLS, One, Server, asking, counted, digest, gate};
use crate::support::{get, request};

/// Learns an answer, changes something, and looks whether it shows.
async fn shows(fields: &[(&str, &str)], change: impl Fn(&Server), before: &str, after: &str) {
    let server = Server::new();
    server.sessions.lock().insert("s1".into(), (UserId(1), ["staff".to_owned()].into()));
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    let head = request("GET", "/", fields);
    for _ in 0..6 {
        let answer = one.authenticate(&head).await;
        assert!(answer.contains(before), "{answer}");
    }
    assert_eq!(one.calls(), CALLS, "the answer is known");
    change(&server);
    let answer = one.authenticate(&head).await;
    assert!(answer.contains(after) && !answer.contains(before), "{answer}");
    assert_eq!(one.calls(), CALLS + 1, "another answer of the directory is another path");
}

#[tokio::test]
async fn a_revoked_key() {
    let revoke = |server: &Server| server.change_keys(|keys| _ = keys.remove(&digest("k1")));
    shows(&[("x-key", "k1")], revoke, "Identity", "Rejected").await;
}

#[tokio::test]
async fn a_key_with_another_role() {
    let lower = |server: &Server| {
        server.change_keys(|keys| keys.get_mut(&digest("k1")).unwrap().role = UserRole::Viewer);
    };
    shows(&[("x-key", "k1")], lower, "role: Publisher", "role: Viewer").await;
}

#[tokio::test]
async fn a_key_that_was_replaced() {
    let replace = |server: &Server| {
        server.change_keys(|keys| keys.get_mut(&digest("k1")).unwrap().id = lectern_domain::KeyId(9));
    };
    shows(&[("x-key", "k1")], replace, "Key(KeyId(1))", "Key(KeyId(9))").await;
}

#[tokio::test]
async fn a_locked_user() {
    let lock = |server: &Server| server.change_user(1, |ada| ada.locked = true);
    shows(&[("x-key", "k1")], lock, "Identity", "Rejected").await;
    shows(&[("x-user", "ada")], lock, "Identity", "Rejected").await;
    shows(&[("cookie", "lectern=s1")], lock, "Identity", "Anonymous").await;
}

#[tokio::test]
async fn a_user_with_another_role_or_name() {
    let raise = |server: &Server| server.change_user(1, |ada| ada.role = UserRole::Administrator);
    shows(&[("x-user", "ada")], raise, "role: Publisher", "role: Administrator").await;
    shows(&[("cookie", "lectern=s1")], raise, "role: Publisher", "role: Administrator").await;
    let rename = |server: &Server| server.change_user(1, |ada| ada.username = "countess".into());
    shows(&[("x-key", "k1")], rename, "\"ada\"", "\"countess\"").await;
}

#[tokio::test]
async fn a_session_that_ended_or_has_other_groups() {
    let end = |server: &Server| server.sessions.lock().clear();
    shows(&[("cookie", "lectern=s1")], end, "Identity", "Anonymous").await;
    let regroup = |server: &Server| {
        server.sessions.lock().insert("s1".into(), (UserId(1), ["guests".to_owned()].into()));
    };
    shows(&[("cookie", "lectern=s1")], regroup, "\"staff\"", "\"guests\"").await;
}

#[tokio::test]
async fn two_keys_of_one_shape_are_two_visitors() {
    let server = Server::new();
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    for _ in 0..6 {
        for (key, name) in [("k1", "\"ada\""), ("k2", "\"bob\""), ("k3", "Rejected")] {
            let answer = one.authenticate(&request("GET", "/", &[("x-key", key)])).await;
            assert!(answer.contains(name), "{key}: {answer}");
        }
    }
    // A key that is refused is asked about each time.
    assert_eq!(one.calls(), 2 * CALLS + 6);
}

#[tokio::test]
async fn vanity_paths() {
    let server = Server::new();
    let guid = |n| ContentGuid(Uuid::from_u128(n));
    server.change_vanities(|vanities| _ = vanities.insert("/sales/".into(), guid(1)));
    let gate = gate(&server);
    let router = lectern_shipped::component("content-router").unwrap();
    let one = One::load(&gate, counted(crate::support::spec("content-router", router))).await;
    let mut asked = 0;
    let mut learn = async |path: &str, wanted: &str, calls: u64| {
        for _ in 0..5 {
            let answer = one.route(&get(path)).await;
            assert!(answer.contains(wanted), "{path}: {answer}");
        }
        asked += calls;
        assert_eq!(one.calls(), asked, "{path}");
    };
    learn("/sales/q", &guid(1).to_string(), CALLS).await;
    // The same answers: another path below the same mount is known.
    learn("/sales/other", &guid(1).to_string(), 0).await;
    server.change_vanities(|vanities| _ = vanities.insert("/sales/".into(), guid(2)));
    learn("/sales/q", &guid(2).to_string(), CALLS).await;
    server.change_vanities(|vanities| _ = vanities.insert("/sales/q/".into(), guid(3)));
    learn("/sales/q/", &guid(3).to_string(), CALLS).await;
    server.change_vanities(|vanities| vanities.clear());
    // The shipped router asks for the first segment, and then for the mount.
    learn("/sales/q", "not mine", CALLS).await;
}

#[tokio::test]
async fn a_changed_secret() {
    let server = Server::new();
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    let learn = async |calls: u64| {
        let first = one.route(&get("/secret")).await;
        for _ in 0..5 {
            assert_eq!(one.route(&get("/secret")).await, first);
        }
        assert_eq!(one.calls(), calls);
        first
    };
    let none = learn(CALLS).await;
    assert!(none.contains("None"), "{none}");
    server.secrets.lock().insert("s".into(), b"old".to_vec());
    let old = learn(2 * CALLS).await;
    server.secrets.lock().insert("s".into(), b"new".to_vec());
    let new = learn(3 * CALLS).await;
    assert!(old != none && new != old);
    server.secrets.lock().insert("s".into(), b"old".to_vec());
    assert_eq!(learn(3 * CALLS).await, old, "what was learned of it is true again");
}
