//! One gate for many threads, and the change of a chain under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use lectern_domain::plugin::Phase;
use lectern_gate::{Chain, ChainError, Gate, Routed};

use crate::support::{api, gate, get, shipped, spec};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn edge_threads_share_the_gate_while_it_is_swapped() {
    let gate = Arc::new(gate());
    let control = runtime();
    let (blue, green) = (control.block_on(shipped(&gate)), control.block_on(shipped(&gate)));
    let copy = |of: &Chain| {
        Chain::new(of.generation(), of.bindings().map(|(phase, bound)| (phase, Arc::clone(bound)))).unwrap()
    };
    gate.swap(copy(&blue));
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let edges: Vec<_> = (0..4)
        .map(|_| {
            let (gate, stop, served) = (Arc::clone(&gate), Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || {
                runtime().block_on(async {
                    let (head, api) = (get("/connect/"), api());
                    while !stop.load(Ordering::Relaxed) {
                        let chain = gate.chain();
                        let routed = gate.route(&chain, &head).await;
                        assert!(matches!(routed, Ok(Routed::Forward(_))), "{routed:?}");
                        assert!(gate.authenticate(&chain, &head, &api).await.is_ok());
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                });
            })
        })
        .collect();
    let mut retired = Vec::new();
    for generation in 1..=100 {
        let before = gate.swap(copy(if generation % 2 == 0 { &blue } else { &green }));
        retired.push(Arc::downgrade(&before));
        drop(before);
        // Each chain serves before the next one comes.
        let wanted = served.load(Ordering::Relaxed) + 5;
        while served.load(Ordering::Relaxed) < wanted {
            assert!(edges.iter().all(|edge| !edge.is_finished()), "an edge failed at generation {generation}");
            thread::yield_now();
        }
    }
    stop.store(true, Ordering::Relaxed);
    edges.into_iter().for_each(|edge| edge.join().unwrap());
    assert!(retired.iter().all(|chain| chain.upgrade().is_none()), "a retired chain is still held");
}

#[tokio::test]
async fn an_empty_chain_admits_nobody_and_serves_nothing() {
    let gate = gate();
    let chain = gate.chain();
    assert!(matches!(gate.route(&chain, &get("/connect/")).await, Ok(Routed::NotMine)));
}

#[tokio::test]
async fn chains_hold_what_fits_once() {
    let gate = gate();
    let load =
        async |name: &str, of: &str| gate.load(spec(name, lectern_shipped::component(of).unwrap())).await.unwrap();
    let (router, key) = (load("router", "content-router").await, load("key", "api-key").await);
    let (copy, other) = (Arc::clone(&router), load("router", "api-key").await);
    let refused = |chain: Result<Chain, ChainError>| chain.unwrap_err();
    let unfit = |name: &str, phase, export| ChainError::Unfit { name: name.into(), phase, export };
    for phase in [Phase::Route, Phase::Select] {
        assert_eq!(refused(Chain::of([(phase, Arc::clone(&key))])), unfit("key", phase, "routing"));
    }
    let phase = Phase::Authenticate;
    assert_eq!(refused(Chain::of([(phase, Arc::clone(&router))])), unfit("router", phase, "auth"));
    let twice = || ChainError::Twice("router".into());
    assert_eq!(refused(Chain::of([(Phase::Route, Arc::clone(&router)), (Phase::Route, copy)])), twice());
    assert_eq!(refused(Chain::of([(Phase::Route, Arc::clone(&router)), (phase, other)])), twice());
    let both = Chain::of([(Phase::Route, Arc::clone(&router)), (Phase::Select, router)]).unwrap();
    assert_eq!(both.bindings().count(), 2, "one binding may stand in two phases");
}

#[test]
fn the_gate_may_be_shared() {
    fn shareable<T: Send + Sync>() {}
    shareable::<Gate>();
    shareable::<Chain>();
    fn movable<T: Send>(_: T) {}
    let gate = gate();
    let (chain, head, api) = (gate.chain(), get("/"), api());
    movable(gate.route(&chain, &head));
    movable(gate.authenticate(&chain, &head, &api));
}
