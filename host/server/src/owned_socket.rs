//! Unix sockets of this server that only its own account and root may use, and that a successor may put its own in the place of.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::net::{UnixListener, UnixStream};

/// The file of a socket that this process bound. Dropped, it is removed, unless another socket is in its place by then.
pub(crate) struct OwnedSocket {
    path: PathBuf,
    inode: u64,
}

impl OwnedSocket {
    /// Binds a socket at `path`, in the place of one that nobody, or a server that hands over, listens at: the caller holds the
    /// data directory's lock.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<(UnixListener, Self)> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove the old socket {}", path.display()));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("protect {}", path.display()))?;
        let inode = std::fs::symlink_metadata(path).with_context(|| format!("look at {}", path.display()))?.ino();
        Ok((listener, Self { path: path.to_owned(), inode }))
    }

    /// Binds a socket at `path` for whoever reaches it, in one step in the place of another's: somebody may be about to connect.
    pub(crate) fn bind_for_all(path: &Path) -> anyhow::Result<(std::os::unix::net::UnixListener, Self)> {
        let beside = path.with_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove the unfinished socket {}", beside.display()));
            }
            _ => {}
        }
        let bind = || -> std::io::Result<_> {
            let listener = std::os::unix::net::UnixListener::bind(&beside)?;
            std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o666))?;
            let inode = std::fs::symlink_metadata(&beside)?.ino();
            std::fs::rename(&beside, path)?;
            Ok((listener, inode))
        };
        let (listener, inode) = bind().with_context(|| format!("listen on {}", path.display()))?;
        Ok((listener, Self { path: path.to_owned(), inode }))
    }

    /// Whether the peer is root or this server's own account.
    pub(crate) fn allows(&self, stream: &UnixStream) -> anyhow::Result<()> {
        let own = nix::unistd::geteuid().as_raw();
        let peer = stream.peer_cred().context("the peer's account is unknown")?.uid();
        if peer != 0 && peer != own {
            bail!("the peer runs as {peer}, not as root nor as the server's own account {own}");
        }
        Ok(())
    }
}

impl Drop for OwnedSocket {
    fn drop(&mut self) {
        let still_ours = std::fs::symlink_metadata(&self.path).is_ok_and(|now| now.ino() == self.inode);
        if still_ours {
            // The next server makes its own; a missing one is no fault.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_successor_s_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (_one, first) = OwnedSocket::bind(&path).unwrap();
        let (_two, second) = OwnedSocket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        let stream = UnixStream::connect(&path).await.unwrap();
        second.allows(&stream).unwrap();
        drop(second);
        assert!(!path.exists());
    }
}
