//! The small programs that put an application on a Unix socket: embedded here, written once below the data directory.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const FILES: &[(&str, &str)] = &[
    ("lectern_asgi.py", include_str!("../launchers/lectern_asgi.py")),
    ("lectern_bokeh.py", include_str!("../launchers/lectern_bokeh.py")),
    ("lectern_dash.py", include_str!("../launchers/lectern_dash.py")),
    ("lectern_engine.R", include_str!("../launchers/lectern_engine.R")),
    ("lectern_entrypoint.py", include_str!("../launchers/lectern_entrypoint.py")),
    ("lectern_gradio.py", include_str!("../launchers/lectern_gradio.py")),
    ("lectern_httpuv.R", include_str!("../launchers/lectern_httpuv.R")),
    ("lectern_link.R", include_str!("../launchers/lectern_link.R")),
    ("lectern_link.js", include_str!("../launchers/lectern_link.js")),
    ("lectern_node.cjs", include_str!("../launchers/lectern_node.cjs")),
    ("lectern_node_packages.cjs", include_str!("../launchers/lectern_node_packages.cjs")),
    ("lectern_plumber.R", include_str!("../launchers/lectern_plumber.R")),
    ("lectern_shiny.R", include_str!("../launchers/lectern_shiny.R")),
    ("lectern_streamlit.py", include_str!("../launchers/lectern_streamlit.py")),
    ("lectern_voila.py", include_str!("../launchers/lectern_voila.py")),
    ("lectern_wsgi.py", include_str!("../launchers/lectern_wsgi.py")),
    ("warm_lectern_plumber.R", include_str!("../launchers/warm_lectern_plumber.R")),
];

/// All files, with what zygotes need.
fn files() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let own = FILES.iter().map(|(name, text)| (*name, text.as_bytes()));
    own.chain(lectern_zygote::FILES.iter().copied())
}

/// The launchers on disk.
#[derive(Debug, Clone)]
pub struct Launchers {
    directory: PathBuf,
}

impl Launchers {
    /// Writes the launchers below `directory`, into a subdirectory named by their hash: a newer server puts its own beside
    /// them and running workers keep theirs. Done already: nothing is written.
    pub fn install(directory: &Path) -> io::Result<Self> {
        let mut hash = blake3::Hasher::new();
        for (name, bytes) in files() {
            hash.update(name.as_bytes()).update(&[0]).update(bytes).update(&[0]);
        }
        let target = directory.join(&hash.finalize().to_hex()[..32]);
        if !target.is_dir() {
            fs::create_dir_all(directory)?;
            fs::set_permissions(directory, Permissions::from_mode(0o755))?;
            let staging = tempfile::Builder::new().prefix(".writing-").tempdir_in(directory)?;
            for (name, bytes) in files() {
                let path = staging.path().join(name);
                fs::write(&path, bytes)?;
                fs::set_permissions(&path, Permissions::from_mode(0o644))?;
                fs::File::open(&path)?.sync_all()?;
            }
            fs::set_permissions(staging.path(), Permissions::from_mode(0o755))?;
            match fs::rename(staging.path(), &target) {
                Ok(()) => drop(staging.keep()),
                // Another server was faster, with the same files.
                Err(_) if target.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { directory: target })
    }

    /// Where they all are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the launcher `name` is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn written_once() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("launchers");
        let first = Launchers::install(&directory).unwrap();
        let asgi = first.path("lectern_asgi.py");
        let written = asgi.metadata().unwrap();
        assert_eq!(written.permissions().mode() & 0o777, 0o644);
        let second = Launchers::install(&directory).unwrap();
        assert_eq!(second.path("lectern_asgi.py"), asgi);
        assert_eq!(asgi.metadata().unwrap().modified().unwrap(), written.modified().unwrap());
        assert_eq!(directory.read_dir().unwrap().count(), 1, "no staging directory is left");
    }
}
