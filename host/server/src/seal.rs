//! Seals environment variables of content, secrets of plugins, and what integrations keep secret: XChaCha20-Poly1305 under a key in
//! a file of the server's own.
//!
//! What a value belongs to (the content's GUID and the variable's name, for example) is authenticated with it, so a sealed value
//! cannot be moved to anything else. Layout: 24 bytes of nonce, then ciphertext and tag.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use lectern_domain::ContentGuid;
use lectern_domain::integrations::Place;
use lectern_domain::sealing::{KeyFiles, Step, next_step};
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;
/// Keeps the key derived for cookies apart from any other derived from the same file.
const COOKIE_CONTEXT: &str = "lectern 2026 worker cookie";
/// The same for the forms of pages.
const FORM_CONTEXT: &str = "lectern 2026 page form";
/// The same for what content is told of its visitors.
const VISITOR_CONTEXT: &str = "lectern 2026 visitor token";

/// The server's sealing key, and the old one while it is being replaced.
///
/// Other processes may replace the file: it is looked at before each sealing, and when a value does not open.
pub(crate) struct Sealer {
    file: PathBuf,
    keys: ArcSwap<Keys>,
    cookie_key: Zeroizing<[u8; 32]>,
    form_key: Zeroizing<[u8; 32]>,
    visitor_key: Zeroizing<[u8; 32]>,
}

struct Keys {
    current: XChaCha20Poly1305,
    old: Option<XChaCha20Poly1305>,
    /// Tells whether the file is still the one that was read.
    seen: Seen,
}

/// Device, inode and time of last change of the key file, and whether an old key is beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen(u64, u64, i64, i64, bool);

/// Whether a value was sealed with the old key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SealedWith {
    Current,
    Old,
    /// With neither, or it is damaged.
    Neither,
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn old_file(file: &Path) -> PathBuf {
    beside(file, ".old")
}

fn next_file(file: &Path) -> PathBuf {
    beside(file, ".next")
}

fn look(file: &Path) -> anyhow::Result<Seen> {
    let meta = std::fs::metadata(file).with_context(|| format!("look at the key file {}", file.display()))?;
    Ok(Seen(meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), old_file(file).exists()))
}

/// Reads a key; `None` when there is no such file.
fn read_key(file: &Path) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut open = match File::open(file) {
        Ok(open) => open,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open the key file {}", file.display())),
    };
    let mut key = Zeroizing::new(Vec::with_capacity(33));
    // One byte more than a key tells that it is none.
    (&mut open).take(33).read_to_end(&mut key).with_context(|| format!("read the key file {}", file.display()))?;
    if key.len() != 32 {
        bail!("key file {} does not hold 32 bytes: restore it from the backup", file.display());
    }
    Ok(Some(key))
}

fn cipher(key: &[u8]) -> anyhow::Result<XChaCha20Poly1305> {
    XChaCha20Poly1305::new_from_slice(key).context("use the key file")
}

impl Keys {
    fn read(file: &Path) -> anyhow::Result<Self> {
        // Looked at first: what changes while it is read is seen the next time.
        let seen = look(file)?;
        let current = read_key(file)?.with_context(|| format!("the key file {} is gone", file.display()))?;
        let old = read_key(&old_file(file))?.filter(|old| **old != *current);
        Ok(Self { current: cipher(&current)?, old: old.map(|old| cipher(&old)).transpose()?, seen })
    }
}

impl Sealer {
    /// Reads the key from `file`, making one on the first start. The file is the owner's alone (mode 0600).
    pub(crate) fn open(file: &Path) -> anyhow::Result<Self> {
        let key = match read_key(file)? {
            Some(key) => key,
            None => create_key(file)?,
        };
        let cookie_key = Zeroizing::new(blake3::derive_key(COOKIE_CONTEXT, &key));
        let form_key = Zeroizing::new(blake3::derive_key(FORM_CONTEXT, &key));
        let visitor_key = Zeroizing::new(blake3::derive_key(VISITOR_CONTEXT, &key));
        let keys = ArcSwap::from_pointee(Keys::read(file)?);
        Ok(Self { file: file.to_owned(), keys, cookie_key, form_key, visitor_key })
    }

    /// The key that signs cookies which name workers: another one for the same file, and the same after a restart.
    pub(crate) fn cookie_key(&self) -> [u8; 32] {
        *self.cookie_key
    }

    /// The key that signs the forms of this server's pages.
    pub(crate) fn form_key(&self) -> [u8; 32] {
        *self.form_key
    }

    /// The key behind what content is told of its visitors, and behind the keys that it gets for them.
    pub(crate) fn visitor_key(&self) -> [u8; 32] {
        *self.visitor_key
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

    /// Seals what an integration keeps secret.
    pub(crate) fn seal_for(&self, place: Place, value: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.sealed(&place.bound_to(), value).with_context(|| format!("seal the secrets of {place}"))
    }

    /// Opens what [`Self::seal_for`] made for the same place.
    pub(crate) fn open_for(&self, place: Place, sealed: &[u8]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let plain = self.opened(&place.bound_to(), sealed).map(Zeroizing::new);
        plain.with_context(|| format!("the secrets of {place} were sealed with another key or are damaged"))
    }

    /// Seals what an integration keeps secret anew when it is sealed with the old key.
    pub(crate) fn reseal_for(&self, place: Place, sealed: &[u8]) -> anyhow::Result<(SealedWith, Option<Vec<u8>>)> {
        self.resealed(&place.bound_to(), sealed)
    }

    /// Seals a variable's value anew when it is sealed with the old key.
    pub(crate) fn reseal(
        &self,
        content: ContentGuid,
        name: &str,
        sealed: &[u8],
    ) -> anyhow::Result<(SealedWith, Option<Vec<u8>>)> {
        self.resealed(&bound_to(content, name), sealed)
    }

    /// Seals a plugin's secret anew when it is sealed with the old key.
    pub(crate) fn reseal_secret(
        &self,
        plugin: &str,
        name: &str,
        sealed: &[u8],
    ) -> anyhow::Result<(SealedWith, Option<Vec<u8>>)> {
        self.resealed(&bound_to_plugin(plugin, name), sealed)
    }

    fn resealed(&self, aad: &[u8], sealed: &[u8]) -> anyhow::Result<(SealedWith, Option<Vec<u8>>)> {
        let keys = self.fresh()?;
        if decrypt(&keys.current, aad, sealed).is_some() {
            return Ok((SealedWith::Current, None));
        }
        let plain = keys.old.as_ref().and_then(|old| decrypt(old, aad, sealed)).map(Zeroizing::new);
        match plain {
            Some(plain) => Ok((SealedWith::Old, Some(self.sealed(aad, &plain)?))),
            None => Ok((SealedWith::Neither, None)),
        }
    }

    /// The keys as the files have them now.
    fn fresh(&self) -> anyhow::Result<Arc<Keys>> {
        let keys = self.keys.load_full();
        if keys.seen == look(&self.file)? {
            return Ok(keys);
        }
        let keys = Arc::new(Keys::read(&self.file)?);
        self.keys.store(Arc::clone(&keys));
        Ok(keys)
    }

    fn sealed(&self, aad: &[u8], value: &[u8]) -> anyhow::Result<Vec<u8>> {
        let keys = self.fresh()?;
        let mut nonce = [0u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| anyhow::anyhow!("ask for random bytes: {error}"))?;
        let sealed = keys.current.encrypt(XNonce::from_slice(&nonce), Payload { msg: value, aad });
        Ok([nonce.as_slice(), &sealed.map_err(|_| anyhow::anyhow!("the value is too long"))?].concat())
    }

    fn opened(&self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let open =
            |keys: &Keys| decrypt(&keys.current, aad, sealed).or_else(|| decrypt(keys.old.as_ref()?, aad, sealed));
        let known = self.keys.load_full();
        open(&known).or_else(|| {
            let fresh = self.fresh().ok()?;
            if Arc::ptr_eq(&fresh, &known) { None } else { open(&fresh) }
        })
    }

    /// What a rotation of the key has to do next.
    pub(crate) fn step(&self) -> anyhow::Result<Step> {
        let current = read_key(&self.file)?;
        let old = read_key(&old_file(&self.file))?;
        Ok(next_step(KeyFiles {
            next: next_file(&self.file).exists(),
            old: old.is_some(),
            old_is_current: old.is_some_and(|old| current.is_some_and(|current| *old == *current)),
        }))
    }

    /// Makes the change of files that belongs to a step. [`Step::Reseal`] takes the old key away: the caller has sealed
    /// everything anew.
    pub(crate) fn change_files(&self, step: Step) -> anyhow::Result<()> {
        let (old, next) = (old_file(&self.file), next_file(&self.file));
        let what = match step {
            Step::Begin => return create_key(&next).map(drop),
            Step::KeepOld => std::fs::hard_link(&self.file, &old),
            Step::Switch => std::fs::rename(&next, &self.file),
            Step::Reseal | Step::RemoveCopy => std::fs::remove_file(&old),
            Step::Refuse => bail!(
                "{} and {} are two other keys than {}: keep the one that the values are sealed with, and remove the others",
                old.display(),
                next.display(),
                self.file.display()
            ),
        };
        what.with_context(|| format!("change the key files beside {}", self.file.display()))?;
        sync_directory(&self.file)
    }
}

fn sync_directory(file: &Path) -> anyhow::Result<()> {
    let directory = file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("write the directory {}", directory.display()))
}

fn decrypt(cipher: &XChaCha20Poly1305, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_at_checked(NONCE_BYTES)?;
    cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: body, aad }).ok()
}

fn bound_to(content: ContentGuid, name: &str) -> Vec<u8> {
    [content.0.as_bytes().as_slice(), name.as_bytes()].concat()
}

/// Never what [`bound_to`] gives: the ninth byte of a GUID is no ASCII. Neither name holds a NUL.
fn bound_to_plugin(plugin: &str, name: &str) -> Vec<u8> {
    ["lectern plugin secret", plugin, name].join("\0").into_bytes()
}

/// A key in a file of its own, for what no rotation touches; made on the first call. The file is the owner's alone.
pub(crate) fn own_key(file: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let key = match read_key(file)? {
        Some(key) => key,
        None => create_key(file)?,
    };
    let key = <[u8; 32]>::try_from(key.as_slice()).map(Zeroizing::new);
    key.ok().with_context(|| format!("key file {} does not hold 32 bytes", file.display()))
}

/// Makes the key file; when another server of the same directory was faster, its key is the one.
fn create_key(file: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(vec![0u8; 32]);
    getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("ask for random bytes: {error}"))?;
    let beside = beside(file, &format!(".new-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        out.write_all(&key)?;
        out.sync_all()?;
        let linked = std::fs::hard_link(&beside, file);
        std::fs::remove_file(&beside)?;
        linked
    };
    match write() {
        Ok(()) => sync_directory(file).map(|()| key),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read_key(file)?.with_context(|| format!("the key file {} is gone again", file.display()))
        }
        Err(error) => Err(error).with_context(|| format!("make the key file {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lectern_domain::IntegrationGuid;
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
        let place = Place::Integration(IntegrationGuid(here.0));
        let sealed = sealer.seal_for(place, b"hunter2").unwrap();
        assert_eq!(again.open_for(place, &sealed).unwrap().as_slice(), b"hunter2");
        assert!(again.open_for(Place::Login(here.0), &sealed).is_err(), "another place");
        assert!(again.open_value(here, "TOKEN", &sealed).is_err(), "nor is it a variable");
        let keys = [sealer.cookie_key(), sealer.form_key(), sealer.visitor_key()];
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2], "keys for different things differ");
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

    /// Two servers of one key file, which one of them replaces; a value of each time opens at any point.
    #[test]
    fn values_open_at_every_point_of_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret.key");
        let (one, other) = (Sealer::open(&file).unwrap(), Sealer::open(&file).unwrap());
        let here = ContentGuid(Uuid::from_u128(1));
        let first = std::fs::read(&file).unwrap();
        let before = one.seal(here, "A", "before").unwrap();
        let mut steps = Vec::new();
        loop {
            let step = one.step().unwrap();
            if step == Step::Reseal {
                break;
            }
            steps.push(step);
            one.change_files(step).unwrap();
            for sealer in [&one, &other, &Sealer::open(&file).unwrap()] {
                assert_eq!(sealer.open_value(here, "A", &before).unwrap(), "before", "after {step:?}");
                let now = sealer.seal(here, "B", "now").unwrap();
                for reader in [&one, &other] {
                    assert_eq!(reader.open_value(here, "B", &now).unwrap(), "now", "after {step:?}");
                }
            }
        }
        assert_eq!(steps, [Step::Begin, Step::KeepOld, Step::Switch]);
        assert_ne!(std::fs::read(&file).unwrap(), first);
        let (with, anew) = other.reseal(here, "A", &before).unwrap();
        let anew = anew.unwrap();
        assert_eq!(with, SealedWith::Old);
        assert_eq!(other.reseal(here, "A", &anew).unwrap(), (SealedWith::Current, None));
        assert_eq!(other.reseal(here, "B", &anew).unwrap(), (SealedWith::Neither, None), "bound to its name");
        let secret = one.seal_secret("p", "s", b"x").unwrap();
        assert_eq!(one.reseal_secret("p", "s", &secret).unwrap().0, SealedWith::Current);
        one.change_files(Step::Reseal).unwrap();
        assert_eq!(one.step().unwrap(), Step::Begin);
        for sealer in [&one, &other] {
            assert_eq!(sealer.open_value(here, "A", &anew).unwrap(), "before");
            assert_eq!(sealer.reseal(here, "A", &before).unwrap().0, SealedWith::Neither, "the old key is gone");
        }
    }

    #[test]
    fn three_keys_are_a_persons_to_sort_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret.key");
        let sealer = Sealer::open(&file).unwrap();
        std::fs::write(dir.path().join("secret.key.old"), [1; 32]).unwrap();
        std::fs::write(dir.path().join("secret.key.next"), [2; 32]).unwrap();
        assert_eq!(sealer.step().unwrap(), Step::Refuse);
        assert!(sealer.change_files(Step::Refuse).unwrap_err().to_string().contains("secret.key.old"));
    }
}
