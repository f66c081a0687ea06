//! The command line as its users meet it: the real binary, its texts and its exit status.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

/// Runs the binary in `dir` with nothing of the caller's environment but the path.
fn lectern(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lectern"))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_reports_every_mistake_at_once_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lectern.toml");
    std::fs::write(&file, "[server]\nlisten = \"nowhere\"\nlisten_adress = 1\n[log]\nformat = \"xml\"\n").unwrap();
    let variables = [("LECTERN_DATABASE__URL", "mysql://u:hunter2@db/x"), ("LECTERN_SERVER__THREADS", "none")];
    for verb in ["check", "serve"] {
        let output = lectern(dir.path(), &[verb, "--config", "lectern.toml"], &variables);
        let shown = text(&output.stderr);
        let status = if verb == "check" { 1 } else { 2 };
        assert_eq!(output.status.code(), Some(status), "{shown}");
        for expected in [
            "server.listen = \"nowhere\"",
            "server.listen_adress",
            "log.format = \"xml\"",
            "database.url = (hidden) (environment LECTERN_DATABASE__URL): must be a URL like postgres://",
            "server.threads = \"none\" (environment LECTERN_SERVER__THREADS): must be a whole number from 1 to 256",
        ] {
            assert!(shown.contains(expected), "{verb}: {expected}\n--\n{shown}");
        }
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(!dir.path().join("lectern-data").exists(), "nothing was started");
}

#[test]
fn check_prints_what_is_in_force_and_where_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("lectern.toml"), "[content]\nidle_timeout_seconds = 7\n").unwrap();
    let variables = [("LECTERN_DATABASE__URL", "postgres://u:hunter2@db/x")];
    let args = ["check", "--config", "lectern.toml", "--listen", "127.0.0.1:1", "--print", "--json"];
    let output = lectern(dir.path(), &args, &variables);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let key = |name: &str| answer["keys"].as_array().unwrap().iter().find(|key| key["key"] == name).unwrap().clone();
    assert_eq!(key("content.idle_timeout_seconds")["value"], "7");
    assert!(key("content.idle_timeout_seconds")["origin"].as_str().unwrap().ends_with("lectern.toml"));
    assert_eq!(key("server.listen")["origin"], "command line --listen");
    assert_eq!(key("log.format")["origin"], "default");
    assert_eq!(key("database.url")["value"], "(hidden)");
    assert!(!text(&output.stdout).contains("hunter2"));
}

#[test]
fn verbs_that_need_a_server_say_how_to_reach_one() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["user", "list"][..], &["key", "list", "--user", "ada"]] {
        let output = lectern(dir.path(), args, &[]);
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output.stderr);
        assert!(shown.contains("lectern-data/run/admin.sock") && shown.contains("--data-dir"), "{shown}");
    }
}

#[test]
fn wrong_use_ends_with_status_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["serve", "--port", "1"][..], &["frobnicate"], &["user", "add"], &[]] {
        assert_eq!(lectern(dir.path(), args, &[]).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn doctor_lists_what_this_host_has() {
    let dir = tempfile::tempdir().unwrap();
    // Other accounts must be able to pass, or that is what the doctor finds.
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let output = lectern(dir.path(), &["doctor", "--json", "--listen", "127.0.0.1:0"], &[]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = answer["findings"].as_array().unwrap();
    for what in
        ["account", "data directory", "address", "database", "Python", "R", "uv", "bubblewrap", "pandoc", "gate"]
    {
        let found = findings.iter().find(|finding| finding["what"] == what);
        let found = found.unwrap_or_else(|| panic!("{what} is missing: {answer:#}"));
        let remedied = found["grade"] == "ok" || found["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty());
        assert!(remedied, "what is lacking has a remedy: {found}");
    }
    let layers = answer["layers"].as_array().unwrap();
    for layer in ["own-account", "pid-namespace", "seccomp", "landlock", "memory-limit", "network"] {
        let found = layers.iter().find(|one| one["layer"] == layer).unwrap_or_else(|| panic!("no {layer}: {answer:#}"));
        let remedied = found["state"] == "have" || found["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty());
        assert!(remedied, "what is lacking has a remedy: {found}");
    }
    // What is required and missing is said, with what to do, and fails.
    let require = ("LECTERN_SANDBOX__REQUIRE", "cpu-limit");
    let output = lectern(dir.path(), &["doctor", "--listen", "127.0.0.1:0"], &[require]);
    let said = text(&output.stdout);
    assert!(said.contains("required: no content is started") && said.contains("set sandbox.cpu_millis"), "{said}");
    assert!(!output.status.success());
    assert!(!dir.path().join("lectern-data").exists(), "the doctor leaves nothing");
}

#[test]
fn a_data_directory_below_a_private_home_is_refused_before_anything_starts() {
    use std::os::unix::fs::PermissionsExt as _;
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root runs content as other accounts");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let output = lectern(home.path(), &["serve", "--data-dir", "data", "--listen", "127.0.0.1:0"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stderr);
    let blocking = home.path().file_name().unwrap().to_str().unwrap();
    assert!(shown.contains(blocking) && shown.contains("chmod o+x") && shown.contains("--data-dir"), "{shown}");
    assert_eq!(text(&output.stdout), "", "nothing was bound");
    assert!(!home.path().join("data/postgres").exists(), "nothing was started");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_lectern"))
        .args(["check", "--print"])
        .current_dir(dir.path())
        .env_clear()
        .stdout(writer)
        .output()
        .unwrap();
    // As a shell shows a program that SIGPIPE ended.
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(141), ""));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lectern"))
        .args(["check"])
        .current_dir(dir.path())
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("write to standard output: No space left"), "{}", text(&output.stderr));
}
