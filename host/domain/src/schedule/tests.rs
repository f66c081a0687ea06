//! Tables of rules and of the moments they name, and what holds for all of them.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::*;

fn at(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

fn schedule(kind: &str, parameters: &str, start: &str, zone: &str) -> Schedule {
    Schedule::new(Rule::parse(kind, parameters).unwrap(), at(start), Zone::parse(zone).unwrap()).unwrap()
}

/// The first runs after `now`, one on each line.
fn runs(schedule: &Schedule, now: &str, count: usize) -> String {
    let runs = std::iter::successors(schedule.next_after(at(now)), |run| schedule.next_after(*run));
    runs.take(count).map(|run| run.format(&Rfc3339).unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn rules_in_the_spellings_of_clients() {
    let cases = [
        ("minute", r#"{"N": 15}"#, r#"{"N":15}"#),
        ("hour", r#"{"N":2}"#, r#"{"N":2}"#),
        ("day", r#"{"N":3}"#, r#"{"N":3}"#),
        ("weekday", "{}", "{}"),
        ("weekday", r#"{"N":3}"#, "{}"),
        ("week", r#"{"N":2}"#, r#"{"N":2}"#),
        ("dayofweek", r#"{"Days":[6,0,1,1]}"#, r#"{"Days":[0,1,6]}"#),
        ("dayofweek", r#"{"Days":1}"#, r#"{"Days":[1]}"#),
        ("semimonth", r#"{"First":true}"#, r#"{"First":true}"#),
        ("semimonth", r#"{"First":false}"#, r#"{"First":false}"#),
        ("dayofmonth", r#"{"N":3,"Day":4}"#, r#"{"N":3,"Day":4}"#),
        ("dayofmonth", r#"{"Day":31}"#, r#"{"N":1,"Day":31}"#),
        ("dayweekofmonth", r#"{"N":3,"Day":1,"Week":4}"#, r#"{"N":3,"Day":1,"Week":4}"#),
        ("year", r#"{"N":2}"#, r#"{"N":2}"#),
    ];
    for (kind, given, printed) in cases {
        let rule = Rule::parse(kind, given).unwrap();
        assert_eq!((rule.kind(), &*rule.parameters()), (kind, printed), "{kind} {given}");
        assert_eq!(Rule::parse(kind, printed), Ok(rule), "{kind} {printed}");
    }
}

#[test]
fn what_is_no_rule_says_why() {
    let refused = |kind: &str, parameters: &str| Rule::parse(kind, parameters).unwrap_err().to_string();
    let cases = [
        ("fortnight", "{}", "type \"fortnight\" is none of"),
        ("", "x", "type \"\" is none of"),
        ("day", "", "must be a JSON object"),
        ("day", "[1]", "must be a JSON object"),
        ("day", "1", "must be a JSON object"),
        ("day", "{}", "type day needs N from 1 to 3660"),
        ("day", r#"{"N":0}"#, "needs N"),
        ("day", r#"{"N":-1}"#, "needs N"),
        ("day", r#"{"N":1.5}"#, "needs N"),
        ("day", r#"{"N":"1"}"#, "needs N"),
        ("day", r#"{"N":true}"#, "needs N"),
        ("day", r#"{"n":1}"#, "needs N"),
        ("minute", r#"{"N":9223372036854775808}"#, "needs N"),
        ("year", r#"{"N":101}"#, "needs N from 1 to 100"),
        ("dayofweek", "{}", "needs Days"),
        ("dayofweek", r#"{"Days":[]}"#, "needs Days"),
        ("dayofweek", r#"{"Days":[7]}"#, "needs Days"),
        ("dayofweek", r#"{"Days":[-1]}"#, "needs Days"),
        ("dayofweek", r#"{"Days":["monday"]}"#, "needs Days"),
        ("semimonth", "{}", "needs First"),
        ("semimonth", r#"{"First":1}"#, "needs First"),
        ("dayofmonth", r#"{"N":1}"#, "needs Day from 1 to 31"),
        ("dayofmonth", r#"{"N":1,"Day":0}"#, "needs Day"),
        ("dayofmonth", r#"{"N":1,"Day":32}"#, "needs Day"),
        ("dayofmonth", r#"{"N":121,"Day":1}"#, "needs N from 1 to 120"),
        ("dayweekofmonth", r#"{"N":1,"Day":7,"Week":1}"#, "needs Day from 0 to 6"),
        ("dayweekofmonth", r#"{"N":1,"Day":1,"Week":6}"#, "needs Week from 0 to 5"),
    ];
    for (kind, parameters, expected) in cases {
        let text = refused(kind, parameters);
        assert!(text.contains(expected), "{kind} {parameters}: {text}");
    }
}

#[test]
fn zones_are_those_of_the_database() {
    for (given, name) in [("Europe/Berlin", "Europe/Berlin"), ("europe/berlin", "Europe/Berlin"), ("UTC", "UTC")] {
        assert_eq!(Zone::parse(given).unwrap().name(), name);
    }
    for bad in ["", "Mars/Olympus", "../etc/passwd", "+02:00", "Etc/Unknown", "EST5EDT4", &"x".repeat(5000)] {
        assert!(matches!(Zone::parse(bad), Err(BadSchedule::Zone(_))), "{bad:.40}");
    }
    let rule = Rule::parse("weekday", "{}").unwrap();
    for start in ["1969-12-31T23:59:59Z", "2201-01-01T00:00:00Z"] {
        assert_eq!(Schedule::new(rule, at(start), Zone::parse("UTC").unwrap()), Err(BadSchedule::Start));
    }
}

#[test]
fn each_kind_names_its_moments() {
    // kind, parameters, start, zone, now, runs after now.
    let cases = [
        (
            "minute",
            r#"{"N":15}"#,
            "2026-01-01T12:00:30Z",
            "UTC",
            "2026-01-01T12:00:30Z",
            "2026-01-01T12:15:30Z 2026-01-01T12:30:30Z",
        ),
        // Years later it still keeps its step.
        (
            "minute",
            r#"{"N":7}"#,
            "1970-01-01T00:00:00Z",
            "UTC",
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:07:00Z 2026-01-01T00:14:00Z",
        ),
        // A start to come is the first run, where the rule names it.
        (
            "hour",
            r#"{"N":5}"#,
            "2026-01-02T00:00:00Z",
            "UTC",
            "2026-01-01T12:00:00Z",
            "2026-01-02T00:00:00Z 2026-01-02T05:00:00Z",
        ),
        (
            "day",
            r#"{"N":3}"#,
            "2026-01-01T12:00:00Z",
            "UTC",
            "2026-01-02T00:00:00Z",
            "2026-01-04T12:00:00Z 2026-01-07T12:00:00Z",
        ),
        ("day", r#"{"N":1}"#, "2026-01-01T12:00:00Z", "UTC", "2026-01-01T12:00:00Z", "2026-01-02T12:00:00Z"),
        ("day", r#"{"N":1}"#, "2026-01-01T12:00:00Z", "UTC", "2026-01-01T11:59:59Z", "2026-01-01T12:00:00Z"),
        // A Thursday evening in New York is Friday in UTC.
        (
            "weekday",
            "{}",
            "2026-01-02T01:00:00Z",
            "America/New_York",
            "2026-01-02T02:00:00Z",
            "2026-01-03T01:00:00Z 2026-01-06T01:00:00Z",
        ),
        ("weekday", "{}", "2026-01-03T09:00:00Z", "UTC", "2026-01-01T00:00:00Z", "2026-01-05T09:00:00Z"),
        (
            "week",
            r#"{"N":2}"#,
            "2026-01-01T06:00:00Z",
            "UTC",
            "2026-01-01T06:00:00Z",
            "2026-01-15T06:00:00Z 2026-01-29T06:00:00Z",
        ),
        (
            "dayofweek",
            r#"{"Days":[0,3]}"#,
            "2026-01-01T06:00:00Z",
            "UTC",
            "2026-01-01T06:00:00Z",
            "2026-01-04T06:00:00Z 2026-01-07T06:00:00Z 2026-01-11T06:00:00Z",
        ),
        (
            "semimonth",
            r#"{"First":true}"#,
            "2026-01-02T06:00:00Z",
            "UTC",
            "2026-01-02T06:00:00Z",
            "2026-01-15T06:00:00Z 2026-02-01T06:00:00Z",
        ),
        (
            "semimonth",
            r#"{"First":false}"#,
            "2026-02-01T06:00:00Z",
            "UTC",
            "2026-02-14T06:00:00Z",
            "2026-02-28T06:00:00Z 2026-03-14T06:00:00Z 2026-03-31T06:00:00Z",
        ),
        (
            "dayofmonth",
            r#"{"N":1,"Day":31}"#,
            "2026-01-01T06:00:00Z",
            "UTC",
            "2026-01-31T06:00:00Z",
            "2026-02-28T06:00:00Z 2026-03-31T06:00:00Z 2026-04-30T06:00:00Z",
        ),
        (
            "dayofmonth",
            r#"{"N":3,"Day":4}"#,
            "2025-11-20T06:00:00Z",
            "UTC",
            "2025-11-20T06:00:00Z",
            "2026-02-04T06:00:00Z 2026-05-04T06:00:00Z",
        ),
        (
            "dayweekofmonth",
            r#"{"N":1,"Day":1,"Week":1}"#,
            "2026-01-01T06:00:00Z",
            "UTC",
            "2026-01-05T06:00:00Z",
            "2026-02-02T06:00:00Z 2026-03-02T06:00:00Z",
        ),
        (
            "dayweekofmonth",
            r#"{"N":1,"Day":1,"Week":0}"#,
            "2026-01-01T06:00:00Z",
            "UTC",
            "2026-01-05T06:00:00Z",
            "2026-02-02T06:00:00Z",
        ),
        (
            "dayweekofmonth",
            r#"{"N":2,"Day":5,"Week":5}"#,
            "2026-01-01T06:00:00Z",
            "UTC",
            "2026-01-01T06:00:00Z",
            "2026-01-30T06:00:00Z 2026-03-27T06:00:00Z",
        ),
        (
            "year",
            r#"{"N":1}"#,
            "2024-02-29T06:00:00Z",
            "UTC",
            "2024-02-29T06:00:00Z",
            "2025-02-28T06:00:00Z 2026-02-28T06:00:00Z 2027-02-28T06:00:00Z 2028-02-29T06:00:00Z",
        ),
        ("year", r#"{"N":100}"#, "2200-12-31T23:59:59Z", "UTC", "2200-12-31T23:59:59Z", "2300-12-31T23:59:59Z"),
    ];
    for (kind, parameters, start, zone, now, expected) in cases {
        let found = runs(&schedule(kind, parameters, start, zone), now, expected.split(' ').count());
        assert_eq!(found, expected, "{kind} {parameters} from {start} in {zone} after {now}");
    }
}

#[test]
fn clocks_that_change() {
    let cases = [
        // Half past two does not exist on 29 March in Berlin: an hour later, and at its own time the day after.
        (
            "day",
            r#"{"N":1}"#,
            "2026-03-27T01:30:00Z",
            "Europe/Berlin",
            "2026-03-28T00:00:00Z",
            "2026-03-28T01:30:00Z 2026-03-29T01:30:00Z 2026-03-30T00:30:00Z",
        ),
        // It exists twice on 25 October: the first one, once.
        (
            "day",
            r#"{"N":1}"#,
            "2026-10-23T00:30:00Z",
            "Europe/Berlin",
            "2026-10-24T00:00:00Z",
            "2026-10-24T00:30:00Z 2026-10-25T00:30:00Z 2026-10-26T01:30:00Z",
        ),
        // Hours are hours, and the clock shows others afterwards.
        (
            "hour",
            r#"{"N":24}"#,
            "2026-03-27T01:30:00Z",
            "Europe/Berlin",
            "2026-03-28T00:00:00Z",
            "2026-03-28T01:30:00Z 2026-03-29T01:30:00Z 2026-03-30T01:30:00Z",
        ),
        // Half an hour on Lord Howe Island.
        (
            "day",
            r#"{"N":1}"#,
            "2026-10-01T15:40:00Z",
            "Australia/Lord_Howe",
            "2026-10-02T16:00:00Z",
            "2026-10-03T15:40:00Z 2026-10-04T15:10:00Z",
        ),
        // Samoa had no 30 December 2011; what was due then and what is due on the 31st are one moment.
        (
            "day",
            r#"{"N":1}"#,
            "2011-12-28T20:00:00Z",
            "Pacific/Apia",
            "2011-12-28T20:00:00Z",
            "2011-12-29T20:00:00Z 2011-12-30T20:00:00Z 2011-12-31T20:00:00Z",
        ),
        // Midnight does not exist in Cairo on the day summer time begins.
        (
            "dayofweek",
            r#"{"Days":[5]}"#,
            "2026-04-16T22:00:00Z",
            "Africa/Cairo",
            "2026-04-17T00:00:00Z",
            "2026-04-23T22:00:00Z 2026-04-30T21:00:00Z",
        ),
    ];
    for (kind, parameters, start, zone, now, expected) in cases {
        let found = runs(&schedule(kind, parameters, start, zone), now, expected.split(' ').count());
        assert_eq!(found, expected, "{kind} {parameters} from {start} in {zone} after {now}");
    }
}

#[test]
fn runs_of_a_span_are_bounded() {
    let hourly = schedule("hour", r#"{"N":1}"#, "2026-01-01T00:00:00Z", "UTC");
    let count = |from: &str, to: &str| hourly.between(at(from), at(to), 30).len();
    assert_eq!(count("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z"), 4);
    assert_eq!(count("2026-01-01T00:00:00.5Z", "2026-01-01T03:00:00Z"), 3);
    assert_eq!(count("2025-12-01T00:00:00Z", "2025-12-31T23:59:59Z"), 0);
    assert_eq!(count("2026-01-01T03:00:00Z", "2026-01-01T00:00:00Z"), 0);
    assert_eq!(count("2026-01-01T00:00:00Z", "2199-01-01T00:00:00Z"), 30);
}

const ZONES_TRIED: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Africa/Casablanca",
];

fn any_rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        (1..=100_000).prop_map(Rule::Minute),
        (1..=2_000).prop_map(Rule::Hour),
        (1..=400).prop_map(Rule::Day),
        Just(Rule::Weekday),
        (1..=60).prop_map(Rule::Week),
        prop::collection::vec(0i64..7, 1..7).prop_map(|days| Rule::DayOfWeek(DaysOfWeek::of(days).unwrap())),
        any::<bool>().prop_map(Rule::SemiMonth),
        (1..=120, 1i8..=31).prop_map(|(months, day)| Rule::DayOfMonth { months, day }),
        (1..=120, 0i8..=6, 0i8..=5).prop_map(|(months, day, week)| Rule::DayWeekOfMonth { months, day, week }),
        (1..=100).prop_map(Rule::Year),
    ]
}

proptest! {
    #[test]
    fn the_next_run_is_the_next(
        rule in any_rule(),
        start in 0i64..7_000_000_000,
        now in -100_000_000i64..7_500_000_000,
        between in 0.0f64..1.0,
        zone in prop::sample::select(&ZONES_TRIED[..]),
    ) {
        let moment = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let schedule = Schedule::new(rule, moment(start), Zone::parse(zone).unwrap()).unwrap();
        let now = moment(now);
        let next = schedule.next_after(now).unwrap();
        prop_assert!(next > now && next >= schedule.start());
        // Nothing is between.
        let gap = next - now - time::Duration::SECOND;
        prop_assert_eq!(schedule.next_after(now + gap * between), Some(next));
        prop_assert!(schedule.next_after(next).unwrap() > next);
        prop_assert_eq!(Rule::parse(rule.kind(), &rule.parameters()), Ok(rule));
        let local = schedule.zone().0.to_datetime(jiff::Timestamp::from_second(next.unix_timestamp()).unwrap());
        let day = local.weekday().to_sunday_zero_offset();
        // A time that a day does not have may be on the next one; no zone here but Samoa's leaves out a day.
        if zone == "UTC" {
            match rule {
                Rule::Weekday => prop_assert!((1..=5).contains(&day)),
                Rule::DayOfWeek(days) => prop_assert!(days.has(day)),
                Rule::SemiMonth(true) => prop_assert!([1, 15].contains(&local.day())),
                Rule::SemiMonth(false) => prop_assert!(local.day() == 14 || local.day() == local.days_in_month()),
                Rule::DayOfMonth { day, .. } => prop_assert_eq!(local.day(), day.min(local.days_in_month())),
                Rule::DayWeekOfMonth { day: wanted, week, .. } => {
                    prop_assert_eq!(day, wanted);
                    let last = local.day() + 7 > local.days_in_month();
                    let right = if week == 5 { last } else { (local.day() - 1) / 7 + 1 == week.max(1) };
                    prop_assert!(right);
                }
                Rule::Minute(_) | Rule::Hour(_) | Rule::Day(_) | Rule::Week(_) | Rule::Year(_) => {}
            }
        }
    }

    #[test]
    fn no_text_is_too_much(kind in "[a-z]{0,14}", parameters in ".{0,60}", zone in ".{0,40}") {
        let _ = Rule::parse(&kind, &parameters);
        let _ = Zone::parse(&zone);
    }
}
