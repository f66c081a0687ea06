//! The commands of `rsconnect` that no other test runs, one after another as their users do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;
use std::sync::LazyLock;

use http::Method;
use lectern_tests::client::{Run, directory, example, guid_in, rsconnect, rsconnect_raw};
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use serde_json::{Value, json};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "administrator"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// Runs a command with the account's key.
fn run(verb: &str, words: &[&str]) -> Run {
    let run = rsconnect(&SERVER, &ADA, verb, words);
    println!("$ rsconnect {verb} {}\n{}", words.join(" "), run.printed);
    run
}

/// The JSON that a command prints to its standard output.
#[track_caller]
fn json_of(run: Run) -> Value {
    let run = run.expect_success();
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.printed))
}

/// What shows which version of it answers, and a variable.
const APP: &str = "import os
from flask import Flask
app = Flask(__name__)

@app.get('/')
def root():
    return 'version 1, ' + os.environ.get('COLOUR', 'no colour')
";

/// A directory with a Flask application; all share one environment.
fn flask(name: &str) -> String {
    directory(&SERVER, name, &[("app.py", APP), ("requirements.txt", "flask>=3,<4\n")])
}

/// Makes the application in `path` another version.
fn version(path: &str, source: &str) {
    std::fs::write(format!("{path}/app.py"), source).unwrap();
}

/// What a content item answers.
fn shown(guid: &str) -> String {
    ada().open(guid, "").expect(200).text()
}

#[test]
fn a_server_is_kept_by_a_name() {
    let url = SERVER.url();
    let raw = |words: &[&str]| {
        let run = rsconnect_raw(&SERVER, words, &[]);
        println!("$ rsconnect {}\n{}", words.join(" "), run.printed);
        run
    };
    let wrong = raw(&["add", "--name", "lectern", "--server", &url, "--api-key", "wrong"]).expect_failure();
    assert!(wrong.printed.contains("the credential presented is not valid"), "{}", wrong.printed);
    let added = raw(&["add", "--name", "lectern", "--server", &url, "--api-key", &ADA.key]).expect_success();
    assert!(added.printed.contains("Added Connect server \"lectern\""), "{}", added.printed);
    assert!(raw(&["list"]).expect_success().printed.contains(&url));
    let details = raw(&["details", "--name", "lectern"]).expect_success().printed;
    for told in ["Posit Connect version: 2026.01.0", "Installed versions of Python:", "APIs: allowed"] {
        assert!(details.contains(told), "{details}");
    }
    let path = directory(&SERVER, "named", &[("index.html", "<!doctype html><title>By name</title>")]);
    let deployed = raw(&["deploy", "html", "--name", "lectern", "--new", "--title", "By name", &path]).expect_success();
    assert!(shown(&guid_in(&deployed.printed)).contains("By name"));
    let info = raw(&["info", &path]).expect_success().printed;
    assert!(info.contains(&guid_in(&deployed.printed)) && info.contains("Static"), "{info}");
    raw(&["remove", "--name", "lectern"]).expect_success();
    assert!(!raw(&["list"]).expect_success().printed.contains(&url));
}

#[test]
fn an_application_with_all_that_deploy_takes() {
    let path = flask("colours");
    for words in [
        &["init", "--quiet", "--initial-branch", "trunk"][..],
        &["remote", "add", "origin", "https://git.example.org/team/colours.git"],
        &["add", "--all"],
        &["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "--quiet", "--message", "Begin"],
    ] {
        assert!(Command::new("git").args(words).current_dir(&path).status().unwrap().success(), "git {words:?}");
    }
    let new = ["--new", "--title", "Colours of Ada", "-E", "COLOUR=red", &path];
    let guid = guid_in(&run("deploy flask", &new).expect_success().printed);
    assert_eq!(shown(&guid), "version 1, red");
    let made = ada().content(&guid);
    assert_eq!((&made["title"], &made["name"]), (&json!("Colours of Ada"), &json!("colours_of_ada")));
    let bundles = || ada().api(Method::GET, &format!("/v1/content/{guid}/bundles")).send().expect(200).json();
    let told = bundles()[0]["metadata"].clone();
    assert_eq!(
        (&told["source"], &told["source_repo"], &told["source_branch"]),
        (&json!("git"), &json!("https://git.example.org/team/colours.git"), &json!("trunk"))
    );
    assert_eq!(text(&told["source_commit"]).len(), 40);

    version(&path, &APP.replace("version 1", "version 2"));
    let draft = run("deploy flask", &["--draft", "--metadata", "team=blue", &path]).expect_success();
    let id = bundles()[0]["id"].clone();
    assert!(draft.printed.contains(&format!("/connect/#/apps/{guid}/draft/{}", text(&id))), "{}", draft.printed);
    assert_eq!(bundles()[0]["metadata"]["team"], "blue");
    assert_eq!(shown(&guid), "version 1, red");
    assert_eq!(ada().open(&guid, &format!("_bundle{}/", text(&id))).expect(200).text(), "version 2, red");

    // By its number, as records of old clients have it, and by its GUID.
    let number = text(&made["id"]);
    run("deploy api", &["--app-id", &number, "--title", "Colours", &path]).expect_success();
    assert_eq!(shown(&guid), "version 2, red");
    assert_eq!(ada().content(&guid)["title"], "Colours");
    version(&path, &APP.replace("version 1", "version 3"));
    run("deploy api", &["--app-id", &guid, "--no-verify", "-E", "COLOUR=blue", &path]).expect_success();
    assert_eq!(shown(&guid), "version 3, blue");

    // The same name again is another item's.
    let again = guid_in(&run("deploy flask", &new).expect_success().printed);
    assert_eq!(ada().content(&again)["name"], "colours_of_ada1");

    // A first version that does not start is published all the same where nobody verifies it.
    let broken =
        directory(&SERVER, "broken", &[("app.py", "raise OSError('no disk')"), ("requirements.txt", "flask>=3,<4\n")]);
    let words = ["--new", "--title", "Broken", &broken];
    let refused = run("deploy flask", &words).expect_failure();
    assert!(refused.printed.contains("OSError: no disk"), "{}", refused.printed);
    let published = run("deploy flask", &[&["--no-verify"], &words[..]].concat()).expect_success();
    assert!(ada().open(&guid_in(&published.printed), "").status >= 500);
}

#[test]
fn one_source_as_manifest_bundle_and_project() {
    let path = flask("forms");
    // The client lists its packages in the manifest.
    let lock = json!({"R": {"Version": "4.2.2", "Repositories": [{"Name": "CRAN", "URL": "https://cran.example.org"}]},
        "Packages": {"R6": {"Package": "R6", "Version": "2.5.1", "Source": "Repository", "Repository": "CRAN"}}});
    std::fs::write(format!("{path}/renv.lock"), lock.to_string()).unwrap();
    run_offline(&["write-manifest", "flask", &path]);
    let manifest = format!("{path}/manifest.json");
    let deployed = run("deploy manifest", &["--new", "--title", "By manifest", &manifest]).expect_success().printed;
    assert!(
        deployed.contains("The manifest lists R packages too (1); Python applications run without R"),
        "{deployed}"
    );
    let guid = guid_in(&deployed);
    assert_eq!(shown(&guid), "version 1, no colour");

    let kept = SERVER.scratch().join("kept.tar.gz");
    let kept = kept.to_str().unwrap();
    run("content download-bundle", &["--guid", &guid, "--output", kept]).expect_success();
    let copy = guid_in(&run("deploy bundle", &["--new", "--title", "By bundle", kept]).expect_success().printed);
    assert_eq!(shown(&copy), "version 1, no colour");
    let again = SERVER.scratch().join("again.tar.gz");
    run("content download-bundle", &["--guid", &copy, "--output", again.to_str().unwrap()]).expect_success();
    assert_eq!(std::fs::read(kept).unwrap(), std::fs::read(again).unwrap());

    let project = "[project]\nname = \"forms\"\nversion = \"1\"\nrequires-python = \">=3.8\"\ndependencies = [\"flask>=3,<4\"]\n\n\
                   [tool.rsconnect]\napp_mode = \"python-api\"\nentrypoint = \"app.py\"\ntitle = \"By project\"\n";
    let project = directory(&SERVER, "project", &[("app.py", APP), ("pyproject.toml", project)]);
    let deployed = run("deploy pyproject", &["--new", &project]).expect_success();
    assert_eq!(shown(&guid_in(&deployed.printed)), "version 1, no colour");
}

/// Runs a command that asks no server.
#[track_caller]
fn run_offline(words: &[&str]) {
    let run = rsconnect_raw(&SERVER, words, &[]);
    println!("$ rsconnect {}\n{}", words.join(" "), run.printed);
    run.expect_success();
}

/// A notebook that prints a product.
fn notebook() -> String {
    let cell = json!({"cell_type": "code", "execution_count": null, "metadata": {}, "outputs": [], "source": ["print(6 * 7)"]});
    let kernel = json!({"name": "python3", "display_name": "Python 3", "language": "python"});
    json!({"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}).to_string()
}

#[test]
fn what_is_not_rendered_says_how_to_publish_it() {
    let files = [("report.ipynb", &*notebook()), ("requirements.txt", "ipykernel\n")];
    let path = directory(&SERVER, "notebook", &files);
    let report = format!("{path}/report.ipynb");
    let refused = run("deploy notebook", &["--new", "--title", "Notebook", &report]).expect_failure().printed;
    for way in [
        "this server does not render notebooks",
        "`rsconnect deploy notebook --static FILE.ipynb`",
        "rsconnect deploy voila",
    ] {
        assert!(refused.contains(way), "{refused}");
    }
    let model = directory(&SERVER, "model", &[("1/saved_model.pb", "\u{8}\u{1}")]);
    let refused = run("deploy tensorflow", &["--new", "--title", "Model", &model]).expect_failure().printed;
    assert!(refused.contains("publish an API that loads the model instead"), "{refused}");
    for (mode, file, way) in [
        ("quarto-static", "report.qmd", "with `quarto publish connect`"),
        ("rmd-static", "report.Rmd", "with rmarkdown::render()"),
    ] {
        let manifest = json!({"version": 1, "metadata": {"appmode": mode, "primary_rmd": file}, "files": {file: {"checksum": ""}}});
        let files = [(file, "# A report\n"), ("manifest.json", &*manifest.to_string())];
        let manifest = format!("{}/manifest.json", directory(&SERVER, mode, &files));
        let refused = run("deploy manifest", &["--new", "--title", mode, &manifest]).expect_failure().printed;
        assert!(refused.contains(way), "{refused}");
    }
    // Nothing of this is content that somebody can open.
    let listed = json_of(run("content search", &["--published", "--title-contains", "report"]));
    assert_eq!(listed, json!([]));

    // The first way that the message names. The client runs nbconvert of the interpreter that it is given, and
    // itself in it.
    let renderer = SERVER.scratch().join("renderer");
    let uv = |words: &[&str]| {
        let uv = std::env::var_os("LECTERN_UV").unwrap_or_else(|| lectern_tests::server::TOOLS.join("uv").into());
        let status = Command::new(uv).args(words).status().unwrap();
        assert!(status.success(), "uv {words:?}");
    };
    let python = renderer.join("bin/python");
    let python = python.to_str().unwrap();
    uv(&["venv", "--quiet", "--python", "/usr/bin/python3", renderer.to_str().unwrap()]);
    uv(&["pip", "install", "--quiet", "--python", python, "nbconvert", "ipykernel", "rsconnect-python==1.32.0"]);
    let words = ["--new", "--static", "--python", python, "--title", "Rendered", &report];
    let rendered = run("deploy notebook", &words).expect_success();
    assert!(shown(&guid_in(&rendered.printed)).contains("42"));
}

#[test]
fn content_is_found_built_and_replicated() {
    let path = flask("tended");
    let guid = guid_in(&run("deploy flask", &["--new", "--title", "Tended", &path]).expect_success().printed);
    let found = |words: &[&str]| json_of(run("content search", words));
    let words = ["--published", "--content-type", "python-api", "--py-version", ">=3.8.0", "--title-contains", "Tend"];
    assert_eq!(found(&words)[0]["guid"], *guid);
    assert_eq!(found(&["--title-contains", "Tend", "--unpublished"]), json!([]));
    let described = json_of(run("content describe", &["--guid", &guid]));
    assert_eq!((&described[0]["guid"], &described[0]["app_mode"]), (&json!(guid), &json!("python-api")));

    run("content build add", &["--guid", &guid]).expect_success();
    let state = || json_of(run("content build ls", &[]))[0]["rsconnect_build_status"].clone();
    assert_eq!(state(), "NEEDS_BUILD");
    let built = run("content build run", &["--poll-wait", "1"]).expect_success();
    assert!(built.printed.contains("1/1 content builds completed"), "{}", built.printed);
    assert_eq!(state(), "COMPLETE");
    let history = json_of(run("content build history", &["--guid", &guid]));
    assert!(history[0]["task_id"].is_string(), "{history}");
    let log = run("content build logs", &["--guid", &guid]).expect_success().printed;
    assert!(log.contains("Building the environment of bundle") && log.contains("The environment is built."), "{log}");
    run("content build rm", &["--guid", &guid, "--purge"]).expect_success();
    assert_eq!(json_of(run("content build ls", &[])), json!([]));
    assert_eq!(shown(&guid), "version 1, no colour", "a build changes nothing");

    let lock = SERVER.scratch().join("lock.txt");
    run("content get-lockfile", &["--guid", &guid, "--output", lock.to_str().unwrap()]).expect_success();
    let lock = std::fs::read_to_string(lock).unwrap();
    assert!(lock.to_lowercase().contains("flask=="), "{lock}");
    let venv = SERVER.scratch().join("replica");
    run("content venv", &["--guid", &guid, venv.to_str().unwrap()]).expect_success();
    let status = Command::new(venv.join("bin/python")).args(["-c", "import flask"]).status().unwrap();
    assert!(status.success(), "flask is in the replica");

    let caches = || json_of(run("system caches list", &[]))["caches"].clone();
    let kept = caches();
    let of = |what: &str| text(&kept[0][what]);
    let (language, version) = (of("language"), of("version"));
    assert_eq!(language, "Python");
    let words = ["--language", &language, "--version", &version, "--image-name", &of("image_name")];
    let dry = run("system caches delete", &[&words[..], &["--dry-run"]].concat()).expect_success();
    assert!(dry.printed.contains("Dry run finished"), "{}", dry.printed);
    assert_eq!(caches(), kept);
    let none = ["--language", "Python", "--version", "9.9.9", "--image-name", "Local"];
    let none = run("system caches delete", &none).expect_failure();
    assert!(none.printed.contains("there is no such runtime cache"), "{}", none.printed);
}

#[test]
fn environments_of_images_are_kept() {
    let words =
        ["--title", "An image", "--matching", "exact", "--r", "4.2.2=/opt/R/4.2.2/bin/R", "images.example.org/r:1"];
    let made = json_of(run("environment add", &words));
    let guid = text(&made["guid"]);
    assert_eq!(made["r"]["installations"], json!([{"version": "4.2.2", "path": "/opt/R/4.2.2/bin/R"}]));
    assert!(run("environment list", &[]).expect_success().stdout.contains(&guid));
    let edited = json_of(run("environment edit", &["--title", "Another", "--description", "of R", &guid]));
    assert_eq!((&edited["title"], &edited["matching"]), (&json!("Another"), &json!("exact")));
    assert_eq!(json_of(run("environment show", &[&guid])), edited);
    run("environment remove", &[&guid]).expect_success();
    let gone = run("environment show", &[&guid]).expect_failure();
    assert!(gone.printed.contains("there is no such environment"), "{}", gone.printed);
}

#[test]
fn a_project_is_checked_before_it_is_published() {
    let path = flask("checked");
    let told = json_of(run("preflight", &["--new", &path]));
    let versions = told["publishable_python_versions"].as_array().unwrap().clone();
    assert_eq!(told["status"], "ok", "{told}");
    assert!(versions.contains(&json!(lectern_tests::bundle::python_version())), "{told}");
    let node = json_of(run("preflight", &["--new", "--runtime", "nodejs", &example(&SERVER, "node")]));
    assert_eq!(
        (&node["status"], &node["nodejs_enabled"], &node["warnings"]),
        (&json!("ok"), &json!(true), &json!([])),
        "{node}"
    );

    std::fs::write(format!("{path}/.python-version"), "~=2.7.0\n").unwrap();
    let run = run("preflight", &["--new", &path]).expect_failure();
    assert!(run.printed.contains("incompatible"), "{}", run.printed);
}
