//! Takes the files of one commit out of a pack that a stranger sent, with the program git.
//!
//! git knows packs, and has had weaknesses in reading them. So it reads them as the account that builds packages, behind the same
//! walls, without any network, and is given nothing but the pack: no configuration of the host, no hooks, no filters, no
//! credentials. What it leaves is an archive, which the server reads as it reads what anybody uploads.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lectern_domain::git::{BadListing, Commit, Directory, Listing};
use lectern_domain::launch::Account;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::fence::{Fence, Yard};
use crate::process::{self, Order, RunError, Stream};

/// How long each step may take: a pack of a GiB is read in a minute.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Lines of git's last words that an error repeats.
const ERROR_LINES: usize = 10;
/// What has lain here for so long was left by a server that ended.
const ABANDONED: Duration = Duration::from_secs(3600);
/// The most memory that git takes for one object. What is larger than this cannot be had, unless it is stored whole: those it
/// reads in pieces.
const MOST_OBJECT: &str = "268435456";

/// What a repository's configuration is: nothing that runs anything, and bounds. Large files are not held in memory.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tbigFileThreshold = 8m\n\
                      \tdeltaBaseCacheLimit = 32m\n\tquotePath = false\n\tattributesFile = /dev/null\n\
                      \thooksPath = /dev/null\n[pack]\n\tthreads = 1\n[gc]\n\tauto = 0\n";
/// Files come as they are stored: nothing in the repository converts them, leaves them out, or has a filter run on them.
const ATTRIBUTES: &str =
    "* -text !eol -ident !filter !working-tree-encoding -export-ignore -export-subst !diff !merge\n";

/// A commit's files could not be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git.
    #[error("this server has no git: its administrator can install it, or name it with git.program")]
    NoProgram,
    /// git does not take what it was given.
    #[error("git could not {step}: {words}")]
    Refused {
        /// What was being done.
        step: &'static str,
        /// Its last words.
        words: String,
    },
    /// The commit holds what is not taken.
    #[error(transparent)]
    Listing(#[from] BadListing),
    /// It did not run to its end.
    #[error("git did not {step}")]
    Unfinished {
        /// What was being done.
        step: &'static str,
        /// Why not.
        #[source]
        cause: RunError,
    },
    /// A directory or file of ours could not be used.
    #[error("{what} the directory that git works in")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

/// What git works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directories to work in are made below it.
    pub directory: PathBuf,
    /// The program, if the configuration names it.
    pub program: Option<PathBuf>,
    /// Where it is looked for otherwise.
    pub path: Option<OsString>,
    /// Who runs it.
    pub account: Option<Account>,
    /// Its walls.
    pub fence: Option<Fence>,
}

/// The program git.
#[derive(Debug)]
pub struct Git {
    settings: Settings,
    program: Option<PathBuf>,
}

/// A directory to work in: the server puts a pack into it, and git makes an archive of it. Removed when it is dropped.
#[derive(Debug)]
pub struct Workplace {
    work: TempDir,
}

impl Workplace {
    /// Where the pack is to be written. Nobody else writes there.
    pub fn pack(&self) -> PathBuf {
        self.work.path().join("pack")
    }

    /// The account's own part.
    fn own(&self) -> PathBuf {
        self.work.path().join("own")
    }

    fn repository(&self) -> PathBuf {
        self.own().join("repository")
    }
}

impl Git {
    /// Looks for the program, and removes what interrupted work left. Blocks.
    pub fn open(settings: Settings) -> io::Result<Self> {
        fs::create_dir_all(&settings.directory)?;
        fs::set_permissions(&settings.directory, Permissions::from_mode(0o711))?;
        for entry in settings.directory.read_dir()?.flatten() {
            let written = entry.metadata().and_then(|data| data.modified());
            // Another server may be at work here, one that this one takes over from.
            let is_old = written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > ABANDONED));
            if is_old {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let program = match &settings.program {
            Some(path) => Some(path.clone()),
            None => std::env::split_paths(settings.path.as_deref().unwrap_or_default())
                .map(|directory| directory.join("git"))
                .find(|path| path.is_file()),
        };
        Ok(Self { settings, program })
    }

    /// The program, if there is one.
    pub fn program(&self) -> Result<&Path, GitError> {
        self.program.as_deref().ok_or(GitError::NoProgram)
    }

    /// A directory to work in. Blocks for a moment.
    pub fn workplace(&self) -> Result<Workplace, GitError> {
        self.program()?;
        let made = tempfile::Builder::new().prefix("fetch-").tempdir_in(&self.settings.directory);
        Ok(Workplace { work: made.map_err(|cause| GitError::Io { what: "make", cause })? })
    }

    /// Has git read the pack of `commit`, whose history was cut at `shallow`, and lists what `directory` of it holds: at most so
    /// many files and bytes.
    pub async fn read(
        &self,
        place: &Workplace,
        (commit, shallow): (Commit, &[Commit]),
        (directory, most_files, most_bytes): (&Directory, u64, u64),
        cancel: &CancellationToken,
    ) -> Result<Listing, GitError> {
        let (work, own, repository) = (place.work.path().to_owned(), place.own(), place.repository());
        let cuts: String = shallow.iter().map(|commit| format!("{commit}\n")).collect();
        let account = self.settings.account;
        blocking("lay out", move || lay_out(&work, &own, &repository, &cuts, account)).await?;
        let pack = place.repository().join("objects/pack").join(PACK);
        let index = ["index-pack".into(), "--strict".into(), pack.into_os_string()];
        self.run(place, "read what the repository's server sent", &index, cancel, &mut |_| Ok(())).await?;
        let mut listing = Listing::new(directory.clone(), most_files, most_bytes);
        let commit = commit.to_string();
        let list = ["ls-tree", "-r", "-t", "-l", "--full-tree", &commit].map(OsString::from);
        self.run(place, "list the files of the commit", &list, cancel, &mut |line| listing.line(line)).await?;
        Ok(listing)
    }

    /// Has git make a gzipped tar of `directory`; answers it, opened. The content is git's word: it is to be judged like anybody's.
    pub async fn archive(
        &self,
        place: &Workplace,
        commit: Commit,
        directory: &Directory,
        cancel: &CancellationToken,
    ) -> Result<File, GitError> {
        let (own, out) = (place.own(), place.own().join("archive.tar.gz"));
        let tree = match directory.is_root() {
            true => commit.to_string(),
            false => format!("{commit}:{directory}"),
        };
        let mut to = OsString::from("--output=");
        to.push(&out);
        let words = ["archive".into(), "--format=tar.gz".into(), "-1".into(), to, tree.into()];
        self.run(place, "take the files out of the commit", &words, cancel, &mut |_| Ok(())).await?;
        let take = self.settings.account.is_some();
        blocking("take back", move || take_back(&own, &out, take)).await
    }

    async fn run(
        &self,
        place: &Workplace,
        step: &'static str,
        args: &[OsString],
        cancel: &CancellationToken,
        on_line: &mut (dyn FnMut(&str) -> Result<(), BadListing> + Send),
    ) -> Result<(), GitError> {
        let order = Order {
            program: self.program()?,
            args: args.to_vec(),
            env: variables(place),
            directory: place.own(),
            account: self.settings.account,
            timeout: TIMEOUT,
            yard: self.settings.fence.as_ref().map(|fence| self.yard(fence, place)),
        };
        let hidden = format!("{}/", place.own().display());
        let (mut words, mut refused) = (Vec::new(), None);
        // Ends git at once when its list is too long.
        let enough = cancel.child_token();
        let mut each = |stream, line: &str| match stream {
            Stream::Stdout if refused.is_none() => {
                if let Err(bad) = on_line(line) {
                    refused = Some(bad);
                    enough.cancel();
                }
            }
            Stream::Stdout => {}
            Stream::Stderr => {
                words.push(line.replace(&hidden, ""));
                if words.len() > ERROR_LINES {
                    words.remove(0);
                }
            }
        };
        let ended = process::run_to_the_last_word(order, &enough, &mut each).await;
        if let Some(bad) = refused {
            return Err(bad.into());
        }
        let status = ended.map_err(|cause| GitError::Unfinished { step, cause })?;
        if status.success() {
            return Ok(());
        }
        let words = if words.is_empty() { status.to_string() } else { words.join("; ") };
        Err(GitError::Refused { step, words })
    }

    fn yard<'f>(&self, fence: &'f Fence, place: &Workplace) -> Yard<'f> {
        // Where it is not one of the system's programs, it has its own directory with the parts that it runs.
        let program = self.program.as_ref().and_then(|path| path.canonicalize().ok());
        let beside = program.as_deref().and_then(Path::parent).and_then(Path::parent).map(Path::to_owned);
        let read_only = beside.filter(|path| path != Path::new("/") && path != Path::new("/usr")).into_iter().collect();
        Yard { fence, read_only, writable: vec![place.own()], urls: Vec::new(), offline: true }
    }
}

/// The name of the pack.
const PACK: &str = "pack-fetched.pack";

/// git's whole environment.
fn variables(place: &Workplace) -> Vec<(String, String)> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let own = [
        ("GIT_DIR", text(place.repository())),
        ("HOME", text(place.own().join("home"))),
        ("TMPDIR", text(place.own().join("tmp"))),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
        ("LC_ALL", "C.UTF-8".into()),
        ("TZ", "UTC".into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
        ("GIT_ATTR_NOSYSTEM", "1".into()),
        ("GIT_TERMINAL_PROMPT", "0".into()),
        ("GIT_NO_REPLACE_OBJECTS", "1".into()),
        ("GIT_NO_LAZY_FETCH", "1".into()),
        ("GIT_OPTIONAL_LOCKS", "0".into()),
        // Nothing here transports anything; were it to try, it may not.
        ("GIT_ALLOW_PROTOCOL", "none".into()),
        ("GIT_ALLOC_LIMIT", MOST_OBJECT.into()),
    ];
    own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, GitError> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|cause| GitError::Io { what, cause })
}

/// Lays out an empty repository around the pack, and gives it to the account.
fn lay_out(work: &Path, own: &Path, repository: &Path, cuts: &str, account: Option<Account>) -> io::Result<()> {
    let pack = repository.join("objects/pack");
    for path in [&pack, &repository.join("refs"), &repository.join("info"), &own.join("home"), &own.join("tmp")] {
        fs::create_dir_all(path)?;
    }
    fs::write(repository.join("HEAD"), "ref: refs/heads/none\n")?;
    fs::write(repository.join("config"), CONFIG)?;
    fs::write(repository.join("info/attributes"), ATTRIBUTES)?;
    if !cuts.is_empty() {
        fs::write(repository.join("shallow"), cuts)?;
    }
    fs::rename(work.join("pack"), pack.join(PACK))?;
    open_up(repository)?;
    fs::set_permissions(work, Permissions::from_mode(0o711))?;
    // The whole comes last: then the server has written all it will.
    for name in ["repository/objects/pack", "repository/objects", "repository", "home", "tmp", ""] {
        let path = own.join(name);
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        if let Some(account) = account {
            chown(&path, Some(account.uid), Some(account.gid))?;
        }
    }
    Ok(())
}

/// Lets every account read a tree that the server has laid out.
fn open_up(tree: &Path) -> io::Result<()> {
    let is_directory = fs::symlink_metadata(tree)?.is_dir();
    if is_directory {
        for entry in tree.read_dir()? {
            open_up(&entry?.path())?;
        }
    }
    fs::set_permissions(tree, Permissions::from_mode(if is_directory { 0o755 } else { 0o644 }))
}

/// Takes the directory back from the account and opens the archive, if that is a file.
fn take_back(own: &Path, archive: &Path, take: bool) -> io::Result<File> {
    if take {
        chown(own, Some(0), Some(0))?;
        fs::set_permissions(own, Permissions::from_mode(0o700))?;
    }
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits()).open(archive)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("git left no archive")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    /// A repository with files, and its pack in a place to work in.
    fn packed(files: &[(&str, &str)]) -> (TempDir, Git, Workplace, Commit) {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("source");
        fs::create_dir(&source).unwrap();
        let git = |words: &[&str], stdin: Option<&str>| {
            let mut command = Command::new("git");
            command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(words).current_dir(&source);
            command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
            let input = root.path().join("input");
            fs::write(&input, stdin.unwrap_or_default()).unwrap();
            let done = command.stdin(File::open(input).unwrap()).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            done.stdout
        };
        git(&["init", "--quiet"], None);
        for (name, text) in files {
            let path = source.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        git(&["add", "--all"], None);
        git(&["commit", "--quiet", "--message=one"], None);
        let commit = String::from_utf8(git(&["rev-parse", "HEAD"], None)).unwrap();
        let tool = Git::open(Settings {
            directory: root.path().join("git"),
            program: None,
            path: std::env::var_os("PATH"),
            account: None,
            fence: None,
        });
        let tool = tool.unwrap();
        let place = tool.workplace().unwrap();
        fs::write(place.pack(), git(&["pack-objects", "--revs", "--stdout", "--quiet"], Some(&commit))).unwrap();
        (root, tool, place, commit.trim().parse().unwrap())
    }

    #[tokio::test]
    async fn files_come_as_they_are_stored() {
        let attributes = "* text eol=crlf ident\nleft-out export-ignore\n*.txt export-subst filter=lfs\n";
        let files = [
            (".gitattributes", attributes),
            ("app/manifest.json", "{}\n"),
            ("app/left-out", "here\n"),
            ("app/a.txt", "$Format:%H$ $Id$\n"),
            ("other/big", "0123456789"),
        ];
        let (_root, git, place, commit) = packed(&files);
        let cancel = CancellationToken::new();
        let directory: Directory = "app".parse().unwrap();
        let listing = git.read(&place, (commit, &[]), (&directory, 3, 1000), &cancel).await.unwrap();
        assert_eq!((listing.check(), listing.manifest_directories()), (Ok(()), vec!["app".to_owned()]));
        let archive = git.archive(&place, commit, &directory, &cancel).await.unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive));
        let mut seen = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let text = io::read_to_string(&mut entry).unwrap();
            seen.push((entry.path().unwrap().display().to_string(), text));
        }
        let text = |name: &str| seen.iter().find(|(path, _)| path == name).map(|(_, text)| text.as_str());
        assert_eq!(text("left-out"), Some("here\n"), "{seen:?}");
        assert_eq!(text("a.txt"), Some("$Format:%H$ $Id$\n"), "{seen:?}");
        assert_eq!(text("big"), None);
    }

    #[tokio::test]
    async fn what_is_too_much_is_refused_before_it_is_taken_out() {
        let (_root, git, place, commit) = packed(&[("manifest.json", "{}"), ("a", "12345"), ("b", "6")]);
        let read = (&Directory::default(), 2, 1000);
        let refused = git.read(&place, (commit, &[]), read, &CancellationToken::new()).await.unwrap_err();
        assert!(matches!(refused, GitError::Listing(BadListing::TooMany { .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn what_is_no_pack_is_refused() {
        for bytes in [&b"PACK"[..], b"", &[0xff; 5000]] {
            let (_root, git, place, commit) = packed(&[("manifest.json", "{}")]);
            fs::write(place.pack(), bytes).unwrap();
            let read = (&Directory::default(), 10, 1000);
            let refused = git.read(&place, (commit, &[]), read, &CancellationToken::new()).await.unwrap_err();
            let said = refused.to_string();
            assert!(said.starts_with("git could not read what the repository's server sent: "), "{said}");
        }
    }

    #[test]
    fn an_archive_that_is_no_file_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let archive = root.path().join("archive.tar.gz");
        std::os::unix::fs::symlink("/etc/passwd", &archive).unwrap();
        assert!(take_back(root.path(), &archive, false).is_err());
        fs::remove_file(&archive).unwrap();
        nix::unistd::mkfifo(&archive, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(take_back(root.path(), &archive, false).unwrap_err().to_string(), "git left no archive");
    }
}
