//! Which worker takes a request. Called for every request, so it allocates nothing and looks at each worker once.

/// How busy a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests and WebSockets that it has.
    pub in_flight: usize,
    /// Its requests wait longer than is usual: a new one would stand behind them ([`super::plan`] says when).
    pub held_up: bool,
}

/// What a request may be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Requests that a worker may have at a time.
    pub most: usize,
    /// Whether a worker that is held up counts as full, because another one can be had.
    pub pass_held_up: bool,
}

/// The index of the worker with the fewest requests; those that are not held up first, and of equals the first, so that under
/// little load the last ones stay idle and can end. `None`: nobody may take one more.
pub fn least_loaded(loads: impl Iterator<Item = Load>, room: Room) -> Option<usize> {
    let mut best: Option<(usize, (bool, usize))> = None;
    for (index, load) in loads.enumerate() {
        if load.in_flight >= room.most || (load.held_up && room.pass_held_up) {
            continue;
        }
        let rank = (load.held_up, load.in_flight);
        if best.is_none_or(|(_, least)| rank < least) {
            best = Some((index, rank));
        }
        if rank == (false, 0) {
            break;
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(in_flight: usize, held_up: bool) -> Load {
        Load { in_flight, held_up }
    }

    #[test]
    fn choices() {
        let wait = Room { most: 10, pass_held_up: true };
        let fill = Room { most: 20, pass_held_up: false };
        let cases: &[(&[Load], Room, Option<usize>)] = &[
            (&[], wait, None),
            (&[load(0, false), load(0, false)], wait, Some(0)),
            (&[load(3, false), load(2, false), load(2, false)], wait, Some(1)),
            (&[load(10, false)], wait, None),
            (&[load(10, false)], fill, Some(0)),
            (&[load(20, false), load(21, false)], fill, None),
            // One slow call: whoever else there is is better, and where another can start, so is that.
            (&[load(1, true), load(9, false)], fill, Some(1)),
            (&[load(1, true)], wait, None),
            (&[load(1, true), load(20, false)], fill, Some(0)),
            (&[load(2, true), load(1, true)], fill, Some(1)),
        ];
        for (loads, room, expected) in cases {
            assert_eq!(least_loaded(loads.iter().copied(), *room), *expected, "{loads:?} {room:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_is_overfilled_and_nobody_better_is_passed_over(
            loads in prop::collection::vec((0usize..25, any::<bool>()), 0..8),
            most in 1usize..25,
            pass_held_up: bool,
        ) {
            let loads: Vec<Load> = loads.into_iter().map(|(in_flight, held_up)| Load { in_flight, held_up }).collect();
            let fits = |load: &Load| load.in_flight < most && !(pass_held_up && load.held_up);
            match least_loaded(loads.iter().copied(), Room { most, pass_held_up }) {
                None => prop_assert!(!loads.iter().any(fits)),
                Some(at) => {
                    prop_assert!(fits(&loads[at]));
                    let rank = |load: &Load| (load.held_up, load.in_flight);
                    prop_assert!(loads.iter().filter(|load| fits(load)).all(|load| rank(load) >= rank(&loads[at])));
                }
            }
        }
    }
}
