//! Does what the first segment of the path says, and none of it is what a plugin should do.
#![allow(clippy::panic)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lectern_plugin::{
    Authenticator, Decision, Failure, Forward, Handled, Host, Identity, Level, Outcome, Reply, Router, export_gate,
};

/// The component.
#[derive(Debug)]
pub struct Hostile;

export_gate!(Hostile);

/// Calls that this instance has seen.
static CALLS: AtomicU32 = AtomicU32::new(0);

impl Router for Hostile {
    fn check(host: &impl Host) -> Result<(), Failure> {
        match host.config("check").as_deref() {
            Some("refuse") => Err(Failure::Misconfigured("the realm is missing".into())),
            Some("panic") => panic!("during the check"),
            _ => Ok(()),
        }
    }

    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let text = |text: String| Ok(Decision::Respond(Reply::text(200, &text)));
        let reply = |reply: Reply| Ok(Decision::Respond(reply));
        match host.path_prefix(1).as_str() {
            "/loop" => endless(),
            "/allocate" => allocate(),
            "/panic" => panic!("as asked for"),
            "/recurse" => text(recurse(1).to_string()),
            "/sleep" => {
                std::thread::sleep(Duration::from_secs(30));
                text("slept".into())
            }
            "/exit" => std::process::exit(3),
            "/giant" => reply(Reply { status: 200, headers: Vec::new(), body: vec![b'x'; 20 << 20] }),
            "/huge" => reply(Reply { status: 200, headers: Vec::new(), body: vec![b'x'; 100 << 20] }),
            "/huge-log" => {
                host.log(Level::Error, &"x".repeat(10 << 20), &[]);
                text("logged".into())
            }
            "/fields" => {
                let headers = vec![("x".to_owned(), Vec::new()); 100_000];
                reply(Reply { status: 200, headers, body: Vec::new() })
            }
            "/crlf" => reply(Reply::new(200).with("x-a", "1\r\nset-cookie: lectern=forged")),
            "/status" => reply(Reply::new(99)),
            "/framing" => reply(Reply::new(200).with("transfer-encoding", "chunked")),
            "/away" => reply(Reply::redirect(303, "//evil.example/")),
            "/target" => Ok(Decision::Forward(Forward::to("http://127.0.0.1:1/"))),
            "/identity" => {
                let mut forward = Forward::to("system:api");
                forward.set_headers.push(("rstudio-connect-credentials".into(), b"{\"user\":\"root\"}".to_vec()));
                Ok(Decision::Forward(forward))
            }
            "/failure" => Err(Failure::Unavailable("the directory is\naway".into())),
            "/random" => text(host.random_bytes(1 << 20).len().to_string()),
            "/logs" => {
                (0..1_000).for_each(|n| host.log(Level::Trace, &format!("line {n}"), &[("a", "b")]));
                text("logged".into())
            }
            "/count" => text(CALLS.fetch_add(1, Ordering::Relaxed).to_string()),
            "/hash" => {
                let map: HashMap<u32, u32> = (0..64).map(|n| (n, n)).collect();
                text(map.keys().map(|n| format!("{n} ")).collect())
            }
            "/surroundings" => {
                let variables = std::env::vars().count();
                let arguments = std::env::args().count();
                text(format!("{variables} variables, {arguments} arguments"))
            }
            _ => Ok(Decision::Next),
        }
    }
}

impl Authenticator for Hostile {
    fn authenticate(host: &impl Host) -> Result<Outcome, Failure> {
        let text = |name: &str| host.header_text(name).unwrap_or_default();
        match text("x-do").as_str() {
            "loop" => endless(),
            "nobody" => Ok(Outcome::Authenticated(Identity::new(""))),
            "claim" => Ok(Outcome::Authenticated(Identity::new(&text("x-subject")))),
            "key" => match host.find_key(&text("x-key")) {
                Some(identity) => Ok(Outcome::Authenticated(identity)),
                None => Ok(Outcome::Rejected("no\r\nsuch key".into())),
            },
            "challenge" => Ok(Outcome::Challenge(Reply::redirect(303, "/sign-in"))),
            _ => Ok(Outcome::Abstain),
        }
    }

    fn page(host: &impl Host, body: &[u8]) -> Result<Handled, Failure> {
        if host.path_has_prefix("/__plugin__/hostile/sleep") {
            std::thread::sleep(Duration::from_secs(1));
        }
        match host.method().as_str() {
            "GET" => Ok(Handled::Reply(Reply::text(200, &format!("{} bytes", body.len())))),
            _ => Ok(Handled::SignedOut(Reply::new(204).with("set-cookie", "lectern=forged; Path=/"))),
        }
    }
}

fn endless<T>() -> T {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn allocate<T>() -> T {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(black_box(vec![1; 1 << 20]));
    }
}

#[allow(unconditional_recursion)]
fn recurse(n: u64) -> u64 {
    let frame = black_box([n; 64]);
    recurse(n + 1) + frame[63]
}
