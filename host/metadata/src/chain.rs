//! Entries that each carry the hash of the one before: how such a log is looked through.

use tokio_postgres::Row;

use crate::database::GenericClient;
use crate::error::DbError;
use crate::row;

/// How many entries are in memory at once: some hundred KiB.
const PAGE: i64 = 500;

/// What checking the chain found. `H` is its end: a number and a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain<H> {
    /// Each entry is as it was written, after the one that was before it; this is the end.
    Whole(H),
    /// The first entry that is changed, missing, or not the one that was written there.
    Broken {
        /// Its number.
        seq: i64,
    },
}

/// What there is to look through.
pub(crate) struct Walk<'a, H> {
    /// Lists entries beyond the number `$1` up to the number `$2`, in their order, at most `$3` of them.
    pub(crate) sql: &'a str,
    /// Before the first entry.
    pub(crate) empty: H,
    /// The end that was written down elsewhere.
    pub(crate) end: H,
    /// The number of the last entry there is, read together with `end`.
    pub(crate) last: i64,
    /// The number of an end.
    pub(crate) seq: fn(H) -> i64,
    /// The end with this entry, if it can be read and follows what is before.
    pub(crate) next: fn(&Row, H) -> Option<H>,
}

impl<H: Copy + PartialEq> Walk<'_, H> {
    /// Computes all hashes again, a page at a time.
    pub(crate) async fn verify(&self, client: &impl GenericClient) -> Result<Chain<H>, DbError> {
        let (mut at, end) = (self.empty, (self.seq)(self.end));
        loop {
            let rows = row::query(client, self.sql, &[&(self.seq)(at), &end, &PAGE]).await?;
            if rows.is_empty() {
                break;
            }
            for found in &rows {
                // What cannot even be read was not written here.
                match (self.next)(found, at) {
                    Some(next) => at = next,
                    None => return Ok(Chain::Broken { seq: (self.seq)(at) + 1 }),
                }
            }
        }
        // Cut off at the end, continued beyond it, or another log altogether.
        if (self.seq)(at) != end || self.last != end {
            return Ok(Chain::Broken { seq: (self.seq)(at) + 1 });
        }
        if at != self.end {
            return Ok(Chain::Broken { seq: (self.seq)(at) });
        }
        Ok(Chain::Whole(at))
    }
}
