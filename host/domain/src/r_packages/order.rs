//! The order in which packages are built: each after all that it needs.

use std::collections::{BTreeMap, BTreeSet};

/// Packages cannot be put into an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Some need each other.
    #[error("R packages need each other in a circle, so none of them can be built first: {}", .0.join(" → "))]
    Cycle(Vec<String>),
}

/// Orders packages, given what each needs of the others; needs that are none of them are left aside. The order is the same
/// for the same input: names that could come at the same time come by the alphabet.
pub fn order(needs: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<String>, OrderError> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut ordered = Vec::with_capacity(needs.len());
    // Each round takes all that can be taken; the depth of real libraries is about ten.
    while ordered.len() < needs.len() {
        let is_free = |(name, wants): &(&String, &BTreeSet<String>)| {
            !done.contains(name.as_str())
                && wants.iter().all(|want| !needs.contains_key(want) || done.contains(want.as_str()))
        };
        let free: Vec<&str> = needs.iter().filter(is_free).map(|(name, _)| name.as_str()).collect();
        if free.is_empty() {
            return Err(OrderError::Cycle(cycle(needs, &done)));
        }
        for name in free {
            done.insert(name);
            ordered.push(name.to_owned());
        }
    }
    Ok(ordered)
}

/// A circle among those that are not done: from any of them, the way along needs comes back to itself.
fn cycle(needs: &BTreeMap<String, BTreeSet<String>>, done: &BTreeSet<&str>) -> Vec<String> {
    let left = |name: &str| needs.contains_key(name) && !done.contains(name);
    let mut way: Vec<&str> = needs.keys().map(String::as_str).filter(|name| left(name)).take(1).collect();
    while let Some(last) = way.last() {
        let next = needs.get(*last).and_then(|wants| wants.iter().map(String::as_str).find(|want| left(want)));
        let Some(next) = next else { break };
        if let Some(start) = way.iter().position(|name| *name == next) {
            way.push(next);
            return way[start..].iter().map(|name| (*name).to_owned()).collect();
        }
        way.push(next);
    }
    way.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn graph(text: &str) -> BTreeMap<String, BTreeSet<String>> {
        let node = |part: &str| {
            let (name, wants) = part.split_once(':').unwrap_or((part, ""));
            (name.to_owned(), wants.split_whitespace().map(str::to_owned).collect())
        };
        text.split(',').map(|part| node(part.trim())).collect()
    }

    fn check(text: &str, expected: &str) {
        let got = match order(&graph(text)) {
            Ok(names) => names.join(" "),
            Err(error) => error.to_string(),
        };
        assert!(got.contains(expected), "{text}: {got:?} lacks {expected:?}");
    }

    #[test]
    fn orders() {
        check("callr:R6 processx, processx:ps R6, ps, R6", "R6 ps processx callr");
        check("a:stats utils, b", "a b");
        check("a:b, b:c, c:a, d", "first: a → b → c → a");
        check("a:b, b:c, c:b", "first: b → c → b");
        check("a:a", "a → a");
    }

    proptest! {
        #[test]
        fn an_order_respects_all_needs(edges in proptest::collection::vec((0u8..12, 0u8..12), 0..40)) {
            let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (one, other) in edges {
                needs.entry(format!("p{other}")).or_default();
                needs.entry(format!("p{one}")).or_default().insert(format!("p{other}"));
            }
            match order(&needs) {
                Ok(names) => {
                    prop_assert_eq!(names.len(), needs.len());
                    let at = |name: &str| names.iter().position(|one| one == name).unwrap();
                    for (name, wants) in &needs {
                        prop_assert!(wants.iter().all(|want| at(want) < at(name)));
                    }
                }
                Err(OrderError::Cycle(names)) => {
                    prop_assert!(names.len() > 1);
                    prop_assert_eq!(names.first(), names.last());
                    prop_assert!(names.windows(2).all(|pair| needs[&pair[0]].contains(&pair[1])));
                }
            }
        }
    }
}
