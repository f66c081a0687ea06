//! Names, versions and the fields in which a package says what it needs (Writing R Extensions, 1.1.3).

use std::cmp::Ordering;

/// A package that another needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Its name; `R` is the language itself.
    pub name: String,
    /// Which versions will do; `None`: any.
    pub required: Option<Required>,
}

/// A condition on a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    /// `>=`, `>`, `<=`, `<`, `==` or `!=`.
    pub operator: String,
    /// The version compared with.
    pub version: String,
}

impl Required {
    /// Whether `version` fulfils it. An operator that R does not know is fulfilled: R itself will say what it thinks of it.
    pub fn is_met_by(&self, version: &str) -> bool {
        let order = compare(version, &self.version);
        match self.operator.as_str() {
            ">=" => order.is_ge(),
            ">" => order.is_gt(),
            "<=" => order.is_le(),
            "<" => order.is_lt(),
            "==" => order.is_eq(),
            "!=" => order.is_ne(),
            _ => true,
        }
    }
}

/// Reads a field like `Imports: R6, rlang (>= 1.0.0)`. What is no name is left out.
pub fn needs(field: &str) -> Vec<Need> {
    field.split(',').filter_map(need).collect()
}

fn need(text: &str) -> Option<Need> {
    let (name, rest) = match text.split_once('(') {
        Some((name, rest)) => (name.trim(), Some(rest)),
        None => (text.trim(), None),
    };
    if !is_package_name(name) && name != "R" {
        return None;
    }
    let required = rest.and_then(|rest| {
        let inside = rest.split(')').next()?.trim();
        let version = inside.trim_start_matches(['<', '>', '=', '!']);
        let operator = &inside[..inside.len() - version.len()];
        Some(Required { operator: operator.to_owned(), version: version.trim().to_owned() })
    });
    Some(Need { name: name.to_owned(), required })
}

/// Whether `text` is a name that a package may have: letters, digits and dots, a letter first, no dot last. At most 100
/// characters, more than any package has. Safe as a file name.
pub fn is_package_name(text: &str) -> bool {
    (2..=100).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
}

/// Whether `text` is a version: numbers with `.` or `-` between them. Safe in a file name and in a URL.
pub fn is_version(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 60 && text.split(['.', '-']).all(is_number)
}

/// Compares two versions as R does: number by number, `1.2-3` is `1.2.3`, and `1.2` comes before `1.2.0`.
pub fn compare(one: &str, other: &str) -> Ordering {
    let numbers =
        |text: &str| -> Vec<u64> { text.split(['.', '-']).map(|part| part.trim().parse().unwrap_or(0)).collect() };
    numbers(one).cmp(&numbers(other))
}

/// Whether two texts are the same version.
pub fn same_version(one: &str, other: &str) -> bool {
    compare(one, other).is_eq()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields() {
        let all = needs("R (>= 3.5.0), methods,\n  rlang (>= 1.0.0),cpp11(== 0.4-2) , , 9lives, ../evil, x");
        let shown: Vec<String> = all
            .iter()
            .map(|need| {
                let required = need.required.as_ref().map(|r| format!(" {} {}", r.operator, r.version));
                format!("{}{}", need.name, required.unwrap_or_default())
            })
            .collect();
        assert_eq!(shown, ["R >= 3.5.0", "methods", "rlang >= 1.0.0", "cpp11 == 0.4-2"]);
        assert!(all[0].required.as_ref().unwrap().is_met_by("4.2.2"));
        assert!(!all[0].required.as_ref().unwrap().is_met_by("3.4.9"));
    }

    #[test]
    fn versions() {
        for (one, other, expected) in [
            ("1.2-3", "1.2.3", Ordering::Equal),
            ("1.2", "1.2.0", Ordering::Less),
            ("1.10", "1.9", Ordering::Greater),
            ("0.99.1", "1.0", Ordering::Less),
            ("18446744073709551616.1", "0.2", Ordering::Less),
        ] {
            assert_eq!(compare(one, other), expected, "{one} {other}");
        }
        for (text, expected) in [("1.0", true), ("1.0-2", true), ("", false), ("1..2", false), ("1.0/..", false)] {
            assert_eq!(is_version(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_names_are_safe(text in ".{0,60}") {
            for need in needs(&text) {
                prop_assert!(need.name == "R" || is_package_name(&need.name));
                prop_assert!(!need.name.contains('/'));
            }
            let _ = compare(&text, "1.0");
        }
    }
}
