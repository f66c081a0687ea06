//! Finds redirects that lead in a circle before anybody follows them.
//!
//! Every circle passes an address that is exactly a rule's `from`, or one segment below it that no rule names: what a rule never
//! looks at does not change which rules are taken. So it is enough to follow the rules from those.

use crate::address::Planned;
use crate::location::Location;
use crate::moved::{Moved, Renamed, find};

/// Redirects in a row that are taken for a circle: the publishing clients follow five.
const MAX_IN_A_ROW: usize = 5;

/// A host that no rule names.
const ELSEWHERE: &str = "other.invalid";

/// Describes a circle, or a way that is too long, if there is one.
pub(crate) fn find_loop(renamed: &[Renamed], moved: &[Moved]) -> Option<String> {
    let names = |patterns: &[String]| -> Vec<String> {
        if patterns.is_empty() {
            return vec![ELSEWHERE.to_owned()];
        }
        patterns
            .iter()
            .map(|pattern| if pattern == "*" { ELSEWHERE.to_owned() } else { pattern.replace('*', "other") })
            .collect()
    };
    let unnamed = unnamed_segment(moved);
    let of_moved = moved.iter().flat_map(|rule| {
        let below = format!("{}/{unnamed}", rule.from.trim_end_matches('/'));
        let paths = [rule.from.clone(), below];
        names(&rule.hosts)
            .into_iter()
            .flat_map(move |name| paths.clone().map(|path| Planned { name: name.clone(), path }))
    });
    let below_root = format!("/{unnamed}");
    let of_renamed =
        renamed.iter().flat_map(|rule| names(&rule.from)).map(|name| Planned { name, path: below_root.clone() });
    of_moved.chain(of_renamed).find_map(|start| follow(renamed, moved, start))
}

fn follow(renamed: &[Renamed], moved: &[Moved], start: Planned) -> Option<String> {
    let mut trail = shown(&start);
    let mut at = start;
    for _ in 0..=MAX_IN_A_ROW {
        let redirect = find(renamed, moved, &at)?;
        at = after(redirect.to, redirect.rest.as_deref(), &at);
        trail.push_str(" → ");
        trail.push_str(&shown(&at));
    }
    Some(trail)
}

fn after(to: &Location, rest: Option<&str>, at: &Planned) -> Planned {
    let path = rest.map_or_else(|| to.path.clone(), |rest| to.path_with(rest));
    Planned { name: to.host().unwrap_or_else(|| at.name.clone()), path }
}

fn shown(at: &Planned) -> String {
    let path: String = at.path.chars().take(60).collect();
    if at.name == ELSEWHERE { path } else { format!("{}{path}", at.name) }
}

/// A segment that stands in no rule.
fn unnamed_segment(moved: &[Moved]) -> String {
    let named = |segment: &str| moved.iter().any(|rule| rule.from.contains(segment) || rule.to.path.contains(segment));
    let mut segment = "page".to_owned();
    while named(&segment) {
        segment.push('-');
    }
    segment
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Settings;
    use lectern_plugin::{Host, Mock};

    fn trail(document: &str) -> Option<String> {
        let settings: Settings = Mock::get("").document(document).settings().unwrap();
        find_loop(&settings.hosts, &settings.moved)
    }

    #[test]
    fn circles_are_found() {
        let cases = [
            (r#"{"moved": [{"from": "/a", "to": "/a"}]}"#, "/a → /a → "),
            (r#"{"moved": [{"from": "/a", "to": "/b"}, {"from": "/b", "to": "/a"}]}"#, "/a → /b → /a → "),
            (r#"{"moved": [{"from": "/a", "to": "/a/b"}]}"#, "/a → /a/b → /a/b/b → "),
            (r#"{"moved": [{"from": "/a", "to": "/b"}, {"from": "/b/c", "to": "/a/c"}]}"#, "/b/c → /a/c → /b/c → "),
            (r#"{"moved": [{"from": "/", "to": "/new"}]}"#, "/ → /new"),
            (
                r#"{"moved": [{"from": "/a", "to": "/x", "match": "exact"}, {"from": "/a", "to": "/b"}, {"from": "/b", "to": "/a"}]}"#,
                "/a/page → /b/page → ",
            ),
            (
                r#"{"moved": [{"from": "/a", "to": "/b", "hosts": ["h.example"]}, {"from": "/b", "to": "/a", "hosts": ["*.example"]}]}"#,
                "h.example/a → h.example/b → ",
            ),
            (
                r#"{"hosts": [{"from": ["a.example"], "to": "https://b.example"}, {"from": ["b.example"], "to": "https://a.example"}]}"#,
                "a.example/page → b.example/page → ",
            ),
            (
                r#"{"hosts": [{"from": ["*"], "to": "https://b.example"}], "moved": [{"from": "/a", "to": "https://a.example/a"}]}"#,
                "/a → b.example/a → a.example/a → b.example/a",
            ),
        ];
        for (document, expected) in cases {
            let found = trail(document).unwrap_or_default();
            assert!(found.starts_with(expected), "{document}\n{found}");
        }
    }

    /// All pairs of rules over a few paths, against all short addresses: none circles that was not found.
    #[test]
    fn no_address_circles_unnoticed() {
        let paths = ["/", "/a", "/b", "/a/b", "/b/a"];
        let mut rules = Vec::new();
        for from in paths {
            for to in paths {
                for how in ["prefix", "exact"] {
                    rules.push(format!(r#"{{"from": "{from}", "to": "{to}", "match": "{how}"}}"#));
                }
            }
        }
        let mut addresses = vec![String::new()];
        for _ in 0..4 {
            let longer = addresses.iter().flat_map(|path| ["a", "b", "c"].map(|segment| format!("{path}/{segment}")));
            addresses = longer.chain(addresses.iter().cloned()).collect();
        }
        addresses.iter_mut().filter(|path| path.is_empty()).for_each(|path| path.push('/'));
        for first in &rules {
            for second in &rules {
                let document = format!(r#"{{"moved": [{first}, {second}]}}"#);
                let settings: Settings = Mock::get("").document(&document).settings().unwrap();
                if find_loop(&[], &settings.moved).is_some() {
                    continue;
                }
                for path in &addresses {
                    let mut at = Planned { name: ELSEWHERE.into(), path: path.clone() };
                    let mut steps = 0;
                    while let Some(redirect) = find(&[], &settings.moved, &at) {
                        at = after(redirect.to, redirect.rest.as_deref(), &at);
                        steps += 1;
                        assert!(steps < 50, "{path} circles: {document}");
                    }
                }
            }
        }
    }

    #[test]
    fn ways_that_end_are_none() {
        for document in [
            "{}",
            r#"{"moved": [{"from": "/a", "to": "/b"}, {"from": "/b", "to": "/c"}]}"#,
            r#"{"moved": [{"from": "/a", "to": "/b"}, {"from": "/b/c", "to": "/a", "match": "exact"}]}"#,
            r#"{"moved": [{"from": "/a", "to": "/a/", "match": "exact"}]}"#,
            r#"{"moved": [{"from": "/docs", "to": "https://docs.example.org/docs"}]}"#,
            r#"{"moved": [{"from": "/", "to": "https://new.example.org"}]}"#,
            r#"{"hosts": [{"from": ["*"], "to": "https://apps.example.org"}]}"#,
            r#"{"hosts": [{"from": ["www.example.org", "*.old.example.org"], "to": "https://apps.example.org"}],
                "moved": [{"from": "/page", "to": "/pages"}]}"#,
            r#"{"moved": [{"from": "/a", "to": "/b", "hosts": ["h.example"]}, {"from": "/b", "to": "/a", "hosts": ["i.example"]}]}"#,
        ] {
            assert_eq!(trail(document), None, "{document}");
        }
    }
}
