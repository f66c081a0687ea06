//! Load through the whole gate: plugins, authorization, bridge, a real FastAPI app.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use lectern_tests::client::{example, guid_in, rsconnect};
use lectern_tests::http::{RUNTIME, pool};
use lectern_tests::server::Server;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const REQUESTS: usize = 1000;
const CONNECTIONS: usize = 64;

#[test]
fn a_thousand_requests_at_64_connections() {
    let server = Server::new();
    let ada = server.account("ada", "publisher");
    let path = example(&server, "fastapi");
    let run = rsconnect(&server, &ada, "deploy fastapi", &["--new", "--title", "Forecast", &path]).expect_success();
    let url = format!("{}/content/{}/forecast?values=10,12,14,16&steps=2", server.url(), guid_in(&run.printed));

    let start = Instant::now();
    let answers: Vec<Result<Value, String>> = RUNTIME.block_on(async {
        let mut tasks = JoinSet::new();
        for connection in 0..CONNECTIONS {
            // A pool of its own is a connection of its own.
            let (client, url, key) = (pool(), url.clone(), ada.key.clone());
            let share = REQUESTS / CONNECTIONS + usize::from(connection < REQUESTS % CONNECTIONS);
            tasks.spawn(async move {
                let mut answers = Vec::with_capacity(share);
                for _ in 0..share {
                    let request = Request::get(&url).header("authorization", format!("Key {key}"));
                    let request = request.body(Full::new(Bytes::new())).unwrap();
                    answers.push(match client.request(request).await {
                        Ok(reply) if reply.status() == 200 => match reply.into_body().collect().await {
                            Ok(body) => serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string()),
                            Err(error) => Err(error.to_string()),
                        },
                        Ok(reply) => Err(reply.status().to_string()),
                        Err(error) => Err(error.to_string()),
                    });
                }
                answers
            });
        }
        tasks.join_all().await.concat()
    });
    let took = start.elapsed();

    assert_eq!(answers.len(), REQUESTS);
    let mut errors: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in &answers {
        match answer {
            Ok(body) => assert_eq!(body["forecast"], json!([18.0, 20.0])),
            Err(error) => *errors.entry(error).or_default() += 1,
        }
    }
    println!("{REQUESTS} requests at {CONNECTIONS} connections: {:.2} s, {} errors", took.as_secs_f64(), errors.len());
    assert!(errors.is_empty(), "{errors:?}");
}
