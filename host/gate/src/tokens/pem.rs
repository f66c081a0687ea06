//! Reads a public key in PEM form (RFC 7468 §13): the `SubjectPublicKeyInfo` of RFC 5280, as strictly as DER is meant.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{SubjectPublicKeyInfoDer, alg_id};

use super::algorithm::PublicKey;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// The key in the first `PUBLIC KEY` block; `None`: there is none of a kind that is understood.
pub(super) fn public_key(text: &[u8]) -> Option<PublicKey> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(text).ok()?;
    let (info, rest) = value(SEQUENCE, &der)?;
    let (kind, info) = value(SEQUENCE, info)?;
    let (bits, more) = value(BIT_STRING, info)?;
    // The first byte counts the unused bits of the last one.
    let key = bits.strip_prefix(&[0])?;
    if !rest.is_empty() || !more.is_empty() {
        return None;
    }
    // Compared whole, parameters and all: each of these kinds has one form.
    if kind == alg_id::RSA_ENCRYPTION.as_ref() {
        let (key, rest) = value(SEQUENCE, key)?;
        let (n, key) = value(INTEGER, key)?;
        let (e, more) = value(INTEGER, key)?;
        if rest.is_empty() && more.is_empty() { PublicKey::rsa(n, e) } else { None }
    } else if kind == alg_id::ECDSA_P256.as_ref() {
        is_point(key, 32).then(|| PublicKey::P256(key.to_owned()))
    } else if kind == alg_id::ECDSA_P384.as_ref() {
        is_point(key, 48).then(|| PublicKey::P384(key.to_owned()))
    } else if kind == alg_id::ED25519.as_ref() {
        (key.len() == 32).then(|| PublicKey::Ed25519(key.to_owned()))
    } else {
        None
    }
}

fn is_point(key: &[u8], coordinate_bytes: usize) -> bool {
    key.len() == 1 + 2 * coordinate_bytes && key.first() == Some(&4)
}

/// The contents of the first value, which must have this tag, and what follows it.
fn value(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (Some(usize::from(length)).filter(|&length| length > 0x7f)?, rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (Some(usize::from(u16::from_be_bytes(*length))).filter(|&length| length > 0xff)?, rest)
        }
        // Longer than 64 KiB is no key.
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}
