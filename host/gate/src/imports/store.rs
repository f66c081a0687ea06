//! The plugin's store, and its token buckets.

use std::time::Duration;

use crate::asked::tell;
use crate::backend::StoreError;
use crate::bindings::lectern::plugin::{key_value, limiter};
use crate::learn::{Taint, Take};
use crate::state::State;

/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 256;
/// Largest value, in bytes.
const MAX_VALUE_BYTES: usize = 64 << 10;
/// Operations of one call: each may be a query.
const MAX_OPERATIONS: u32 = 32;
/// Longest name of a bucket, in bytes. A longer one is cut: it still tells buckets apart by its beginning.
const MAX_BUCKET_BYTES: usize = 256;

type Answer<T> = wasmtime::Result<Result<T, key_value::Error>>;

fn failed(error: StoreError) -> key_value::Error {
    match error {
        StoreError::Quota => key_value::Error::Quota,
        StoreError::TooLarge => key_value::Error::TooLarge,
        StoreError::Unavailable(text) => key_value::Error::Unavailable(text),
    }
}

fn fits(key: &str, value: Option<&[u8]>) -> Result<(), key_value::Error> {
    let fits = (1..=MAX_KEY_BYTES).contains(&key.len()) && value.is_none_or(|value| value.len() <= MAX_VALUE_BYTES);
    if fits { Ok(()) } else { Err(key_value::Error::TooLarge) }
}

fn seconds(ttl: Option<u32>) -> Option<Duration> {
    ttl.map(|seconds| Duration::from_secs(u64::from(seconds)))
}

impl key_value::Host for State {
    async fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        tell!("get {key}");
        self.count_store_operation(MAX_OPERATIONS)?;
        self.taint(Taint::StoreRead);
        if let Err(error) = fits(&key, None) {
            return Ok(Err(error));
        }
        let store = self.backend().store.clone();
        Ok(store.get(self.plugin(), &key).await.map_err(failed))
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_seconds: Option<u32>) -> Answer<()> {
        tell!("set {key}");
        self.count_store_operation(MAX_OPERATIONS)?;
        self.taint(Taint::StoreWrite);
        if let Err(error) = fits(&key, Some(&value)) {
            return Ok(Err(error));
        }
        if !self.has_effects() {
            return Ok(Ok(()));
        }
        let store = self.backend().store.clone();
        Ok(store.set(self.plugin(), &key, value, seconds(ttl_seconds)).await.map_err(failed))
    }

    async fn delete(&mut self, key: String) -> Answer<()> {
        tell!("delete {key}");
        self.count_store_operation(MAX_OPERATIONS)?;
        self.taint(Taint::StoreWrite);
        if let Err(error) = fits(&key, None) {
            return Ok(Err(error));
        }
        if !self.has_effects() {
            return Ok(Ok(()));
        }
        let store = self.backend().store.clone();
        Ok(store.delete(self.plugin(), &key).await.map_err(failed))
    }

    async fn swap(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        ttl_seconds: Option<u32>,
    ) -> Answer<bool> {
        tell!("swap {key}");
        self.count_store_operation(MAX_OPERATIONS)?;
        self.taint(Taint::StoreWrite);
        if let Err(error) = fits(&key, value.as_deref()) {
            return Ok(Err(error));
        }
        let store = self.backend().store.clone();
        if !self.has_effects() {
            // A shadow learns whether it would have swapped.
            return Ok(store.get(self.plugin(), &key).await.map(|now| now == expected).map_err(failed));
        }
        Ok(store.swap(self.plugin(), &key, expected, value, seconds(ttl_seconds)).await.map_err(failed))
    }
}

impl limiter::Host for State {
    fn take(&mut self, bucket: String, per_minute: u32, burst: u32) -> Option<u32> {
        let end = (0..=MAX_BUCKET_BYTES.min(bucket.len())).rev().find(|&at| bucket.is_char_boundary(at)).unwrap_or(0);
        self.take(Take { bucket: bucket[..end].into(), per_minute, burst })
    }
}
