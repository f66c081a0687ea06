//! Stopping: nobody new, those in flight to their end, and an end for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::harness::{Client, PUBLIC, SOON, Setup, World, boxed, mount, ok, request, until};

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

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_the_sockets_over_loses_no_request() {
    const ASKING: usize = 8;
    let mut config = Setup::default().config;
    config.threads = 2;
    let mut old = World::with(Setup { shared: true, config: config.clone(), ..Setup::default() }).await;
    old.worker(|_| async { ok("fine") });
    let (address, stage, target) = (old.address, Arc::clone(&old.stage), format!("{}/", mount(PUBLIC)));
    // The worker's socket is in the first one's directory.
    let _directory = std::mem::replace(&mut old.directory, tempfile::tempdir().unwrap());
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let connect = move || async move { Client::over(TcpStream::connect(address).await.unwrap()).await };
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..ASKING {
        let (stop, answered, target) = (stop.clone(), answered.clone(), target.clone());
        asking.spawn(async move {
            let mut connection = connect().await;
            while !stop.load(Ordering::Relaxed) {
                let answer = connection.send(request(Method::GET, &target, &[], boxed(""))).await;
                assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "fine"));
                answered.fetch_add(1, Ordering::Relaxed);
                // Half of them make a connection for each request, the others keep theirs as long as they may.
                if number % 2 == 0 || answer.field("connection") == Some("close") {
                    connection = connect().await;
                }
            }
        });
    }
    let more = || {
        let (answered, before) = (answered.clone(), answered.load(Ordering::Relaxed));
        until("requests are answered", move || answered.load(Ordering::Relaxed) > before + 10 * ASKING)
    };
    more().await;
    // Another number of threads each time: the sockets are spread over what threads there are.
    for threads in [3, 1, 2] {
        config.threads = threads;
        let given = std::mem::take(&mut old.sockets);
        assert_eq!(given.len(), 2, "one for each thread of the first");
        let given = Some(given);
        let setup = Setup { shared: true, given, stage: stage.clone(), config: config.clone(), ..Setup::default() };
        let new = World::with(setup).await;
        assert_eq!(new.address, address);
        old.handed_over.cancel();
        let stopped = tokio::time::timeout(SOON, &mut old.running).await.expect("it stops").unwrap().unwrap();
        assert_eq!(stopped.cut, 0);
        more().await;
        old = new;
    }
    stop.store(true, Ordering::Relaxed);
    asking.join_all().await;
}
