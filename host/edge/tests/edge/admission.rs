//! Requests that find no ready worker: they wait, within bounds, and learn what came of it.

use std::time::Duration;

use http::{Method, StatusCode};
use lectern_domain::JobKey;
use lectern_edge::StartFailure;

use crate::harness::{LISTED, PUBLIC, Setup, World, boxed, mirror, mount, request, snapshot, until};

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_a_worker_that_starts() {
    let world = World::start().await;
    let target = format!("{}/x", mount(PUBLIC));
    let mut asking = Vec::new();
    for _ in 0..20 {
        let (mut client, target) = (world.connect().await, target.clone());
        asking.push(tokio::spawn(async move { client.send(request(Method::GET, &target, &[], boxed(""))).await }));
    }
    until("all wait", || world.stage.waiting() == 20).await;
    let worker = world.worker_for(1, mirror);
    world.stage.decide(Ok(worker));
    for answer in asking {
        assert_eq!(answer.await.unwrap().status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_when_to_come_back() {
    let mut setup = Setup::default();
    setup.config.limits.queue_per_content = 2;
    let world = World::with(setup).await;
    let target = format!("{}/", mount(PUBLIC));
    let mut asking = Vec::new();
    for _ in 0..2 {
        let (mut client, target) = (world.connect().await, target.clone());
        asking.push(tokio::spawn(async move { client.send(request(Method::GET, &target, &[], boxed(""))).await }));
    }
    until("two wait", || world.stage.waiting() == 2).await;
    let answer = world.get(&target).await;
    assert_eq!((answer.status, answer.field("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("7")));
    // Another content item has a queue of its own.
    let (mut client, other) = (world.connect().await, format!("{}/", mount(LISTED)));
    let other = tokio::spawn(async move {
        client.send(request(Method::GET, &other, &[("authorization", "Key key-owner")], boxed(""))).await
    });
    until("the third waits", || world.stage.waiting() == 3).await;
    world.stage.decide(Ok(world.worker_for(1, mirror)));
    for answer in asking {
        assert_eq!(answer.await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(other.await.unwrap().status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_the_queue_makes_room() {
    let mut setup = Setup::default();
    setup.config.limits.queue_per_content = 1;
    let world = World::with(setup).await;
    let target = format!("{}/", mount(PUBLIC));
    let (mut client, first) = (world.connect().await, target.clone());
    let asking = tokio::spawn(async move { client.send(request(Method::GET, &first, &[], boxed(""))).await });
    until("one waits", || world.stage.waiting() == 1).await;
    assert_eq!(world.get(&target).await.status, StatusCode::SERVICE_UNAVAILABLE);
    asking.abort();
    world.stage.decide(Err(StartFailure::Unavailable("reached".into())));
    let admitted = async {
        // Until the edge has noticed: then it is asked, and its failure is not that of a full queue.
        while world.get(&target).await.text().contains("more visitors") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::harness::SOON, admitted).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends() {
    // One second, and the five that are added to every start.
    let snapshot = snapshot(|content| content.processes.init_timeout = Some(1));
    let setup = Setup { snapshot, ..Setup::default() };
    let world = World::with(setup).await;
    let answer = world.get(&format!("{}/", mount(PUBLIC))).await;
    assert_eq!((answer.status, answer.field("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_to_those_who_can_mend_them() {
    let job = JobKey::from_random([9; 16]);
    let cases = [
        (StartFailure::Crashed { job: job.clone(), reason: "exit status 1".into() }, 502, None),
        (StartFailure::NeverListened { job: job.clone(), limit: Duration::from_secs(60) }, 502, None),
        (
            StartFailure::BackOff {
                retry_after: Duration::from_secs(30),
                job: Some(job.clone()),
                last: format!("job {job} ended before it accepted a connection: it exited with status 1"),
            },
            503,
            Some("30"),
        ),
        (StartFailure::Unavailable("no supervisor".into()), 503, Some("5")),
    ];
    for (failure, status, retry_after) in cases {
        let world = World::start().await;
        world.stage.decide(Err(failure.clone()));
        // The plain address and a preview fail alike: a client that verifies a draft looks for 500 and above.
        for (target, key) in
            [(mount(LISTED), "viewer"), (mount(LISTED), "owner"), (format!("{}/_bundle2", mount(LISTED)), "owner")]
        {
            let authorization = format!("Key key-{key}");
            let fields = [("authorization", authorization.as_str()), ("accept", "text/html")];
            let answer = world.ask(Method::GET, &format!("{target}/"), &fields).await;
            assert_eq!((answer.status.as_u16(), answer.field("retry-after")), (status, retry_after), "{failure}");
            assert_eq!(answer.text().contains("<pre>"), key == "owner", "{failure} for {key}: {}", answer.text());
            if let (Some(job), "owner") = (failure.job(), key) {
                assert!(answer.text().contains(job.as_str()));
            }
            assert!(answer.text().contains(answer.field("x-request-id").unwrap()));
        }
    }
}
