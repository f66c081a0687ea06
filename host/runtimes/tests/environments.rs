//! Environments when things go wrong: requirements without a solution, builds cut short, two at a time, no uv.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lectern_runtimes::Runtimes;
use lectern_runtimes::python::RestoreError;
use lectern_runtimes::{PrepareError, RunError};
use support::{as_root, bundle, directory, host, prepare, python, settings};
use tokio_util::sync::CancellationToken;

fn entries(runtimes: &Runtimes) -> Vec<String> {
    let id = lectern_domain::launch::EnvironmentId("x".into());
    let directory = runtimes.environments().path(&id).parent().unwrap().to_owned();
    let names = directory.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !matches!(name.as_str(), ".uv-cache" | ".locks")).collect()
}

#[tokio::test]
async fn the_resolver_says_why_there_is_no_solution() {
    let data = directory();
    let runtimes = Runtimes::open(settings(data.path())).await.unwrap();
    let bundle = bundle(
        &python("python-fastapi", "app"),
        &[("app.py", ""), ("requirements.txt", "uvicorn==0.20.0\nh11==0.16.0\nclick<7\n")],
    );
    let (outcome, output) = prepare(&runtimes, &bundle).await;
    let error = outcome.unwrap_err();
    let PrepareError::Restore(RestoreError::Refused { step: "installing packages", words, .. }) = &error else {
        panic!("{error:?}")
    };
    assert!(words.contains("your requirements are unsatisfiable") && words.contains("click"), "{words}");
    assert!(output.contains("your requirements are unsatisfiable") && error.to_string().contains(words), "{output}");
    assert_eq!(entries(&runtimes), Vec::<String>::new(), "nothing is left");
}

#[tokio::test]
async fn two_at_once_build_once() {
    let host = host().await;
    let bundle = bundle(&python("python-api", "app"), &[("app.py", ""), ("requirements.txt", "six==1.17.0 # once\n")]);
    let (one, two) = tokio::join!(prepare(&host.runtimes, &bundle), prepare(&host.runtimes, &bundle));
    assert_eq!(one.0.unwrap().environment, two.0.unwrap().environment);
    let output = one.1 + &two.1;
    assert_eq!(output.matches("+ six==1.17.0").count(), 1, "{output}");
    assert_eq!(output.matches("has been built meanwhile").count(), 1, "{output}");
}

#[tokio::test]
async fn a_cancelled_build_leaves_nothing_and_a_removed_environment_comes_back() {
    let data = directory();
    let runtimes = Runtimes::open(settings(data.path())).await.unwrap();
    let bundle = bundle(&python("python-api", "app"), &[("app.py", ""), ("requirements.txt", "six==1.17.0\n")]);
    let cancel = CancellationToken::new();
    let mut stop_early = |line: &str| {
        if line.starts_with("Python packages of") {
            cancel.cancel();
        }
    };
    let request = lectern_runtimes::PrepareRequest {
        tree: bundle.tree.path(),
        manifest: &bundle.manifest,
        restore_python: true,
        restore_r: true,
    };
    let outcome = runtimes.prepare(request, &mut stop_early, &cancel).await;
    let cancelled =
        matches!(&outcome, Err(PrepareError::Restore(RestoreError::Unfinished { cause: RunError::Cancelled, .. })));
    assert!(cancelled, "{outcome:?}");
    assert_eq!(entries(&runtimes), Vec::<String>::new());

    let environment = prepare(&runtimes, &bundle).await.0.unwrap().environment.unwrap();
    assert!(runtimes.environments().remove(&environment).unwrap());
    assert!(!runtimes.environments().remove(&environment).unwrap());
    assert_eq!(entries(&runtimes), Vec::<String>::new());
    assert_eq!(prepare(&runtimes, &bundle).await.0.unwrap().environment, Some(environment));
}

/// The test below runs this binary again with only this test, and kills it in the middle of a build.
#[tokio::test]
async fn the_victim() {
    let Some(data) = std::env::var_os("LECTERN_TEST_VICTIM") else { return };
    let runtimes = Runtimes::open(settings(data.as_ref())).await.unwrap();
    // A package that is built from source, which takes as long as its author wants.
    let setup = "import os, time\nopen(os.environ['TMPDIR'] + '/building', 'w').close()\ntime.sleep(600)\n";
    let files = [("app.py", ""), ("requirements.txt", "./slow\n"), ("slow/setup.py", setup)];
    let bundle = bundle(&python("python-api", "app"), &files);
    let (outcome, output) = prepare(&runtimes, &bundle).await;
    panic!("the build was not interrupted: {outcome:?}\n{output}");
}

#[tokio::test]
async fn a_server_killed_during_a_build_leaves_no_environment_and_no_process() {
    let data = directory();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_victim", "--nocapture"])
        .env("LECTERN_TEST_VICTIM", data.path())
        // What it cannot remove any more goes with our own directory.
        .env("TMPDIR", data.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let environments = data.path().join("environments");
    let building = || {
        let entries = environments.read_dir().ok()?.filter_map(Result::ok);
        entries.map(|entry| entry.path()).find(|path| path.join("tmp/building").exists())
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    while building().is_none() {
        if let Some(status) = victim.try_wait().unwrap() {
            let said = std::io::read_to_string(victim.stderr.take().unwrap()).unwrap_or_default();
            panic!("the victim ended with {status}:\n{said}");
        }
        assert!(Instant::now() < deadline, "no build began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let uv = format!("{}", building().unwrap().display());
    let running = || {
        let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok()).any(|line| {
            // The program may be a copy, named by its hash: uv-0123….
            let line = String::from_utf8_lossy(&line);
            let program = line.split('\0').next().and_then(|program| program.rsplit('/').next());
            program.is_some_and(|name| name == "uv" || name.starts_with("uv-")) && line.contains(&uv)
        })
    };
    assert!(running());
    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while running() {
        assert!(Instant::now() < deadline, "uv outlived the server");
        std::thread::sleep(Duration::from_millis(20));
    }

    let runtimes = Runtimes::open(settings(data.path())).await.unwrap();
    assert_eq!(entries(&runtimes), Vec::<String>::new(), "the next start removes what was left");
    assert!(runtimes.environments().list().unwrap().is_empty());
}

#[tokio::test]
async fn source_packages_are_never_built_as_root() {
    let host = host().await;
    let setup = "import os\nfrom setuptools import setup\n\
        setup(name='who', version=f'1.{os.getuid()}', py_modules=['who'])\n";
    let files = [("app.py", ""), ("requirements.txt", "-e ./who\n"), ("who/setup.py", setup), ("who/who.py", "")];
    let bundle = bundle(&python("python-api", "app"), &files);
    // As bundles are unpacked: building must not need to write here, nor an editable package refer to a copy that is gone.
    for path in ["who/setup.py", "who/who.py", "who", ""] {
        let path = bundle.tree.path().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(if path.is_dir() { 0o555 } else { 0o444 })).unwrap();
    }
    let (outcome, output) = prepare(&host.runtimes, &bundle).await;
    let environment = outcome.unwrap_or_else(|error| panic!("{error}\n{output}")).environment.unwrap();
    let version = host.runtimes.environments().path(&environment).join("lib").read_dir().unwrap().next().unwrap();
    assert!(version.unwrap().path().join("site-packages/who.py").is_file(), "{output}");
    let packages = host.runtimes.environments().freeze(&environment).unwrap();
    let who = packages.iter().find(|package| package.name == "who").unwrap();
    assert_eq!(
        who.version,
        format!("1.{}", if as_root() { support::BUILDER.uid } else { nix::unistd::getuid().as_raw() })
    );
}

#[tokio::test]
async fn a_lock_file_and_switched_off_management() {
    let host = host().await;
    let project = "[project]\nname = \"x\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [\"six\"]\n";
    // Made by uv itself, as a publisher does; an older six than the newest, so that the lock is seen to decide.
    let home = directory();
    fs::write(home.path().join("pyproject.toml"), project.replace("\"six\"", "\"six<1.17\"")).unwrap();
    let lock = Command::new(support::uv())
        .args(["lock", "--quiet", "--system-certs", "--python", "/usr/bin/python3", "--project"])
        .arg(home.path())
        .output()
        .unwrap();
    assert!(lock.status.success(), "{}", String::from_utf8_lossy(&lock.stderr));
    let lock = fs::read_to_string(home.path().join("uv.lock")).unwrap();
    let project = &fs::read_to_string(home.path().join("pyproject.toml")).unwrap();
    let manifest = python("python-api", "app").replace("requirements.txt", "uv.lock");
    let locked = bundle(&manifest, &[("app.py", ""), ("pyproject.toml", project), ("uv.lock", &lock)]);
    let (outcome, output) = prepare(&host.runtimes, &locked).await;
    outcome.unwrap_or_else(|error| panic!("{error}\n{output}"));
    assert!(output.contains("+ six==1.16.0"), "the locked version: {output}");

    let off = python("python-api", "app").replace("\"pip\"", "\"none\"");
    let off = bundle(&off, &[("app.py", ""), ("requirements.txt", "no-such-package-at-all")]);
    let (outcome, output) = prepare(&host.runtimes, &off).await;
    assert!(outcome.is_ok() && output.contains("not restored, as the publisher asked"), "{output}");
}

#[tokio::test]
async fn without_uv_the_remedy_is_named() {
    let data = directory();
    let mut settings = settings(data.path());
    settings.uv = Some(data.path().join("absent/uv"));
    let runtimes = Runtimes::open(settings).await.unwrap();
    assert!(runtimes.environments().uv().is_err());
    let bundle = bundle(&python("python-api", "app"), &[("app.py", ""), ("requirements.txt", "six")]);
    let error = prepare(&runtimes, &bundle).await.0.unwrap_err().to_string();
    assert!(error.contains("absent/uv") && error.contains("pip install uv") && error.contains("python.uv"), "{error}");
}
