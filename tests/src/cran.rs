//! CRAN-like repositories on loopback: real packages and written ones, indexed by R's own `tools::write_PACKAGES`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::scratch::Scratch;
use crate::server::TOOLS;

/// A repository that is served. Dropping it ends its server.
pub struct Cran {
    root: Scratch,
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    down: AtomicBool,
    ended: AtomicBool,
    asked: Mutex<Vec<String>>,
    agents: Mutex<Vec<String>>,
}

/// A package as manifests list it.
#[derive(Debug, Clone)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
}

impl Cran {
    /// Serves an empty repository.
    pub fn new() -> Self {
        let root = Scratch::new();
        std::fs::create_dir_all(root.join("src/contrib/Archive")).expect("make a repository");
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on loopback");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let (place, shared) = (root.path().to_owned(), Arc::clone(&state));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Relaxed) {
                    break;
                }
                // Dropped unanswered while it is down.
                if !shared.down.load(Ordering::Relaxed) {
                    let (place, shared) = (place.clone(), Arc::clone(&shared));
                    std::thread::spawn(move || answer(stream, &place, &shared));
                }
            }
        });
        let cran = Self { root, address, state };
        cran.index();
        cran
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its current packages.
    pub fn contrib(&self) -> PathBuf {
        self.root.join("src/contrib")
    }

    /// Adds a package, replacing another version of it, which goes to the archive, and indexes it.
    pub fn add(&self, package: &Package, archive: &[u8]) {
        let prefix = format!("{}_", package.name);
        for entry in self.contrib().read_dir().expect("list a repository").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) {
                let old = self.contrib().join("Archive").join(&package.name);
                std::fs::create_dir_all(&old).expect("make an archive");
                std::fs::rename(entry.path(), old.join(name)).expect("move to the archive");
            }
        }
        std::fs::write(self.file(package), archive).expect("add a package");
        self.index();
    }

    /// Where a package's archive is.
    pub fn file(&self, package: &Package) -> PathBuf {
        self.contrib().join(format!("{}_{}.tar.gz", package.name, package.version))
    }

    /// Has R write the index anew.
    pub fn index(&self) {
        let contrib = self.contrib();
        let code = format!("invisible(tools::write_PACKAGES('{}', type = 'source'))", contrib.display());
        run(Command::new("Rscript").args(["--vanilla", "-e", &code]));
        // R writes none for an empty repository.
        for name in ["PACKAGES", "PACKAGES.gz"] {
            if !contrib.join(name).exists() {
                let bytes = if name == "PACKAGES" { Vec::new() } else { crate::bundle::gzip(b"") };
                std::fs::write(contrib.join(name), bytes).expect("write an index");
            }
        }
    }

    /// Stops answering, or answers again.
    pub fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::Relaxed);
    }

    /// The paths that it was asked for, in their order.
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Who asked, by the `User-Agent`.
    pub fn agents(&self) -> Vec<String> {
        self.state.agents.lock().unwrap().clone()
    }
}

impl Default for Cran {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cran {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // The last connection lets the listener see it.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, root: &Path, state: &State) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 << 10 {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    let agent = head.lines().find_map(|line| line.strip_prefix("user-agent: ")).unwrap_or_default();
    state.agents.lock().unwrap().push(agent.to_owned());
    state.asked.lock().unwrap().push(path.clone());
    let file = root.join(path.trim_start_matches('/'));
    let _ = match std::fs::read(file) {
        Ok(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes))
        }
        Err(_) => stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    };
}

impl Package {
    /// A package by its name and version.
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned() }
    }

    /// An entry of a manifest's `packages`.
    pub fn listed(&self) -> (String, Value) {
        let description = json!({"Package": self.name, "Version": self.version, "Repository": "CRAN"});
        // An address that nobody must ask: only what the operator configured is.
        let url = "https://cran.invalid";
        (self.name.clone(), json!({"Source": "CRAN", "Repository": url, "description": description}))
    }

    /// A source package: its DESCRIPTION with further `fields`, and `files` with their texts.
    pub fn source(&self, fields: &str, files: &[(&str, &str)]) -> Vec<u8> {
        let description = format!(
            "Package: {}\nVersion: {}\nTitle: A Test\nDescription: Made for a test.\nLicense: GPL-3\nAuthor: Ada\n\
             Maintainer: Ada <ada@example.org>\n{fields}",
            self.name, self.version
        );
        let mut all = vec![("DESCRIPTION", description.as_str())];
        all.extend(files);
        if !files.iter().any(|(path, _)| *path == "NAMESPACE") {
            all.push(("NAMESPACE", "exportPattern('^[a-z]')\n"));
        }
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, text) in all {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(text.len() as u64);
            header.set_mode(if path == "configure" { 0o755 } else { 0o644 });
            header.set_mtime(1_700_000_000);
            let path = format!("{}/{path}", self.name);
            archive.append_data(&mut header, path, text.as_bytes()).expect("append to a package");
        }
        archive.into_inner().and_then(GzEncoder::finish).expect("finish a package")
    }

    /// Has R build a binary of a source package, on this host.
    pub fn binary(&self, source: &[u8], libraries: &Path) -> Vec<u8> {
        let place = Scratch::new();
        let (file, library) = (place.join(format!("{}_{}.tar.gz", self.name, self.version)), place.join("lib"));
        std::fs::create_dir(&library).expect("make a library");
        std::fs::create_dir(place.join("out")).expect("make a directory");
        std::fs::write(&file, source).expect("write a source package");
        let mut command = Command::new("R");
        command.args(["CMD", "INSTALL", "--build", "--no-multiarch"]).arg(format!("--library={}", library.display()));
        run(command.arg(&file).env("R_LIBS", libraries).current_dir(place.join("out")));
        let made = place.join("out").read_dir().expect("list what R built").flatten().next().expect("a binary package");
        std::fs::read(made.path()).expect("read a binary package")
    }
}

/// Real packages: the original archives of Debian's source packages, kept beside the publishers' tools.
///
/// `names` are Debian's. They come from the mirrors that this machine's apt is set up for, by a list of sources and a state of
/// their own. Returns names and versions as the archives have them.
pub fn real(names: &[&str]) -> Vec<(Package, Vec<u8>)> {
    let kept = TOOLS.parent().expect("a directory of tools").join("r-sources");
    std::fs::create_dir_all(&kept).expect("make a directory");
    let lock = std::fs::File::create(kept.join(".lock")).expect("make a lock");
    // One test at a time fetches; the others find it done.
    lock.lock().expect("lock the sources");
    let archive = |name: &str| {
        let prefix = format!("{name}_");
        let entries = kept.read_dir().expect("list the sources").flatten();
        let mut paths = entries.map(|entry| entry.path());
        paths.find(|path| {
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            file.starts_with(&prefix) && file.ends_with(".orig.tar.gz")
        })
    };
    let missing: Vec<&str> = names.iter().copied().filter(|name| archive(name).is_none()).collect();
    if !missing.is_empty() {
        fetch(&missing, &kept);
    }
    let open = |name: &&str| {
        let path = archive(name).unwrap_or_else(|| panic!("no original archive of {name}"));
        let bytes = std::fs::read(path).expect("read an archive");
        (described(&bytes), bytes)
    };
    names.iter().map(open).collect()
}

/// Fetches source packages with apt, without touching the machine's own settings.
fn fetch(names: &[&str], into: &Path) {
    let place = Scratch::new();
    for directory in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(place.join(directory)).expect("make apt's directories");
    }
    let format = "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)";
    let targets = run(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]));
    let of_distribution = |line: &&str| line.ends_with(" Debian") || line.ends_with(" Ubuntu");
    let lines: Vec<String> = targets
        .lines()
        .filter(of_distribution)
        .filter_map(|line| line.rsplit_once(' ').map(|(source, _)| format!("deb-src {source}\n")))
        .collect();
    std::fs::write(place.join("sources.list"), lines.concat()).expect("write a list of sources");
    let options = [
        format!("Dir::Etc::sourcelist={}", place.join("sources.list").display()),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        format!("Dir::State::lists={}", place.join("lists").display()),
        format!("Dir::Cache={}", place.join("cache").display()),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(options.iter().flat_map(|option| ["-o", option])).args(words).current_dir(into);
        run(&mut command)
    };
    apt(&["update"]);
    apt(&[&["source", "--download-only", "--tar-only"], names].concat());
}

/// The version of the R that content runs with here.
pub fn r_version() -> String {
    run(Command::new("Rscript").args(["--vanilla", "-e", "cat(as.character(getRversion()))"]))
}

/// Name and version from an archive's DESCRIPTION.
fn described(bytes: &[u8]) -> Package {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    for entry in archive.entries().expect("read an archive") {
        let mut entry = entry.expect("a member");
        let path = entry.path().expect("a name").into_owned();
        if path.components().count() == 2 && path.ends_with("DESCRIPTION") {
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("read a DESCRIPTION");
            let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).expect("a field").trim();
            return Package::new(field("Package:"), field("Version:"));
        }
    }
    panic!("an archive without DESCRIPTION");
}

/// Runs a program to a good end; its output.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{words}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
