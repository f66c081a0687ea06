//! Who follows logs: bounded for all and for each, so that one who opens many streams leaves others theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lectern_domain::ids::UserId;

/// Logs followed at a time. Each looks at its file five times a second and holds two pieces of it.
const MOST: usize = 100;
/// Of these, one user's: some windows on some jobs.
const MOST_OF_ONE: usize = 20;

/// Counts those who follow. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Followed(Arc<Mutex<HashMap<UserId, usize>>>);

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Following {
    followed: Followed,
    user: UserId,
}

impl Followed {
    /// Takes a place; `None` when there is none for `user`.
    pub(crate) fn begin(&self, user: UserId) -> Option<Following> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let own = counts.get(&user).copied().unwrap_or(0);
        if all >= MOST || own >= MOST_OF_ONE {
            return None;
        }
        counts.insert(user, own + 1);
        Some(Following { followed: self.clone(), user })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut counts = self.followed.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = counts.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places() {
        let followed = Followed::default();
        let mut greedy: Vec<Following> = std::iter::from_fn(|| followed.begin(UserId(1))).collect();
        assert_eq!(greedy.len(), MOST_OF_ONE);
        let others: Vec<Following> = (2..).map_while(|user| followed.begin(UserId(user))).collect();
        assert_eq!(others.len(), MOST - MOST_OF_ONE, "and there is an end for all");
        drop(others);
        assert!(followed.begin(UserId(1)).is_none());
        greedy.pop();
        assert!(followed.begin(UserId(1)).is_some());
        drop(greedy);
        assert!(followed.0.lock().is_ok_and(|counts| counts.is_empty()), "those who left are forgotten");
    }
}
