//! A gate whose first plugin crashes, loops and lies: nobody gets in by it, and nobody learns how it failed.

use std::process::Command;
use std::sync::Arc;

use http::{Method, StatusCode};
use uuid::Uuid;

use crate::harness::{Answer, LISTED, PUBLIC, SIGNED_IN, Setup, World, gate, mirror, mount};

/// The gate's own misbehaving guest, built as the gate's tests build it.
fn component() -> Vec<u8> {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("../plugins");
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../gate/tests/guests"))
        .args(["build", "--locked", "--profile", "plugin", "--target", "wasm32-wasip2", "--example", "hostile"])
        .arg("--target-dir")
        .arg(&target);
    // Flags of this build are not the components'.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.contains("RUSTFLAGS") || text.contains("RUSTC_") || text.starts_with("CARGO_PROFILE_") {
            command.env_remove(&name);
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(target.join("wasm32-wasip2/plugin/examples/hostile.wasm")).unwrap()
}

/// Asks for content with an instruction for the plugin's authentication.
async fn told(world: &World, guid: u128, fields: &[(&str, &str)]) -> Answer {
    world.ask(Method::GET, &format!("{}/", mount(guid)), fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_by_a_plugin_that_fails_or_lies() {
    let component = tokio::task::spawn_blocking(component).await.unwrap();
    let gate = tokio::task::spawn_blocking(|| gate(Some(component))).await.unwrap();
    let world = World::with(Setup { gate: Arc::clone(&gate), ..Setup::default() }).await;
    let worker = world.worker(mirror);

    // Authentication that fails is 503 everywhere, also where anonymous visitors may enter, and for good credentials too.
    for instruction in ["loop", "nobody"] {
        for guid in [PUBLIC, SIGNED_IN, LISTED] {
            for more in [("x-none", "1"), ("authorization", "Key key-owner")] {
                let answer = told(&world, guid, &[("x-do", instruction), more]).await;
                assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{instruction}");
                assert!(answer.field("retry-after").is_some());
                let text = answer.text();
                assert!(!text.contains("hostile") && !text.contains("wasm"), "{text}");
            }
        }
    }
    assert_eq!(worker.in_flight(), 0);

    // A claimed subject is worth what the accounts say of it: nothing when unknown or locked, and the account's own rights else.
    let guid = |n: u128| Uuid::from_u128(n).to_string();
    for (subject, listed) in [
        (guid(1), 200),
        (guid(2), 200),
        (guid(3), 403),
        (guid(5), 401),
        (guid(77), 401),
        ("owner".into(), 401),
        ("1".into(), 401),
    ] {
        let answer = told(&world, LISTED, &[("x-do", "claim"), ("x-subject", &subject)]).await;
        assert_eq!(answer.status.as_u16(), listed, "{subject}: {}", answer.text());
    }
    let answer = told(&world, LISTED, &[("x-do", "claim"), ("x-subject", &guid(2))]).await;
    assert!(
        answer.text().contains(r#"{\"user\":\"viewer\",\"groups\":[]}"#),
        "the name is the account's: {}",
        answer.text()
    );

    // Routing that fails, or answers what no router may.
    for path in [
        "/panic",
        "/loop",
        "/recurse",
        "/exit",
        "/crlf",
        "/status",
        "/framing",
        "/away",
        "/target",
        "/identity",
        "/failure",
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.text().contains(answer.field("x-request-id").unwrap()) && !answer.text().contains("hostile"));
    }
    // A page that would set the host's cookie.
    let answer = world.ask(Method::POST, "/__plugin__/hostile/", &[]).await;
    assert!(answer.headers.get_all("set-cookie").iter().all(|cookie| !cookie.to_str().unwrap().contains("forged")));

    // And the gate goes on.
    assert_eq!(told(&world, PUBLIC, &[]).await.status, StatusCode::OK);
    assert_eq!(told(&world, LISTED, &[("authorization", "Key key-viewer")]).await.status, StatusCode::OK);
}
