//! Components that are refused before they run: each refusal says what to change.

use lectern_gate::{COMPONENT_BYTES, LoadError, Spec};

use crate::support::{gate, guest, spec};

/// The shipped component with one name in it replaced by another of the same length: what a component built against another
/// contract looks like.
fn renamed(name: &str, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = lectern_shipped::component(name).unwrap().to_vec();
    let mut replaced = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            replaced += 1;
        }
    }
    assert!(replaced > 0, "{name} does not name {from}");
    bytes
}

async fn refusal(component: &[u8]) -> LoadError {
    match gate().load(spec("candidate", component)).await {
        Err(error) => error,
        Ok(release) => panic!("{release:?} was loaded"),
    }
}

#[tokio::test]
async fn another_version_of_the_contract() {
    let newer = [
        renamed("content-router", "lectern:plugin/request@0.1.1", "lectern:plugin/request@0.2.0"),
        renamed("content-router", "lectern:plugin/routing@0.1.1", "lectern:plugin/routing@0.2.0"),
    ];
    for component in newer {
        let error = refusal(&component).await;
        assert!(matches!(error, LoadError::Version { .. }), "{error:?}");
        let text = error.to_string();
        for part in ["@0.2.0", "this server speaks lectern:plugin@0.1.1", "rebuild it with lectern-plugin 0.1"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn a_later_patch_of_the_contract_fits_in_both_directions() {
    let later = renamed("content-router", "lectern:plugin/request@0.1.1", "lectern:plugin/request@0.1.9");
    let later = String::from_utf8_lossy(&later).contains("request@0.1.9").then_some(later).unwrap();
    let gate = gate();
    assert!(gate.load(spec("later", &later)).await.is_ok());
    let routing = renamed("content-router", "lectern:plugin/routing@0.1.1", "lectern:plugin/routing@0.1.7");
    assert!(gate.load(spec("later", &routing)).await.unwrap().routes());
}

#[tokio::test]
async fn an_interface_that_this_server_does_not_have() {
    let error =
        refusal(&renamed("content-router", "lectern:plugin/content@0.1.1", "lectern:plugin/contest@0.1.1")).await;
    assert!(matches!(error, LoadError::Missing { .. }), "{error:?}");
    assert!(
        error.to_string().contains("needs lectern:plugin/contest@0.1.1, which this server does not have"),
        "{error}"
    );
}

#[tokio::test]
async fn other_types_under_the_same_version() {
    let error =
        refusal(&renamed("content-router", "strip-segments", "drop--segments".replace("--", "e-").as_str())).await;
    assert!(matches!(error, LoadError::Mismatch { .. }), "{error:?}");
    assert!(error.to_string().contains("rebuild it with the WIT of this server"), "{error}");
}

#[tokio::test]
async fn files_and_sockets() {
    let error = refusal(&guest("escaping")).await;
    assert!(matches!(error, LoadError::Foreign { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("wasi:filesystem/") && text.contains("wasi:sockets/"), "{text}");
    assert!(!text.contains("wasi:cli/"), "only what is too much is named: {text}");
}

#[tokio::test]
async fn accounts_are_not_for_routers() {
    let error = refusal(&guest("curious")).await;
    assert!(matches!(error, LoadError::NotForRouters { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_not_granted_is_not_there() {
    let key = lectern_shipped::component("api-key").unwrap();
    let error = gate().load(Spec::new("api-key", key)).await.unwrap_err();
    assert!(matches!(error, LoadError::NotGranted { grant: "directory", .. }), "{error:?}");
    assert!(
        error.to_string().contains("imports lectern:plugin/directory, which it was not granted: give it directory"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_component() {
    let shipped = lectern_shipped::component("api-key").unwrap();
    for bytes in [&b""[..], b"#!/bin/sh", b"\0asm\x01\0\0\0", b"\0asm"] {
        assert!(matches!(refusal(bytes).await, LoadError::NotAComponent { .. }), "{bytes:?}");
    }
    assert!(matches!(refusal(&shipped[..shipped.len() / 2]).await, LoadError::Compile { .. }));
    // A component, and empty.
    assert!(matches!(refusal(b"\0asm\x0d\0\x01\0").await, LoadError::Exports { .. }));
    assert!(matches!(refusal(&vec![0; COMPONENT_BYTES + 1]).await, LoadError::TooLarge { .. }));
    for name in ["", "A", "a_b", "1a", "../x", &"a".repeat(65)] {
        let loaded = gate().load(spec(name, shipped)).await;
        assert!(matches!(loaded, Err(LoadError::Name(_))), "{name:?}");
    }
}
