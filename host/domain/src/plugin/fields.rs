//! Hashes lists of fields so that two different lists never give the same bytes.

/// BLAKE3 over fields, each with its length before it, in a space of its own for each use.
pub(crate) struct FieldHasher(blake3::Hasher);

impl FieldHasher {
    /// Begins. `context` names the use and its version, and is never used for anything else.
    pub(crate) fn new(context: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    /// Adds bytes.
    pub(crate) fn bytes(&mut self, field: &[u8]) -> &mut Self {
        // Lossless: no field is longer than 2^64 bytes.
        self.0.update(&(field.len() as u64).to_le_bytes()).update(field);
        self
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, field: i128) -> &mut Self {
        self.bytes(&field.to_le_bytes())
    }

    /// Adds bytes that may be absent, which is not the same as empty.
    pub(crate) fn optional(&mut self, field: Option<&[u8]>) -> &mut Self {
        match field {
            None => {
                self.0.update(&[0]);
                self
            }
            Some(field) => {
                self.0.update(&[1]);
                self.bytes(field)
            }
        }
    }

    /// The hash of all fields.
    pub(crate) fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(fields: &[Option<&str>]) -> [u8; 32] {
        let mut hasher = FieldHasher::new("test");
        for field in fields {
            hasher.optional(field.map(str::as_bytes));
        }
        hasher.finish()
    }

    #[test]
    fn borders_of_fields_count() {
        let lists: [&[Option<&str>]; 8] = [
            &[],
            &[None],
            &[Some("")],
            &[None, None],
            &[Some("ab"), Some("c")],
            &[Some("a"), Some("bc")],
            &[Some("abc")],
            &[Some("ab"), None, Some("c")],
        ];
        for (at, one) in lists.iter().enumerate() {
            assert!(lists[at + 1..].iter().all(|other| hash(one) != hash(other)), "{one:?}");
        }
        assert_ne!(FieldHasher::new("a").finish(), FieldHasher::new("b").finish());
    }
}
