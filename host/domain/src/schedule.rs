//! When a document is rendered again: the ten kinds of rules that clients know, read and printed as they write them, and the
//! moments that a rule names in a time zone.
//!
//! Minutes and hours are counted from the start, whatever the clocks do. All other kinds name days, and the time of day is the
//! start's in the schedule's zone: a time that a day does not have is that much later, a time that it has twice is the first. The
//! zones are part of the program (the crate jiff's copy of the IANA database), so that all servers agree and nothing is read.

mod rule;
mod runs;

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use time::OffsetDateTime;

pub use rule::{DaysOfWeek, Rule};

/// Years in which a schedule may begin: clients send the present, and calendars of the zones are good for these.
const START_YEARS: std::ops::RangeInclusive<i32> = 1970..=2200;

/// Longest name of a time zone; the longest there is has 32 bytes.
const MAX_ZONE_BYTES: usize = 64;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Why something is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSchedule {
    /// The kind is none of the ten.
    #[error(
        "type {0:?} is none of minute, hour, day, weekday, week, dayofweek, semimonth, dayofmonth, dayweekofmonth, year"
    )]
    Kind(String),
    /// The parameters are no JSON object.
    #[error("schedule must be a JSON object in a string, as \"{{\\\"N\\\":1}}\"")]
    NotAnObject,
    /// A parameter is absent or has a value that is not allowed.
    #[error("schedule of type {kind} needs {key} {allowed}")]
    Parameter {
        /// The kind.
        kind: &'static str,
        /// The parameter.
        key: &'static str,
        /// What it may be, in words.
        allowed: String,
    },
    /// The zone is not in the IANA database.
    #[error("timezone {0:?} is not the name of a time zone, as Europe/Berlin")]
    Zone(String),
    /// The start is out of range.
    #[error("start_time must be in the years 1970 to 2200")]
    Start,
}

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Finds a zone by its name; letter case does not matter.
    pub fn parse(name: &str) -> Result<Self, BadSchedule> {
        let bad = || BadSchedule::Zone(name.chars().take(80).collect());
        if name.len() > MAX_ZONE_BYTES {
            return Err(bad());
        }
        let zone = ZONES.get(name).map_err(|_| bad())?;
        // The database has a name for "not known" too.
        if zone.is_unknown() || zone.iana_name().is_none() { Err(bad()) } else { Ok(Self(zone)) }
    }

    /// Its name, spelt as in the database.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

/// A rule with its beginning and its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    rule: Rule,
    start: OffsetDateTime,
    zone: Zone,
}

impl Schedule {
    /// Puts the parts together. The start is cut to seconds.
    pub fn new(rule: Rule, start: OffsetDateTime, zone: Zone) -> Result<Self, BadSchedule> {
        let start = start.to_offset(time::UtcOffset::UTC).truncate_to_second();
        if START_YEARS.contains(&start.year()) { Ok(Self { rule, start, zone }) } else { Err(BadSchedule::Start) }
    }

    /// What repeats.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// No run is before this. It is a run itself where the rule names it.
    pub fn start(&self) -> OffsetDateTime {
        self.start
    }

    /// Where days begin and clocks change.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }
}

#[cfg(test)]
mod tests;
