//! What a process of content is given to speak with this server: an API key that acts as the content's owner, and a token that
//! says which content it is.
//!
//! Neither is stored. Both follow from the job's key and the content by a secret of this data directory, so a start writes nothing, and
//! another server that takes the processes over finds the same keys in their hands. They are good as long as this server knows the
//! process, which is as long as it lives: what is sent after its end, or from another host, is an unknown key. Whose they are is
//! looked up with each use, so a new owner, a locked one or one of a lesser role counts at once.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lectern_domain::{ContentGuid, JobKey};
use parking_lot::RwLock;
use zeroize::Zeroizing;

use crate::credentials::secret_hash;
use crate::seal;

/// What begins every key, and every token: who finds one in a file sees what it was.
const KEY: &str = "lectern_content_";
const TOKEN: &str = "lectern_session_";

/// The keys of the processes that there are.
pub(crate) struct ContentKeys {
    secret: Zeroizing<[u8; 32]>,
    /// Whether keys count; tokens always do.
    keys_count: bool,
    /// The contents of processes, by the hashes of their keys and tokens. As many as processes.
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<[u8; 32], ContentGuid>,
    tokens: HashMap<[u8; 32], ContentGuid>,
}

/// What one process is given.
pub(crate) struct Given {
    /// An API key, if they are given out.
    pub(crate) api_key: Option<Zeroizing<String>>,
    /// Says which content it is.
    pub(crate) session_token: Zeroizing<String>,
}

impl ContentKeys {
    /// Reads the secret from `file`, making one on the first start.
    pub(crate) fn open(file: &Path, keys_count: bool) -> anyhow::Result<Self> {
        Ok(Self::new(seal::own_key(file)?, keys_count))
    }

    fn new(secret: Zeroizing<[u8; 32]>, keys_count: bool) -> Self {
        Self { secret, keys_count, known: RwLock::default() }
    }

    fn text(&self, prefix: &str, content: ContentGuid, job: &JobKey) -> Zeroizing<String> {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        // Prefixes are of one length, and so are GUIDs: nothing reads as anything else.
        hasher.update(prefix.as_bytes()).update(content.0.as_bytes()).update(job.as_str().as_bytes());
        Zeroizing::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(hasher.finalize().as_bytes())))
    }

    /// What a process of `content` is given.
    pub(crate) fn given(&self, content: ContentGuid, job: &JobKey) -> Given {
        Given {
            api_key: self.keys_count.then(|| self.text(KEY, content, job)),
            session_token: self.text(TOKEN, content, job),
        }
    }

    /// A process of `content` lives, or is about to. Can be repeated.
    pub(crate) fn began(&self, content: ContentGuid, job: &JobKey) {
        let [key, token] = [KEY, TOKEN].map(|prefix| secret_hash(&self.text(prefix, content, job)));
        let mut known = self.known.write();
        known.keys.insert(key, content);
        known.tokens.insert(token, content);
    }

    /// It has ended.
    pub(crate) fn ended(&self, content: ContentGuid, job: &JobKey) {
        let [key, token] = [KEY, TOKEN].map(|prefix| secret_hash(&self.text(prefix, content, job)));
        let mut known = self.known.write();
        known.keys.remove(&key);
        known.tokens.remove(&token);
    }

    /// The content a process of which has the key with this hash.
    pub(crate) fn content_of_key(&self, hash: &[u8; 32]) -> Option<ContentGuid> {
        self.known.read().keys.get(hash).copied().filter(|_| self.keys_count)
    }

    /// The content a process of which has this token.
    pub(crate) fn content_of_token(&self, token: &str) -> Option<ContentGuid> {
        self.known.read().tokens.get(&secret_hash(token)).copied()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    /// For tests of what keeps them.
    pub(crate) fn keys(secret: u8, keys_count: bool) -> ContentKeys {
        ContentKeys::new(Zeroizing::new([secret; 32]), keys_count)
    }

    #[test]
    fn they_are_good_while_the_process_lives() {
        let keys = keys(1, true);
        let (content, other) = (ContentGuid(Uuid::from_u128(1)), ContentGuid(Uuid::from_u128(2)));
        let (job, later) = (JobKey::from_random([1; 16]), JobKey::from_random([2; 16]));
        let given = keys.given(content, &job);
        let (key, token) = (given.api_key.unwrap(), given.session_token);
        let of_key = |text: &str| keys.content_of_key(&secret_hash(text));
        assert_eq!((of_key(&key), keys.content_of_token(&token)), (None, None), "not begun");
        keys.began(content, &job);
        keys.began(content, &later);
        keys.began(other, &JobKey::from_random([3; 16]));
        assert_eq!((of_key(&key), keys.content_of_token(&token)), (Some(content), Some(content)));
        assert_eq!((of_key(&token), keys.content_of_token(&key)), (None, None), "each is for its own place");
        keys.ended(content, &job);
        assert_eq!((of_key(&key), keys.content_of_token(&token)), (None, None), "ended");
        assert_eq!(of_key(&keys.given(content, &later).api_key.unwrap()), Some(content), "others go on");
    }

    #[test]
    fn another_server_of_the_directory_knows_them_and_one_of_another_does_not() {
        let (content, job) = (ContentGuid(Uuid::from_u128(1)), JobKey::from_random([1; 16]));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("content.key");
        let key = ContentKeys::open(&file, true).unwrap().given(content, &job).api_key.unwrap();
        let next = ContentKeys::open(&file, true).unwrap();
        let stranger = ContentKeys::open(&dir.path().join("other.key"), true).unwrap();
        for (keys, expected) in [(next, Some(content)), (stranger, None)] {
            keys.began(content, &job);
            assert_eq!(keys.content_of_key(&secret_hash(&key)), expected);
        }
        let off = ContentKeys::open(&file, false).unwrap();
        off.began(content, &job);
        assert_eq!(off.content_of_key(&secret_hash(&key)), None, "switched off, those given before end, too");
        assert!(off.given(content, &job).api_key.is_none());
        assert_eq!(off.content_of_token(&off.given(content, &job).session_token), Some(content));
    }
}
