//! Times as people read them.

use time::OffsetDateTime;
use time::macros::format_description;

/// `2026-11-22 19:04:05 UTC`.
pub(crate) fn show(at: OffsetDateTime) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    at.to_offset(time::UtcOffset::UTC).format(form).unwrap_or_else(|_| at.unix_timestamp().to_string())
}
