//! What happens once per request happens once, found or called; and what may not be found again is not.

use std::sync::Arc;
use std::time::Duration;

use lectern_domain::plugin::{Budget, Instances, Matcher, OnFailure, Phase};
use lectern_gate::{
    BindingSpec, Bound, Candidate, Chain, Gate, GateError, Head, Limits, Routed, Shadow, Spec, Trial, Visitor,
};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span;

use super::world::{CALLS, NOON_MS, One, Server, asking, counted, gate, routed};
use crate::support::{api, get, guest, request};

/// The same decision for each of so many requests.
async fn ask(one: &One<'_>, path: &str, times: u64) -> String {
    let first = one.route(&get(path)).await;
    for _ in 1..times {
        assert_eq!(one.route(&get(path)).await, first, "{path}");
    }
    first
}

#[tokio::test]
async fn the_shipped_plugins_are_not_called_again() {
    let server = Server::new();
    let gate = gate(&server);
    let content = crate::support::CONTENT;
    let load = async |name: &str| {
        let component = lectern_shipped::component(name).unwrap();
        One::load(&gate, counted(crate::support::spec(name, component))).await
    };
    let router = load("content-router").await;
    for n in 0..20 {
        router.route(&get(&format!("/content/{content}/page/{n}?q={n}"))).await;
    }
    assert_eq!((router.calls(), router.counts().learned.hits), (CALLS, 19));
    let key = load("api-key").await;
    for n in 0..20 {
        let target = format!("/content/{content}/page/{n}");
        key.authenticate(&request("GET", &target, &[("authorization", "Key k1"), ("accept", &n.to_string())])).await;
    }
    assert_eq!(key.calls(), CALLS);
    for n in 0..20 {
        key.authenticate(&get(&format!("/{n}"))).await;
    }
    assert_eq!(key.calls(), 2 * CALLS, "visitors without a key are one kind of request");
}

#[tokio::test]
async fn what_is_not_repeatable_is_called_each_time() {
    let server = Server::new();
    let gate = gate(&server);
    for (path, reason) in
        [("/id", "request id"), ("/clock", "clock"), ("/random", "random"), ("/value", "key-value read")]
    {
        let one = One::load(&gate, counted(asking())).await;
        for _ in 0..5 {
            one.route(&get(path)).await;
        }
        assert_eq!((one.calls(), one.counts().learned.inserts), (5, 0), "{path}");
        assert_eq!(one.not_learned(Phase::Route), [(reason.to_owned(), 5)], "{path}");
    }
}

#[tokio::test]
async fn the_time_behind_the_contracts_back() {
    let server = Server::new();
    let gate = gate(&server);
    let load = async |grants: &[&str]| {
        let grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
        One::load(&gate, counted(Spec::new("standing", &guest("standing")).granting(grants))).await
    };
    // Without the grant the clocks stand still, and are no reason; waiting is one.
    let one = load(&[]).await;
    let (instant, system) = (ask(&one, "/instant", 6).await, ask(&one, "/system", 6).await);
    assert!(instant.contains(" 0ns ") && system.contains(" Ok(0ns) "), "{instant} {system}");
    assert_eq!(one.calls(), 2 * CALLS);
    ask(&one, "/wait", 6).await;
    assert_eq!(one.calls(), 2 * CALLS + 6);
    assert_eq!(one.not_learned(Phase::Route), [("wasi clock".to_owned(), 6)]);
    let one = load(&["clock"]).await;
    for path in ["/instant", "/system", "/wait"] {
        for _ in 0..6 {
            one.route(&get(path)).await;
        }
    }
    assert_eq!(one.calls(), 18);
    assert_eq!(one.not_learned(Phase::Route), [("wasi clock".to_owned(), 18)]);
}

#[tokio::test]
async fn fresh_instances_have_no_memory_and_warm_ones_are_not_learned_from() {
    let server = Server::new();
    let gate = gate(&server);
    let fresh = One::load(&gate, counted(asking())).await;
    assert!(ask(&fresh, "/count", 8).await.contains(" 0 "));
    let order = ask(&fresh, "/order", 8).await;
    assert_eq!((fresh.calls(), fresh.counts().learned.differences), (2 * CALLS, 0));
    // The order of a hash map is one for each release, on all threads.
    let other = One::load(&gate, counted(asking())).await;
    assert_eq!(ask(&other, "/order", 1).await, order);

    let warm = One::load(&gate, Spec { instances: Instances::Warm, ..counted(asking()) }).await;
    for n in 0..6 {
        assert!(warm.route(&get("/count")).await.contains(&format!(" {n} ")));
    }
    assert_eq!((warm.calls(), warm.counts().learned), (6, Default::default()));
    assert!(warm.release.explain(Phase::Route, NOON_MS).is_none());
}

#[tokio::test]
async fn failures_are_not_learned_and_do_not_spoil_what_is() {
    let server = Server::new();
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    let failing = request("GET", "/fail", &[("x-fail", "1")]);
    for _ in 0..4 {
        assert!(one.route(&failing).await.contains("as asked for"));
        assert!(one.route(&get("/fail")).await.contains("well"));
    }
    assert_eq!(one.calls(), 4 + CALLS);
    let answer = one.route(&failing).await;
    assert!(answer.contains("as asked for"), "{answer}");
}

#[tokio::test]
async fn a_token_is_taken_once_per_request() {
    let server = Server::new();
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    for left in [5, 4, 3, 2, 1] {
        let answer = one.route(&get("/take")).await;
        assert!(answer.contains(" None "), "{left}: {answer}");
    }
    assert_eq!(one.calls(), CALLS, "calls, comparisons and finds took one each");
    for _ in 0..5 {
        let answer = one.route(&get("/take")).await;
        assert!(answer.contains(" Some(1) "), "{answer}");
    }
    server.wait_seconds(2);
    let answers = [one.route(&get("/take")).await, one.route(&get("/take")).await, one.route(&get("/take")).await];
    let had: Vec<bool> = answers.iter().map(|answer| answer.contains(" None ")).collect();
    assert_eq!(had, [true, true, false], "two came back in two seconds");
}

#[tokio::test]
async fn a_token_that_the_search_took_is_the_calls() {
    let server = Server::new();
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    // Each request finds its way past the bucket, and not further.
    for (n, had) in [(1, true), (2, true), (3, true), (4, false)] {
        let answer = one.route(&request("GET", "/take-then", &[("x-tenant", &n.to_string())])).await;
        assert_eq!(answer.contains(" None "), had, "{n}: {answer}");
        assert!(answer.contains(&format!("{n:?}")), "{answer}");
    }
    assert_eq!(one.calls(), 4);
}

#[tokio::test]
async fn a_bound_that_depends_on_the_request_is_checked_for_each() {
    let server = Server::new();
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    assert!(ask(&one, "/strip/a/b", 5).await.contains("StripSegments(2)"));
    assert!(ask(&one, "/strip/c", 1).await.contains("StripSegments(2)"));
    let error = ask(&one, "/strip", 3).await;
    assert!(error.contains("2"), "{error}");
    let errors = one.counts().invalid;
    assert_eq!((one.calls(), errors), (CALLS, 3), "the path is too short for what the plugin decided");
    let never = One::load(&gate, super::world::forgetful(&asking())).await;
    assert_eq!(ask(&never, "/strip", 1).await, error);
}

#[tokio::test]
async fn a_comparison_that_fails_fails_nobody() {
    let server = Server::new();
    let gate = gate(&server);
    let tight = Limits { concurrency: 1, queue: Duration::from_millis(50), ..Limits::default() };
    let release =
        gate.load(Spec { limits: tight, ..crate::support::spec("hostile", &guest("hostile")) }).await.unwrap();
    let one = One::of(&gate, release);
    assert!(one.route(&get("/count")).await.contains(" 0 "));
    let (sleep, count) = (get("/sleep"), get("/count"));
    let sleeping = async { tokio::time::timeout(Duration::from_millis(500), one.route(&sleep)).await.is_err() };
    // The only turn is taken, so the call to compare is not made.
    let (slept, answer) = tokio::join!(sleeping, one.route(&count));
    assert!(slept && answer.contains(" 0 "), "{answer}");
    assert_eq!(one.counts().busy, 1);
}

#[tokio::test]
async fn denials_of_the_unknown_are_never_learned() {
    let server = Server::new();
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    let visitor = Arc::new(Visitor { subject: "ada".into(), username: None, groups: Vec::new(), claims: Vec::new() });
    let forward = match gate.route(&one.chain, &get("/forward")).await {
        Ok(Routed::Forward(forward)) => forward,
        other => panic!("{other:?}"),
    };
    let select = async |path: &str, visitor: Option<&Arc<Visitor>>| {
        let before = one.calls();
        for _ in 0..6 {
            gate.select(&one.chain, &get(path), &api(), visitor, forward.clone()).await.unwrap();
        }
        one.calls() - before
    };
    assert_eq!(select("/refuse", None).await, 6);
    assert_eq!(select("/next", None).await, CALLS);
    assert_eq!(select("/forward", None).await, CALLS);
    // The guest does not ask who it is: what it said to somebody known is found for the unknown too, as it would be said again.
    assert_eq!(select("/refuse", Some(&visitor)).await, CALLS);
    assert_eq!(one.not_learned(Phase::Select), [("denial without identity".to_owned(), 6)]);
    // In the phase route nobody is known, and all is learned.
    let before = one.calls();
    ask(&one, "/refuse", 6).await;
    assert_eq!(one.calls() - before, CALLS, "the phases have a tree each");
    let before = one.calls();
    for _ in 0..4 {
        one.authenticate(&request("GET", "/", &[("x-key", "wrong")])).await;
    }
    assert_eq!(one.calls() - before, 4);
    assert_eq!(one.not_learned(Phase::Authenticate), [("denial without identity".to_owned(), 4)]);
}

fn bound(release: &Arc<lectern_gate::Release>, candidate: Option<Candidate>) -> Arc<Bound> {
    Arc::new(Bound::new(BindingSpec {
        name: release.name().to_string(),
        revision: 1,
        matcher: Matcher::default(),
        on_failure: OnFailure::Fail,
        budget: Budget::default(),
        live: Arc::clone(release),
        previous: None,
        candidate,
    }))
}

#[tokio::test]
async fn a_shadow_sees_every_request() {
    let server = Server::new();
    let gate = gate(&server);
    let (live, candidate) = (gate.load(counted(asking())).await.unwrap(), gate.load(counted(asking())).await.unwrap());
    let (shadow, mut runner) = Shadow::new();
    let trial = Some(Candidate { release: candidate, trial: Trial::Shadow(shadow) });
    let shadowed = Chain::new(1, [(Phase::Route, bound(&live, trial))]).unwrap();
    for _ in 0..6 {
        routed(gate.route(&shadowed, &get("/count")).await);
        assert!(runner.next().await.unwrap().agrees());
    }
    assert_eq!((live.stats().read().routes, live.stats().read().learned.inserts), (6, 0));
}

#[tokio::test]
async fn finding_counts_as_answering() {
    let server = Server::new();
    let gate = gate(&server);
    let live = gate.load(counted(asking())).await.unwrap();
    let bound = bound(&live, None);
    let chain = Chain::new(1, [(Phase::Route, Arc::clone(&bound))]).unwrap();
    // Six failures are 6 of 606, far from half of all requests, so the plugin is called on. Without what was found they would be 6
    // of 9. Found decisions stand before each failure: where the machine stops for longer than the breaker's window, a new one
    // begins with a failure, and then has what was found before the next.
    for n in 1..=6 {
        for _ in 0..100 {
            gate.route(&chain, &get("/count")).await.unwrap();
        }
        let (fare, ..) = bound.fares();
        assert_eq!((fare.calls, fare.reused, fare.failures), (101 * n - 1, 100 * n - CALLS, n - 1));
        let failed = gate.route(&chain, &request("GET", "/fail", &[("x-fail", "1")])).await;
        assert!(matches!(failed, Err(GateError::Failed { .. })), "{failed:?}");
    }
    let (fare, ..) = bound.fares();
    assert_eq!((fare.calls, fare.failures, fare.breaker), (606, 6, "closed"));
}

/// Lines of plugins, with the request that each names.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "lectern::plugin"
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Words(String);
        impl Visit for Words {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }
        }
        let mut words = Words(event.metadata().level().to_string());
        event.record(&mut words);
        self.0.lock().push(words.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

async fn lines(gate: &Gate, one: &One<'_>, lines: &Lines, id: &str) -> Vec<String> {
    let mut head = request("GET", "/log", &[("x-tenant", "acme")]);
    let changed: &mut Head = Arc::make_mut(&mut head);
    changed.id = id.into();
    gate.route(&one.chain, &head).await.unwrap();
    std::mem::take(&mut *lines.0.lock())
}

#[tokio::test]
async fn lines_are_written_again_under_the_present_request() {
    let server = Server::new();
    let gate = gate(&server);
    let one = One::load(&gate, counted(asking())).await;
    let log = Lines::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let line =
        |level: &str, id: &str, text: &str| format!(r#"{level} message={text} plugin.name="asking" request.id="{id}""#);
    for n in 1..=5 {
        let id = format!("r-{n}");
        let mut expected = vec![line("INFO", &id, "looked tenant=acme"), line("WARN", &id, "and found")];
        if n <= CALLS {
            // What is below info belongs to calls.
            expected.insert(0, line("DEBUG", &id, "looking"));
        }
        assert_eq!(lines(&gate, &one, &log, &id).await, expected, "{n}");
    }
    assert_eq!(one.calls(), CALLS);
}
