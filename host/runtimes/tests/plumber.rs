//! Plumber APIs, on the R and the plumber of this host.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::os::unix::fs::MetadataExt;

use lectern_domain::launch::{Prepared, Program};
use lectern_runtimes::launch::LaunchError;
use support::{as_root, bundle, host, prepare, start};

const MANIFEST: &str = r#"{"version":1,"platform":"4.1.0","metadata":{"appmode":"api","entrypoint":null},
    "packages":{"plumber":{"description":{"Version":"0.0.1"}},"notHere":{"description":{"Version":"3.0"}}},"files":null}"#;

const API: &str = r#"
#* @get /where
function(req) list(client = req$REMOTE_ADDR, scheme = req$rook.url_scheme, mount = req$SCRIPT_NAME, path = req$PATH_INFO,
                   wd = getwd(), home = Sys.getenv("HOME"), uid = as.integer(system2("id", "-u", stdout = TRUE)),
                   greeting = Sys.getenv("GREETING"), config = Sys.getenv("R_CONFIG_ACTIVE"))
#* @get /fails
function() stop("kaput")
#* @post /sum
function(a, b) as.numeric(a) + as.numeric(b)
"#;

#[tokio::test]
async fn a_plumber_api_answers_behind_its_mount() {
    let host = host().await;
    let bundle = bundle(MANIFEST, &[("plumber.R", API)]);
    let (prepared, output) = prepare(&host.runtimes, &bundle).await;
    let prepared = prepared.unwrap_or_else(|error| panic!("{error}\n{output}"));
    assert_eq!(prepared.program, Program::Plumber { entrypoint: "plumber.R".into() });
    for part in ["the bundle was written with 4.1.0", "does not have: notHere 3.0", "(written with 0.0.1)"] {
        assert!(output.contains(part), "{part:?} is not in\n{output}");
    }
    let mut worker = start(&host.runtimes, &bundle, &prepared, &[("GREETING".into(), "hello".into())]);
    worker.ready();
    assert_eq!(worker.spec.socket.metadata().unwrap().mode() & 0o777, 0o600);
    let at = worker.json("/where");
    for (name, value) in [
        ("client", "203.0.113.9"),
        ("scheme", "https"),
        ("mount", "/content/g"),
        ("path", "/where"),
        ("greeting", "hello"),
        ("config", "rsconnect"),
        ("wd", bundle.tree.path().to_str().unwrap()),
        ("home", worker.spec.private.join("home").to_str().unwrap()),
    ] {
        assert_eq!(at[name][0], value, "{name}");
    }
    assert!(!as_root() || at["uid"][0] == 200_001);
    assert!(worker.get("/fails").0.starts_with("HTTP/1.1 500"));
    let (head, docs) = worker.get("/__docs__/");
    assert!(head.starts_with("HTTP/1.1 200") && docs.contains("swagger"), "{head}");
    let api = worker.json("/openapi.json");
    assert!(api["paths"].get("/sum").is_some(), "{api}");
    worker.stop();
}

#[tokio::test]
async fn an_entrypoint_file_and_failures() {
    let host = host().await;
    let start_of = |file: &str, text: &str| bundle(MANIFEST, &[(file, text)]);
    let router = start_of("entrypoint.R", "library(plumber)\npr_get(pr(), '/x', function() list(x = 1))\n");
    let prepared = prepare(&host.runtimes, &router).await.0.unwrap();
    let mut worker = start(&host.runtimes, &router, &prepared, &[]);
    worker.ready();
    assert_eq!(worker.json("/x")["x"][0], 1);
    worker.stop();

    for (text, words) in [
        ("library(noSuchPackage)\n", "there is no package called"),
        ("connect <- function() stop('no database')\nconnect()\n", "no database"),
        ("#* @get /\nfunction( {\n", "unexpected"),
    ] {
        let broken = start_of("plumber.R", text);
        let prepared = prepare(&host.runtimes, &broken).await.0.unwrap();
        let mut worker = start(&host.runtimes, &broken, &prepared, &[]);
        assert_eq!(worker.ended().code(), Some(1));
        assert!(worker.log().contains(words), "{words:?} is not in\n{}", worker.log());
    }
    let engine = bundle(MANIFEST, &[("plumber.R", API), ("_server.yml", "engine: x")]);
    let error = prepare(&host.runtimes, &engine).await.0.unwrap_err().to_string();
    assert!(error.contains("the R package x is not installed"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_launched() {
    let host = host().await;
    let page = bundle(r#"{"metadata":{"appmode":"static","primary_html":"a.html"}}"#, &[("a.html", "")]);
    let prepared = prepare(&host.runtimes, &page).await.0.unwrap();
    assert_eq!(prepared.program, Program::Static { primary: "a.html".into() });
    let places = [page.tree.path().join("s"), page.tree.path().join("log")];
    let context = support::context(page.tree.path(), page.tree.path(), &places[0], &places[1]);
    assert_eq!(host.runtimes.launch(&prepared, &context), Err(LaunchError::Static));

    let gone = lectern_domain::launch::EnvironmentId("0".repeat(32));
    let python = host.runtimes.python().iter().find_map(|found| found.usable.clone().ok()).unwrap();
    let program = Program::PythonAsgi { entrypoint: "app".into() };
    let elsewhere = Prepared { program, interpreter: Some(python), environment: Some(gone) };
    assert!(host.runtimes.launch(&elsewhere, &context).unwrap_err().needs_preparing());
    let long = page.tree.path().join("x".repeat(100));
    let far = lectern_runtimes::launch::LaunchContext { socket: &long, ..context };
    assert!(matches!(host.runtimes.launch(&elsewhere, &far), Err(LaunchError::SocketPath(_))));
}
