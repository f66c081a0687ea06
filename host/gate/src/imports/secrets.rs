//! Secrets: used for the plugin, or, with a grant of its own, handed to it.

use hmac::{Hmac, Mac as _};
use lectern_domain::plugin::GrantKind;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::asked::tell;
use crate::backend::Secret;
use crate::bindings::lectern::plugin::{secret_values, secrets};
use crate::evaluate::mark;
use crate::learn::{Question, Taint};
use crate::state::State;

impl State {
    /// The secret of this name, if a grant of this kind names it.
    pub(crate) fn granted_secret(&self, kind: GrantKind, name: &str) -> Option<Secret> {
        if !self.grants().allows_secret(kind, name) {
            return None;
        }
        self.backend().secrets.secret(self.plugin(), name)
    }

    /// The same, for answers to the guest that follow from it: what was decided by one secret is not reused under another.
    pub(crate) fn secret(&mut self, kind: GrantKind, name: &str) -> Option<Secret> {
        if !self.grants().allows_secret(kind, name) {
            return None;
        }
        let secret = self.granted_secret(kind, name);
        let recorded = self.ask(Question::Secret(name.into())).maybe_bytes();
        if recorded.as_deref() != secret.as_ref().map(mark).as_ref().map(<[u8; 32]>::as_slice) {
            // It was changed in between.
            self.taint(Taint::AnswerChanged);
        }
        secret
    }
}

impl secrets::Host for State {
    fn hmac_sha256(&mut self, name: String, data: Vec<u8>) -> Option<Vec<u8>> {
        tell!("hmac-sha256 {name}");
        let secret = self.secret(GrantKind::Secret, &name)?;
        // HMAC takes keys of any length (RFC 2104 §2), so this is never `Err`.
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(secret.reveal()).ok()?;
        mac.update(&data);
        Some(mac.finalize().into_bytes().to_vec())
    }

    fn matches(&mut self, name: String, candidate: Vec<u8>) -> Option<bool> {
        tell!("matches {name}");
        let secret = self.secret(GrantKind::Secret, &name)?;
        // Hashes first: slices of different lengths would be told apart in no time.
        let (one, other) = (blake3::hash(secret.reveal()), blake3::hash(&candidate));
        Some(one.as_bytes().ct_eq(other.as_bytes()).into())
    }
}

impl secret_values::Host for State {
    fn reveal(&mut self, name: String) -> Option<Vec<u8>> {
        tell!("reveal {name}");
        Some(self.secret(GrantKind::SecretValue, &name)?.reveal().to_vec())
    }
}
