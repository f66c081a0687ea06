//! A plugin's store as a case begins it. The time stands still, so nothing in it ends.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use lectern_gate::{KeyValue, StoreError};
use lectern_packages::cases::World;
use parking_lot::Mutex;

/// Keys and values of the one plugin of a case.
pub(crate) struct Store(Mutex<HashMap<String, Vec<u8>>>);

impl Store {
    pub(crate) fn of(world: &World) -> Self {
        let values = world.key_values.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        Self(Mutex::new(values.collect()))
    }
}

#[async_trait]
impl KeyValue for Store {
    async fn get(&self, _: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().get(key).cloned())
    }

    async fn set(&self, _: &str, key: &str, value: Vec<u8>, _: Option<Duration>) -> Result<(), StoreError> {
        self.0.lock().insert(key.to_owned(), value);
        Ok(())
    }

    async fn delete(&self, _: &str, key: &str) -> Result<(), StoreError> {
        self.0.lock().remove(key);
        Ok(())
    }

    async fn swap(
        &self,
        _: &str,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        _: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let mut values = self.0.lock();
        if values.get(key) != expected.as_ref() {
            return Ok(false);
        }
        match value {
            Some(value) => values.insert(key.to_owned(), value),
            None => values.remove(key),
        };
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn values_are_swapped_once() {
        let store = Store::of(&World { key_values: [("k".into(), "1".into())].into(), ..World::default() });
        let swap = async |expected: Option<&str>, value: Option<&str>| {
            let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
            store.swap("p", "k", bytes(expected), bytes(value), None).await.unwrap()
        };
        assert!(!swap(None, Some("2")).await);
        assert!(swap(Some("1"), None).await);
        assert!(!swap(Some("1"), None).await);
        assert!(swap(None, Some("3")).await);
        assert_eq!(store.get("p", "k").await.unwrap(), Some(b"3".to_vec()));
        store.delete("p", "k").await.unwrap();
        assert_eq!(store.get("p", "k").await.unwrap(), None);
    }
}
