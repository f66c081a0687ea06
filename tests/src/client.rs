//! The publishers' own tools: the `rsconnect` command line, R's rsconnect, posit-sdk and pins.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::server::{Account, Server, TOOLS};

/// What a tool printed and how it ended.
#[derive(Debug)]
pub struct Run {
    /// Whether it exited with 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard output and its errors.
    pub printed: String,
}

impl Run {
    fn of(output: Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let printed = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        Self { success: output.status.success(), stdout, printed }
    }

    /// The run, which must have succeeded.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.success, "{}", self.printed);
        self
    }

    /// The run, which must have failed.
    #[track_caller]
    pub fn expect_failure(self) -> Self {
        assert!(!self.success, "{}", self.printed);
        self
    }
}

/// A home directory in the test's own, so that no tool reads or leaves anything in the real one.
fn home(server: &Server) -> PathBuf {
    let home = server.scratch().join("home");
    std::fs::create_dir_all(&home).expect("make a home directory");
    home
}

fn tool(server: &Server, program: &Path) -> Command {
    let mut command = Command::new(program);
    // For publishing Node.js, the client asks `node` and `npm` for their versions.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{}", TOOLS.display()));
    // What a tool leaves in its working directory is the test's too.
    command.current_dir(home(server));
    command.env("HOME", home(server)).env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    for name in ["CONNECT_SERVER", "CONNECT_API_KEY", "CONNECT_BOOTSTRAP_SECRETKEY", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    command
}

/// Runs `rsconnect` as it is, with further environment variables.
pub fn rsconnect_raw(server: &Server, words: &[&str], env: &[(&str, &str)]) -> Run {
    let mut command = tool(server, &TOOLS.join("rsconnect"));
    Run::of(command.args(words).envs(env.iter().copied()).output().expect("run rsconnect"))
}

/// Runs `rsconnect` with the account's key: `words` come after the server and the key.
///
/// `verb` may be two words (`deploy fastapi`).
pub fn rsconnect(server: &Server, account: &Account, verb: &str, words: &[&str]) -> Run {
    let url = server.url();
    let mut all: Vec<&str> = verb.split(' ').collect();
    all.extend(["--server", &url, "--api-key", &account.key]);
    all.extend(words);
    rsconnect_raw(server, &all, &[])
}

/// Runs Python code that may use posit-sdk, with the server's URL and the account's key and name in `TEST_SERVER`, `TEST_KEY` and
/// `TEST_NAME`.
pub fn posit_sdk(server: &Server, account: &Account, code: &str) -> Run {
    with_library("posit-sdk", server, account, code)
}

/// The same with pins.
pub fn pins(server: &Server, account: &Account, code: &str) -> Run {
    with_library("pins", server, account, code)
}

fn with_library(name: &str, server: &Server, account: &Account, code: &str) -> Run {
    let library = TOOLS.join(name);
    assert!(library.exists(), "no {name} at {}: run `./just setup test`", library.display());
    let mut command = tool(server, Path::new("/usr/bin/python3"));
    command.args(["-c", code]).env("PYTHONPATH", library);
    command.env("TEST_SERVER", server.url()).env("TEST_KEY", &account.key).env("TEST_NAME", &account.name);
    Run::of(command.output().expect("run python3"))
}

/// Runs schemathesis over the server's OpenAPI document, with the keys of a viewer, a publisher and an administrator; see
/// `tests/fuzz/run.py`. `LECTERN_TEST_EXAMPLES` says how many examples it makes for each operation.
pub fn schemathesis(server: &Server, roles: &[(&str, &Account)]) -> Run {
    let program = TOOLS.join("../schemathesis/bin/st");
    assert!(program.exists(), "no schemathesis at {}: run `./just setup test`", program.display());
    let directory = server.scratch().join("fuzz");
    std::fs::create_dir_all(&directory).expect("make a directory");
    let accounts: serde_json::Map<String, serde_json::Value> = roles
        .iter()
        .map(|(role, account)| ((*role).to_owned(), serde_json::json!({"guid": account.guid, "key": account.key})))
        .collect();
    let mut command = tool(server, Path::new("/usr/bin/python3"));
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/run.py"))
        .arg(&directory)
        .env("TEST_ST", program)
        .env("TEST_SERVER", server.url())
        .env("TEST_ACCOUNTS", serde_json::Value::from(accounts).to_string());
    Run::of(command.output().expect("run python3"))
}

/// Runs R code, with the server's URL and the account's key and name as `server`, `key` and `name`.
pub fn r(server: &Server, account: &Account, code: &str) -> Run {
    Run::of(rscript(server, account, code).output().expect("run Rscript"))
}

/// The same with rsconnect as it is since 1.0, from the library that `scripts/setup` makes of it; `None` where there is none.
pub fn new_r(server: &Server, account: &Account, code: &str) -> Option<Run> {
    let library = TOOLS.join("r-rsconnect");
    let mut command = rscript(server, account, code);
    library.exists().then(|| Run::of(command.env("R_LIBS", library).output().expect("run Rscript")))
}

fn rscript(server: &Server, account: &Account, code: &str) -> Command {
    let mut command = tool(server, Path::new("Rscript"));
    let prelude = "server <- Sys.getenv('TEST_SERVER'); key <- Sys.getenv('TEST_KEY'); name <- Sys.getenv('TEST_NAME')";
    command
        .args(["--vanilla", "-e", &format!("{prelude}\n{code}")])
        .env("TEST_SERVER", server.url())
        .env("TEST_KEY", &account.key)
        .env("TEST_NAME", &account.name)
        // The client writes its accounts below R's user directory.
        .env("R_USER_CONFIG_DIR", home(server).join("r"));
    command
}

/// Runs Python code with posit-sdk, with the server's URL and the account's key as `TEST_SERVER` and `TEST_KEY`.
pub fn python(server: &Server, account: &Account, code: &str) -> Run {
    // uv keeps what it has downloaded in the real home: nothing of the test's is written there.
    let uv = std::env::var_os("LECTERN_UV").map_or_else(|| TOOLS.join("uv"), PathBuf::from);
    let mut command = Command::new(uv);
    command
        .args(["run", "--quiet", "--no-project", "--with", "posit-sdk==0.17.0", "python", "-c", code])
        .current_dir(server.scratch().path())
        .env("TEST_SERVER", server.url())
        .env("TEST_KEY", &account.key);
    Run::of(command.output().expect("run uv"))
}

/// Copies one of the project's examples into the test's directory, where tools may leave notes beside it.
pub fn example(server: &Server, name: &str) -> String {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    let to = server.scratch().join("examples").join(name);
    copy(&from, &to);
    to.to_str().expect("a path in UTF-8").to_owned()
}

/// Copies a directory, without packages that somebody who tried it has installed there.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a directory");
    for entry in std::fs::read_dir(from).expect("an example").flatten() {
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        if here.is_file() {
            std::fs::copy(here, there).expect("copy a file");
        } else if entry.file_name() != "node_modules" {
            copy(&here, &there);
        }
    }
}

/// Writes files into a directory of the test's own and answers its path.
pub fn directory(server: &Server, name: &str, files: &[(&str, &str)]) -> String {
    let to = server.scratch().join("made").join(name);
    for (path, contents) in files {
        let path = to.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("make a directory");
        std::fs::write(path, contents).expect("write a file");
    }
    to.to_str().expect("a path in UTF-8").to_owned()
}

/// The GUID of the content item that a tool's output names.
#[track_caller]
pub fn guid_in(printed: &str) -> String {
    let at = printed.find("/content/").unwrap_or_else(|| panic!("no content URL in {printed}"));
    printed[at + "/content/".len()..].chars().take(36).collect()
}
