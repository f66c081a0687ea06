//! Texts that stand in a component or its configuration: what a plugin names in a question is shown to operators when it is one
//! of these, because it did not come out of a request then.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Shorter texts are in any binary by chance, and a short credential too. Three bytes of ASCII are in one of 400 KiB more often
/// than not, eight practically never; four are the shortest names that plugins use.
const SHORTEST_BYTES: usize = 4;
/// Components that are searched are no larger than this: interpreters hold everything.
const LARGEST_BYTES: usize = 2 << 20;
/// Different texts that are searched for in one report: each is up to a millisecond.
const MOST_SEARCHES: usize = 500;

/// Where the texts stand.
pub(crate) struct Literals {
    component: Option<Arc<[u8]>>,
    config: String,
}

impl Literals {
    pub(crate) fn new(component: &Arc<[u8]>, config: &str) -> Self {
        let component = (component.len() <= LARGEST_BYTES).then(|| Arc::clone(component));
        Self { component, config: config.to_owned() }
    }

    /// A look-up for one report.
    pub(crate) fn lookup(&self) -> impl Fn(&str) -> bool {
        let seen = RefCell::new(HashMap::<String, bool>::new());
        move |text| {
            if text.len() < SHORTEST_BYTES {
                return false;
            }
            if let Some(&known) = seen.borrow().get(text) {
                return known;
            }
            if seen.borrow().len() == MOST_SEARCHES {
                return false;
            }
            let known = self.config.contains(text)
                || self.component.as_ref().is_some_and(|bytes| contains(bytes, text.as_bytes()));
            seen.borrow_mut().insert(text.to_owned(), known);
            known
        }
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_known_and_nothing_else() {
        let component: Arc<[u8]> = b"\0asm x-tenant\0ab".as_slice().into();
        let literals = Literals::new(&component, r#"{"realm":"staff"}"#);
        let known = literals.lookup();
        assert!(known("x-tenant") && known("staff") && known("x-te"));
        assert!(!known("x-other") && !known("ab") && !known("") && !known("staffs"));
        let known = literals.lookup();
        for n in 0..MOST_SEARCHES {
            assert!(!known(&format!("text {n}")));
        }
        assert!(!known("x-tenant"), "searches are bounded");
        let large: Arc<[u8]> = vec![b'a'; LARGEST_BYTES + 1].into();
        assert!(!Literals::new(&large, "{}").lookup()("aaaa"));
    }
}
