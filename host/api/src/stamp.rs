//! Times as the protocol prints them: UTC to the second, `2024-07-16T19:28:05Z`.

use std::fmt;

use serde::{Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset};
use utoipa::ToSchema;

/// A moment, printed as `2024-07-16T19:28:05Z`; fractions of a second are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2024-07-16T19:28:05Z")]
pub(crate) struct Stamp(pub OffsetDateTime);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0.to_offset(UtcOffset::UTC);
        let (date, time) = (at.date(), at.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<OffsetDateTime> for Stamp {
    fn from(at: OffsetDateTime) -> Self {
        Self(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn prints_utc_seconds() {
        assert_eq!(Stamp(datetime!(2024-07-16 21:28:05.987 +2)).to_string(), "2024-07-16T19:28:05Z");
        assert_eq!(Stamp(datetime!(2024-01-01 00:00:00 UTC)).to_string(), "2024-01-01T00:00:00Z");
    }
}
