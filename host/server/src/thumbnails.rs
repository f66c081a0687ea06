//! Pictures of content for those who look at it: from memory, or from the database when nobody has asked for one yet.

use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;
use lectern_domain::snapshot::ContentEntry;
use lectern_edge::Unavailable;
use lectern_metadata::{Database, thumbnails};
use parking_lot::Mutex;

/// Bytes kept in memory: a dozen of the largest pictures, hundreds of usual ones.
const MOST_BYTES: usize = 64 << 20;

/// The pictures of all content.
pub(crate) struct Pictures {
    database: Database,
    /// The runtime that the database's connections live on.
    runtime: tokio::runtime::Handle,
    kept: Mutex<Kept>,
}

/// Pictures by the hash of their bytes, the one asked for last at the end.
#[derive(Default)]
struct Kept {
    pictures: VecDeque<([u8; 32], Bytes)>,
    bytes: usize,
}

impl Kept {
    fn get(&mut self, hash: &[u8; 32]) -> Option<Bytes> {
        let at = self.pictures.iter().position(|(known, _)| known == hash)?;
        let found = self.pictures.remove(at)?;
        let bytes = found.1.clone();
        self.pictures.push_back(found);
        Some(bytes)
    }

    fn put(&mut self, hash: [u8; 32], bytes: Bytes) {
        if self.get(&hash).is_some() {
            return;
        }
        self.bytes += bytes.len();
        self.pictures.push_back((hash, bytes));
        while self.bytes > MOST_BYTES
            && let Some((_, oldest)) = self.pictures.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }
}

impl Pictures {
    pub(crate) fn new(database: Database, runtime: tokio::runtime::Handle) -> Self {
        Self { database, runtime, kept: Mutex::default() }
    }
}

#[async_trait]
impl lectern_edge::Thumbnails for Pictures {
    async fn thumbnail(&self, content: &ContentEntry, hash: &[u8; 32]) -> Result<Option<Bytes>, Unavailable> {
        if let Some(bytes) = self.kept.lock().get(hash) {
            return Ok(Some(bytes));
        }
        let (database, id) = (self.database.clone(), content.id);
        let reading = self.runtime.spawn(async move { thumbnails::get(&database.client().await?, id).await });
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| Unavailable {
            what: format!("read the thumbnail of content {}", content.guid),
            cause: Some(cause),
        };
        let found = reading.await.map_err(|error| failed(Box::new(error)))?.map_err(|error| failed(Box::new(error)))?;
        // Another picture by now: the next snapshot names it, and its kind.
        let Some(picture) = found.filter(|picture| picture.hash == *hash) else { return Ok(None) };
        let bytes = Bytes::from(picture.bytes);
        self.kept.lock().put(*hash, bytes.clone());
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_keeps_what_was_asked_for_last() {
        let mut kept = Kept::default();
        let picture = || Bytes::from(vec![0; MOST_BYTES / 4]);
        for n in 0..4 {
            kept.put([n; 32], picture());
        }
        assert!(kept.get(&[0; 32]).is_some());
        kept.put([4; 32], picture());
        kept.put([4; 32], picture());
        assert_eq!(kept.bytes, MOST_BYTES);
        let there: Vec<u8> = (0..5).filter(|n| kept.get(&[*n; 32]).is_some()).collect();
        assert_eq!(there, [0, 2, 3, 4]);
    }
}
