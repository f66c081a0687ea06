//! What a bundle wants installed: the requirements file, and the text that determines the environment.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lectern_domain::AppMode;
use lectern_domain::manifest::{Manifest, PackageManagerName};

/// Longest requirements file that is read, in bytes: a lock file of a thousand packages with all hashes is below it.
const FILE_LIMIT_BYTES: u64 = 16 << 20;
/// Most files that include each other by `-r` and `-c`.
const MOST_FILES: usize = 32;

/// The requirements cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RequirementsError {
    /// A package manager we do not have.
    #[error(
        "the bundle's packages are managed by {0}, which this server cannot restore; deploy with a requirements.txt"
    )]
    Manager(String),
    /// Too long, or too many.
    #[error("{0:?} or what it includes is too large: at most {MOST_FILES} files of {FILE_LIMIT_BYTES} bytes")]
    TooLarge(String),
    /// Not readable.
    #[error("read {path:?}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// Where the requirements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Nothing is restored.
    Nothing,
    /// A file that uv installs from, relative to the bundle.
    File(String),
    /// A `uv.lock`, relative to the bundle; it is turned into a requirements file first.
    Lock(String),
}

/// What a bundle wants installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirements {
    pub(super) source: Source,
    /// Everything that determines the outcome, in one text: comments and blank lines are left out.
    pub(super) text: String,
    /// Whether files of the bundle besides the requirements are installed, so that another bundle may give another outcome.
    pub(super) local: bool,
    /// What the publisher is told.
    pub(super) note: String,
}

/// The server that an application of this mode runs in; it is resolved together with the publisher's packages. `None`: its
/// framework is one itself.
pub(super) fn server_requirement(mode: AppMode) -> Option<&'static str> {
    match mode {
        AppMode::PythonApi | AppMode::PythonDash => Some("waitress"),
        AppMode::PythonStreamlit | AppMode::PythonBokeh | AppMode::PythonPanel | AppMode::JupyterVoila => None,
        _ => Some("uvicorn"),
    }
}

/// Reads what the bundle in `tree` wants installed; nothing when `restore` is off.
pub(super) fn read(tree: &Path, manifest: &Manifest, restore: bool) -> Result<Requirements, RequirementsError> {
    let server = server_requirement(manifest.mode);
    let nothing = |note: String| Requirements { source: Source::Nothing, text: String::new(), local: false, note };
    let installed =
        server.map_or_else(|| "nothing is installed".into(), |server| format!("only {server} is installed"));
    if !restore {
        return Ok(nothing(format!("Python packages are not restored, as the publisher asked; {installed}")));
    }
    let manager = manifest.python.as_ref().and_then(|python| python.package_manager.as_ref());
    if manager.is_some_and(|manager| manager.name == PackageManagerName::Conda) {
        return Err(RequirementsError::Manager("conda".into()));
    }
    let name = manifest.package_file();
    if !tree.join(name).is_file() {
        return Ok(nothing(format!("The bundle has no {name}; {installed}")));
    }
    let mut reader = Reader { tree, files: 0, text: String::new(), local: false };
    let file_name = name.rsplit('/').next().unwrap_or(name);
    let source = match file_name {
        "uv.lock" => {
            reader.whole(name)?;
            let project = Path::new(name).with_file_name("pyproject.toml");
            reader.whole(&project.to_string_lossy())?;
            // Packages of the lock that are directories or archives of the bundle.
            reader.local |= ["directory = ", "path = "].iter().any(|key| reader.text.contains(key));
            Source::Lock(name.to_owned())
        }
        other if other.ends_with(".toml") => {
            reader.whole(name)?;
            reader.local |= reader.text.contains("dynamic") || reader.text.contains("file:");
            Source::File(name.to_owned())
        }
        _ => {
            reader.requirements(name)?;
            Source::File(name.to_owned())
        }
    };
    let with = server.map_or_else(String::new, |server| format!(", with {server}"));
    let note = format!("Python packages of {name}{with}");
    Ok(Requirements { source, text: reader.text, local: reader.local, note })
}

struct Reader<'a> {
    tree: &'a Path,
    files: usize,
    text: String,
    local: bool,
}

impl Reader<'_> {
    /// Takes a file as it is; an absent one counts as empty.
    fn whole(&mut self, name: &str) -> Result<(), RequirementsError> {
        if let Some(text) = self.load(name)? {
            self.text.push_str(&format!("[{name}]\n{text}\n"));
        }
        Ok(())
    }

    /// Takes a requirements file line by line, and the files it includes in their places.
    fn requirements(&mut self, name: &str) -> Result<(), RequirementsError> {
        // What is not there or not in the bundle is uv's to complain about.
        let Some(text) = self.load(name)? else { return Ok(()) };
        for line in logical_lines(&text) {
            self.text.push_str(&line);
            self.text.push('\n');
            self.local |= is_local(&line);
            if let Some(included) = included(&line) {
                let beside = Path::new(name).parent().unwrap_or(Path::new("")).join(included);
                self.requirements(&beside.to_string_lossy())?;
            }
        }
        Ok(())
    }

    fn load(&mut self, name: &str) -> Result<Option<String>, RequirementsError> {
        let failed = |cause| RequirementsError::Read { path: name.into(), cause };
        let inside = |path: &PathBuf| self.tree.canonicalize().is_ok_and(|root| path.starts_with(root));
        let Some(path) = self.tree.join(name).canonicalize().ok().filter(inside).filter(|path| path.is_file()) else {
            return Ok(None);
        };
        self.files += 1;
        let mut bytes = Vec::new();
        File::open(&path).and_then(|file| file.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
        if self.files > MOST_FILES || bytes.len() as u64 > FILE_LIMIT_BYTES {
            return Err(RequirementsError::TooLarge(name.to_owned()));
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Lines without comments and surrounding blanks, continued ones joined; empty ones left out.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim();
        let line = if line.starts_with('#') { "" } else { line.split(" #").next().unwrap_or("").trim_end() };
        let (part, continued) = match line.strip_suffix('\\') {
            Some(part) => (part.trim_end(), true),
            None => (line, false),
        };
        if !part.is_empty() && !current.is_empty() {
            current.push(' ');
        }
        current.push_str(part);
        if !continued && !current.is_empty() {
            lines.push(std::mem::take(&mut current));
        }
    }
    if !current.is_empty() {
        lines.push(current);
    }
    lines
}

/// The file that a `-r` or `-c` line includes.
fn included(line: &str) -> Option<&str> {
    ["--requirement", "--constraint", "-r", "-c"].iter().find_map(|option| {
        let rest = line.strip_prefix(option)?;
        let name = rest.trim_start_matches('=').trim();
        (!name.is_empty() && !name.contains("://")).then_some(name)
    })
}

/// Whether a line installs files of the bundle.
fn is_local(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or("");
    let archive = [".whl", ".tar.gz", ".zip"].iter().any(|end| first.ends_with(end)) && !first.contains("://");
    let option = ["-e", "--editable", "-f", "--find-links"].iter().any(|option| first.starts_with(option));
    first.starts_with(['.', '/']) || archive || option || line.contains("file:")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::fs;

    fn bundle(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = tree.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        tree
    }

    fn of(files: &[(&str, &str)], manager: &str) -> Result<Requirements, RequirementsError> {
        let manifest = format!(r#"{{"metadata":{{"appmode":"python-api"}},"python":{{"package_manager":{manager}}}}}"#);
        read(bundle(files).path(), &Manifest::parse(manifest.as_bytes()).unwrap(), true)
    }

    #[test]
    fn comments_and_blanks_do_not_count() {
        let one =
            of(&[("requirements.txt", "# by pip\r\nflask==3.0 \\\r\n  --hash=sha256:aa # why\n\n six\n")], "null")
                .unwrap();
        assert_eq!(one.text, "flask==3.0 --hash=sha256:aa\nsix\n");
        assert_eq!(of(&[("requirements.txt", "flask==3.0 --hash=sha256:aa\nsix")], "{}").unwrap().text, one.text);
        assert!(!one.local);
        assert_eq!(one.note, "Python packages of requirements.txt, with waitress");
        let url = of(&[("requirements.txt", "six @ https://host/six.whl#sha256=aa")], "{}").unwrap();
        assert_eq!((url.text.as_str(), url.local), ("six @ https://host/six.whl#sha256=aa\n", false));
    }

    #[test]
    fn included_files_count() {
        let files = [
            ("requirements.txt", "-r reqs/base.txt\n-c limits.txt\nsix"),
            ("reqs/base.txt", "-r more.txt\nflask"),
            ("reqs/more.txt", "click"),
            ("limits.txt", "werkzeug<3"),
        ];
        let text = of(&files, "{}").unwrap().text;
        assert_eq!(text, "-r reqs/base.txt\n-r more.txt\nclick\nflask\n-c limits.txt\nwerkzeug<3\nsix\n");
        let round = of(&[("requirements.txt", "-r requirements.txt")], "{}").unwrap_err();
        assert!(round.to_string().contains("too large"), "{round}");
        let outside = of(&[("requirements.txt", "-r ../../../../etc/hostname\n-r /etc/hostname")], "{}").unwrap();
        assert_eq!(outside.text, "-r ../../../../etc/hostname\n-r /etc/hostname\n");
    }

    #[test]
    fn local_packages_are_seen() {
        for line in
            ["-e .", "./lib", "wheels/x-1.0-py3-none-any.whl", "x @ file:///srv/x.whl", "--find-links wheels", "."]
        {
            assert!(of(&[("requirements.txt", line)], "{}").unwrap().local, "{line}");
        }
        for line in ["flask", "x @ https://host/x.whl", "--index-url https://host/simple", "https://host/x.whl"] {
            assert!(!of(&[("requirements.txt", line)], "{}").unwrap().local, "{line}");
        }
    }

    #[test]
    fn other_files_and_managers() {
        let named =
            of(&[("requirements.txt.lock", "six==1.17.0")], r#"{"name":"uv","package_file":"requirements.txt.lock"}"#);
        assert_eq!(named.unwrap().source, Source::File("requirements.txt.lock".into()));
        let files = [("uv.lock", "version = 1"), ("pyproject.toml", "[project]")];
        let lock = of(&files, r#"{"package_file":"uv.lock"}"#).unwrap();
        assert_eq!((lock.source, lock.local), (Source::Lock("uv.lock".into()), false));
        assert_eq!(lock.text, "[uv.lock]\nversion = 1\n[pyproject.toml]\n[project]\n");
        let none = of(&[], "{}").unwrap();
        assert_eq!(none.source, Source::Nothing);
        assert_eq!(none.note, "The bundle has no requirements.txt; only waitress is installed");
        assert!(of(&[("requirements.txt", "x")], r#"{"name":"conda"}"#).unwrap_err().to_string().contains("conda"));
    }
}
