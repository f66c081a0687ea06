//! What becomes of workers' output.

use std::fs;
use std::time::{Duration, Instant};

use lectern_domain::worker::{Ending, ExitStatus};
use lectern_supervisor::Source;

use crate::support::*;

#[tokio::test]
async fn both_streams_are_kept_line_by_line() {
    let (host, client) = Host::start().await;
    let code =
        "print('out', flush=True)\nprint('err', file=sys.stderr)\nsys.stdout.write('no end')\nsys.stdout.flush()";
    let spec = host.python(code);
    client.start(spec.clone()).await.unwrap();
    let end = exited(&client, &spec).await;
    assert_eq!((end.ending, end.status), (Ending::FailedToStart, Some(ExitStatus::Code(0))));
    let mut lines: Vec<_> = log(&spec).into_iter().map(|line| (line.source, line.data)).collect();
    lines.sort_by(|a, b| a.1.cmp(&b.1));
    let want = [(Source::Stderr, "err"), (Source::Stdout, "no end"), (Source::Stdout, "out")];
    assert_eq!(lines, want.map(|(source, text)| (source, text.to_owned())));
}

#[tokio::test]
async fn the_log_is_readable_while_the_worker_runs() {
    let (host, client) = Host::start().await;
    let spec = host.python(&format!("print('one')\n{SERVES}"));
    ready(&client, &spec).await;
    wait_until("the line in the log", || log_text(&spec) == ["one"]).await;
}

#[tokio::test]
async fn a_closed_stdout_changes_nothing() {
    let (host, client) = Host::start().await;
    let code =
        "print('before')\nsys.stdout.close()\nos.close(1)\ns = listen()\nprint('after', file=sys.stderr)\nserve(s)";
    let spec = host.python(code);
    ready(&client, &spec).await;
    // Two pipes have no order between them.
    let both = || {
        let mut lines = log_text(&spec);
        lines.sort();
        lines == ["after", "before"]
    };
    wait_until("both lines", both).await;
    let closes_all = host.python(&format!("os.close(1)\nos.close(2)\n{SERVES}"));
    ready(&client, &closes_all).await;
    client.stop(&closes_all.job, None).await.unwrap();
    assert_eq!(exited(&client, &closes_all).await.ending, Ending::Stopped);
}

#[tokio::test]
async fn bytes_that_are_not_text_are_replaced() {
    let (host, client) = Host::start().await;
    let spec = host.python("os.write(1, bytes(range(256)) + b'\\n' + b'x' * 200000 + b'\\n')\ns = listen()\nserve(s)");
    ready(&client, &spec).await;
    wait_until("the lines", || log(&spec).len() >= 5).await;
    let lines = log_text(&spec);
    // Byte 10 ends a line, the rest is one; then 200,000 bytes in pieces of 64 KiB.
    assert_eq!(lines[0].chars().count(), 10);
    assert!(lines[1].starts_with('\u{b}') && lines[1].ends_with('\u{fffd}'));
    assert_eq!(lines[2..].iter().map(String::len).collect::<Vec<_>>(), [65536, 65536, 65536, 3392]);
    let spec = host.python("os.write(2, bytes([0, 255, 254, 195]) * 1000 + b'\\nthe end\\n')\nserve(listen())");
    ready(&client, &spec).await;
    wait_until("the line after it", || log_text(&spec).last().is_some_and(|line| line == "the end")).await;
    assert!(log(&spec).iter().all(|line| line.source == Source::Stderr));
}

#[tokio::test]
async fn a_flood_is_bounded_and_hinders_nobody() {
    let (host, client) = Host::start().await;
    // As much as the promise says takes a minute without optimisation.
    let mib: u32 = std::env::var("LECTERN_TEST_FLOOD_MIB").map_or(100, |text| text.parse().unwrap());
    let mut flood = host.python(&format!(
        "line = b'a line that says little but says it very often, and then again, until the disk is full\\n'\n\
         block = line * 700\nleft = {mib} * 1024 * 1024\nwhile left > 0:\n    left -= os.write(1, block)\n\
         print()\nprint('the last line')"
    ));
    // It never listens, and ends when it has said all.
    flood.init_timeout = 10 * LONG;
    client.start(flood.clone()).await.unwrap();
    let mut slowest = Duration::ZERO;
    let mut others = 0;
    while matches!(client.status(&flood.job).await.unwrap().state, lectern_supervisor::WorkerState::Starting) {
        let asked = Instant::now();
        client.ping().await.unwrap();
        slowest = slowest.max(asked.elapsed());
        if others < 2 {
            others += 1;
            let other = host.python(SERVES);
            ready(&client, &other).await;
            client.stop(&other.job, None).await.unwrap();
        }
        let size = fs::metadata(&flood.log).map(|meta| meta.len()).unwrap_or(0);
        assert!(size <= flood.log_limit_bytes, "{size}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let end = exited(&client, &flood).await;
    assert_eq!(end.status, Some(ExitStatus::Code(0)));
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let lines = log_text(&flood);
    assert_eq!(lines.last().map(String::as_str), Some("the last line"));
    assert!(lines[0].starts_with("a line that says little"));
    assert_eq!(lines.iter().filter(|line| line.contains("dropped here")).count(), 1);
    assert!(fs::metadata(&flood.log).unwrap().len() <= flood.log_limit_bytes);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_not_the_workers_fault() {
    let (host, client) = Host::start().await;
    let mut spec = host.python(&format!("print('x' * 5000)\n{SERVES}"));
    spec.log = "/dev/full".into();
    ready(&client, &spec).await;
    client.stop(&spec.job, None).await.unwrap();
    assert_eq!(exited(&client, &spec).await.ending, Ending::Stopped);

    let mut spec = host.python(SERVES);
    fs::write(host.dir.path().join("file"), b"").unwrap();
    spec.log = host.dir.path().join("file/a.log");
    client.start(spec.clone()).await.unwrap();
    let end = exited(&client, &spec).await;
    assert_eq!(end.ending, Ending::NotStarted);
    assert!(end.message.contains("open log"), "{}", end.message);
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hang_the_worker() {
    let (host, client) = Host::start().await;
    let mut spec = host.python(&format!("os.write(1, b'x' * 2000000)\n{SERVES}"));
    // A pipe that nobody reads takes 64 KiB, then writing to it blocks for ever.
    spec.log = host.dir.path().join("pipe");
    nix::unistd::mkfifo(&spec.log, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    ready(&client, &spec).await;
    client.stop(&spec.job, None).await.unwrap();
    assert_eq!(exited(&client, &spec).await.ending, Ending::Stopped);
    let other = host.python(SERVES);
    ready(&client, &other).await;
}
