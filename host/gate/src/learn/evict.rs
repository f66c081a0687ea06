//! Which decision goes when the tree is full, and which comes in. Knows leaves by number only.
//!
//! Two queues after S3-FIFO: new leaves wait in the first, and move to the second when they leave it with a hit behind them;
//! the second gives those that were hit since another turn. A doorkeeper in front lets a decision into a full tree only when
//! its path was seen before. So values that are sent once never displace anything, and values that are sent twice displace
//! each other in the first queue.

use std::collections::VecDeque;

/// Share of the first queue, as a divisor of all leaves: a quarter. The rest is for what proved itself.
const NEW_SHARE: usize = 4;
/// Further turns that one eviction may give, so that it takes bounded time even when everything is in use.
const MAX_TURNS: u32 = 256;
/// Paths remembered per slot of the doorkeeper.
const WAYS: usize = 4;

/// What the queues ask about a leaf.
pub(super) trait Leaves {
    /// Whether it was hit since it last stood in line; takes one hit off.
    fn spend_hit(&mut self, leaf: u32) -> bool;
    /// Whether its time is over.
    fn is_expired(&self, leaf: u32) -> bool;
}

/// The order in which leaves are given up.
#[derive(Default)]
pub(super) struct Queues {
    new: VecDeque<u32>,
    proven: VecDeque<u32>,
}

impl Queues {
    /// Puts a leaf in line. `proven`: it was in the tree before.
    pub(super) fn push(&mut self, leaf: u32, proven: bool) {
        if proven { &mut self.proven } else { &mut self.new }.push_back(leaf);
    }

    /// Takes the leaf that has to go out of line; `None` when there is no leaf.
    pub(super) fn pop(&mut self, leaves: &mut impl Leaves) -> Option<u32> {
        let mut turns = 0;
        loop {
            let total = self.new.len() + self.proven.len();
            let from_new = self.proven.is_empty() || self.new.len() * NEW_SHARE >= total;
            let leaf = if from_new { &mut self.new } else { &mut self.proven }.pop_front()?;
            turns += 1;
            if leaves.is_expired(leaf) || turns > MAX_TURNS || !leaves.spend_hit(leaf) {
                return Some(leaf);
            }
            self.proven.push_back(leaf);
        }
    }

    /// Takes leaves out of line that are no longer wanted.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.new.retain(|&leaf| keep(leaf));
        self.proven.retain(|&leaf| keep(leaf));
    }
}

/// What the doorkeeper knows of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing, or it forgot.
    Never,
    /// It missed before.
    Once,
    /// It was in the tree and was given up.
    Inside,
}

/// Remembers paths that missed, by 15 bits of their hash: a mistake lets a stranger in, no more.
///
/// Four paths to a slot, the latest first, and as many slots as leaves: it remembers four times what the tree holds.
pub(super) struct Door {
    /// Made when the tree is first full.
    slots: Box<[[u16; WAYS]]>,
    wanted: usize,
}

impl Door {
    pub(super) fn new(leaves: usize) -> Self {
        Self { slots: Box::default(), wanted: leaves.max(1).next_power_of_two() }
    }

    /// Forgets everybody.
    pub(super) fn clear(&mut self) {
        self.slots = Box::default();
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<[u16; WAYS]>()
    }

    /// What it will take once made.
    pub(super) fn most_bytes(&self) -> usize {
        self.wanted * size_of::<[u16; WAYS]>()
    }

    /// Asks for a path that missed, and remembers it.
    pub(super) fn knock(&mut self, path: u64) -> Seen {
        let seen = self.forget(path);
        if seen == Seen::Never {
            self.remember(path, false);
        }
        seen
    }

    /// Remembers a path that was given up.
    pub(super) fn leaves(&mut self, path: u64) {
        self.forget(path);
        self.remember(path, true);
    }

    /// The slot of a path and its mark, which is never zero: zero is an empty place.
    fn place(&self, path: u64) -> (usize, u16) {
        let (slot, mark) = (path as usize & (self.wanted - 1), (path >> 48) as u16 & 0x7fff);
        (slot, mark.max(1))
    }

    fn forget(&mut self, path: u64) -> Seen {
        let (slot, mark) = self.place(path);
        let Some(ways) = self.slots.get_mut(slot) else { return Seen::Never };
        let Some(at) = ways.iter().position(|way| way & 0x7fff == mark) else { return Seen::Never };
        let inside = ways[at] & 0x8000 != 0;
        ways.copy_within(at + 1.., at);
        ways[WAYS - 1] = 0;
        if inside { Seen::Inside } else { Seen::Once }
    }

    fn remember(&mut self, path: u64, inside: bool) {
        if self.slots.is_empty() {
            self.slots = vec![[0; WAYS]; self.wanted].into();
        }
        let (slot, mark) = self.place(path);
        if let Some(ways) = self.slots.get_mut(slot) {
            ways.copy_within(..WAYS - 1, 1);
            ways[0] = mark | if inside { 0x8000 } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hits by leaf, and a leaf whose time is over.
    struct Hits(Vec<u8>, Option<u32>);
    impl Leaves for Hits {
        fn spend_hit(&mut self, leaf: u32) -> bool {
            let hits = &mut self.0[leaf as usize];
            let had = *hits > 0;
            *hits = hits.saturating_sub(1);
            had
        }
        fn is_expired(&self, leaf: u32) -> bool {
            Some(leaf) == self.1
        }
    }

    #[test]
    fn the_oldest_without_a_hit_goes() {
        let mut queues = Queues::default();
        (0..4).for_each(|leaf| queues.push(leaf, false));
        let mut hits = Hits(vec![1, 0, 0, 1, 0, 0, 0, 3], Some(7));
        assert_eq!(queues.pop(&mut hits), Some(1), "0 was hit");
        queues.push(4, false);
        assert_eq!(queues.pop(&mut hits), Some(2));
        assert_eq!(queues.pop(&mut hits), Some(4), "3 was hit");
        queues.push(7, true);
        queues.retain(|leaf| leaf != 3);
        assert_eq!(queues.pop(&mut hits), Some(0), "its hit was spent");
        assert_eq!(queues.pop(&mut hits), Some(7), "its time is over");
        assert_eq!(queues.pop(&mut hits), None);
    }

    #[test]
    fn an_eviction_ends_when_all_are_in_use() {
        let mut queues = Queues::default();
        (0..500).for_each(|leaf| queues.push(leaf, false));
        assert_eq!(queues.pop(&mut Hits(vec![u8::MAX; 500], None)), Some(MAX_TURNS));
    }

    #[test]
    fn the_doorkeeper_knows_whom_it_saw() {
        let mut door = Door::new(16);
        let path = |n: u64| n << 48 | n;
        assert_eq!([door.knock(path(1)), door.knock(path(1))], [Seen::Never, Seen::Once]);
        assert_eq!(door.knock(path(1)), Seen::Never, "once it is in, only its leaving is news");
        door.leaves(path(1));
        assert_eq!(door.knock(path(1)), Seen::Inside);
        // Five in a slot for four: the first is forgotten.
        let neighbour = |n: u64| (n + 10) << 48 | 3;
        for n in 0..5 {
            assert_eq!(door.knock(neighbour(n)), Seen::Never);
        }
        assert_eq!([door.knock(neighbour(1)), door.knock(neighbour(0))], [Seen::Once, Seen::Never]);
        assert_eq!(door.bytes(), door.most_bytes());
    }
}
