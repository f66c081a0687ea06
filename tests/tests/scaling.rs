//! Pools of workers: they grow with what is asked of them and shrink again, share a machine, and take turns between visitors.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::Method;
use lectern_tests::http::{Ask, Reply};
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use lectern_tests::{apps, bundle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// An app that takes its time.
const SLOW: &str = include_str!("../apps/slow.py");

/// Longest wait for a state: an interpreter starts within, also on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A server and who uses it.
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

    /// Publishes the slow app with these settings.
    fn publish(&self, name: &str, settings: &Value) -> String {
        let guid = self.publisher().create(name);
        self.publisher().change(&guid, settings).expect(200);
        self.publisher().redeploy(&guid, &apps::asgi(SLOW));
        guid
    }

    /// The value of a figure: the sum of all lines of `name` that have all these labels.
    fn figure(&self, name: &str, labels: &[&str]) -> u64 {
        let text = self.server.get("/__lectern__/v1/metrics").key(&self.root.key).send().expect(200).text();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|l| line.contains(l))
        });
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64).sum()
    }

    /// Workers of an item that serve.
    fn ready(&self, guid: &str) -> u64 {
        ["busy", "idle"]
            .iter()
            .map(|state| self.figure("lectern_content_workers", &[guid, &format!("state=\"{state}\"")]))
            .sum()
    }

    fn waiting(&self, guid: &str) -> u64 {
        self.figure("lectern_content_waiting", &[guid])
    }

    fn until_ready(&self, guid: &str, wanted: u64) {
        until(&format!("{wanted} workers"), SOON, || (self.ready(guid) == wanted).then_some(()));
    }

    /// Asks in a thread of its own.
    fn begin(&self, account: &Account, guid: &str, path: &str) -> JoinHandle<Option<Reply>> {
        let (address, path, key) = (self.server.address(), format!("/content/{guid}/{path}"), account.key.clone());
        std::thread::spawn(move || Ask::new(address, Method::GET, &path).key(&key).try_send())
    }

    /// The runs that answer, asked `n` at a time; what a process that was killed had begun is left out.
    fn jobs(&self, guid: &str, n: usize) -> BTreeSet<String> {
        let asked: Vec<_> = (0..n).map(|_| self.begin(&self.ada, guid, "wait?s=1")).collect();
        let replies = asked.into_iter().map(|asked| asked.join().unwrap().unwrap());
        replies.filter(|reply| reply.status == 200).map(|reply| text(&reply.json()["job"])).collect()
    }

    /// Kills the process of a run, as the machine knows it: inside its walls an app sees other numbers.
    fn kill(&self, guid: &str, job: &str) {
        let pid = until("the process of the run", SOON, || {
            let jobs = self.publisher().api(Method::GET, &format!("/v1/content/{guid}/jobs")).send().expect(200).json();
            let found = jobs.as_array().unwrap().iter().find(|seen| seen["key"] == job)?;
            // Numbers come as text or as numbers.
            found["pid"].as_i64().or_else(|| found["pid"].as_str()?.parse().ok()).filter(|pid| *pid > 1)
        });
        kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    }
}

/// A Plumber API that takes a second.
fn plumber() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plumber/manifest.json");
    let manifest = std::fs::read(path).unwrap();
    let code = "#* @get /slow\n#* @serializer unboxedJSON\nfunction() { Sys.sleep(1); list(pid = Sys.getpid()) }\n";
    bundle::pack(&[("manifest.json".into(), manifest), ("plumber.R".into(), code.into())])
}

/// What 60 requests in a ramp came to: those answered, and those refused, all of whom were told when to come back.
fn ramp(world: &World, guid: &str, path: &str) -> (usize, usize) {
    let asked: Vec<_> = (0..60)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            world.begin(&world.ada, guid, path)
        })
        .collect();
    let replies: Vec<Reply> = asked.into_iter().map(|asked| asked.join().unwrap().unwrap()).collect();
    let refused: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 503).collect();
    for reply in &refused {
        let after: u64 = reply.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
    }
    let answered = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(answered + refused.len(), 60, "{:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
    (answered, refused.len())
}

#[test]
fn a_plumber_api_grows_under_a_ramp_and_falls_back() {
    let world = World::new(&[("LECTERN_CONTENT__MAX_WAITING", "20")]);
    let guid = world.publisher().create("ramp");
    let settings = json!({"min_processes": 1, "max_processes": 3, "max_conns_per_process": 6, "idle_timeout": 3});
    world.publisher().change(&guid, &settings).expect(200);
    world.publisher().redeploy(&guid, &plumber());
    world.until_ready(&guid, 1);
    let most = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut most, end) = ((0, 0), Instant::now() + SOON);
            while most.0 < 3 && Instant::now() < end {
                most = (most.0.max(world.ready(&guid)), most.1.max(world.waiting(&guid)));
            }
            most
        });
        let (answered, refused) = ramp(&world, &guid, "slow");
        println!("answered {answered}, refused {refused}");
        assert!(answered >= 20 && refused >= 1, "{answered} {refused}");
        watch.join().unwrap()
    });
    assert_eq!(most.0, 3);
    assert!(most.1 > 0 && most.1 <= 20, "the line was used and is bounded: {}", most.1);
    assert!(world.figure("lectern_admission_refusals_total", &[]) >= 1);
    assert!(world.figure("lectern_admission_wait_seconds_count", &[]) >= 1);
    // Nobody asks any more.
    world.until_ready(&guid, 1);
    assert!(world.server.stop().success());
    assert_eq!(world.server.processes(), [], "no stray process");
}

#[test]
fn one_slow_call_gets_its_successors_another_process() {
    let world = World::new(&[]);
    let guid = world.publish("blocked", &json!({"max_processes": 2}));
    let first = world.begin(&world.ada, &guid, "block?s=8");
    until("the slow call", SOON, || world.server.job_logs().contains("/block begun").then_some(()));
    // Far below the threshold of ten requests.
    let second = world.begin(&world.ada, &guid, "wait?s=0");
    until("a second worker", SOON, || (world.ready(&guid) == 2).then_some(()));
    let began = Instant::now();
    world.publisher().open(&guid, "wait").expect(200);
    assert!(began.elapsed() < Duration::from_secs(4), "who comes now does not stand behind the slow call");
    let (first, second) = (first.join().unwrap().unwrap(), second.join().unwrap().unwrap());
    assert_eq!((first.status, second.status), (200, 200));
}

#[test]
fn requests_side_by_side_fill_all_workers() {
    let world = World::new(&[]);
    let guid = world.publish("many", &json!({"max_processes": 3, "max_conns_per_process": 4, "idle_timeout": 2}));
    let (answered, _) = ramp(&world, &guid, "wait?s=1");
    assert_eq!(answered, 60, "a line of two thousand has room for all");
    assert_eq!(world.figure("lectern_admission_refusals_total", &[]), 0);
    world.until_ready(&guid, 0);
}

#[test]
fn the_minimum_is_kept_whatever_happens() {
    let world = World::new(&[]);
    let guid = world.publish("warm", &json!({"idle_timeout": 1}));
    world.until_ready(&guid, 0);
    // By a change of settings, at once.
    world.publisher().change(&guid, &json!({"min_processes": 2})).expect(200);
    world.until_ready(&guid, 2);
    // At boot, without a request, also after a stop.
    assert!(world.server.stop().success());
    world.server.start();
    world.until_ready(&guid, 2);
    // After a crash.
    let before = world.jobs(&guid, 4);
    assert_eq!(before.len(), 2);
    world.kill(&guid, before.first().unwrap());
    until("a worker in its place", SOON, || {
        let now = world.jobs(&guid, 4);
        (now.len() == 2 && now != before).then_some(())
    });
    // After another version was activated: that one's.
    world.publisher().redeploy(&guid, &apps::asgi(&format!("{SLOW}\n# again\n")));
    until("the new version's workers alone", SOON, || {
        let bundle = world.publisher().content(&guid)["bundle_id"].as_str().unwrap().to_owned();
        let new = world.figure("lectern_content_workers", &[&guid, &format!("bundle=\"{bundle}\""), "state=\"idle\""]);
        (new == 2 && world.ready(&guid) == 2).then_some(())
    });
    // And no longer than it is wanted.
    world.publisher().change(&guid, &json!({"min_processes": 0})).expect(200);
    world.until_ready(&guid, 0);
}

#[test]
fn one_of_three_workers_killed() {
    let world = World::new(&[]);
    let settings = json!({"min_processes": 3, "max_processes": 3, "max_conns_per_process": 4, "load_factor": 1});
    let guid = world.publish("three", &settings);
    world.until_ready(&guid, 3);
    let one = text(&world.publisher().open(&guid, "wait").expect(200).json()["job"]);
    let asked: Vec<_> = (0..12).map(|_| world.begin(&world.ada, &guid, "wait?s=5")).collect();
    until("all under way", SOON, || (world.figure("lectern_content_in_flight", &[&guid]) == 12).then_some(()));
    world.kill(&guid, &one);
    let replies: Vec<Reply> = asked.into_iter().map(|asked| asked.join().unwrap().unwrap()).collect();
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    // What the dead worker had begun fails, nothing else does; of that, what went out on a connection used before is asked again.
    assert!(
        (1..=4).contains(&count(502)) && count(200) + count(502) == 12,
        "{} failed of {}",
        count(502),
        replies.len()
    );
    world.until_ready(&guid, 3);
}

#[test]
fn all_workers_of_a_pool_outlive_the_server() {
    let world = World::new(&[]);
    let guid = world.publish("kept", &json!({"min_processes": 3, "max_processes": 3, "load_factor": 0}));
    world.until_ready(&guid, 3);
    let before = world.jobs(&guid, 3);
    assert_eq!(before.len(), 3);
    world.server.kill();
    world.server.start();
    world.until_ready(&guid, 3);
    assert_eq!(world.jobs(&guid, 3), before, "the very same processes, and each of them serves");
    assert!(world.server.stop().success());
    assert_eq!(world.server.processes(), []);
}

#[test]
fn a_session_stays_with_its_worker_over_a_restart() {
    let world = World::new(&[]);
    let guid = world.publisher().create("session");
    let settings = json!({"min_processes": 3, "max_processes": 3, "load_factor": 0});
    world.publisher().change(&guid, &settings).expect(200);
    // The kind of content says whether it keeps sessions; any ASGI app can be of this one.
    let files = [("app.py", SLOW), ("requirements.txt", "shiny>=1,<2\n")];
    world.publisher().redeploy(&guid, &bundle::app("python-shiny", "app:app", &files));
    world.until_ready(&guid, 3);
    let before = world.jobs(&guid, 3);

    // With one worker busy a newcomer gets another one, and stays there when the first is free again.
    let busy = world.begin(&world.ada, &guid, "wait?s=3");
    until("one busy", SOON, || (world.figure("lectern_content_in_flight", &[&guid]) == 1).then_some(()));
    let first = world.publisher().open(&guid, "wait").expect(200);
    let theirs = first.json()["job"].clone();
    let cookie = first.header("set-cookie").to_owned();
    let path = format!("; Path=/content/{guid}/; HttpOnly; SameSite=Lax");
    assert!(cookie.starts_with("lectern-worker=") && cookie.ends_with(&path), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_ne!(busy.join().unwrap().unwrap().expect(200).json()["job"], theirs);
    let again = |cookie: &str| {
        let ask = world.server.get(&format!("/content/{guid}/wait")).key(&world.ada.key).header("cookie", cookie);
        ask.send().expect(200)
    };
    for _ in 0..5 {
        let reply = again(cookie);
        assert_eq!((&reply.json()["job"], reply.header("set-cookie")), (&theirs, ""));
    }
    world.server.kill();
    world.server.start();
    assert_eq!(again(cookie).json()["job"], theirs, "the worker lives, and so does the cookie");
    // Forged: as if there were none.
    let forged = again(&format!("{}x", &cookie[..cookie.len() - 1]));
    assert!(forged.header("set-cookie").starts_with("lectern-worker="));
    // Gone: another one, and a new cookie.
    world.kill(&guid, theirs.as_str().unwrap());
    until("another worker for the session", SOON, || {
        let ask = world.server.get(&format!("/content/{guid}/wait")).key(&world.ada.key).header("cookie", cookie);
        let reply = ask.try_send().filter(|reply| reply.status == 200)?;
        (reply.json()["job"] != theirs && reply.header("set-cookie").starts_with("lectern-worker=")).then_some(())
    });
    assert_eq!(before.len(), 3);
}

#[test]
fn memory_is_shared_like_processes() {
    // Room for one worker as long as nothing is known of it.
    let world = World::new(&[("LECTERN_CONTENT__MEMORY_BUDGET_BYTES", "200 MiB")]);
    let one = world.publish("one", &json!({}));
    world.until_ready(&one, 1);
    assert_eq!(world.figure("lectern_content_budget", &["of=\"memory_bytes\",is=\"most\""]), 200 << 20);
    let two = world.publish("two", &json!({}));
    world.publisher().open(&two, "wait").expect(200);
    assert!(world.server.log().contains("content.memory_budget_bytes"), "it had to make room or wait");
    until("its memory measured", SOON, || {
        let used = world.figure("lectern_content_budget", &["of=\"memory_bytes\",is=\"used\""]);
        (used > 5 << 20).then_some(())
    });
    // Two of them, as they are known now, fit.
    world.publisher().open(&one, "wait").expect(200);
    assert_eq!((world.ready(&one), world.ready(&two)), (1, 1));
}

#[test]
fn an_idle_worker_makes_room_for_who_needs_it() {
    let world = World::new(&[("LECTERN_CONTENT__MAX_PROCESSES_TOTAL", "2")]);
    let one = world.publish("one", &json!({}));
    let two = world.publish("two", &json!({}));
    world.until_ready(&one, 1);
    world.until_ready(&two, 1);
    // The third needs the room of the one that was idle for longest.
    world.publisher().open(&two, "wait").expect(200);
    let three = world.publish("three", &json!({}));
    world.publisher().open(&three, "wait").expect(200);
    assert_eq!((world.ready(&one), world.ready(&two), world.ready(&three)), (0, 1, 1));
    assert_eq!(world.figure("lectern_content_budget", &["of=\"processes\",is=\"used\""]), 2);

    // Nobody is idle: it waits, and the operator sees why.
    let busy = [world.begin(&world.ada, &two, "wait?s=8"), world.begin(&world.ada, &three, "wait?s=8")];
    until("both busy", SOON, || {
        let in_flight = |guid: &str| world.figure("lectern_content_in_flight", &[guid]);
        (in_flight(&two) == 1 && in_flight(&three) == 1).then_some(())
    });
    let waits = world.begin(&world.ada, &one, "wait");
    until("the figure that says so", SOON, || (world.figure("lectern_content_held_back", &[&one]) == 1).then_some(()));
    assert_eq!((world.waiting(&one), world.ready(&one)), (1, 0));
    assert!(world.server.log().contains("content.max_processes_total"), "{}", world.server.log());
    for busy in busy {
        busy.join().unwrap().unwrap().expect(200);
    }
    waits.join().unwrap().unwrap().expect(200);
    until("nothing held back", SOON, || (world.figure("lectern_content_held_back", &[&one]) == 0).then_some(()));
}

#[test]
fn who_waits_too_long_for_room_learns_when_to_come_back() {
    let world =
        World::new(&[("LECTERN_CONTENT__MAX_PROCESSES_TOTAL", "1"), ("LECTERN_CONTENT__INIT_TIMEOUT_SECONDS", "10")]);
    let one = world.publish("one", &json!({"min_processes": 1}));
    world.until_ready(&one, 1);
    // The minimum of one item is not taken away for another.
    let guid = world.publisher().create("two");
    let id = world.publisher().upload(&guid, &apps::asgi(SLOW));
    let done = world.publisher().deploy(&guid, &id);
    assert!(done.output.contains("1 of the server's 1 content processes run"), "{}", done.output);
    let reply = world.publisher().open(&guid, "wait").expect(503);
    assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|after| after >= 1), "{reply:?}");
    assert!(reply.text().contains("content.max_processes_total"), "the publisher learns why: {}", reply.text());
    world.publisher().open(&one, "wait").expect(200);
}

#[test]
fn one_visitor_does_not_starve_another() {
    let world = World::new(&[]);
    let settings = json!({"max_processes": 1, "max_conns_per_process": 1, "access_type": "all"});
    let guid = world.publish("fair", &settings);
    let bob = world.server.account("bob", "viewer");
    let greedy: Vec<_> = (0..40).map(|_| world.begin(&world.ada, &guid, "block?s=0.5")).collect();
    until("a long line", SOON, || (world.waiting(&guid) >= 30).then_some(()));
    let modest = world.begin(&bob, &guid, "wait").join().unwrap().unwrap();
    let left = world.waiting(&guid);
    assert_eq!(modest.status, 200);
    assert!(left >= 20, "{left} of the other's still wait");
    // Whoever leaves is forgotten: these connections are closed without an answer.
    drop(greedy);
}

#[test]
fn a_crash_loop_is_explained_and_forgiven() {
    let world = World::new(&[]);
    let guid = world.publish("loop", &json!({}));
    world
        .publisher()
        .api(Method::PATCH, &format!("/v1/content/{guid}/environment"))
        .json(&json!([{"name": "TOKEN", "value": "x"}]))
        .send();
    // It dies with every request; the pauses grow.
    let mut said = String::new();
    until("a pause that is told", SOON, || {
        let reply = world
            .server
            .get(&format!("/content/{guid}/die"))
            .key(&world.ada.key)
            .header("accept", "text/html")
            .try_send()?;
        said = reply.text();
        (reply.status == 503 && said.contains("exited with status 3")).then_some(())
    });
    assert!(said.contains("job "), "with the job whose log says more: {said}");
    // A change of settings begins anew.
    until("a pause of four seconds", SOON, || {
        let reply = world.server.get(&format!("/content/{guid}/die")).key(&world.ada.key).try_send()?;
        reply.header("retry-after").parse::<u64>().is_ok_and(|after| after >= 3).then_some(())
    });
    world.publisher().change(&guid, &json!({"max_processes": 2})).expect(200);
    world.publisher().open(&guid, "wait").expect(200);
}

#[test]
fn settings_beyond_the_servers_limits_are_refused() {
    let world = World::new(&[("LECTERN_CONTENT__MAX_PROCESSES_LIMIT", "5"), ("LECTERN_CONTENT__MAX_PROCESSES", "4")]);
    let shown = world.publisher().api(Method::GET, "/server_settings/scheduler").send().expect(200).json();
    assert_eq!((&shown["max_processes"], &shown["max_processes_limit"]), (&json!(4), &json!(5)));
    let guid = world.publisher().create("limits");
    for (settings, code) in [
        (json!({"max_processes": 6}), 113),
        (json!({"min_processes": 5}), 114),
        (json!({"load_factor": 1.5}), 150),
        (json!({"idle_timeout": -1}), 151),
    ] {
        world.publisher().change(&guid, &settings).expect_error(400, code);
    }
    world.publisher().change(&guid, &json!({"min_processes": 5, "max_processes": 5})).expect(200);
}
