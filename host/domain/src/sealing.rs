//! Rotating the key that seals secrets: what is next, told from which key files there are.
//!
//! Three files beside each other: the key in use, the next one while it is being put in place, and the old one until
//! nothing is sealed with it any more. Each step ends with one change of one file, so whoever is killed at any point finds
//! here where to go on. The key in use is there at every moment, and the old one until it is not needed.

/// Which key files there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFiles {
    /// There is a next key.
    pub next: bool,
    /// There is an old key.
    pub old: bool,
    /// The old key is the one in use.
    pub old_is_current: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is under way; a rotation begins by making the next key.
    Begin,
    /// Keep the key in use as the old one.
    KeepOld,
    /// Put the next key in the place of the one in use.
    Switch,
    /// Seal anew what is sealed with the old key, then remove it.
    Reseal,
    /// Remove a copy of the key in use that is called old: nothing else is sealed with it.
    RemoveCopy,
    /// Three different keys: no rotation leaves that; a person has to say which counts.
    Refuse,
}

/// What is next.
pub fn next_step(files: KeyFiles) -> Step {
    match (files.next, files.old, files.old_is_current) {
        (false, false, _) => Step::Begin,
        (true, false, _) => Step::KeepOld,
        (true, true, true) => Step::Switch,
        (true, true, false) => Step::Refuse,
        (false, true, false) => Step::Reseal,
        (false, true, true) => Step::RemoveCopy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys by number; what a rotation does to the files, one change at a time.
    #[derive(Debug, Clone, Copy)]
    struct Disk {
        current: u32,
        next: Option<u32>,
        old: Option<u32>,
    }

    impl Disk {
        fn step(self) -> Step {
            let (next, old) = (self.next.is_some(), self.old.is_some());
            next_step(KeyFiles { next, old, old_is_current: self.old == Some(self.current) })
        }

        fn perform(mut self) -> Self {
            match self.step() {
                Step::Begin => self.next = Some(self.current + 1),
                Step::KeepOld => self.old = Some(self.current),
                Step::Switch => self.current = self.next.take().unwrap_or(0),
                Step::Reseal | Step::RemoveCopy => self.old = None,
                Step::Refuse => {}
            }
            self
        }
    }

    #[test]
    fn a_rotation_goes_its_way_from_wherever_it_was_cut() {
        let mut disk = Disk { current: 1, next: None, old: None };
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(disk.step());
            disk = disk.perform();
        }
        assert_eq!(seen, [Step::Begin, Step::KeepOld, Step::Switch, Step::Reseal]);
        assert_eq!((disk.current, disk.next, disk.old, disk.step()), (2, None, None, Step::Begin));
        assert_eq!(Disk { current: 2, next: None, old: Some(2) }.step(), Step::RemoveCopy);
        assert_eq!(Disk { current: 2, next: Some(3), old: Some(1) }.step(), Step::Refuse);
    }
}
