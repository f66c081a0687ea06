//! Random requests to releases that learn and to the same ones that do not: no answer may differ.

use std::sync::Arc;

use http::Method;
use lectern_domain::ContentGuid;
use lectern_domain::plugin::Phase;
use lectern_gate::{Chain, Head, Spec, Target, TargetView, Visitor};
use uuid::Uuid;

use super::world::{One, Server, asking, authenticated, forgetful, gate, routed};
use crate::support::{api, request};

/// Numbers in an order that looks like none (an LCG of Knuth's, its upper half).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len() as u64) as usize]
    }
}

#[tokio::test]
async fn a_thousand_contents_and_many_visitors() {
    let server = Server::new();
    let guid = |n: u64| ContentGuid(Uuid::from_u128(u128::from(n) + (7 << 64)));
    server.change_vanities(|vanities| {
        vanities.extend((0..20).map(|n| (format!("/v{n}/"), guid(n))));
        vanities.extend((0..20).map(|n| (format!("/v{n}/deep er/"), guid(n + 20))));
    });
    server.sessions.lock().insert("s1".into(), (lectern_domain::UserId(1), Arc::from(["g".to_owned()])));
    let gate = gate(&server);
    let mut chains = Vec::new();
    for learns in [true, false] {
        let mut places = Vec::new();
        for (phase, name) in [
            (Phase::Route, "content-router"),
            (Phase::Authenticate, "api-key"),
            (Phase::Authenticate, "password-login"),
        ] {
            let spec = crate::support::spec(name, lectern_shipped::component(name).unwrap());
            let spec = if learns { spec } else { forgetful(&spec) };
            places.push((phase, gate.load(spec).await.unwrap()));
        }
        chains.push(Chain::of(places).unwrap());
    }
    let mut dice = Dice(1);
    // A few contents get most requests.
    let content = |dice: &mut Dice| guid(if dice.roll(4) > 0 { dice.roll(10) } else { dice.roll(1_000) });
    for n in 0..1_500_u64 {
        let path = match dice.roll(8) {
            0 => dice.pick(&["/", "/connect/", "/connect", "/__api__/v1/user", "/else", "//", "/content/x"]).to_owned(),
            1 => format!("/v{}{}", dice.roll(25), dice.pick(&["", "/", "/deep%20er", "/deep%20er/x", "/x/y?q=1"])),
            2 => format!("/content/{}/_bundle{}/x", content(&mut dice), dice.roll(3)),
            3 => format!("/content/{}{}", content(&mut dice), dice.pick(&["", "?a=b", "/"])),
            _ => format!("/content/{}/page/{n}?{n}", content(&mut dice)),
        };
        let key = format!("Key k{}", dice.roll(4));
        let mut fields = vec![("user-agent", "test")];
        match dice.roll(4) {
            0 => fields.push(("authorization", &key)),
            1 => fields.push(("x-rsc-authorization", &key)),
            2 => fields.push(("cookie", dice.pick(&["lectern=s1", "lectern=s2", "a=1; lectern=s1"]))),
            _ => {}
        }
        if dice.roll(2) == 0 {
            fields.push(("accept", "text/html,*/*"));
        }
        let head = request(dice.pick(&["GET", "GET", "POST"]), &path, &fields);
        let target = match dice.roll(2) {
            0 => api(),
            _ => Arc::new(TargetView { target: Target::Content(content(&mut dice)), content: None }),
        };
        match n {
            // In the middle of it all.
            500 => server.change_keys(|keys| _ = keys.remove(&super::world::digest("k1"))),
            800 => server.change_user(2, |bob| bob.locked = true),
            1_100 => server.change_user(2, |bob| bob.locked = false),
            1_200 => server.change_vanities(|vanities| _ = vanities.remove("/v3/")),
            _ => {}
        }
        let [learning, other] = &chains[..] else { unreachable!("two chains") };
        let routes = (routed(gate.route(learning, &head).await), routed(gate.route(other, &head).await));
        assert_eq!(routes.0, routes.1, "{path} {fields:?}");
        let visitors = (
            authenticated(gate.authenticate(learning, &head, &target).await),
            authenticated(gate.authenticate(other, &head, &target).await),
        );
        assert_eq!(visitors.0, visitors.1, "{path} {fields:?}");
    }
    for (_, bound) in chains[0].bindings() {
        let (counts, release) = (bound.answering().stats().read(), bound.answering());
        assert!(counts.learned.hits > 300, "{release:?}: {counts:?}");
        assert_eq!(counts.learned.differences, 0, "{release:?}");
    }
}

#[tokio::test]
async fn guests_that_ask_anything() {
    let server = Server::new();
    server.change_vanities(|vanities| {
        vanities.insert("/ponder/a/".into(), ContentGuid(Uuid::from_u128(1)));
        vanities.insert("/ponder/b/a/".into(), ContentGuid(Uuid::from_u128(2)));
    });
    let gate = gate(&server);
    let visitor = |subject: &str, groups: &[&str]| {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Arc::new(Visitor { subject: subject.into(), username: None, groups, claims: Vec::new() })
    };
    let visitors = [None, Some(visitor("ada", &["a"])), Some(visitor("bob", &["x-a", "b"]))];
    let mut hits = 0;
    for program in 0..12 {
        let mut spec = asking();
        spec.config.insert("program".into(), format!("number {program}").into());
        let (one, other) = (One::load(&gate, spec.clone()).await, One::load(&gate, forgetful(&spec)).await);
        let mut dice = Dice(program);
        for _ in 0..150 {
            let head = random_head(&mut dice);
            assert_eq!(one.route(&head).await, other.route(&head).await, "program {program}: {head:?}");
            let visitor = &visitors[dice.roll(3) as usize];
            let forward = select_of(&one, &head, visitor).await;
            assert_eq!(forward, select_of(&other, &head, visitor).await, "program {program}: {head:?} {visitor:?}");
        }
        let counts = one.counts();
        assert_eq!(counts.learned.differences, 0, "program {program}: {counts:?}");
        hits += counts.learned.hits;
    }
    assert!(hits > 500, "only {hits} decisions were found again");
}

async fn select_of(of: &One<'_>, head: &Arc<Head>, visitor: &Option<Arc<Visitor>>) -> String {
    let forward = lectern_gate::Forward {
        plugin: "router".into(),
        target: Target::System(lectern_gate::System::Api),
        rewrite: lectern_gate::Rewrite::Keep,
        bundle: None,
        selected: None,
        hints: Vec::new(),
        set_headers: http::HeaderMap::new(),
        remove_headers: Vec::new(),
        sticky_key: None,
    };
    match of.gate.select(&of.chain, head, &api(), visitor.as_ref(), Arc::new(forward)).await {
        Ok(selected) => format!("{selected:?}"),
        Err(error) => format!("{}: {error}", error.kind()),
    }
}

fn random_head(dice: &mut Dice) -> Arc<Head> {
    let segment = ["a", "b", "x-a", "c%20d"];
    let mut path = "/ponder".to_owned();
    for _ in 0..dice.roll(4) {
        path = format!("{path}/{}", dice.pick(&segment));
    }
    if dice.roll(3) == 0 {
        path.push('/');
    }
    if dice.roll(2) == 0 {
        path = format!("{path}?{}={}", dice.pick(&segment), dice.pick(&segment));
    }
    let mut fields = Vec::new();
    for name in ["a", "b", "x-a", "x-b"] {
        (0..dice.roll(3)).for_each(|_| fields.push((name, dice.pick(&["a", "b", "x-a"]))));
    }
    if dice.roll(2) == 0 {
        fields.push(("cookie", dice.pick(&["a=1; b=2", "lectern=s1; a=x-b", "lectern=s1"])));
    }
    let mut head = request("GET", &path, &fields);
    Arc::make_mut(&mut head).method = if dice.roll(4) == 0 { Method::POST } else { Method::GET };
    head
}

/// A specification is what is compared, so it has to be the same but for learning.
#[tokio::test]
async fn learning_is_part_of_the_release() {
    let spec: Spec = asking();
    assert_ne!(spec.release(), forgetful(&spec).release());
}
