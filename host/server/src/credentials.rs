//! Secrets that prove who somebody is: passwords (argon2id), API keys and session tokens.

use std::sync::LazyLock;

use anyhow::Context as _;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::Semaphore;

/// argon2id with 19 MiB, 2 passes, 1 lane: the first choice of the OWASP password storage cheat sheet.
fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19 * 1024, 2, 1, None).unwrap_or(Params::DEFAULT))
}

/// Each check holds 19 MiB and a core for some 20 ms: two at a time leave the machine to the apps.
static CHECKS: Semaphore = Semaphore::const_new(2);

/// Shortest password accepted (NIST SP 800-63B §5.1.1.2).
pub(crate) const MIN_PASSWORD: usize = 8;
/// Longest accepted: bounds the work an anonymous visitor can cause.
pub(crate) const MAX_PASSWORD: usize = 1024;

/// Says why a password cannot be used.
pub(crate) fn check_new_password(password: &str) -> Result<(), String> {
    match password.chars().count() {
        length if length < MIN_PASSWORD => Err(format!("a password needs at least {MIN_PASSWORD} characters")),
        _ if password.len() > MAX_PASSWORD => Err(format!("a password has at most {MAX_PASSWORD} bytes")),
        _ => Ok(()),
    }
}

/// Hashes a password for storing, as a PHC string. Runs on a blocking thread.
pub(crate) async fn hash_password(password: String) -> anyhow::Result<String> {
    on_blocking_thread(move || {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("ask for random bytes: {error}"))?;
        let salt = SaltString::encode_b64(&bytes).map_err(|error| anyhow::anyhow!("make a salt: {error}"))?;
        let hash = hasher().hash_password(password.as_bytes(), &salt);
        Ok(hash.map_err(|error| anyhow::anyhow!("hash a password: {error}"))?.to_string())
    })
    .await?
}

/// Whether `password` belongs to `stored`. An unknown account (`None`) costs the same time as a known one.
pub(crate) async fn password_fits(password: String, stored: Option<String>) -> anyhow::Result<bool> {
    /// The hash of nothing anybody can type, made with the same parameters.
    static DECOY: LazyLock<Option<String>> = LazyLock::new(|| {
        let salt = SaltString::encode_b64(b"lectern decoy 16").ok()?;
        hasher().hash_password(b"\0", &salt).ok().map(|hash| hash.to_string())
    });
    if password.len() > MAX_PASSWORD {
        return Ok(false);
    }
    on_blocking_thread(move || {
        let known = stored.is_some();
        let Some(text) = stored.or_else(|| DECOY.clone()) else { return false };
        let fits =
            PasswordHash::new(&text).is_ok_and(|hash| hasher().verify_password(password.as_bytes(), &hash).is_ok());
        fits && known
    })
    .await
}

async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    let _permit = CHECKS.acquire().await.context("wait for a password check")?;
    tokio::task::spawn_blocking(work).await.context("run a password check")
}

/// Makes an unguessable text of 32 random bytes: an API key or a session token. Only its hash is stored.
pub(crate) fn new_secret() -> anyhow::Result<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("ask for random bytes: {error}"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// How keys and tokens are stored and looked up. They carry 256 random bits, so a fast hash is enough.
pub(crate) fn secret_hash(secret: &str) -> [u8; 32] {
    *blake3::hash(secret.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn passwords_fit_only_themselves() {
        let stored = hash_password("correct horse".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$"));
        assert!(password_fits("correct horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!password_fits("wrong horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!password_fits("\0".into(), None).await.unwrap(), "the decoy opens nothing");
        assert!(!password_fits("x".repeat(2000), Some(stored)).await.unwrap());
        assert!(!password_fits("x".into(), Some("not a hash".into())).await.unwrap());
    }

    #[test]
    fn secrets_differ_and_are_long() {
        let (a, b) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.len(), 43);
        assert_ne!(secret_hash(&a), secret_hash(&b));
    }

    #[test]
    fn new_passwords_have_a_length() {
        assert!(check_new_password("1234567").is_err());
        assert!(check_new_password("12345678").is_ok());
        assert!(check_new_password(&"x".repeat(1025)).is_err());
    }
}
