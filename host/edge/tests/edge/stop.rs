//! Stopping: nobody new, those in flight to their end, and an end for all.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::harness::{PUBLIC, SOON, Setup, World, boxed, mount, ok, request, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_finishes_and_nobody_new_enters() {
    let mut world = World::start().await;
    let release = Arc::new(Notify::new());
    let gate = release.clone();
    let worker = world.worker(move |_| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            ok("finished")
        }
    });
    let target = format!("{}/", mount(PUBLIC));
    let mut idle = world.connect().await;
    assert_eq!(idle.send(request(Method::GET, "/__ping__", &[], boxed(""))).await.status, StatusCode::OK);
    let mut busy = world.connect().await;
    let asking = tokio::spawn({
        let target = target.clone();
        async move { busy.send(request(Method::GET, &target, &[], boxed(""))).await }
    });
    until("the request is in flight", || worker.in_flight() == 1).await;
    world.stop.cancel();
    let refused = async {
        while TcpStream::connect(world.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, refused).await.expect("new connections are refused");
    assert!(
        idle.begin(request(Method::GET, "/__ping__", &[], boxed(""))).await.is_err(),
        "idle connections are closed"
    );
    assert!(!world.running.is_finished());
    release.notify_one();
    let answer = asking.await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "finished"));
    assert_eq!(answer.field("connection"), Some("close"));
    let stopped = tokio::time::timeout(SOON, &mut world.running).await.expect("it stops").unwrap().unwrap();
    assert_eq!(stopped.cut, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_in_time_is_cut() {
    let mut world = World::with(Setup { grace: Duration::from_millis(200), ..Setup::default() }).await;
    let worker = world.worker(|_| async {
        std::future::pending::<()>().await;
        ok("")
    });
    let mut client = world.connect().await;
    let asking = tokio::spawn(async move {
        client.begin(request(Method::GET, &format!("{}/", mount(PUBLIC)), &[], boxed(""))).await.is_err()
    });
    until("the request is in flight", || worker.in_flight() == 1).await;
    world.stop.cancel();
    let stopped = tokio::time::timeout(SOON, &mut world.running).await.expect("it stops").unwrap().unwrap();
    assert_eq!(stopped.cut, 1);
    assert!(asking.await.unwrap());
    assert_eq!(worker.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_threads_share_one_port_and_stop_together() {
    let mut setup = Setup::default();
    setup.config.threads = 3;
    let mut world = World::with(setup).await;
    world.worker(|_| async { ok("fine") });
    let target = format!("{}/", mount(PUBLIC));
    let asks = (0..30).map(|_| world.get(&target));
    let answers = futures_util::future::join_all(asks).await;
    assert!(answers.iter().all(|answer| answer.text() == "fine"));
    world.stop.cancel();
    tokio::time::timeout(SOON, &mut world.running).await.expect("it stops").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = lectern_edge::Edge::bind(lectern_edge::EdgeConfig::new(address)).unwrap_err();
    assert_eq!(error.to_string(), format!("listen on {address}"));
}
