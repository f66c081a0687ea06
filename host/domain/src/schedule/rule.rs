//! Rules as clients write them: a word for the kind, and its parameters as a JSON object in a string.

use serde_json::{Map, Value};

use super::BadSchedule;

/// Days of a week, at least one; bit 0 is Sunday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaysOfWeek(u8);

impl DaysOfWeek {
    /// The days of these numbers, 0 for Sunday to 6; `None` when there is none or another number.
    pub fn of(days: impl IntoIterator<Item = i64>) -> Option<Self> {
        let mut set = 0;
        for day in days {
            set |= 1 << u8::try_from(day).ok().filter(|day| *day < 7)?;
        }
        (set != 0).then_some(Self(set))
    }

    /// Whether it has the day of this number, 0 for Sunday.
    pub fn has(self, day: i8) -> bool {
        (0..7).contains(&day) && self.0 & (1 << day) != 0
    }

    /// The numbers, from 0 for Sunday.
    fn numbers(self) -> Vec<i8> {
        (0..7).filter(|day| self.has(*day)).collect()
    }
}

/// What repeats. Numbers of weeks, months and so on are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Every so many minutes.
    Minute(i32),
    /// Every so many hours.
    Hour(i32),
    /// Every so many days.
    Day(i32),
    /// Monday to Friday.
    Weekday,
    /// Every so many weeks.
    Week(i32),
    /// On these days of every week.
    DayOfWeek(DaysOfWeek),
    /// Twice a month: on the 1st and 15th (`true`), or on the 14th and the last day.
    SemiMonth(bool),
    /// On a day (1 to 31) of every so many months, from the start's on; the last day of a month that is shorter.
    DayOfMonth {
        /// Months between.
        months: i32,
        /// 1 to 31.
        day: i8,
    },
    /// On a day of the week in a week of every so many months, from the start's on.
    DayWeekOfMonth {
        /// Months between.
        months: i32,
        /// 0 for Sunday to 6.
        day: i8,
        /// 1 to 4: the first to fourth such day of the month; 5: the last one. Clients may say 0, which is the first too.
        week: i8,
    },
    /// Every so many years.
    Year(i32),
}

/// The most of each unit between two runs: some ten years, a hundred for years. Nobody waits longer, and no calendar ends.
const MOST: [(&str, i32); 6] =
    [("minute", 5_256_000), ("hour", 87_600), ("day", 3_660), ("week", 522), ("month", 120), ("year", 100)];

impl Rule {
    /// Reads a rule of this kind. Parameters that the kind does not have are passed over, as clients that change the kind of a
    /// schedule may leave them there.
    pub fn parse(kind: &str, parameters: &str) -> Result<Self, BadSchedule> {
        // First, so that a wrong word is not blamed on its parameters.
        let known = KINDS.iter().find(|known| **known == kind);
        let kind = *known.ok_or_else(|| BadSchedule::Kind(kind.chars().take(80).collect()))?;
        let map: Map<String, Value> = serde_json::from_str(parameters).map_err(|_| BadSchedule::NotAnObject)?;
        let read = Parameters { kind, map };
        Ok(match kind {
            "minute" => Self::Minute(read.count("minute", None)?),
            "hour" => Self::Hour(read.count("hour", None)?),
            "day" => Self::Day(read.count("day", None)?),
            "weekday" => Self::Weekday,
            "week" => Self::Week(read.count("week", None)?),
            "dayofweek" => Self::DayOfWeek(read.days()?),
            "semimonth" => Self::SemiMonth(read.first()?),
            "dayofmonth" => Self::DayOfMonth { months: read.count("month", Some(1))?, day: read.number("Day", 1, 31)? },
            "dayweekofmonth" => Self::DayWeekOfMonth {
                months: read.count("month", Some(1))?,
                day: read.number("Day", 0, 6)?,
                week: read.number("Week", 0, 5)?,
            },
            _ => Self::Year(read.count("year", None)?),
        })
    }

    /// The word for the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Minute(_) => "minute",
            Self::Hour(_) => "hour",
            Self::Day(_) => "day",
            Self::Weekday => "weekday",
            Self::Week(_) => "week",
            Self::DayOfWeek(_) => "dayofweek",
            Self::SemiMonth(_) => "semimonth",
            Self::DayOfMonth { .. } => "dayofmonth",
            Self::DayWeekOfMonth { .. } => "dayweekofmonth",
            Self::Year(_) => "year",
        }
    }

    /// The parameters as a JSON object, in the form that [`Rule::parse`] reads.
    pub fn parameters(&self) -> String {
        match self {
            Self::Minute(n) | Self::Hour(n) | Self::Day(n) | Self::Week(n) | Self::Year(n) => format!("{{\"N\":{n}}}"),
            Self::Weekday => "{}".to_owned(),
            Self::DayOfWeek(days) => {
                let days: Vec<String> = days.numbers().iter().map(i8::to_string).collect();
                format!("{{\"Days\":[{}]}}", days.join(","))
            }
            Self::SemiMonth(first) => format!("{{\"First\":{first}}}"),
            Self::DayOfMonth { months, day } => format!("{{\"N\":{months},\"Day\":{day}}}"),
            Self::DayWeekOfMonth { months, day, week } => {
                format!("{{\"N\":{months},\"Day\":{day},\"Week\":{week}}}")
            }
        }
    }
}

const KINDS: [&str; 10] =
    ["minute", "hour", "day", "weekday", "week", "dayofweek", "semimonth", "dayofmonth", "dayweekofmonth", "year"];

struct Parameters {
    kind: &'static str,
    map: Map<String, Value>,
}

impl Parameters {
    fn refused(&self, key: &'static str, allowed: impl Into<String>) -> BadSchedule {
        BadSchedule::Parameter { kind: self.kind, key, allowed: allowed.into() }
    }

    /// `N`, a number of `unit`s.
    fn count(&self, unit: &str, absent: Option<i32>) -> Result<i32, BadSchedule> {
        let most = MOST.iter().find(|(known, _)| *known == unit).map_or(1, |(_, most)| *most);
        match (self.map.get("N"), absent) {
            (None | Some(Value::Null), Some(absent)) => Ok(absent),
            (value, _) => {
                let number = value.and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
                let number = number.filter(|number| (1..=most).contains(number));
                number.ok_or_else(|| self.refused("N", format!("from 1 to {most}")))
            }
        }
    }

    fn number(&self, key: &'static str, least: i8, most: i8) -> Result<i8, BadSchedule> {
        let number = self.map.get(key).and_then(Value::as_i64).and_then(|number| i8::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| self.refused(key, format!("from {least} to {most}")))
    }

    /// A list of days; R writes a list of one as the day alone.
    fn days(&self) -> Result<DaysOfWeek, BadSchedule> {
        let numbers = match self.map.get("Days") {
            Some(Value::Array(days)) => days.iter().map(Value::as_i64).collect::<Option<Vec<_>>>(),
            Some(day) => day.as_i64().map(|day| vec![day]),
            None => None,
        };
        let days = numbers.and_then(DaysOfWeek::of);
        days.ok_or_else(|| self.refused("Days", "a list of days from 0 (Sunday) to 6, and at least one"))
    }

    fn first(&self) -> Result<bool, BadSchedule> {
        let first = self.map.get("First").and_then(Value::as_bool);
        first.ok_or_else(|| self.refused("First", "true (the 1st and 15th) or false (the 14th and the last day)"))
    }
}
