//! What the operator reads when a plugin misbehaves, and that nobody else notices.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lectern_gate::{
    Authenticated, BadAnswer, Call, Chain, Exceeded, Failure, Gate, GateError, Limits, LoadError, Page, Release, Reply,
    Routed, Spec,
};

use crate::support::{ada, api, gate, get, guest, request, spec};
use lectern_domain::plugin::Phase;
use lectern_domain::{KeyId, PrincipalVia, UserRole};

/// Short enough for a test, long enough for a slow machine.
fn limits() -> Limits {
    Limits { wall: Duration::from_secs(2), queue: Duration::from_millis(100), ..Limits::default() }
}

async fn hostile(gate: &Gate, limits: Limits) -> (Arc<Release>, Chain) {
    let release = gate.load(Spec { limits, ..spec("hostile", &guest("hostile")) }).await.unwrap();
    let chain = Chain::of([(Phase::Route, Arc::clone(&release)), (Phase::Authenticate, Arc::clone(&release))]).unwrap();
    (release, chain)
}

async fn reply(gate: &Gate, chain: &Chain, path: &str) -> Reply {
    match gate.route(chain, &get(path)).await {
        Ok(Routed::Respond { reply, .. }) => reply,
        other => panic!("{path}: {other:?}"),
    }
}

async fn error(gate: &Gate, chain: &Chain, path: &str) -> GateError {
    match gate.route(chain, &get(path)).await {
        Err(error) => error,
        other => panic!("{path}: {other:?}"),
    }
}

/// A limit's error, or the text of another.
fn exceeded(error: GateError) -> Result<Exceeded, String> {
    match error {
        GateError::Limit { exceeded, .. } => Ok(exceeded),
        other => Err(other.to_string()),
    }
}

#[tokio::test]
async fn limits_end_a_call_and_name_themselves() {
    let gate = gate();
    let limits = limits();
    let (_, chain) = hostile(&gate, limits.clone()).await;
    let cases = [
        ("/loop", Exceeded::Cpu(Duration::from_millis(50))),
        ("/sleep", Exceeded::Wall(limits.wall)),
        ("/allocate", Exceeded::Memory(32 << 20)),
        ("/giant", Exceeded::Hostcall(1 << 20)),
        ("/fields", Exceeded::Hostcall(1 << 20)),
    ];
    for (path, limit) in cases {
        let started = Instant::now();
        assert_eq!(exceeded(error(&gate, &chain, path).await), Ok(limit), "{path}");
        assert!(started.elapsed() < Duration::from_secs(10), "{path} took {:?}", started.elapsed());
        assert_eq!(reply(&gate, &chain, "/count").await.body, "0", "the call after {path}");
    }
}

#[tokio::test]
async fn crashes_are_told_with_what_the_guest_said() {
    let gate = gate();
    let (_, chain) = hostile(&gate, limits()).await;
    let text = |path: &'static str| {
        let (gate, chain) = (&gate, &chain);
        async move {
            let error = error(gate, chain, path).await;
            assert!(matches!(error, GateError::Trap { call: Call::Route, .. }), "{error:?}");
            error.to_string()
        }
    };
    let panic = text("/panic").await;
    assert!(panic.starts_with("plugin hostile: route crashed: ") && panic.contains("as asked for"), "{panic}");
    assert!(panic.lines().count() == 1, "{panic}");
    assert!(text("/recurse").await.contains("out of bounds"), "{}", text("/recurse").await);
    assert!(text("/exit").await.contains("exited with status"), "{}", text("/exit").await);
    assert!(text("/random").await.contains("more than 65536"), "{}", text("/random").await);
}

#[tokio::test]
async fn answers_that_break_the_contract_are_refused() {
    let gate = gate();
    let (_, chain) = hostile(&gate, limits()).await;
    let cases = [
        ("/crlf", BadAnswer::FieldValue("x-a".into())),
        ("/status", BadAnswer::Status(99)),
        ("/framing", BadAnswer::HostField("transfer-encoding".into())),
        ("/away", BadAnswer::Location("//evil.example/".into())),
        ("/target", BadAnswer::Target("http://127.0.0.1:1/".into())),
        ("/identity", BadAnswer::HostField("rstudio-connect-credentials".into())),
    ];
    for (path, expected) in cases {
        match error(&gate, &chain, path).await {
            GateError::Invalid { reason, .. } => assert_eq!(reason, expected, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    match error(&gate, &chain, "/failure").await {
        GateError::Failed { failure, .. } => {
            assert_eq!(failure, Failure::Unavailable("the directory is\u{fffd}away".into()));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_guest_sees_nothing_of_the_server() {
    let gate = gate();
    let (_, chain) = hostile(&gate, limits()).await;
    assert_eq!(reply(&gate, &chain, "/surroundings").await.body, "0 variables, 0 arguments");
}

#[tokio::test]
async fn every_call_starts_anew_and_answers_alike() {
    let gate = gate();
    let (_, chain) = hostile(&gate, limits()).await;
    let order = reply(&gate, &chain, "/hash").await.body;
    for _ in 0..3 {
        assert_eq!(reply(&gate, &chain, "/count").await.body, "0");
        assert_eq!(reply(&gate, &chain, "/hash").await.body, order, "the order of a hash map is one per release");
    }
    assert_eq!(reply(&gate, &chain, "/logs").await.body, "logged", "the log is bounded, not the guest's life");
}

#[tokio::test]
async fn a_thousand_crashes_leave_every_slot_free() {
    let gate = gate();
    let (_, chain) = hostile(&gate, limits()).await;
    // Twice as many as there are slots.
    for n in 0..1100 {
        let path = if n % 2 == 0 { "/panic" } else { "/exit" };
        assert!(matches!(error(&gate, &chain, path).await, GateError::Trap { .. }));
    }
    // Calls dropped in the middle, as when the client goes away.
    for _ in 0..50 {
        let head = get("/sleep");
        let call = gate.route(&chain, &head);
        assert!(tokio::time::timeout(Duration::from_millis(2), call).await.is_err());
    }
    let heads: Vec<_> = (0..60).map(|_| get("/count")).collect();
    let calls = heads.iter().map(|head| gate.route(&chain, head));
    for routed in futures(calls).await {
        assert!(matches!(routed, Ok(Routed::Respond { .. })), "{routed:?}");
    }
}

/// Polls all together.
async fn futures<F: Future>(calls: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = calls.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        pending.retain_mut(|call| match call.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

#[tokio::test]
async fn a_call_waits_for_its_turn_and_not_for_ever() {
    let gate = gate();
    let (_, chain) = hostile(&gate, Limits { concurrency: 1, ..limits() }).await;
    let (sleeping, next) = (get("/sleep"), get("/count"));
    let (slow, waiting) = tokio::join!(gate.route(&chain, &sleeping), gate.route(&chain, &next));
    assert!(matches!(slow, Err(GateError::Limit { .. })), "{slow:?}");
    match waiting {
        Err(GateError::Busy { waited, .. }) => assert_eq!(waited, Duration::from_millis(100)),
        other => panic!("{other:?}"),
    }
    assert_eq!(reply(&gate, &chain, "/count").await.body, "0");
}

#[tokio::test]
async fn a_flood_of_sign_ins_keeps_nobody_from_being_recognised() {
    let gate = gate();
    let tight = Limits { concurrency: 1, page_concurrency: 1, ..limits() };
    let (_, chain) = hostile(&gate, tight).await;
    let form = request("GET", "/__plugin__/hostile/sleep", &[]);
    let pages = [gate.page(&chain, "hostile", &form, Bytes::new()), gate.page(&chain, "hostile", &form, Bytes::new())];
    let visitor = async {
        // The first page holds its turn and the second waits for it when this runs.
        let known = gate.authenticate(&chain, &request("GET", "/", &[("x-do", "key"), ("x-key", "k1")]), &api()).await;
        assert!(matches!(known, Ok(Authenticated::Identity(_))), "{known:?}");
    };
    let (pages, ()) = tokio::join!(futures(pages.into_iter()), visitor);
    assert!(pages.iter().any(|page| matches!(page, Err(GateError::Busy { call: Call::Page, .. }))), "{pages:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_looping_guest_does_not_stop_the_others() {
    let gate = gate();
    let (_, chain) = hostile(&gate, Limits { cpu_ticks: 60, wall: Duration::from_secs(60), ..limits() }).await;
    let done = std::cell::Cell::new(false);
    let innocent = async {
        let mut turns = 0;
        while !done.get() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            turns += 1;
        }
        turns
    };
    let looping = async {
        let error = error(&gate, &chain, "/loop").await;
        done.set(true);
        error
    };
    let (turns, error) = tokio::join!(innocent, looping);
    assert_eq!(exceeded(error), Ok(Exceeded::Cpu(Duration::from_millis(300))));
    // The guest met 60 ticks on this one thread, and the other had its turn at nearly every one.
    assert!(turns > 20, "only {turns} turns");
}

#[tokio::test]
async fn a_failing_authenticator_never_makes_anybody_anonymous() {
    let gate = gate();
    let (_, chain) = hostile(&gate, limits()).await;
    let ask = |fields: &'static [(&'static str, &'static str)]| {
        let (gate, chain) = (&gate, &chain);
        async move { gate.authenticate(chain, &request("GET", "/", fields), &api()).await }
    };
    assert!(matches!(ask(&[("x-do", "loop")]).await, Err(GateError::Limit { call: Call::Authenticate, .. })));
    assert!(matches!(ask(&[("x-do", "nobody")]).await, Err(GateError::Invalid { reason: BadAnswer::Subject, .. })));
    assert_eq!(ask(&[]).await.unwrap(), Authenticated::Anonymous { challenge: None });
    match ask(&[("x-do", "challenge")]).await.unwrap() {
        Authenticated::Anonymous { challenge: Some(challenge) } => assert_eq!(challenge.reply.status, 303),
        other => panic!("{other:?}"),
    }
    // A key keeps its own role: the principal is the directory's, not the plugin's word.
    match ask(&[("x-do", "key"), ("x-key", "k1")]).await.unwrap() {
        Authenticated::Identity(vouched) => {
            let principal = vouched.principal.as_ref().unwrap();
            assert_eq!((principal.role, principal.via.clone()), (UserRole::Viewer, PrincipalVia::Key(KeyId(7))));
            assert_eq!(vouched.identity.subject, ada(PrincipalVia::Session).guid.to_string());
        }
        other => panic!("{other:?}"),
    }
    // Somebody the directory was not asked about is the host's to look up.
    match ask(&[("x-do", "claim"), ("x-subject", "somebody")]).await.unwrap() {
        Authenticated::Identity(vouched) => assert_eq!(vouched.principal, None),
        other => panic!("{other:?}"),
    }
    match ask(&[("x-do", "key"), ("x-key", "k2")]).await.unwrap() {
        Authenticated::Rejected { reason, .. } => assert_eq!(reason, "no\u{fffd}\u{fffd}such key"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn pages_are_bounded_and_never_set_the_session() {
    let gate = gate();
    let (_, chain) = hostile(&gate, limits()).await;
    let page = async |method: &str, body: Vec<u8>| {
        gate.page(&chain, "hostile", &request(method, "/__plugin__/hostile/", &[]), Bytes::from(body)).await
    };
    match page("GET", vec![0; 64 << 10]).await.unwrap() {
        Page::Reply(reply) => assert_eq!(reply.body, "65536 bytes"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(page("GET", vec![0; (64 << 10) + 1]).await, Err(GateError::BodyTooLarge { got: 65537, .. })));
    assert!(matches!(page("POST", Vec::new()).await, Err(GateError::Invalid { reason: BadAnswer::HostField(_), .. })));
    let nobody = gate.page(&chain, "other", &get("/__plugin__/other/"), Bytes::new()).await;
    assert_eq!(nobody.unwrap(), Page::NoSuchPlugin);
}

#[tokio::test]
async fn a_check_refuses_with_its_own_words() {
    let gate = gate();
    let load = async |check: &str| {
        let mut spec = spec("hostile", &guest("hostile"));
        spec.config.insert("check".into(), check.into());
        gate.load(spec).await
    };
    match load("refuse").await.unwrap_err() {
        LoadError::Check { cause, .. } => {
            assert_eq!(cause.to_string(), "plugin hostile: check failed: misconfigured: the realm is missing");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(load("panic").await.unwrap_err(), LoadError::Check { cause: GateError::Trap { .. }, .. }));
    assert_ne!(load("a").await.unwrap().id(), load("b").await.unwrap().id(), "a configuration is part of the release");
    assert_eq!(load("a").await.unwrap().id(), load("a").await.unwrap().id());
}
