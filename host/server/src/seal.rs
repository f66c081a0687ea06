//! Seals environment variables of content and secrets of plugins: XChaCha20-Poly1305 under a key in a file of the server's
//! own.
//!
//! What a value belongs to (the content's GUID and the variable's name, or the plugin's and the secret's) is authenticated
//! with it, so a sealed value cannot be moved to anything else. Layout: 24 bytes of nonce, then ciphertext and tag.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use lectern_domain::ContentGuid;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;
/// Keeps the key derived for cookies apart from any other derived from the same file.
const COOKIE_CONTEXT: &str = "lectern 2026 worker cookie";
/// The same for the forms of pages.
const FORM_CONTEXT: &str = "lectern 2026 page form";

/// The server's sealing key.
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
    cookie_key: Zeroizing<[u8; 32]>,
    form_key: Zeroizing<[u8; 32]>,
}

impl Sealer {
    /// Reads the key from `file`, making one on the first start. The file is the owner's alone (mode 0600).
    pub(crate) fn open(file: &Path) -> anyhow::Result<Self> {
        let key = match std::fs::File::open(file) {
            Ok(mut open) => {
                let mut key = Zeroizing::new(Vec::new());
                open.read_to_end(&mut key).with_context(|| format!("read the key file {}", file.display()))?;
                key
            }
            Err(error) if error.kind() == ErrorKind::NotFound => create_key(file)?,
            Err(error) => return Err(error).with_context(|| format!("open the key file {}", file.display())),
        };
        if key.len() != 32 {
            bail!("key file {} holds {} bytes, not 32: restore it from the backup", file.display(), key.len());
        }
        let cipher = XChaCha20Poly1305::new_from_slice(&key).context("use the key file")?;
        let cookie_key = Zeroizing::new(blake3::derive_key(COOKIE_CONTEXT, &key));
        let form_key = Zeroizing::new(blake3::derive_key(FORM_CONTEXT, &key));
        Ok(Self { cipher, cookie_key, form_key })
    }

    /// The key that signs cookies which name workers: another one for the same file, and the same after a restart.
    pub(crate) fn cookie_key(&self) -> [u8; 32] {
        *self.cookie_key
    }

    /// The key that signs the forms of this server's pages.
    pub(crate) fn form_key(&self) -> [u8; 32] {
        *self.form_key
    }

    /// Seals `value` of variable `name` of `content`.
    pub(crate) fn seal(&self, content: ContentGuid, name: &str, value: &str) -> anyhow::Result<Vec<u8>> {
        self.sealed(&bound_to(content, name), value.as_bytes())
            .with_context(|| format!("seal variable {name} of content {content}"))
    }

    /// Opens what [`Self::seal`] made for the same content and name.
    pub(crate) fn open_value(&self, content: ContentGuid, name: &str, sealed: &[u8]) -> anyhow::Result<String> {
        let plain = self.opened(&bound_to(content, name), sealed);
        plain
            .and_then(|plain| String::from_utf8(plain).ok())
            .with_context(|| format!("variable {name} of content {content} was sealed with another key or is damaged"))
    }

    /// Seals secret `name` of `plugin`.
    pub(crate) fn seal_secret(&self, plugin: &str, name: &str, value: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.sealed(&bound_to_plugin(plugin, name), value)
            .with_context(|| format!("seal secret {name} of plugin {plugin}"))
    }

    /// Opens what [`Self::seal_secret`] made for the same plugin and name.
    pub(crate) fn open_secret(&self, plugin: &str, name: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.opened(&bound_to_plugin(plugin, name), sealed)
            .with_context(|| format!("secret {name} of plugin {plugin} was sealed with another key or is damaged"))
    }

    fn sealed(&self, aad: &[u8], value: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut nonce = [0u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| anyhow::anyhow!("ask for random bytes: {error}"))?;
        let sealed = self.cipher.encrypt(XNonce::from_slice(&nonce), Payload { msg: value, aad });
        Ok([nonce.as_slice(), &sealed.map_err(|_| anyhow::anyhow!("the value is too long"))?].concat())
    }

    fn opened(&self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_BYTES)?;
        self.cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: body, aad }).ok()
    }
}

fn bound_to(content: ContentGuid, name: &str) -> Vec<u8> {
    [content.0.as_bytes().as_slice(), name.as_bytes()].concat()
}

/// Never what [`bound_to`] gives: the ninth byte of a GUID is no ASCII. Neither name holds a NUL.
fn bound_to_plugin(plugin: &str, name: &str) -> Vec<u8> {
    ["lectern plugin secret", plugin, name].join("\0").into_bytes()
}

/// Makes the key file; when another server of the same directory was faster, its key is the one.
fn create_key(file: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(vec![0u8; 32]);
    getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("ask for random bytes: {error}"))?;
    let beside = file.with_extension(format!("new-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        out.write_all(&key)?;
        out.sync_all()?;
        let linked = std::fs::hard_link(&beside, file);
        std::fs::remove_file(&beside)?;
        linked
    };
    match write() {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok(Zeroizing::new(std::fs::read(file).with_context(|| format!("read the key file {}", file.display()))?))
        }
        Err(error) => Err(error).with_context(|| format!("make the key file {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn values_open_only_where_they_were_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret.key");
        let sealer = Sealer::open(&file).unwrap();
        let (here, there) = (ContentGuid(Uuid::from_u128(1)), ContentGuid(Uuid::from_u128(2)));
        let sealed = sealer.seal(here, "TOKEN", "hunter2").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        let again = Sealer::open(&file).unwrap();
        assert_eq!(again.open_value(here, "TOKEN", &sealed).unwrap(), "hunter2");
        assert!(again.open_value(there, "TOKEN", &sealed).is_err(), "another item");
        assert!(again.open_value(here, "OTHER", &sealed).is_err(), "another name");
        assert!(again.open_value(here, "TOKEN", &sealed[..10]).is_err(), "cut");
        let mut bent = sealed.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert!(again.open_value(here, "TOKEN", &bent).is_err(), "changed");
        assert_eq!(again.cookie_key(), sealer.cookie_key(), "cookies outlive a restart");
        assert_ne!(sealed, sealer.seal(here, "TOKEN", "hunter2").unwrap(), "nonces differ");
        assert!(again.open_secret("plugin", "TOKEN", &sealed).is_err(), "a variable is no secret of a plugin");
        let sealed = sealer.seal_secret("plugin", "TOKEN", b"hunter2").unwrap();
        assert_eq!(again.open_secret("plugin", "TOKEN", &sealed).unwrap(), b"hunter2");
        assert!(again.open_value(here, "TOKEN", &sealed).is_err(), "nor the other way round");
    }

    #[test]
    fn the_key_file_is_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret.key");
        Sealer::open(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, b"short").unwrap();
        assert!(Sealer::open(&file).is_err());
    }
}
