//! The line of those who wait for a worker: fair between visitors, bounded, and free to leave.
//!
//! Each visitor has a line of their own, and the lines take turns: whoever asks once waits for one turn of the others, however many
//! requests these have. When all room is taken, a visitor with fewer requests than another gets the place of that other one's
//! newest: the one that would have waited longest.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// How many may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub most: usize,
    /// Of one visitor.
    pub most_each: usize,
}

/// Names one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// What came of asking for a place.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined<T> {
    /// There was room.
    In(Place),
    /// Somebody with more requests gave way; theirs is to be refused.
    Instead(Place, T),
    /// There is no room: the request is given back.
    Refused(T, NoPlace),
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// All places are taken, and nobody has more of them than this visitor would.
    Full,
    /// This visitor has as many as one may.
    Visitor,
}

/// Those who wait.
#[derive(Debug)]
pub struct Line<V, T> {
    lines: HashMap<V, VecDeque<(Place, T)>>,
    /// Whose turn it is; each visitor with a line is in it once.
    turns: VecDeque<V>,
    len: usize,
    next: u64,
}

impl<V, T> Default for Line<V, T> {
    fn default() -> Self {
        Self { lines: HashMap::new(), turns: VecDeque::new(), len: 0, next: 0 }
    }
}

impl<V: Hash + Eq + Clone, T> Line<V, T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Asks for a place at the end of the visitor's own line.
    pub fn join(&mut self, visitor: V, request: T, bounds: Bounds) -> Joined<T> {
        let own = self.lines.get(&visitor).map_or(0, VecDeque::len);
        if own >= bounds.most_each {
            return Joined::Refused(request, NoPlace::Visitor);
        }
        let mut gave_way = None;
        if self.len >= bounds.most {
            // One more than this visitor would have then, or the two would only take turns in refusing each other.
            let largest = self.lines.iter().max_by_key(|(_, line)| line.len());
            let largest = largest.filter(|(_, line)| line.len() > own + 1).map(|(other, _)| other.clone());
            gave_way = largest.and_then(|other| self.pop_newest(&other));
            if gave_way.is_none() {
                return Joined::Refused(request, NoPlace::Full);
            }
        }
        let place = Place(self.next);
        self.next += 1;
        self.len += 1;
        match self.lines.get_mut(&visitor) {
            Some(line) => line.push_back((place, request)),
            None => {
                self.turns.push_back(visitor.clone());
                self.lines.insert(visitor, VecDeque::from([(place, request)]));
            }
        }
        match gave_way {
            None => Joined::In(place),
            Some(other) => Joined::Instead(place, other),
        }
    }

    /// Takes the next one out.
    pub fn pop(&mut self) -> Option<T> {
        let visitor = self.turns.pop_front()?;
        let line = self.lines.get_mut(&visitor)?;
        let next = line.pop_front().map(|(_, request)| request);
        if line.is_empty() {
            self.lines.remove(&visitor);
        } else {
            self.turns.push_back(visitor);
        }
        self.len -= usize::from(next.is_some());
        next
    }

    /// Takes out one who leaves; `None` when they were taken out before.
    pub fn leave(&mut self, visitor: &V, place: Place) -> Option<T> {
        let line = self.lines.get_mut(visitor)?;
        // Places grow along the line.
        let at = line.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        let (_, request) = line.remove(at)?;
        self.after_removal(visitor);
        Some(request)
    }

    /// Takes all out, in the order of their turns.
    pub fn drain(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    fn pop_newest(&mut self, visitor: &V) -> Option<T> {
        let (_, request) = self.lines.get_mut(visitor)?.pop_back()?;
        self.after_removal(visitor);
        Some(request)
    }

    fn after_removal(&mut self, visitor: &V) {
        self.len -= 1;
        if self.lines.get(visitor).is_some_and(VecDeque::is_empty) {
            self.lines.remove(visitor);
            self.turns.retain(|other| other != visitor);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    const WIDE: Bounds = Bounds { most: 1_000, most_each: 1_000 };

    fn place(joined: Joined<u32>) -> Place {
        match joined {
            Joined::In(place) | Joined::Instead(place, _) => place,
            Joined::Refused(..) => panic!("{joined:?}"),
        }
    }

    #[test]
    fn visitors_take_turns() {
        let mut line = Line::default();
        for request in 0..500 {
            place(line.join("greedy", request, WIDE));
        }
        place(line.join("modest", 1_000, WIDE));
        place(line.join("other", 2_000, WIDE));
        place(line.join("other", 2_001, WIDE));
        let order: Vec<u32> = (0..7).filter_map(|_| line.pop()).collect();
        assert_eq!(order, [0, 1_000, 2_000, 1, 2_001, 2, 3]);
        assert_eq!(line.len(), 496);
    }

    #[test]
    fn who_leaves_makes_room() {
        let mut line = Line::default();
        let bounds = Bounds { most: 2, most_each: 2 };
        let one = place(line.join('a', 1, bounds));
        let two = place(line.join('a', 2, bounds));
        assert_eq!(line.join('a', 3, bounds), Joined::Refused(3, NoPlace::Visitor));
        assert_eq!(line.leave(&'a', one), Some(1));
        assert_eq!(line.leave(&'a', one), None, "once");
        assert_eq!(line.leave(&'b', two), None, "whoever has it");
        let four = place(line.join('a', 4, bounds));
        assert_eq!((line.pop(), line.leave(&'a', four), line.pop()), (Some(2), Some(4), None));
        assert!(line.is_empty() && line.turns.is_empty() && line.lines.is_empty(), "nothing is kept of who left");
    }

    #[test]
    fn a_full_line_makes_room_for_those_with_less() {
        let mut line = Line::default();
        let bounds = Bounds { most: 4, most_each: 4 };
        for request in 1..=4 {
            place(line.join('a', request, bounds));
        }
        assert!(matches!(line.join('b', 11, bounds), Joined::Instead(_, 4)));
        assert!(matches!(line.join('b', 12, bounds), Joined::Instead(_, 3)));
        // Two each: neither has more than the other would.
        assert_eq!(line.join('b', 13, bounds), Joined::Refused(13, NoPlace::Full));
        assert!(matches!(line.join('c', 21, bounds), Joined::Instead(..)));
        assert_eq!(line.len(), 4);
    }

    proptest! {
        #[test]
        fn counts_are_exact_and_nobody_starves(
            steps in prop::collection::vec((0u8..4, 0u8..5), 1..400), most in 1usize..40, most_each in 1usize..40,
        ) {
            let bounds = Bounds { most, most_each };
            let mut line: Line<u8, (u8, u32)> = Line::default();
            let mut places: Vec<(u8, Place)> = Vec::new();
            // How many others were served since this visitor, who waits, was.
            let mut passed = [0usize; 5];
            for (number, (what, visitor)) in (0u32..).zip(steps) {
                match what {
                    0 | 1 => match line.join(visitor, (visitor, number), bounds) {
                        Joined::In(place) => places.push((visitor, place)),
                        Joined::Instead(place, (other, _)) => {
                            prop_assert!(other != visitor);
                            places.push((visitor, place));
                        }
                        Joined::Refused((whose, _), why) => {
                            prop_assert_eq!(whose, visitor);
                            prop_assert!(why == NoPlace::Visitor || line.len() >= most);
                        }
                    },
                    2 => {
                        if let Some((served, _)) = line.pop() {
                            for other in 0..5u8 {
                                let waits = line.lines.contains_key(&other) && other != served;
                                passed[usize::from(other)] = if waits { passed[usize::from(other)] + 1 } else { 0 };
                            }
                            prop_assert!(passed.iter().all(|passed| *passed <= 5), "{:?}", passed);
                        } else {
                            prop_assert!(line.is_empty());
                        }
                    }
                    _ => {
                        if let Some((whose, place)) = places.pop() {
                            line.leave(&whose, place);
                        }
                    }
                }
                for other in 0..5u8 {
                    // Who left and came back begins anew.
                    passed[usize::from(other)] *= usize::from(line.lines.contains_key(&other));
                }
                let counted: usize = line.lines.values().map(VecDeque::len).sum();
                prop_assert_eq!(counted, line.len());
                prop_assert!(line.len() <= most);
                prop_assert!(line.lines.values().all(|own| !own.is_empty() && own.len() <= most_each));
                prop_assert_eq!(line.turns.len(), line.lines.len());
            }
            let left = line.len();
            prop_assert_eq!(line.drain().len(), left);
        }
    }
}
