//! Workers that come from a pre-forked interpreter: how they begin, how they end, and what happens when it is not there.

use std::fs;

use lectern_domain::launch::{LaunchSpec, ZygoteName};
use lectern_domain::worker::{Ending, ExitStatus};
use lectern_supervisor::{Client, WorkerStatus, ZygoteStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::*;

pub fn name(spec: &LaunchSpec) -> ZygoteName {
    spec.zygote.as_ref().unwrap().name.clone()
}

/// The zygote of `spec`; there must be one.
pub async fn zygote(client: &Client, spec: &LaunchSpec) -> ZygoteStatus {
    client.zygotes().await.unwrap().into_iter().find(|one| one.name == name(spec)).expect("a zygote")
}

pub fn parent(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

pub async fn forked(client: &Client, spec: &LaunchSpec) -> WorkerStatus {
    let status = ready(client, spec).await;
    assert_eq!(status.zygote, Some(name(spec)), "it came from a zygote");
    status
}

pub async fn stop(client: &Client, spec: &LaunchSpec) {
    client.stop(&spec.job, None).await.unwrap();
    assert_eq!(exited(client, spec).await.ending, Ending::Stopped);
}

const TELLS: &str = "s = listen()\nprint(os.environ['WORD'], os.environ['HOME'], os.getcwd(), sys.argv, 'json' in sys.modules, flush=True)\nserve(s)";

#[tokio::test]
async fn workers_come_from_one_interpreter_and_have_what_is_theirs() {
    let (host, client) = Host::start().await;
    let mut first = host.forked(TELLS);
    first.env.push(("WORD".to_owned(), "one".to_owned()));
    let status = forked(&client, &first).await;
    let parent_pid = zygote(&client, &first).await.pid;
    assert_eq!(parent(status.pid.unwrap()), parent_pid);
    let mut second = host.another(&first);
    second.env.pop();
    second.env.push(("WORD".to_owned(), "two".to_owned()));
    let other = forked(&client, &second).await;
    assert_eq!(parent(other.pid.unwrap()), parent_pid, "both come from the same");
    assert_ne!(status.socket, other.socket);
    wait_until("both to say what they have", || [&first, &second].iter().all(|spec| log_text(spec).len() == 1)).await;
    let lines = [&first, &second].map(|spec| log_text(spec).remove(0));
    let app = path_text(&first.directory);
    for (line, (word, number)) in lines.iter().zip([("one", 1), ("two", 2)]) {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        assert_eq!(words[0], word, "{line}");
        assert!(words[1].ends_with(&format!("/home/{number}")) && words[2] == app, "{line}");
        assert!(words[3].ends_with("True"), "{line}");
    }
    // Of the first worker's nothing is in the zygote: neither its variables nor its descriptors.
    let environ = fs::read(format!("/proc/{parent_pid}/environ")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environ).contains("WORD"));
    stop(&client, &first).await;
    assert!(!status.socket.exists() && is_alive(other.pid.unwrap().cast_signed()), "the other goes on");
    stop(&client, &second).await;
    let standing = zygote(&client, &first).await;
    assert_eq!((standing.workers, standing.forks, standing.pid), (0, 2, parent_pid), "it waits for the next");
    assert_eq!(client.end_zygote(&name(&first)).await.unwrap(), 1);
    wait_until("its cell to end", || host.running().is_empty()).await;
    wait("its end to be noted", || async { client.zygotes().await.unwrap().is_empty().then_some(()) }).await;
    assert_eq!(fs::read_dir(host.dir.path().join("run/w")).unwrap().count(), 0);
}

#[tokio::test]
async fn ends_are_reported_as_they_are() {
    let (host, client) = Host::start().await;
    let first = host.forked("serve(listen())");
    forked(&client, &first).await;
    for (code, status) in [
        ("sys.exit(7)", ExitStatus::Code(7)),
        ("os._exit(0)", ExitStatus::Code(0)),
        ("os.kill(os.getpid(), signal.SIGSEGV)", ExitStatus::Signal(11)),
        ("signal.signal(signal.SIGTERM, signal.SIG_DFL); os.kill(os.getpid(), 15)", ExitStatus::Signal(15)),
        ("print('what is wrong'); raise ValueError(3)", ExitStatus::Code(1)),
    ] {
        let spec = host.another_with(&first, code);
        client.start(spec.clone()).await.unwrap();
        let end = exited(&client, &spec).await;
        assert_eq!((end.ending, end.status), (Ending::FailedToStart, Some(status)), "{code}: {}", end.message);
        if code.contains("ValueError") {
            let said: Vec<&str> = end.last_lines.iter().map(|line| line.data.as_str()).collect();
            assert!(said.contains(&"what is wrong") && said.contains(&"ValueError: 3"), "{said:?}");
        }
    }
    let busy = "data = bytearray(96 << 20)\nbegun = time.process_time()\nwhile time.process_time() < begun + 0.5: pass\nsys.exit(3)";
    let busy = host.another_with(&first, busy);
    client.start(busy.clone()).await.unwrap();
    let usage = exited(&client, &busy).await.usage.unwrap();
    assert!(usage.cpu >= std::time::Duration::from_millis(500) && usage.peak_memory_bytes >= 96 << 20, "{usage:?}");
    let slow = "signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(4)))\nserve(listen())";
    let slow = host.another_with(&first, slow);
    forked(&client, &slow).await;
    client.stop(&slow.job, None).await.unwrap();
    let end = exited(&client, &slow).await;
    assert_eq!((end.ending, end.status), (Ending::Stopped, Some(ExitStatus::Code(4))));
    assert_eq!(log_text(&slow), ["bye"]);
    let deaf = host.another_with(&first, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nserve(listen())");
    forked(&client, &deaf).await;
    client.stop(&deaf.job, Some(std::time::Duration::from_millis(200))).await.unwrap();
    assert_eq!(exited(&client, &deaf).await.status, Some(ExitStatus::Signal(9)));
}

/// A daemon in a session of its own whose parents have ended, with a mark among its arguments.
const DAEMON: &str =
    "import os,time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\ntime.sleep(1000)";

fn leaves_a_daemon(mark: &str, then: &str) -> String {
    format!("subprocess.run([sys.executable, '-c', {DAEMON:?}, {mark:?}])\ns = listen()\n{then}")
}

#[tokio::test]
async fn whatever_a_worker_started_ends_with_it_and_nothing_else() {
    let (host, client) = Host::start().await;
    let first = host.forked("serve(listen())");
    let status = forked(&client, &first).await;
    for (then, end) in [
        ("serve(s)", Some(Signal::SIGTERM)),
        ("s.accept()\nos._exit(3)", None),
        // The process that would have reported and cleaned up.
        ("os.kill(os.getppid(), 9)\nserve(s)", None),
    ] {
        let mark = uuid::Uuid::new_v4().to_string();
        let spec = host.another_with(&first, &leaves_a_daemon(&mark, then));
        client.start(spec.clone()).await.unwrap();
        if end.is_some() {
            forked(&client, &spec).await;
            wait_until("the daemon", || !with_argument(&mark).is_empty()).await;
            client.stop(&spec.job, None).await.unwrap();
        }
        exited(&client, &spec).await;
        assert_eq!(with_argument(&mark), [0; 0], "{then}");
        assert!(is_alive(status.pid.unwrap().cast_signed()), "{then}: another worker ended with it");
    }
    assert_eq!(zygote(&client, &first).await.workers, 1);
}

#[tokio::test]
async fn a_zygote_that_died_is_done_without_and_its_workers_go_on() {
    let (host, client) = Host::start().await;
    let first = host.forked(SERVES);
    let status = forked(&client, &first).await;
    let old = zygote(&client, &first).await.pid;
    kill(Pid::from_raw(old.cast_signed()), Signal::SIGKILL).unwrap();
    let next = host.another(&first);
    ready(&client, &next).await;
    assert!(is_alive(status.pid.unwrap().cast_signed()));
    // Whoever had the order in hand as it died starts plainly; the one after that from a new one.
    let third = host.another(&first);
    ready(&client, &third).await;
    stop(&client, &first).await;
    stop(&client, &next).await;
    stop(&client, &third).await;
    wait("the dead one's cell to be gone", || async {
        client.zygotes().await.unwrap().iter().all(|one| one.pid != old).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_zygote_that_does_not_come_up_costs_a_plain_start() {
    let (host, client) = Host::start().await;
    for change in [
        |spec: &mut LaunchSpec| spec.zygote.as_mut().unwrap().argv = vec!["/nonexistent/python".to_owned()],
        |spec: &mut LaunchSpec| spec.zygote.as_mut().unwrap().argv[3] = "lectern_missing".to_owned(),
        // It does not speak.
        |spec: &mut LaunchSpec| {
            let zygote = spec.zygote.as_mut().unwrap();
            zygote.argv = vec!["/bin/sleep".to_owned(), "1000".to_owned()];
            zygote.init_timeout = std::time::Duration::from_millis(300);
        },
        // It speaks, and forks nothing.
        |spec: &mut LaunchSpec| {
            let code = "import os, time\nos.write(int(os.environ['LECTERN_ZYGOTE_FD']), b'H')\nos._exit(0)";
            spec.zygote.as_mut().unwrap().argv = vec!["/usr/bin/python3".to_owned(), "-c".to_owned(), code.to_owned()];
        },
        // It answers orders with what is no answer.
        |spec: &mut LaunchSpec| {
            let code = "import os, socket, array\ns = socket.socket(fileno=int(os.environ['LECTERN_ZYGOTE_FD']))\ns.send(b'H')\n\
                        data, fds, *_ = socket.recv_fds(s, 16, 5)\nos.write(fds[3], b'H' + bytes(4096))\nimport time\ntime.sleep(1000)";
            spec.zygote.as_mut().unwrap().argv = vec!["/usr/bin/python3".to_owned(), "-c".to_owned(), code.to_owned()];
        },
    ] {
        let mut spec = host.forked(SERVES);
        change(&mut spec);
        let status = ready(&client, &spec).await;
        assert_eq!(status.zygote, None);
        assert_eq!(status.socket, spec.socket);
        stop(&client, &spec).await;
    }
    wait("no cell to be left", || async { client.zygotes().await.unwrap().is_empty().then_some(()) }).await;
    wait_until("nothing to be left", || host.running().is_empty()).await;
    assert!(host.supervisor_log().contains("a worker starts without its zygote"));
}

#[tokio::test]
async fn nothing_is_left_of_zygotes_when_the_supervisor_ends_or_is_killed() {
    let (mut host, client) = Host::start().await;
    let spec = host.forked(SERVES);
    forked(&client, &spec).await;
    kill(Pid::from_raw(client.greeting().pid.cast_signed()), Signal::SIGKILL).unwrap();
    host.ended().await;
    assert_eq!(host.running(), [0; 0]);
    let (host, client) = Host::start().await;
    let spec = host.forked(SERVES);
    forked(&client, &spec).await;
    client.shutdown(LONG).await.unwrap();
    assert_eq!(host.running(), [0; 0]);
    assert_eq!(fs::read_dir(host.dir.path().join("run/w")).unwrap().count(), 0);
}

#[tokio::test]
async fn memory_is_held_to_each_workers_limit() {
    if !is_root() {
        eprintln!("skipped: only root makes control groups");
        return;
    }
    let (host, client) = Host::start().await;
    let mut first = host.forked(SERVES);
    first.walls.memory_bytes = Some(64 << 20);
    let status = forked(&client, &first).await;
    let greedy = host.another_with(&first, "s = listen()\nx = []\nwhile True: x.append(bytearray(1 << 20))");
    client.start(greedy.clone()).await.unwrap();
    let end = exited(&client, &greedy).await;
    assert!(end.message.contains("needed more than 64 MiB of memory and was ended"), "{}", end.message);
    assert!(is_alive(status.pid.unwrap().cast_signed()), "the other worker goes on");
    assert_eq!(zygote(&client, &first).await.workers, 1);
}

#[tokio::test]
async fn what_workers_left_in_shared_places_is_gone_with_the_last() {
    let (host, client) = Host::start().await;
    let code = "s = listen()\nplaces = ['/tmp', '/dev/shm', os.environ['HOME'], os.path.dirname(os.environ['HOME'])]\n\
                for p in places[:3]: print([n for n in os.listdir(p) if not n.startswith('lsv-')])\n\
                for p in places[:3]: os.makedirs(p + '/a/b'); open(p + '/a/b/c', 'w').close()\n\
                print('done', flush=True)\nserve(s)";
    let first = host.forked(code);
    forked(&client, &first).await;
    wait_until("it to leave something", || log_text(&first).contains(&"done".to_owned())).await;
    stop(&client, &first).await;
    let second = host.another(&first);
    forked(&client, &second).await;
    wait_until("the next to look", || log_text(&second).contains(&"done".to_owned())).await;
    assert_eq!(log_text(&second)[..3], ["[]", "[]", "[]"]);
}

#[tokio::test]
async fn programs_can_say_that_they_listen() {
    let (host, client) = Host::start().await;
    // As R does it, which writes to files only.
    let code = "s = listen()\nopen('/proc/self/fd/' + os.environ['LECTERN_READY_FD'], 'wb').write(b'R')\nprint('told', flush=True)\nserve(s)";
    for mut spec in [host.python(code), host.forked(code)] {
        spec.notifies = true;
        ready(&client, &spec).await;
        wait_until("it to have said so", || log_text(&spec) == ["told"]).await;
    }
    // One that closes it and says nothing is asked, and one that keeps it, too.
    for code in ["os.close(int(os.environ['LECTERN_READY_FD']))\nserve(listen())", "serve(listen())"] {
        let mut spec = host.python(code);
        spec.notifies = true;
        ready(&client, &spec).await;
    }
}
