//! A small map that forgets what was longest unused when it is full.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// At most `most` entries. To forget one it looks at all: for a few dozen.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    entries: HashMap<K, (V, u64)>,
    most: usize,
    /// Counts uses.
    turn: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Bounded<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), most, turn: 0 }
    }

    /// The entry, now the last one to be forgotten.
    pub(super) fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.turn += 1;
        let (value, used) = self.entries.get_mut(key)?;
        *used = self.turn;
        Some(value.clone())
    }

    /// Puts an entry in place. For room, what `spare` calls worthless goes first, then the longest unused.
    pub(super) fn insert(&mut self, key: K, value: V, spare: impl Fn(&V) -> bool) {
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            let least = self.entries.iter().min_by_key(|(_, (value, used))| (!spare(value), *used));
            if let Some(least) = least.map(|(key, _)| key.clone()) {
                self.entries.remove(&least);
            }
        }
        self.turn += 1;
        self.entries.insert(key, (value, self.turn));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worthless_then_the_longest_unused_is_forgotten() {
        let mut map = Bounded::new(3);
        for n in [1, 2, 3] {
            map.insert(n, n, |_| false);
        }
        assert_eq!(map.get(&1), Some(1));
        map.insert(4, 4, |_| false);
        assert_eq!([map.get(&1), map.get(&2), map.get(&3)], [Some(1), None, Some(3)]);
        map.insert(5, 5, |&value| value == 3);
        assert_eq!([map.get(&1), map.get(&3), map.get(&4), map.get(&5)], [Some(1), None, Some(4), Some(5)]);
        map.insert(5, 6, |_| false);
        assert_eq!([map.get(&1), map.get(&4), map.get(&5)], [Some(1), Some(4), Some(6)], "replaced");
    }
}
