//! Where a request is addressed to, as far as rules compare it.
//!
//! Rules are written against this trait, so that the request at hand and the ones that `check` follows through the rules are compared
//! by the same code.

use std::cell::OnceCell;

use lectern_plugin::Host;
use lectern_plugin::web::is_below;

/// A host name and a path.
pub(crate) trait Address {
    /// The host in lower case without its port; empty when none was sent.
    fn name(&self) -> &str;
    /// Whether the path is `path` or lies below it, on whole segments.
    fn is_below(&self, path: &str) -> bool;
    /// The whole path, decoded.
    fn path(&self) -> &str;
}

/// The request at hand. Each question is asked when a rule needs the answer, and once.
pub(crate) struct Live<'h, H> {
    host: &'h H,
    name: OnceCell<String>,
    first: OnceCell<String>,
    path: OnceCell<String>,
}

impl<'h, H: Host> Live<'h, H> {
    pub(crate) fn new(host: &'h H) -> Self {
        Self { host, name: OnceCell::new(), first: OnceCell::new(), path: OnceCell::new() }
    }
}

impl<H: Host> Address for Live<'_, H> {
    fn name(&self) -> &str {
        self.name.get_or_init(|| self.host.host())
    }

    /// Compares the first segment before anything else: one question answers for all rules that begin differently.
    fn is_below(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        if path.is_empty() {
            return true;
        }
        let first = self.first.get_or_init(|| self.host.path_prefix(1));
        let rest = path.strip_prefix(first.as_str());
        rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && is_below(self.host, path)))
    }

    fn path(&self) -> &str {
        self.path.get_or_init(|| self.host.path())
    }
}

/// A request that somebody might make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) path: String,
}

impl Address for Planned {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_below(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn path(&self) -> &str {
        &self.path
    }
}

/// Whether a host name is one of `patterns`; none means every host. `*.example.org` is every host below `example.org`.
pub(crate) fn names_host(patterns: &[String], address: &impl Address) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| fits(pattern, address.name()))
}

/// Whether a pattern is for this name. `*` is for every name, and for no missing one.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => pattern == name,
    }
}

/// Whether a text can be such a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':')
    };
    (1..=253).contains(&name.len()) && name.bytes().all(allowed) && (name.starts_with('[') || !name.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lectern_plugin::Mock;

    #[test]
    fn the_request_and_planned_ones_compare_alike() {
        let paths = ["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/bc", "/ab", "/ab/c", "//a", "//", "/b/a"];
        let rules = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b"];
        for path in paths {
            let planned = Planned { name: "h".into(), path: path.into() };
            for rule in rules {
                let mock = Mock::get(path);
                assert_eq!(Live::new(&mock).is_below(rule), planned.is_below(rule), "{path} {rule}");
            }
        }
    }

    #[test]
    fn one_question_for_rules_that_begin_differently() {
        let mock = Mock::get("/content/x/");
        let live = Live::new(&mock);
        assert!(
            !(live.is_below("/a") || live.is_below("/b/c") || live.is_below("/contents") || live.is_below("/cont/x"))
        );
        assert_eq!(mock.asked(), ["path-prefix 1"]);
    }

    #[test]
    fn host_patterns() {
        let cases = [
            ("a.example", "a.example", true),
            ("a.example", "b.a.example", false),
            ("*.example", "a.example", true),
            ("*.example", "example", false),
            ("*.example", "notexample", false),
            ("*", "anything", true),
            ("*", "", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
        for bad in ["", "*", "A.example", "a.example:80", "a/b", "a b", "*.", "*a"] {
            assert!(!is_pattern(bad), "{bad}");
        }
        assert!(is_pattern("*.example.org") && is_pattern("[::1]") && is_pattern("10.0.0.1"));
    }
}
