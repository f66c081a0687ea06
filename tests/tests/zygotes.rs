//! Workers that are forked from an interpreter that waits: what they have of it, and what they do not; when it is kept, and when not.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use http::Method;
use lectern_tests::processes::{Process, state_and_parent};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use lectern_tests::{apps, bundle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Longest wait for a state.
const SOON: Duration = Duration::from_secs(60);

/// Says where its code ran: each import of it leaves a number in a place that all processes of its cell share.
const TELLS: &str = r#"
import json, os

with open("/dev/shm/imported", "a") as file:
    file.write(f"{os.getpid()} ")
IMPORTED_IN = os.getpid()
VERSION = "1"

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    keeper = os.getppid()
    zygote = int(open(f"/proc/{keeper}/stat").read().rsplit(") ", 1)[1].split()[1])
    said = {
        "pid": os.getpid(), "zygote": zygote, "imported_in": IMPORTED_IN, "version": VERSION, "word": os.environ.get("WORD"),
        "imports": open("/dev/shm/imported").read().split(), "environ": open(f"/proc/self/environ").read(), "home": os.environ["HOME"],
        "job": os.environ["CONNECT_CONTENT_JOB_KEY"],
    }
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})
"#;

struct World {
    server: Server,
    ada: Account,
    root: Account,
}

impl World {
    fn new(settings: &[(&str, &str)]) -> Self {
        let mut setup = Server::setup();
        for (name, value) in settings {
            setup = setup.env(name, *value);
        }
        let server = setup.start();
        let (ada, root) = (server.account("ada", "publisher"), server.account("root", "administrator"));
        Self { server, ada, root }
    }

    fn publisher(&self) -> Publisher<'_> {
        Publisher::new(&self.server, &self.ada)
    }

    fn publish(&self, name: &str, bundle: &[u8]) -> String {
        let guid = self.publisher().create(name);
        self.publisher().change(&guid, &json!({ "idle_timeout": 1 })).expect(200);
        self.publisher().redeploy(&guid, bundle);
        guid
    }

    fn ask(&self, guid: &str) -> Value {
        self.publisher().open(guid, "").expect(200).json()
    }

    fn figure(&self, name: &str, labels: &[&str]) -> u64 {
        let text = self.server.get("/__lectern__/v1/metrics").key(&self.root.key).send().expect(200).text();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64).sum()
    }

    fn until_stopped(&self, guid: &str) {
        until("the app to stop", SOON, || (self.figure("lectern_content_workers", &[guid]) == 0).then_some(()));
    }

    /// The interpreters that fork: below the first process of a cell.
    fn zygotes(&self) -> Vec<Process> {
        let mut all = self.server.processes();
        all.retain(|process| process.command.contains("lectern_zygote"));
        let first = |process: &Process| {
            let words = std::fs::read(format!("/proc/{}/cmdline", process.parent)).unwrap_or_default();
            String::from_utf8_lossy(&words).contains("worker-init")
        };
        all.retain(first);
        all
    }

    fn zygote(&self) -> i32 {
        let all = self.zygotes();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].pid
    }
}

#[test]
fn a_stopped_app_comes_from_the_interpreter_that_waits() {
    let world = World::new(&[]);
    let guid = world.publish("forked", &apps::asgi(TELLS));
    let first = world.ask(&guid);
    let zygote = world.zygote();
    let mut homes = BTreeSet::from([first["home"].to_string()]);
    let mut jobs = BTreeSet::from([first["job"].to_string()]);
    for round in 1..4 {
        world.until_stopped(&guid);
        assert_eq!(world.zygote(), zygote, "it waits");
        // A change is in force with the next worker, and no worker has what another one had.
        world
            .publisher()
            .api(Method::PATCH, &format!("/v1/content/{guid}/environment"))
            .json(&json!([{ "name": "WORD", "value": format!("word {round}") }]))
            .send()
            .expect(200);
        let said = world.ask(&guid);
        assert_eq!(said["word"], format!("word {round}"));
        assert_eq!(said["zygote"], first["zygote"], "the same parent");
        assert_eq!(said["imported_in"], said["pid"], "its code ran after the fork");
        assert_eq!(said["imports"], json!([said["pid"].to_string()]), "and nowhere else; what was left before is gone");
        assert!(!said["environ"].as_str().unwrap().contains("word"), "the interpreter was started without variables");
        homes.insert(said["home"].to_string());
        jobs.insert(said["job"].to_string());
    }
    assert_eq!((homes.len(), jobs.len()), (4, 4));
    assert!(world.figure("lectern_content_starts_total", &["zygote"]) >= 4);
    assert_eq!(world.figure("lectern_content_starts_total", &["plain"]), 0);

    // A new version has an interpreter of its own; the old one ends with its last worker.
    world.publisher().redeploy(&guid, &apps::asgi(&TELLS.replace("VERSION = \"1\"", "VERSION = \"2\"")));
    assert_eq!(world.ask(&guid)["version"], "2");
    until("the old one to end", SOON, || (state_and_parent(zygote).is_none()).then_some(()));
    world.zygote();
    // And none is left of content that is deleted.
    world.publisher().api(Method::DELETE, &format!("/v1/content/{guid}")).send().expect(204);
    until("the last one to end", SOON, || world.zygotes().is_empty().then_some(()));
}

#[test]
fn plumber_shiny_and_flask_come_from_one_too() {
    let world = World::new(&[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let manifest = std::fs::read(root.join("plumber/manifest.json")).unwrap();
    let code = "started <- Sys.time()\n#* @get /\n#* @serializer unboxedJSON\nfunction() {\n  writeLines('x', tempfile())\n\
                list(pid = Sys.getpid(), word = Sys.getenv('WORD'), temporary = tempdir(), files = length(list.files(tempdir())), \
                home = Sys.getenv('HOME'), drawn = runif(1), exists = file.exists(tempdir()), here = file.exists('plumber.R') && nzchar(R.home()) && system2('true') == 0)\n}\n";
    let plumber = world
        .publish("plumber", &bundle::pack(&[("manifest.json".into(), manifest), ("plumber.R".into(), code.into())]));
    let flask = "from flask import Flask\nimport os\napp = Flask(__name__)\n@app.get('/')\ndef index(): return {'pid': os.getpid(), 'word': os.environ.get('WORD', '')}\n";
    let flask = world.publish(
        "flask",
        &bundle::app("python-api", "app:app", &[("app.py", flask), ("requirements.txt", "flask>=3,<4\n")]),
    );
    for guid in [&plumber, &flask] {
        let mut said = vec![world.ask(guid)];
        for word in ["one", "two"] {
            world.until_stopped(guid);
            let change = json!([{ "name": "WORD", "value": word }]);
            world
                .publisher()
                .api(Method::PATCH, &format!("/v1/content/{guid}/environment"))
                .json(&change)
                .send()
                .expect(200);
            said.push(world.ask(guid));
            assert_eq!(said.last().unwrap()["word"], word);
        }
        if guid == &plumber {
            for one in &said {
                let (home, temporary) = (one["home"].as_str().unwrap(), one["temporary"].as_str().unwrap());
                assert!(temporary.starts_with(home) && one["exists"] == true && one["here"] == true, "{one}");
                assert_eq!(one["files"], 1, "a directory of its own: {one}");
            }
            let drawn: BTreeSet<String> = said.iter().map(|one| one["drawn"].to_string()).collect();
            assert_eq!(drawn.len(), 3, "numbers of its own: {drawn:?}");
        }
    }
    let shiny =
        ["manifest.json", "app.R"].map(|name| (name.into(), std::fs::read(root.join("shiny").join(name)).unwrap()));
    let shiny = world.publish("shiny", &bundle::pack(&shiny));
    for _ in 0..2 {
        world.until_stopped(&shiny);
        let page = world.publisher().open(&shiny, "").expect(200).text();
        assert!(page.contains("shiny.min.js") || page.contains("shiny.js"), "{page}");
    }
    assert_eq!(world.figure("lectern_content_starts_total", &["plain"]), 0);
    assert!(world.figure("lectern_content_starts_total", &["zygote"]) >= 8);
}

#[test]
fn one_that_dies_or_may_not_be_there_fails_no_request() {
    let world = World::new(&[]);
    let guid = world.publish("killed", &apps::asgi(TELLS));
    let first = world.ask(&guid);
    let zygote = Pid::from_raw(world.zygote());
    kill(zygote, Signal::SIGKILL).unwrap();
    assert_eq!(world.ask(&guid)["pid"], first["pid"], "its worker goes on");
    world.until_stopped(&guid);
    for _ in 0..2 {
        world.ask(&guid);
        world.until_stopped(&guid);
    }
    // A variable that an interpreter reads when it begins: another start is needed.
    let change = json!([{ "name": "PYTHONHASHSEED", "value": "7" }]);
    world.publisher().api(Method::PATCH, &format!("/v1/content/{guid}/environment")).json(&change).send().expect(200);
    let before = world.figure("lectern_content_starts_total", &["plain"]);
    world.publisher().open(&guid, "").expect(200);
    assert_eq!(world.figure("lectern_content_starts_total", &["plain"]), before + 1);
}

#[test]
fn where_none_are_wanted_none_are_there() {
    let none = World::new(&[("LECTERN_CONTENT__ZYGOTES", "0")]);
    let guid = none.publish("plain", &apps::probe());
    none.publisher().open(&guid, "").expect(200);
    assert_eq!((none.zygotes().len(), none.figure("lectern_content_starts_total", &["plain"]) > 0), (0, true));
}

#[test]
fn the_budget_takes_them_back_first() {
    let world = World::new(&[("LECTERN_CONTENT__MEMORY_BUDGET_BYTES", "136 MiB")]);
    let first = world.publish("first", &apps::asgi(TELLS));
    world.ask(&first);
    world.until_stopped(&first);
    until("it to be measured", SOON, || {
        (world.figure("lectern_content_zygote_memory_bytes", &[&first]) > 8 << 20).then_some(())
    });
    // One that was not measured yet is taken to need 128 MiB.
    let second = world.publish("second", &apps::asgi(&TELLS.replace("VERSION = \"1\"", "VERSION = \"2\"")));
    world.ask(&second);
    assert!(world.server.log().contains("a zygote ends to make room"));
    assert_eq!(world.figure("lectern_content_zygotes", &[&first]), 0);
}

#[test]
fn only_so_many_are_kept_and_the_longest_idle_gives_its_place() {
    let world = World::new(&[("LECTERN_CONTENT__ZYGOTES", "1")]);
    let first = world.publish("first", &apps::asgi(TELLS));
    world.until_stopped(&first);
    let second = world.publish("second", &apps::asgi(&TELLS.replace("VERSION = \"1\"", "VERSION = \"2\"")));
    world.until_stopped(&second);
    world.publisher().open(&second, "");
    until("the other one's to be there", SOON, || {
        let there = |guid: &str| world.figure("lectern_content_zygotes", &[guid]);
        (there(&second) == 1 && there(&first) == 0).then_some(())
    });
}

#[test]
fn a_new_server_takes_over_workers_and_their_interpreter() {
    let world = World::new(&[]);
    let guid = world.publish("kept", &apps::asgi(TELLS));
    world.publisher().change(&guid, &json!({ "idle_timeout": 600 })).expect(200);
    let before = world.ask(&guid);
    let zygote = world.zygote();
    world.server.kill();
    world.server.start();
    let after = world.ask(&guid);
    assert_eq!((&after["pid"], world.zygote()), (&before["pid"], zygote), "neither was started anew");
    world.publisher().change(&guid, &json!({ "idle_timeout": 1 })).expect(200);
    world.until_stopped(&guid);
    assert_eq!(world.ask(&guid)["zygote"], before["zygote"]);
    assert_eq!(world.zygote(), zygote, "and goes on forking");
}
