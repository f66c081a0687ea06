//! Many at a time, through the gate, without one error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, StatusCode};

use crate::harness::{LISTED, PUBLIC, Setup, World, boxed, mirror, mount, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_on_64_connections() {
    const REQUESTS: usize = 1_000;
    const CONNECTIONS: usize = 64;
    let mut setup = Setup::default();
    setup.config.threads = 2;
    let world = World::with(setup).await;
    let worker = world.worker(mirror);
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let (mut client, next) = (world.connect().await, next.clone());
        clients.push(tokio::spawn(async move {
            let mut answered = 0;
            loop {
                let n = next.fetch_add(1, Ordering::SeqCst);
                if n >= REQUESTS {
                    return answered;
                }
                // Different visitors, methods and bodies, each of which must come back to who sent it.
                let (guid, key) = if n % 2 == 0 { (PUBLIC, "Key key-stranger") } else { (LISTED, "Key key-viewer") };
                let method = if n % 3 == 0 { Method::POST } else { Method::GET };
                let body = if n % 3 == 0 { format!("body {n}") } else { String::new() };
                let target = format!("{}/{n}?n={n}", mount(guid));
                let answer =
                    client.send(request(method, &target, &[("authorization", key)], boxed(body.clone()))).await;
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
                let told = answer.json();
                assert_eq!(told["uri"], format!("/{n}?n={n}"));
                assert_eq!(told["body"], body);
                let user = if n % 2 == 0 { "stranger" } else { "viewer" };
                assert!(told["fields"].to_string().contains(user), "{n} got another's credentials");
                answered += 1;
            }
        }));
    }
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    assert_eq!((answered, worker.in_flight()), (REQUESTS, 0));
}
