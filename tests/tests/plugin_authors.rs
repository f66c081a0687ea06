//! The way of a plugin's author: a project from each template, its tests, its mistakes, its package on a server.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lectern_tests::scratch::Scratch;
use lectern_tests::server::{LECTERN, Server, TOOLS};

/// What came of a program: its status, and all that it printed.
struct Run {
    what: String,
    success: bool,
    printed: String,
}

impl Run {
    fn of(what: String, output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let printed = text(&output.stdout) + &text(&output.stderr);
        Self { what, success: output.status.success(), printed }
    }

    #[track_caller]
    fn works(self) -> Self {
        assert!(self.success, "{} failed:\n{}", self.what, self.printed);
        self
    }

    #[track_caller]
    fn fails(self) -> Self {
        assert!(!self.success, "{} succeeded:\n{}", self.what, self.printed);
        self
    }

    #[track_caller]
    fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.printed.contains(text), "{} does not say {text:?}:\n{}", self.what, self.printed);
        }
        self
    }
}

/// Runs a program in a directory, with the tools that plugins are made with and no network for cargo: what templates are built
/// from is what Lectern was built from.
fn run(dir: &Path, program: impl AsRef<Path>, words: &[&str]) -> Run {
    let program = program.as_ref();
    let tools = TOOLS.parent().expect("a directory of tools");
    // Rust projects share what they are built from.
    let target = LECTERN.ancestors().nth(2).expect("a target directory").join("authors");
    let cache = target.join("cache");
    let output = Command::new(program)
        .args(words)
        .current_dir(dir)
        .env("LECTERN_TOOLS", tools)
        .env("CARGO_TARGET_DIR", target)
        .env("XDG_CACHE_HOME", cache)
        .env("CARGO_NET_OFFLINE", "true")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap_or_else(|error| panic!("run {}: {error}", program.display()));
    Run::of(format!("{} {}", program.display(), words.join(" ")), &output)
}

fn lectern(dir: &Path, words: &[&str]) -> Run {
    run(dir, &*LECTERN, words)
}

fn native_tests(dir: &Path, language: &str) -> Run {
    match language {
        "rust" => run(dir, env!("CARGO"), &["test", "--quiet"]),
        "python" => run(dir, "/usr/bin/python3", &["-m", "unittest"]),
        _ => run(dir, TOOLS.join("node"), &["--test"]),
    }
}

fn project(scratch: &Scratch, language: &str, kind: &str) -> PathBuf {
    let name = format!("{language}-{kind}");
    lectern(scratch.path(), &["plugin", "new", &name, "--lang", language, "--kind", kind]).works();
    scratch.join(name)
}

/// Replaces one text in a file of a project.
#[track_caller]
fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} does not have {from:?}", file.display());
    std::fs::write(file, text.replacen(from, to, 1)).unwrap();
}

fn green(language: &str) {
    let scratch = Scratch::new();
    for kind in ["router", "authenticator"] {
        let dir = project(&scratch, language, kind);
        native_tests(&dir, language).works();
        lectern(&dir, &["plugin", "test"]).works().says(&["running 5 cases", "case result: ok. 5 passed; 0 failed"]);
    }
}

#[test]
fn rust_projects_are_green_at_once() {
    green("rust");
}

#[test]
fn python_projects_are_green_at_once() {
    green("python");
}

#[test]
fn javascript_projects_are_green_at_once() {
    green("javascript");
}

/// The repository's own files, not a copy: what is run there leaves nothing behind.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugins").join(name)
}

#[test]
fn the_examples_are_green() {
    for (name, language) in
        [("rust-tenant-router", "rust"), ("python-header-auth", "python"), ("javascript-maintenance", "javascript")]
    {
        native_tests(&example(name), language).works();
        lectern(&example(name), &["plugin", "test"]).works().says(&["case result: ok."]);
    }
}

#[test]
fn the_examples_have_the_templates_helpers() {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/server/plugin-templates");
    for (example_of, template, file) in [
        ("python-header-auth", "python", "fake_host.py"),
        ("javascript-maintenance", "javascript", "text.js"),
        ("javascript-maintenance", "javascript", "testing/host.mjs"),
        ("javascript-maintenance", "javascript", "testing/hooks.mjs"),
    ] {
        let ours = std::fs::read_to_string(example(example_of).join(file)).unwrap();
        let theirs = std::fs::read_to_string(templates.join(template).join("all").join(file)).unwrap();
        assert!(ours == theirs, "{example_of}/{file} differs from the template's");
    }
}

#[test]
fn nothing_is_overwritten() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.join("mine")).unwrap();
    std::fs::write(scratch.join("mine/work"), "a year's").unwrap();
    let new = |words: &[&str]| lectern(scratch.path(), &[&["plugin", "new"], words].concat());
    new(&["mine", "--lang", "rust"]).fails().says(&["mine is not empty: nothing was written"]);
    assert_eq!(std::fs::read_dir(scratch.join("mine")).unwrap().count(), 1);
    new(&["Mine", "--lang", "rust"]).fails().says(&["must be 1 to 64 lower-case letters, digits and `-`"]);
    new(&["mine", "--lang", "cobol"]).fails().says(&["rust, python, javascript"]);
    new(&["mine", "--lang", "js", "elsewhere"]).works().says(&["elsewhere: router in javascript"]);
}

/// Mistakes that authors make, each in a fresh project, and what they are told.
#[test]
fn mistakes_are_told_in_words() {
    let scratch = Scratch::new();
    let dir = project(&scratch, "javascript", "router");
    let told = |file: &str, from: &str, to: &str, words: &[&str], texts: &[&str]| {
        let path = dir.join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        edit(&path, from, to);
        lectern(&dir, words).fails().says(texts);
        std::fs::write(&path, before).unwrap();
    };
    let (build, check, test) = (&["plugin", "build"][..], &["plugin", "check"][..], &["plugin", "test"][..]);
    told(
        "plugin.toml",
        "hooks = [\"route\"]",
        "hooks = [\"routes\"]",
        build,
        &["plugin.toml: plugin.hooks", "must be a list of route, authenticate and pages; \"routes\" is none"],
    );
    told("plugin.toml", "version = \"0.1.0\"", "version = \"1\"", check, &["three numbers, as \"1.2.0\""]);
    told("plugin.toml", "description =", "descripton =", build, &["did you mean plugin.description?"]);
    told("config.schema.json", "\"type\": \"object\"", "\"type\": \"objekt\"", build, &["config.schema.json: /type"]);
    told("config.schema.json", "{", "", build, &["config.schema.json: is not JSON"]);
    told(
        "cases/first.toml",
        "hook = \"route\"",
        "hook = \"rout\"",
        build,
        &["cases/first.toml: case \"a name leads to its content\": hook = \"rout\": must be one of route, select"],
    );
    // The component is built before these are found.
    told(
        "wit/world.wit",
        "import lectern:plugin/config@",
        "import lectern:plugin/clock@0.1.1;\n    import lectern:plugin/config@",
        check,
        &["imports lectern:plugin/clock, which it was not granted: give it clock", "a server would not admit it"],
    );
    told("plugin.toml", "contract = \"0.1\"", "contract = \"0.2\"", check, &["this Lectern speaks 0.1"]);
    told(
        "plugin.toml",
        "hooks = [\"route\"]",
        "hooks = [\"route\", \"pages\"]",
        check,
        &["plugin.hooks names pages, which the component does not export; it exports route"],
    );
    told(
        "plugin.js",
        "export const routing = {",
        "export const routing = ",
        build,
        &["return not in a function", "plugin.js:29", "componentize-qjs could not build the plugin"],
    );
    told("plugin.js", "export const routing", "export const rooting", test, &["failure, crashed: wasm trap"]);
    told(
        "cases/first.toml",
        "strip_segments = 1",
        "strip_segments = 2",
        test,
        &[
            "case first.toml: a name leads to its content ... FAILED",
            "path: expected the request's without its first 2 segments, got the request's without its first segment",
            "case result: FAILED. 4 passed; 1 failed",
        ],
    );
    told("plugin.js", "status: 308", "status: 99", test, &["failure, invalid: status 99 is not 200 to 599"]);
    told(
        "plugin.js",
        "`${first}/?",
        "`//evil.example/?",
        test,
        &["failure, invalid: ", "neither a path on this server, beginning with one slash"],
    );
    told("plugin.js", "const first = pathPrefix(1);", "for (;;);", test, &["failure, limit: computed for more than"]);
    // And as it was, all is well.
    lectern(&dir, test).works();
    lectern(&dir, &["plugin", "test", "--case", "slash"]).works().says(&["running 1 case", "1 passed; 0 failed"]);
    lectern(&dir, &["plugin", "test", "--case", "nothing"]).fails().says(&["none of the 5 cases has \"nothing\""]);
    lectern(&dir, &["plugin", "test", "--verbose"]).works().says(&["    asked   path-prefix 1"]);
    let json = lectern(&dir, &["plugin", "test", "--json"]).works();
    let json: serde_json::Value = serde_json::from_str(&json.printed).unwrap();
    assert_eq!((&json["passed"], &json["failed"]), (&5.into(), &0.into()));
}

#[test]
fn mistakes_of_the_compiler_are_its_own_words() {
    let scratch = Scratch::new();
    let dir = project(&scratch, "rust", "router");
    edit(&dir.join("src/lib.rs"), "host.path_prefix(1)", "host.path_prefixes(1)");
    lectern(&dir, &["plugin", "build"]).fails().says(&["no method named `path_prefixes`", "cargo could not build"]);
    edit(&dir.join("src/lib.rs"), "host.path_prefixes(1)", "host.path_prefix(1)");
    edit(&dir.join("Cargo.toml"), "[\"cdylib\", \"rlib\"]", "[\"rlib\"]");
    lectern(&dir, &["plugin", "build"]).fails().says(&["cargo made no component", "crate-type"]);
}

#[test]
fn what_is_missing_is_told_with_its_remedy() {
    let scratch = Scratch::new();
    for (language, texts) in [
        (
            "python",
            [
                "componentize-py is not on the PATH",
                "run `python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1`",
            ],
        ),
        ("javascript", ["componentize-qjs is not on the PATH", "run `npm install --no-save componentize-qjs@0.4.5`"]),
        ("rust", ["cargo is not on the PATH", "install Rust with rustup"]),
    ] {
        let dir = project(&scratch, language, "router");
        let output = Command::new(&*LECTERN)
            .args(["plugin", "build"])
            .current_dir(&dir)
            .env("PATH", scratch.path())
            .env_remove("LECTERN_TOOLS")
            .output()
            .unwrap();
        Run::of(format!("build {language}"), &output).fails().says(&texts);
    }
    lectern(scratch.path(), &["plugin", "build"]).fails().says(&["holds no plugin.toml", "lectern plugin new"]);
}

/// From nothing to a plugin that answers: each command of `docs/plugins/first-plugin.md`.
#[test]
fn a_first_plugin_comes_to_a_server() {
    let scratch = Scratch::new();
    let dir = project(&scratch, "javascript", "router");
    let package = "javascript-router-0.1.0.lectern";
    lectern(&dir, &["plugin", "build"]).works().says(&["javascript-router 0.1.0", package, "asks    nothing"]);
    lectern(&dir, &["plugin", "check", package]).works().says(&["cases   5", "a server would admit it"]);
    let made = lectern(&dir, &["plugin", "keygen", "--out", "key.pem"]).works();
    let public = made.printed.lines().find_map(|line| line.trim().strip_prefix("public  ")).unwrap().to_owned();
    lectern(&dir, &["plugin", "keygen", "--out", "key.pem"]).fails().says(&["key.pem is there already", "--out"]);
    lectern(&dir, &["plugin", "verify", package, "--trust", &public]).fails().says(&["the package is not signed"]);
    lectern(&dir, &["plugin", "sign", package, "--key", "key.pem"]).works().says(&["signed javascript-router 0.1.0"]);
    lectern(&dir, &["plugin", "verify", package, "--trust", &public]).works().says(&["unchanged since"]);

    let changed = dir.join("changed.lectern");
    let mut bytes = std::fs::read(dir.join(package)).unwrap();
    let last = bytes.len() / 2;
    bytes[last] ^= 1;
    std::fs::write(&changed, bytes).unwrap();
    let signature = format!("{package}.sig");
    lectern(&dir, &["plugin", "verify", "changed.lectern", "--sig", &signature, "--trust", &public])
        .fails()
        .says(&["its bytes were changed after it was signed"]);

    let server = Server::new();
    let operate = |words: &[&str]| Run::of(words.join(" "), &server.lectern(words, ""));
    let (package, names) = (dir.join(package).display().to_string(), dir.join("names.json").display().to_string());
    std::fs::write(&names, r#"{ "names": { "sales": "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162" } }"#).unwrap();
    operate(&["plugin", "install", &package]).fails().says(&["not trusted here"]);
    operate(&["plugin", "trust", &public, "--comment", "ada"]).works().says(&["are admitted"]);
    operate(&["plugin", "install", &package]).works();
    operate(&["plugin", "bind", "javascript-router", "--order", "5", "--config", &names]).works();
    assert_eq!(server.get("/sales?page=2").send().expect(308).header("location"), "/sales/?page=2");
    // Nothing is published under that name: the plugin routes, the server decides.
    server.get("/sales/").send().expect(404);
}
