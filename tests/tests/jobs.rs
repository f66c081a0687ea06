//! Runs of processes: their record, their logs, and how they are ended.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::apps;
use lectern_tests::browser;
use lectern_tests::client::posit_sdk;
use lectern_tests::events::Events;
use lectern_tests::processes::state_and_parent;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const TALKER: &str = include_str!("../apps/talker.py");
const SOON: Duration = Duration::from_secs(60);

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

fn jobs(who: &Publisher<'_>, guid: &str) -> Vec<Value> {
    let listed = who.api(Method::GET, &format!("/v1/content/{guid}/jobs")).send().expect(200).json();
    listed.as_array().unwrap().clone()
}

fn job(who: &Publisher<'_>, guid: &str, key: &str) -> Value {
    who.api(Method::GET, &format!("/v1/content/{guid}/jobs/{key}")).send().expect(200).json()
}

/// The job once it has ended.
fn ended(who: &Publisher<'_>, guid: &str, key: &str) -> Value {
    until("the job's end", SOON, || Some(job(who, guid, key)).filter(|job| job["status"] != 0))
}

/// Publishes a talker and starts its process; answers the content and the process's job.
fn talker(who: &Publisher<'_>, name: &str) -> (String, String) {
    let guid = who.publish(name, &apps::asgi(TALKER));
    let key = text(&who.open(&guid, "").expect(200).json()["job"]);
    (guid, key)
}

fn log(who: &Publisher<'_>, guid: &str, key: &str) -> Vec<String> {
    let path = format!("/v1/content/{guid}/jobs/{key}/log");
    let entries = who.api(Method::GET, &path).send().expect(200).json()["entries"].as_array().unwrap().clone();
    entries.iter().map(|entry| text(&entry["data"])).collect()
}

#[test]
fn the_client_library_lists_reads_and_ends_jobs() {
    let guid = ada().publish("listed", &apps::asgi(TALKER));
    let code = format!(
        r#"
import os, time, urllib.request
from posit import connect

client = connect.Client(os.environ["TEST_SERVER"], os.environ["TEST_KEY"])
content = client.content.get("{guid}")
kinds = sorted(job["tag"] for job in content.jobs)
print("kinds", *kinds)
deployment = next(job for job in content.jobs if job["tag"] == "python_restore")
print("deployment", deployment["status"], deployment["exit_code"])
job = content.jobs.find_by(status=0)
print("active", job["tag"], content.jobs.find(job["key"])["pid"] == job["pid"])
job.destroy()
while content.jobs.find(job["key"])["status"] == 0:
    time.sleep(0.1)
done = content.jobs.find(job["key"])
print("done", done["status"], done["exit_code"], done["lectern"]["stopped_by"])
try:
    job.destroy()
except connect.errors.ClientError as error:
    print("again", error.http_status, error.error_code)
# As in the library's own suite: the job is there as soon as the deployment was asked for.
again = client.content.create(name="at-once")
bundle = again.bundles.create("{{bundle}}")
task = bundle.deploy()
print("at once", len(again.jobs))
task.wait_for()
"#
    );
    let bundle = SERVER.scratch().join("talker.tar.gz");
    std::fs::write(&bundle, apps::asgi(TALKER)).unwrap();
    let printed = posit_sdk(&SERVER, &ADA, &code.replace("{bundle}", bundle.to_str().unwrap())).expect_success();
    println!("{}", printed.printed);
    let expected = "kinds python_restore run_fastapi_app\ndeployment 2 0\nactive run_fastapi_app True\n\
                    done 2 143 ada\nagain 409 163\nat once 1\n";
    assert_eq!(printed.stdout, expected, "{}", printed.printed);
}

#[test]
fn a_log_is_followed_line_by_line_across_servers() {
    let server = Server::new();
    let grace = server.account("grace", "publisher");
    let who = Publisher::new(&server, &grace);
    let (guid, key) = talker(&who, "followed");
    let path = format!("/__api__/v1/content/{guid}/jobs/{key}/tail");
    let mut events = Events::open(&server, &grace, &format!("{path}?after=0"), None);
    let mut last = 0;
    let mut follow = |events: &mut Events, until: &str| {
        loop {
            let event = events.read().unwrap_or_else(|| panic!("the stream ended before {until:?}"));
            assert_eq!(event.id, Some(last + 1), "no line is missed, none comes twice: {event:?}");
            last += 1;
            let entry: Value = serde_json::from_str(&event.data).unwrap();
            if entry["data"] == until {
                return last;
            }
        }
    };
    who.open(&guid, "say?text=first&n=3").expect(200);
    let had = follow(&mut events, "first 2");

    // The app and its supervisor live on; what it says meanwhile is in the log.
    server.kill();
    assert_eq!(events.read(), None, "a stream ends with its server");
    server.start();
    who.open(&guid, "say?text=second&n=2").expect(200);
    let mut events = Events::open(&server, &grace, &path, Some(had));
    follow(&mut events, "second 1");

    // An orderly stop does not wait for those who follow.
    let asked = std::time::Instant::now();
    let order = who.api(Method::DELETE, &format!("/v1/content/{guid}/jobs/{key}")).send().expect(200).json();
    assert_eq!((&order["job_key"], &order["app_guid"]), (&json!(key), &json!(guid)));
    loop {
        let event = events.read().expect("the last event says that it is the last");
        if event.kind == "end" {
            break;
        }
    }
    let job = ended(&who, &guid, &key);
    assert_eq!((&job["lectern"]["stopped_by"], &job["exit_code"]), (&json!("grace"), &json!(143)));
    println!("{job:#}\n{:?} from the order to the end of the stream", asked.elapsed());

    let next = text(&who.open(&guid, "").expect(200).json()["job"]);
    let mut open = Events::open(&server, &grace, &format!("/__api__/v1/content/{guid}/jobs/{next}/tail"), None);
    let asked = std::time::Instant::now();
    assert!(server.stop().success());
    while open.read().is_some() {}
    assert!(
        asked.elapsed() < Duration::from_secs(25),
        "the grace of 30 s is for requests that end: {:?}",
        asked.elapsed()
    );
}

#[test]
fn a_flood_is_bounded_and_the_log_says_what_is_missing() {
    let server = Server::setup().env("LECTERN_CONTENT__JOB_LOG_BYTES", "2 MiB").start();
    let grace = server.account("grace", "publisher");
    let who = Publisher::new(&server, &grace);
    let (guid, key) = talker(&who, "flood");
    // The promise is 1 GiB, which a build without optimization takes some minutes for.
    let mib: u64 = std::env::var("LECTERN_TEST_FLOOD_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(48);
    let path = server.data().join(format!("jobs/{key}.log"));
    let follower = std::thread::scope(|scope| {
        // Somebody reads all the while.
        let reader = scope.spawn(|| {
            let path = format!("/__api__/v1/content/{guid}/jobs/{key}/tail?after=0");
            let mut events = Events::open(&server, &grace, &path, None);
            let (mut last, mut marks, mut lines) = (0, 0, 0_u64);
            while let Some(event) = events.read() {
                if event.data.contains("the flood is over") {
                    break;
                }
                let id = event.id.unwrap();
                assert!(id > last);
                let mark = event.data.contains("dropped here");
                assert!(mark || id == last + 1, "a gap that nobody speaks of, after {last}: {event:?}");
                (last, marks, lines) = (id, marks + u64::from(mark), lines + 1);
            }
            (lines, marks)
        });
        who.open(&guid, &format!("flood?n={mib}")).expect(200);
        let mut largest = 0;
        while !reader.is_finished() {
            largest = largest.max(std::fs::metadata(&path).map_or(0, |meta| meta.len()));
            // Neither the server nor the app is kept from answering.
            server.get("/__ping__").send().expect(200);
            assert_eq!(who.open(&guid, "").expect(200).json()["job"], json!(key));
        }
        assert!(largest <= 2 << 20, "{largest}");
        reader.join().unwrap()
    });
    println!("{mib} MiB; the follower saw {} lines, {} marks", follower.0, follower.1);
    until("the end of the flood in the log", SOON, || {
        log(&who, &guid, &key).last().is_some_and(|line| line == "the flood is over").then_some(())
    });
    let lines = log(&who, &guid, &key);
    assert!(lines.iter().any(|line| line.contains("earlier lines were dropped here: this log keeps 2097152 bytes")));
    // Beside it, what is no text and what has no end.
    who.open(&guid, "binary").expect(200);
    who.open(&guid, "long?n=10").expect(200);
    who.open(&guid, "say?text=after").expect(200);
    until("what was said last", SOON, || {
        log(&who, &guid, &key).last().is_some_and(|line| line == "after 0").then_some(())
    });
    let download = who.api(Method::GET, &format!("/v1/content/{guid}/jobs/{key}/download")).send().expect(200);
    assert!(download.header("content-disposition").contains(&key));
    let whole = download.text();
    assert!(whole.contains(" stdout after 0\n") && whole.contains("yyyyyyyy"), "{} bytes", whole.len());
    assert_eq!(who.open(&guid, "").expect(200).json()["job"], json!(key), "the same process serves");
}

#[test]
fn ends_are_recorded_with_what_they_took() {
    let server = Server::new();
    let grace = server.account("grace", "administrator");
    let who = Publisher::new(&server, &grace);
    let (guid, first) = talker(&who, "ends");
    who.open(&guid, "burn?n=1").expect(200);
    let procs = who.api(Method::GET, "/metrics/procs").send().expect(200).json();
    println!("{procs:#}");
    let (pid, process) = procs.as_object().unwrap().iter().next().unwrap();
    assert_eq!((&process["appGuid"], &process["jobKey"]), (&json!(guid), &json!(first)));
    assert!(process["cpuTotal"].as_u64() >= Some(1) && process["ram"].as_u64() > Some(8 << 20));
    assert_eq!(job(&who, &guid, &first)["pid"], json!(pid));

    // It ends while no server looks: the supervisor remembers. What is killed is the program, as the kernel would for lack of
    // memory, not the first process around it.
    let outermost: i32 = pid.parse().unwrap();
    let program = innermost(outermost);
    server.kill();
    kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
    until("the process's end", SOON, || kill(Pid::from_raw(outermost), None).is_err().then_some(()));
    server.start();
    let job = ended(&who, &guid, &first);
    println!("{job:#}");
    assert_eq!(job["exit_code"], 137);
    assert_eq!(job["lectern"]["reason"], "signal 9 ended it while it was serving");
    assert!(job["lectern"]["cpu_seconds"].as_f64() >= Some(1.0), "{job}");
    assert!(job["lectern"]["peak_memory_bytes"].as_u64() >= Some(64 << 20), "{job}");

    let second = text(&who.open(&guid, "").expect(200).json()["job"]);
    assert!(who.open(&guid, "exit?n=7").status >= 500);
    let job = ended(&who, &guid, &second);
    assert_eq!(
        (&job["exit_code"], &job["lectern"]["reason"]),
        (&json!(7), &json!("it exited with status 7 while it was serving"))
    );
    let why = who.api(Method::GET, &format!("/v1/content/{guid}/jobs/{second}/error")).send().expect(200).json();
    assert_eq!(why["error"], job["lectern"]["reason"]);
    who.api(Method::DELETE, &format!("/v1/content/{guid}/jobs/{second}")).send().expect_error(409, 163);
    assert_eq!(
        who.api(Method::GET, "/metrics/procs").send().expect(200).json().as_object().unwrap().get(&second),
        None
    );
}

/// The only process below `outermost` that has no child.
fn innermost(outermost: i32) -> i32 {
    let children_of = |parent: i32| {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| state_and_parent(*pid).is_some_and(|(_, of)| of == parent)).collect::<Vec<_>>()
    };
    let mut at = outermost;
    while let [child] = children_of(at)[..] {
        at = child;
    }
    assert_ne!(at, outermost, "a program below the walls");
    at
}

#[test]
fn records_and_logs_go_together() {
    let server = Server::setup().env("LECTERN_JOBS__KEEP_PER_CONTENT", "3").start();
    let grace = server.account("grace", "publisher");
    let who = Publisher::new(&server, &grace);
    let (guid, first) = talker(&who, "many");
    let mut last = first.clone();
    for _ in 0..3 {
        who.api(Method::DELETE, &format!("/v1/content/{guid}/jobs/{last}")).send().expect(200);
        ended(&who, &guid, &last);
        last = text(&who.open(&guid, "").expect(200).json()["job"]);
    }
    let logs = || -> HashSet<String> {
        let names = std::fs::read_dir(server.data().join("jobs")).unwrap().flatten();
        names.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log").map(str::to_owned)).collect()
    };
    assert!(logs().contains(&first));
    assert!(jobs(&who, &guid).len() > 3);
    // The rules are looked after when the server starts, and from time to time.
    server.kill();
    server.start();
    let left = until("three records", SOON, || Some(jobs(&who, &guid)).filter(|jobs| jobs.len() == 3));
    let keys: HashSet<String> = left.iter().map(|job| text(&job["key"])).collect();
    assert!(keys.contains(&last) && !keys.contains(&first));
    assert_eq!(logs(), keys, "a log for each record, and none besides");
    who.api(Method::GET, &format!("/v1/content/{guid}/jobs/{first}/log")).send().expect_error(404, 4);
    assert_eq!(who.open(&guid, "").expect(200).json()["job"], json!(last), "what runs stays");
}

#[test]
fn the_dashboard_follows_a_log() {
    let (guid, key) = talker(&ada(), "watched");
    ada().open(&guid, "say?text=before").expect(200);
    let script = r#"
        export default async ({ page, args, shot }) => {
          const problems = [];
          page.on('console', (message) => { if (message.type() === 'error') problems.push(message.text()); });
          await page.goto(`${args.server}/connect/apps/${args.guid}`);
          await page.locator('input[name=username]').fill(args.name);
          await page.locator('input[name=password]').fill(args.password);
          await page.getByRole('button', { name: 'Sign in' }).click();
          await page.getByText('before 0').waitFor();
          await shot('item');
          const call = (path, method = 'GET') => fetch(`${args.server}${path}`, { method, headers: { Authorization: `Key ${args.key}` } });
          await call(`/content/${args.guid}/say?text=alive&n=3`);
          await page.getByText('alive 2').waitFor();
          await page.getByRole('link', { name: /UTC/ }).first().click();
          await page.getByText('curl -X DELETE').waitFor();
          await call(`/content/${args.guid}/say?text=<b>later</b>`);
          await page.getByText('<b>later</b> 0').waitFor();
          await shot('job');
          await call(`/__api__/v1/content/${args.guid}/jobs/${args.job}`, 'DELETE');
          await page.getByText('ended; reload the page').waitFor();
          const count = await page.getByText('alive 2').count();
          await page.waitForFunction(async () => {
            const text = await (await fetch(window.location.href)).text();
            return text.includes('stopped by');
          });
          await page.reload();
          await shot('ended');
          const told = await page.innerText('main');
          await page.goto(`${args.server}/connect/apps/${args.guid}`);
          await shot('item-after');
          return { count, told, table: await page.innerText('#jobs'), problems };
        };
    "#;
    let seen = browser::run(
        script,
        &json!({"server": SERVER.url(), "guid": guid, "job": key, "name": ADA.name, "password": ADA.password, "key": ADA.key}),
    );
    println!("{}", serde_json::to_string_pretty(&seen).unwrap());
    assert_eq!(seen["count"], 1, "no line twice");
    assert_eq!(seen["problems"], json!([]), "the page's policy allows all that it does");
    let (told, table) = (text(&seen["told"]), text(&seen["table"]));
    assert!(told.contains("stopped by ada") && told.contains("CPU time") && !told.contains("curl"), "{told}");
    assert!(table.contains("Deployment") && table.contains("Process") && table.contains("stopped by ada"), "{table}");
    // Signed in or not, who may not change the content reads no log.
    let bob = SERVER.account("bob", "publisher");
    let path = format!("/connect/apps/{guid}/jobs/{key}");
    assert_eq!(SERVER.get(&path).key(&bob.key).send().status, 403);
    assert!(SERVER.get(&path).send().status != 200);
}
