//! Pre-forked interpreters and their workers when another program takes the supervisor's place.

use std::fs;

use lectern_domain::worker::{Ending, ExitStatus};
use lectern_supervisor::Client;
use lectern_supervisor::protocol::ErrorCode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::*;
use crate::upgrade::{CHECKS_WELL, code, next, script};
use crate::zygotes::{forked, name, parent, stop, zygote};

#[tokio::test]
async fn zygotes_and_their_workers_go_on() {
    let (mut host, client) = Host::start().await;
    let spec =
        host.forked("s = listen()\nsignal.signal(signal.SIGHUP, lambda *_: print('hung up', flush=True))\nserve(s)");
    let slow = host.another_with(&spec, "while not os.path.exists('go'): time.sleep(0.01)\nserve(listen())");
    let before = forked(&client, &spec).await;
    client.start(slow.clone()).await.unwrap();
    wait("it to come from its zygote", || async { client.status(&slow.job).await.unwrap().zygote }).await;
    let interpreter = zygote(&client, &spec).await;

    Client::upgrade(&host.socket, &next(&host, "2")).await.unwrap();
    Client::upgrade(&host.socket, &next(&host, "3")).await.unwrap();
    assert_eq!(client.status(&spec.job).await.unwrap(), before);
    let after = zygote(&client, &spec).await;
    assert_eq!((after.pid, after.workers, after.forks), (interpreter.pid, 2, 2));

    // One that was starting becomes ready, and the same interpreter forks the next.
    fs::write(slow.directory.join("go"), b"").unwrap();
    let slow_status = forked(&client, &slow).await;
    let new = host.another(&spec);
    let new_status = forked(&client, &new).await;
    for pid in [slow_status.pid, new_status.pid] {
        assert_eq!(parent(pid.unwrap()), interpreter.pid);
    }
    // Output, asked ends and ends of their own are heard as before; the others go on.
    let app = processes(|pid| parent(pid.unsigned_abs()) == before.pid.unwrap());
    app.iter().for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGHUP).unwrap());
    wait_until("it to say so", || log_text(&spec) == ["hung up"]).await;
    stop(&client, &spec).await;
    let dies = host.another_with(&spec, "s = listen()\nos._exit(7)");
    client.start(dies.clone()).await.unwrap();
    assert_eq!(exited(&client, &dies).await.status, Some(ExitStatus::Code(7)));
    stop(&client, &slow).await;
    assert_eq!(client.end_zygote(&name(&spec)).await.unwrap(), 1);
    assert_eq!(client.status(&new.job).await.unwrap(), new_status, "it forks no more, and keeps whom it has forked");
    Client::upgrade(&host.socket, &next(&host, "4")).await.unwrap();
    assert!(zygote(&client, &spec).await.retiring);
    stop(&client, &new).await;
    wait("its cell to end", || async { client.zygotes().await.unwrap().is_empty().then_some(()) }).await;
    wait_until("all to be gone", || host.running().is_empty()).await;

    // Whoever dies now: as before.
    let last = host.another(&spec);
    forked(&client, &last).await;
    Client::upgrade(&host.socket, &next(&host, "5")).await.unwrap();
    kill(Pid::from_raw(client.greeting().pid.cast_signed()), Signal::SIGKILL).unwrap();
    assert!(!host.ended().await.success());
    assert_eq!(host.running(), [0; 0]);
}

#[tokio::test]
async fn what_ends_while_nobody_looks_is_reported() {
    let (host, client) = Host::start().await;
    let spec = host.forked("s = listen()\nsignal.signal(signal.SIGHUP, lambda *_: os._exit(9))\nserve(s)");
    let worker = forked(&client, &spec).await;
    let other = host.forked("serve(listen())");
    forked(&client, &other).await;
    let cell = zygote(&client, &other).await.pid;
    let app = processes(|pid| parent(pid.unsigned_abs()) == worker.pid.unwrap());
    assert_eq!(app.len(), 1);
    // Between the two programs: one worker ends with words of its own, and another one's zygote is killed.
    let wrapper = script(
        &host,
        &format!(
            "{CHECKS_WELL}os.kill({}, signal.SIGHUP)\nos.kill({cell}, signal.SIGKILL)\n\
             def ended(pid):\n    try: return open(f'/proc/{{pid}}/stat').read().rsplit(') ')[-1][0] in 'ZX'\n    \
             except OSError: return True\n\
             while not all(map(ended, [{}, {cell}])): time.sleep(0.01)\nos.execv(REAL, [REAL] + sys.argv[1:])",
            app[0],
            worker.pid.unwrap(),
        ),
    );
    Client::upgrade(&host.socket, &wrapper).await.unwrap();
    let end = exited(&client, &spec).await;
    assert_eq!((end.ending, end.status), (Ending::Crashed, Some(ExitStatus::Code(9))));
    // The next worker of that content comes from another zygote; nothing of the old one stays.
    client.stop(&other.job, None).await.unwrap();
    exited(&client, &other).await;
    let next = host.another(&other);
    forked(&client, &next).await;
    assert_ne!(zygote(&client, &next).await.pid, cell);
    client.shutdown(LONG).await.unwrap();
    wait_until("all to be gone", || host.running().is_empty()).await;
}

#[tokio::test]
async fn many_at_once_and_all_the_time() {
    let (host, client) = Host::start().await;
    let programs = [next(&host, "a"), next(&host, "b")];
    let stays = host.forked(SERVES);
    let before = forked(&client, &stays).await;
    let churn = {
        let (client, specs) = (client.clone(), (0..8).map(|_| host.another(&stays)).collect::<Vec<_>>());
        tokio::spawn(async move {
            for spec in &specs {
                forked(&client, spec).await;
                stop(&client, spec).await;
            }
        })
    };
    let mut done = 0;
    while !churn.is_finished() || done == 0 {
        match Client::upgrade(&host.socket, &programs[done % 2]).await {
            Ok(_) => done += 1,
            Err(error) => assert_eq!(code(&error), ErrorCode::Busy, "{error}"),
        }
    }
    churn.await.unwrap();
    println!("{done} programs one after another");
    assert_eq!(client.status(&stays.job).await.unwrap(), before);
    assert_eq!(zygote(&client, &stays).await.forks, 9);
    let fds = || fs::read_dir(format!("/proc/{}/fd", client.greeting().pid)).unwrap().count();
    let now = fds();
    for n in 0..3 {
        Client::upgrade(&host.socket, &programs[n % 2]).await.unwrap();
    }
    wait_until("as many descriptors as before", || fds() <= now).await;
    client.shutdown(LONG).await.unwrap();
}
