//! What content is told about who visits it: a token that it exchanges for credentials in the visitor's name.
//!
//! The token is signed and stored nowhere, so no database is asked on the way of a request. It speaks of one content item, one user
//! and the role that the visitor came with (a key may give less than its user has), and it ends. Whether the user may still do
//! anything, and what the item may ask for, is for whoever takes it to look up: it proves a visit and no right.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::ids::{ContentGuid, UserGuid};
use crate::user::UserRole;

/// How long a token is good for at least, in seconds: a page that is left open asks once more within it, as a rule.
pub const LASTS_SECONDS: u64 = 3600;

/// Tokens of one visitor are the same for this long, in seconds, so that content can remember what it exchanged one for.
pub const SAME_SECONDS: u64 = 900;

/// Content, user, role, and the second it ends, as they are signed.
const SIGNED_BYTES: usize = 16 + 16 + 1 + 8;
const BYTES: usize = SIGNED_BYTES + blake3::OUT_LEN;

/// A visit that a token tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// What was visited.
    pub content: ContentGuid,
    /// By whom.
    pub user: UserGuid,
    /// The most that the visitor's credential gave.
    pub role: UserRole,
}

/// Why a token tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It is no token, or another server's, or was changed.
    #[error("the visitor's token is not valid")]
    Forged,
    /// It was good until a while ago.
    #[error("the visitor's token has ended; the next request of the visitor brings another one")]
    Ended,
}

/// The token that tells of `visit` at `now`, in seconds since 1970: ASCII letters, digits, `-` and `_`.
///
/// Costs less than looking one up would: one keyed hash of 41 bytes.
pub fn token(visit: &Visit, key: &[u8; 32], now: u64) -> String {
    let ends = (now / SAME_SECONDS + 1) * SAME_SECONDS + LASTS_SECONDS;
    let mut bytes = [0; BYTES];
    bytes[..16].copy_from_slice(visit.content.0.as_bytes());
    bytes[16..32].copy_from_slice(visit.user.0.as_bytes());
    bytes[32] = role_byte(visit.role);
    bytes[33..SIGNED_BYTES].copy_from_slice(&ends.to_be_bytes());
    let tag = blake3::keyed_hash(key, &bytes[..SIGNED_BYTES]);
    bytes[SIGNED_BYTES..].copy_from_slice(tag.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The visit that a token tells of at `now`.
pub fn read(token: &str, key: &[u8; 32], now: u64) -> Result<Visit, BadToken> {
    let mut bytes = [0; BYTES];
    let read = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes);
    if read != Ok(BYTES) {
        return Err(BadToken::Forged);
    }
    let (signed, tag) = bytes.split_at(SIGNED_BYTES);
    let tag: [u8; blake3::OUT_LEN] = tag.try_into().map_err(|_| BadToken::Forged)?;
    // The hashes' own comparison takes the same time wherever they differ.
    if blake3::keyed_hash(key, signed) != blake3::Hash::from_bytes(tag) {
        return Err(BadToken::Forged);
    }
    let number = |at: usize| signed[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let guid = |at: usize| Uuid::from_slice(&signed[at..at + 16]).map_err(|_| BadToken::Forged);
    if number(33) <= now {
        return Err(BadToken::Ended);
    }
    let role = [UserRole::Viewer, UserRole::Publisher, UserRole::Administrator]
        .into_iter()
        .find(|role| role_byte(*role) == signed[32])
        .ok_or(BadToken::Forged)?;
    Ok(Visit { content: ContentGuid(guid(0)?), user: UserGuid(guid(16)?), role })
}

fn role_byte(role: UserRole) -> u8 {
    match role {
        UserRole::Viewer => 1,
        UserRole::Publisher => 2,
        UserRole::Administrator => 3,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [1; 32];

    fn visit(content: u128, user: u128, role: UserRole) -> Visit {
        Visit { content: ContentGuid(Uuid::from_u128(content)), user: UserGuid(Uuid::from_u128(user)), role }
    }

    #[test]
    fn a_token_lasts_an_hour_and_stays_the_same_for_a_while() {
        let visit = visit(1, 2, UserRole::Publisher);
        let now = 1_000 * SAME_SECONDS;
        let made = token(&visit, &KEY, now);
        assert_eq!(token(&visit, &KEY, now + SAME_SECONDS - 1), made);
        assert_ne!(token(&visit, &KEY, now + SAME_SECONDS), made);
        let ends = now + SAME_SECONDS + LASTS_SECONDS;
        assert_eq!(read(&made, &KEY, now), Ok(visit));
        assert_eq!(read(&made, &KEY, ends - 1), Ok(visit));
        assert_eq!(read(&made, &KEY, ends), Err(BadToken::Ended));
        assert_eq!(read(&made, &KEY, u64::MAX), Err(BadToken::Ended));
    }

    #[test]
    fn nobody_makes_one_without_the_key() {
        let made = token(&visit(1, 2, UserRole::Viewer), &KEY, 0);
        assert_eq!(read(&made, &[2; 32], 0), Err(BadToken::Forged), "another server's");
        for at in 0..made.len() {
            let mut forged = made.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(read(std::str::from_utf8(&forged).unwrap(), &KEY, 0), Err(BadToken::Forged), "{at}");
        }
        for bad in ["", "x", &made[1..], &format!("{made}A"), &format!("{made}AAAA"), "ä", &"A".repeat(10_000)] {
            assert_eq!(read(bad, &KEY, 0), Err(BadToken::Forged), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(content: u128, user: u128, role in 0..3usize, now in 0..u64::from(u32::MAX)) {
            let role = [UserRole::Viewer, UserRole::Publisher, UserRole::Administrator][role];
            let visit = visit(content, user, role);
            let made = token(&visit, &KEY, now);
            prop_assert!(made.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(read(&made, &KEY, now), Ok(visit));
        }

        #[test]
        fn arbitrary_text_is_no_token(text in ".{0,200}", now: u64) {
            prop_assert_eq!(read(&text, &KEY, now), Err(BadToken::Forged));
        }
    }
}
