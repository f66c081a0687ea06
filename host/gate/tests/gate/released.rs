//! Components built against every released version of the contract load and answer.

use bytes::Bytes;
use lectern_domain::plugin::Phase;
use lectern_gate::{Authenticated, Chain, Page, Routed};

use crate::support::{CONTENT, ada, api, gate, get, guest, request, spec};
use lectern_domain::PrincipalVia;

#[tokio::test]
async fn version_0_1_0() {
    let gate = gate();
    let release = gate.load(spec("old", &guest("released_0_1_0"))).await.unwrap();
    let chain = Chain::of([(Phase::Route, release.clone()), (Phase::Authenticate, release)]).unwrap();
    match gate.route(&chain, &get("/sales/q")).await.unwrap() {
        Routed::Forward(forward) => {
            assert_eq!(forward.target.to_string(), format!("content:{CONTENT}"));
            assert_eq!(forward.set_headers["x-from"], "192.0.2.7");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(gate.route(&chain, &get("/else")).await, Ok(Routed::NotMine)));
    match gate.authenticate(&chain, &request("GET", "/", &[("x-key", "k1")]), &api()).await.unwrap() {
        Authenticated::Identity(vouched) => {
            assert_eq!(vouched.identity.subject, ada(PrincipalVia::Session).guid.to_string())
        }
        other => panic!("{other:?}"),
    }
    let page = gate.page(&chain, "old", &request("POST", "/__plugin__/old/", &[]), Bytes::from_static(b"body")).await;
    assert!(matches!(page, Ok(Page::Reply(reply)) if reply.body == "body"));
}

#[tokio::test]
async fn every_released_version_is_tried_here() {
    let released = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/released");
    let mut versions: Vec<String> =
        std::fs::read_dir(released).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    versions.sort();
    assert_eq!(versions, ["0.1.0"], "add a guest and a test for the version that was released");
}
