//! Lines that plugins write to the operator's log: one line each, bounded, and marked with the plugin and the request.

use crate::check::shown;
use crate::limits::Limits;

/// What one call may still write.
pub(crate) struct LogBudget {
    lines: u32,
    line_bytes: usize,
    /// Lines that were too many.
    pub(crate) dropped: u32,
}

impl LogBudget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { lines: limits.log_lines, line_bytes: limits.log_line_bytes, dropped: 0 }
    }

    /// One line with its fields, cut to size and without control characters; `None` when the call has written enough.
    pub(crate) fn line(&mut self, message: &str, fields: &[(String, String)]) -> Option<String> {
        let Some(left) = self.lines.checked_sub(1) else {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        };
        self.lines = left;
        let mut line = String::new();
        let texts =
            std::iter::once(("", message)).chain(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        for (name, value) in texts {
            let separator = if line.is_empty() { "" } else { " " };
            let equals = if name.is_empty() { "" } else { "=" };
            let room = self.line_bytes.saturating_sub(line.len());
            let part = format!("{separator}{}{equals}{}", shown(name), cut(value, room));
            line.push_str(&part);
            if line.len() >= self.line_bytes {
                break;
            }
        }
        Some(cut(&line, self.line_bytes))
    }
}

/// Writes a line that a budget let through: by a call, or once more with the reuse of its decision.
pub(crate) fn write(level: tracing::Level, plugin: &str, id: &str, line: &str) {
    macro_rules! write {
        ($level:ident) => {
            tracing::event!(target: "lectern::plugin", tracing::Level::$level, { plugin.name = plugin, request.id = id }, "{line}")
        };
    }
    match level {
        tracing::Level::TRACE => write!(TRACE),
        tracing::Level::DEBUG => write!(DEBUG),
        tracing::Level::INFO => write!(INFO),
        tracing::Level::WARN => write!(WARN),
        tracing::Level::ERROR => write!(ERROR),
    }
}

/// The first `limit` bytes, whole characters only, control characters replaced.
fn cut(text: &str, limit: usize) -> String {
    let mut cut = String::new();
    for c in text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }) {
        if cut.len() + c.len_utf8() > limit {
            break;
        }
        cut.push(c);
    }
    cut
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn log_lines_are_bounded_and_single() {
        let mut budget = LogBudget { lines: 2, line_bytes: 20, dropped: 0 };
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(budget.line("a\nb", &[field("k", "v"), field("long", &"x".repeat(99))]).unwrap().len(), 20);
        assert_eq!(budget.line("ä", &[]).unwrap(), "ä");
        assert_eq!(budget.line("more", &[]), None);
        assert_eq!(budget.dropped, 1);
    }
}
