//! Git repositories on loopback, served by git's own `git http-backend`, and hostile ones that git itself would not make.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::scratch::Scratch;

/// Repositories that are served. Dropping it ends its server.
pub struct GitServer {
    root: Scratch,
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    ended: AtomicBool,
    /// `name:password` that is asked for.
    login: Mutex<Option<String>>,
    /// Whether requests wait for their answer.
    held: AtomicBool,
    /// What all requests are answered with, instead of a repository.
    canned: Mutex<Option<Vec<u8>>>,
    asked: Mutex<Vec<Asked>>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Path and query.
    pub path: String,
    /// The field `authorization`, if there was one.
    pub authorization: Option<String>,
}

/// A repository of a [`GitServer`].
pub struct Repository {
    bare: PathBuf,
    url: String,
}

/// A file in a hostile tree: mode, name, content. For a directory (`40000`) or a submodule (`160000`) the content is an object's
/// name.
pub type Entry<'a> = (&'a str, &'a str, &'a [u8]);

impl Default for GitServer {
    fn default() -> Self {
        Self::new()
    }
}

impl GitServer {
    /// Serves no repository yet.
    pub fn new() -> Self {
        let root = Scratch::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on loopback");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let (place, shared) = (root.path().to_owned(), Arc::clone(&state));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Relaxed) {
                    break;
                }
                let (place, shared) = (place.clone(), Arc::clone(&shared));
                std::thread::spawn(move || answer(stream, &place, &shared));
            }
        });
        Self { root, address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks for a name and a password from now on.
    pub fn ask_for(&self, name: &str, password: &str) {
        *self.state.login.lock().unwrap() = Some(format!("{name}:{password}"));
    }

    /// Lets requests wait for their answer, or go on.
    pub fn hold(&self, held: bool) {
        self.state.held.store(held, Ordering::Relaxed);
    }

    /// Answers everything with these bytes from now on; `None`: with repositories again.
    pub fn answer_with(&self, bytes: Option<Vec<u8>>) {
        *self.state.canned.lock().unwrap() = bytes;
    }

    /// The requests that came, in their order.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Makes an empty repository.
    pub fn repository(&self, name: &str) -> Repository {
        let bare = self.root.join(format!("{name}.git"));
        let repository = Repository { bare, url: format!("http://{}/{name}.git", self.address) };
        std::fs::create_dir(&repository.bare).expect("make a directory");
        repository.git(&["init", "--quiet", "--bare", "--initial-branch=main"], b"");
        // Any commit may be asked for, as at the large hosts.
        repository.git(&["config", "uploadpack.allowReachableSHA1InWant", "true"], b"");
        repository
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // Ends the waiting for the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Repository {
    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs git in it; answers what it printed.
    pub fn git(&self, words: &[&str], input: &[u8]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]).args(words).current_dir(&self.bare);
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_DIR", &self.bare);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("run git");
        child.stdin.take().expect("its input").write_all(input).expect("write to git");
        let done = child.wait_with_output().expect("wait for git");
        assert!(done.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text").trim().to_owned()
    }

    /// Makes `branch` point to a new commit of exactly these files, on top of what it was; answers the commit.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let index = self.bare.join("index");
        let _ = std::fs::remove_file(&index);
        for (path, text) in files {
            let blob = self.git(&["hash-object", "-w", "--stdin"], text.as_bytes());
            self.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{path}")], b"");
        }
        let tree = self.git(&["write-tree"], b"");
        self.commit_tree(branch, &tree)
    }

    /// Makes `branch` point to a new commit of a tree.
    pub fn commit_tree(&self, branch: &str, tree: &str) -> String {
        let name = format!("refs/heads/{branch}");
        let before = self.git(&["for-each-ref", "--format=%(objectname)", &name], b"");
        let mut words = vec!["commit-tree", tree, "-m", "a commit"];
        if !before.is_empty() {
            words.extend(["-p", &before]);
        }
        let commit = self.git(&words, b"");
        self.git(&["update-ref", &name, &commit], b"");
        commit
    }

    /// Stores a tree of any names and modes, as git itself would not; answers its name.
    pub fn tree(&self, entries: &[Entry<'_>]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, content) in entries {
            let object = match *mode {
                "40000" | "160000" => String::from_utf8(content.to_vec()).expect("an object's name"),
                _ => self.git(&["hash-object", "-w", "--stdin"], content),
            };
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            let digits = object.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
            bytes.extend(digits.map(|pair| u8::from_str_radix(pair, 16).expect("digits")));
        }
        self.git(&["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &bytes)
    }
}

/// Answers one request: by `git http-backend` (CGI, RFC 3875), after the password was looked at.
fn answer(mut stream: TcpStream, root: &Path, state: &State) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 << 10 {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let field = |name: &str| {
        let found = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
        found.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
    };
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut body = vec![0; field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    if stream.read_exact(&mut body).is_err() {
        return;
    }
    let authorization = field("authorization");
    state.asked.lock().unwrap().push(Asked { path: target.to_owned(), authorization: authorization.clone() });
    while state.held.load(Ordering::Relaxed) && !state.ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
    if let Some(canned) = state.canned.lock().unwrap().clone() {
        let _ = stream.write_all(&canned);
        return;
    }
    let login = state.login.lock().unwrap().clone();
    let wanted = login.map(|pair| format!("Basic {}", STANDARD.encode(pair)));
    if wanted.is_some() && wanted != authorization {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=\"git\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(refusal.as_bytes());
        return;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    command
        .env("CONTENT_TYPE", field("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("run git http-backend");
    let mut input = child.stdin.take().expect("its input");
    let writing = std::thread::spawn(move || drop(input.write_all(&body)));
    let output = child.wait_with_output().expect("wait for git http-backend").stdout;
    let _ = writing.join();
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
    let fields = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = fields.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
    let rest: Vec<&str> = fields.lines().filter(|line| !line.starts_with("Status: ")).collect();
    let head = format!("HTTP/1.1 {status}\r\n{}\r\nconnection: close\r\n\r\n", rest.join("\r\n"));
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&output[end + 4..]));
}
