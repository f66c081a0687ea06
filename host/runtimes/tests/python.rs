//! Python applications: restored by the real uv, started from their launch specification, asked over their socket.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use lectern_domain::launch::Program;
use support::{as_root, bundle, host, prepare, python, start};

const FASTAPI: &str = r#"
import os
from fastapi import FastAPI, Request
from contextlib import asynccontextmanager
import helper

started = []

@asynccontextmanager
async def lifespan(app):
    started.append(True)
    yield
    print("farewell", flush=True, file=__import__("sys").stderr)

app = FastAPI(lifespan=lifespan)
inner = FastAPI()
app.mount("/inner", inner)

@inner.get("/x")
def x(request: Request):
    return {"url": str(request.url), "for": str(request.url_for("x"))}

@app.get("/where")
def where(request: Request):
    return {"url": str(request.url), "root": request.scope["root_path"], "path": request.scope["path"],
            "client": request.client.host, "for": str(request.url_for("where")), "started": started,
            "helper": helper.VALUE}

@app.get("/process")
def process():
    return {"env": dict(os.environ), "cwd": os.getcwd(), "uid": os.getuid()}
"#;

#[tokio::test]
async fn a_fastapi_application_answers_behind_its_mount() {
    let host = host().await;
    let files = [("app.py", FASTAPI), ("helper.py", "VALUE = 42"), ("requirements.txt", "fastapi\n")];
    let bundle = bundle(&python("python-fastapi", "app"), &files);
    let (prepared, output) = prepare(&host.runtimes, &bundle).await;
    let prepared = prepared.unwrap_or_else(|error| panic!("{error}\n{output}"));
    assert_eq!(prepared.program, Program::PythonAsgi { entrypoint: "app".into() });
    for part in ["Python 3.", "requirements.txt, with uvicorn", "+ fastapi==", "+ uvicorn==", "is ready"] {
        assert!(output.contains(part), "{part:?} is not in\n{output}");
    }
    assert!(!output.contains(".building"), "no path of the build is shown:\n{output}");

    // The same requirements, written differently: the same environment, at once.
    let again =
        support::bundle(&python("python-fastapi", "app"), &[("app.py", ""), ("requirements.txt", "# web\nfastapi")]);
    let before = Instant::now();
    let (second, output) = prepare(&host.runtimes, &again).await;
    assert_eq!(second.unwrap().environment, prepared.environment);
    assert!(before.elapsed() < Duration::from_millis(200) && output.contains("already there"), "{output}");

    let id = prepared.environment.clone().unwrap();
    let environments = host.runtimes.environments();
    let packages = environments.freeze(&id).unwrap();
    assert!(packages.iter().any(|package| package.name == "fastapi") && packages.len() > 5, "{packages:?}");
    assert!(
        environments.list().unwrap().iter().any(|cached| cached.id == id && cached.python_version.starts_with("3."))
    );
    let path = environments.path(&id);
    let mut uvicorn = fs::read_dir(path.join("bin")).unwrap().filter_map(|e| e.ok().map(|e| e.file_name()));
    assert!(uvicorn.any(|name| name == "uvicorn"));
    for name in ["", "bin", "bin/uvicorn", "pyvenv.cfg"] {
        let meta = path.join(name).metadata().unwrap();
        assert_eq!(meta.mode() & 0o022, 0, "{name} is not writable");
        assert!(!as_root() || meta.uid() == 0, "{name} is root's");
    }

    let variables = [
        ("GREETING", "hello"),
        ("HOME", "/evil"),
        ("CONNECT_SERVER", "https://other/"),
        ("CONNECT_CONTENT_SESSION_TOKEN", "a publisher's"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut worker = start(&host.runtimes, &bundle, &prepared, &variables);
    worker.ready();
    assert_eq!(worker.spec.socket.metadata().unwrap().mode() & 0o777, 0o600);
    let at = worker.json("/where?q=1");
    assert_eq!(at["url"], "https://lectern.example/content/g/where?q=1");
    assert_eq!((&at["root"], &at["path"]), (&"/content/g".into(), &"/content/g/where".into()));
    assert_eq!(at["for"], "https://lectern.example/content/g/where");
    assert_eq!((&at["client"], &at["helper"]), (&"203.0.113.9".into(), &42.into()));
    assert_eq!(at["started"], serde_json::json!([true]), "the lifespan ran");
    assert_eq!(worker.json("/inner/x")["for"], "https://lectern.example/content/g/inner/x");
    let (head, docs) = worker.get("/docs");
    assert!(head.starts_with("HTTP/1.1 200") && docs.contains("'/content/g/openapi.json'"), "{docs}");
    assert_eq!(worker.json("/openapi.json")["servers"][0]["url"], "/content/g");
    let (_, vanity) = worker.get_at("/sales", "/where");
    assert!(vanity.contains("https://lectern.example/sales/where"), "the same worker under another mount: {vanity}");
    let (_, root) = worker.get_at("/", "/where");
    assert!(root.contains(r#""url":"https://lectern.example/where""#), "mounted at the root: {root}");
    assert!(worker.get("/absent").0.starts_with("HTTP/1.1 404"));

    let process = worker.json("/process");
    let env = &process["env"];
    assert_eq!(process["cwd"], bundle.tree.path().to_str().unwrap());
    assert_eq!((&env["GREETING"], &env["CONNECT_SERVER"]), (&"hello".into(), &"https://other/".into()));
    assert_eq!(
        (&env["CONNECT_API_KEY"], &env["CONNECT_CONTENT_SESSION_TOKEN"]),
        (&"the-key".into(), &"a publisher's".into()),
        "given, unless the publisher gives another"
    );
    let zygote = worker.spec.zygote.as_ref().unwrap();
    let secrets = ["the-key", "the-token", "hello"];
    assert!(zygote.env.iter().all(|(_, value)| !secrets.contains(&value.as_str())), "a zygote is given no secret");
    assert_eq!(env["HOME"], worker.spec.private.join("home").to_str().unwrap(), "a publisher cannot move it");
    assert_eq!(
        (&env["POSIT_PRODUCT"], &env["CONNECT_CONTENT_JOB_KEY"]),
        (&"CONNECT".into(), &worker.spec.job.as_str().into())
    );
    assert!(env["PATH"].as_str().unwrap().starts_with(path.join("bin").to_str().unwrap()));
    assert!(env.get("CARGO").is_none() && env.get("SSL_CERT_FILE").is_none(), "nothing is inherited");
    assert!(!as_root() || process["uid"] == 200_001);

    let log = worker.spec.log.clone();
    let keep = fs::read_to_string(&log).unwrap();
    assert!(!keep.contains("/where"), "no access log: {keep}");
    let file = fs::File::open(&log).unwrap();
    worker.stop();
    let farewell = std::io::read_to_string(file).unwrap();
    assert!(farewell.contains("farewell"), "the lifespan ended in order: {farewell}");
}

#[tokio::test]
async fn objects_factories_and_failures_of_an_asgi_entry_point() {
    let host = host().await;
    let echo = "async def {name}(scope, receive, send):\n    \
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n    \
        await send({'type': 'http.response.body', 'body': b'{name}'})\n";
    let echo = |name: &str| echo.replace("{name}", name);
    let sources = [
        ("plain.py", echo("application")),
        ("named.py", echo("server") + "class holder:\n    inner = server\n"),
        (
            "factory.py",
            echo("made") + "def create_app():\n    return made\ndef with_default(debug=False):\n    return made\n",
        ),
        ("raises.py", "def open_database():\n    raise RuntimeError('no database')\nopen_database()\n".into()),
        ("exits.py", "import sys\nsys.exit(0)\n".into()),
        ("syntax.py", "x = = 1\n".into()),
        ("nothing.py", "class Api:\n    def __call__(self): pass\nservice = Api()\n".into()),
        ("imports.py", "import no_such_module\n".into()),
    ];
    let mut files: Vec<(&str, &str)> = sources.iter().map(|(name, text)| (*name, text.as_str())).collect();
    files.push(("fails.py", "async def app(scope, receive, send):\n    assert scope['type'] == 'http'\n    raise ValueError('in a request')\n"));
    for (entrypoint, expected) in [
        ("plain", Ok("application")),
        ("named:server", Ok("server")),
        ("named:holder.inner", Ok("server")),
        ("factory", Ok("made")),
        ("factory:with_default", Ok("made")),
        ("factory:create_app()", Ok("made")),
        ("raises", Err(r#"File "{tree}/raises.py", line 2, in open_database"#)),
        ("exits", Err("'exits' ended the process (status 0)")),
        ("syntax", Err("SyntaxError: invalid syntax")),
        ("imports", Err("ModuleNotFoundError: No module named 'no_such_module'")),
        (
            "nothing",
            Err(
                "none of the objects app, application, create_app, make_app; name one of its objects in the entry point: nothing:service",
            ),
        ),
        ("named:absent", Err("has no object 'absent'")),
    ] {
        let bundle = bundle(&python("python-fastapi", entrypoint), &files);
        let (prepared, output) = prepare(&host.runtimes, &bundle).await;
        let mut worker =
            start(&host.runtimes, &bundle, &prepared.unwrap_or_else(|error| panic!("{error}\n{output}")), &[]);
        match expected {
            Ok(answer) => {
                worker.ready();
                assert!(worker.get("/").1.contains(answer), "{entrypoint}: {}", worker.log());
            }
            Err(words) => {
                assert_eq!(worker.ended().code(), Some(1), "{entrypoint}: {}", worker.log());
                let log = worker.log();
                let words = words.replace("{tree}", bundle.tree.path().to_str().unwrap());
                assert!(log.contains(&words), "{entrypoint}: {words:?} is not in\n{log}");
                assert!(!log.contains("lectern_entrypoint.py"), "our own frames are left out:\n{log}");
                assert!(!worker.spec.socket.exists() || entrypoint.len() > 2, "{entrypoint}");
            }
        }
    }
}

#[tokio::test]
async fn a_flask_application_answers_behind_its_mount() {
    let host = host().await;
    let app = r#"
import os
from flask import Flask, request, url_for

def create_app():
    app = Flask(__name__)

    @app.get("/where")
    def where():
        return {"url": request.url, "root": request.script_root, "client": request.remote_addr,
                "for": url_for("where", _external=True), "uid": os.getuid()}

    return app
"#;
    let bundle =
        bundle(&python("python-api", "server.py"), &[("server.py", app), ("requirements.txt", "Flask>=3,<4\n")]);
    let (prepared, output) = prepare(&host.runtimes, &bundle).await;
    let prepared = prepared.unwrap_or_else(|error| panic!("{error}\n{output}"));
    assert_eq!(prepared.program, Program::PythonWsgi { entrypoint: "server".into() });
    assert!(output.contains("+ flask==3.") && output.contains("+ waitress=="), "{output}");
    let packages = host.runtimes.environments().freeze(prepared.environment.as_ref().unwrap()).unwrap();
    assert!(packages.iter().any(|package| package.name == "flask"));
    let mut worker = start(&host.runtimes, &bundle, &prepared, &[]);
    worker.ready();
    assert_eq!(worker.spec.socket.metadata().unwrap().mode() & 0o777, 0o600);
    let at = worker.json("/where");
    assert_eq!(at["url"], "https://lectern.example/content/g/where");
    assert_eq!(at["for"], "https://lectern.example/content/g/where");
    assert_eq!((&at["root"], &at["client"]), (&"/content/g".into(), &"203.0.113.9".into()));
    assert!(worker.get_at("/a%20b", "/where").1.contains("https://lectern.example/a%20b/where"));
    assert!(worker.stop().success(), "SIGTERM is an orderly end");
}

#[tokio::test]
async fn entry_points_that_are_not_there() {
    let host = host().await;
    let absent = bundle(&python("python-fastapi", "gone:app"), &[("app.py", "")]);
    let (outcome, _) = prepare(&host.runtimes, &absent).await;
    assert!(outcome.unwrap_err().to_string().contains("neither gone.py nor gone/__init__.py"));
    // A module of a package that is installed is found; whether it is an application, its start tells.
    let installed = bundle(&python("python-fastapi", "uvicorn.main:main"), &[("notes.txt", "")]);
    let (outcome, output) = prepare(&host.runtimes, &installed).await;
    assert!(
        outcome.is_ok() && output.contains("The bundle has no requirements.txt; only uvicorn is installed"),
        "{output}"
    );
}
