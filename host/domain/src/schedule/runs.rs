//! The moments at which a schedule runs. Each step costs the same, however long ago the schedule began.

use jiff::civil::{Date, Weekday};
use jiff::{Span, Timestamp};
use time::OffsetDateTime;

use super::{Rule, Schedule};

impl Schedule {
    /// The first run after `now`, never before the start.
    ///
    /// `None` only beyond the calendar's last year, thousands of years from any start that is allowed.
    pub fn next_after(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let (now, start) = (now.unix_timestamp(), self.start.unix_timestamp());
        let at = match self.rule {
            Rule::Minute(n) => counted(start, i64::from(n) * 60, now)?,
            Rule::Hour(n) => counted(start, i64::from(n) * 3600, now)?,
            _ => self.next_day(start, now)?,
        };
        OffsetDateTime::from_unix_timestamp(at).ok()
    }

    /// The runs from `from` to `to`, both included, at most `most`.
    pub fn between(&self, from: OffsetDateTime, to: OffsetDateTime, most: usize) -> Vec<OffsetDateTime> {
        // Runs are at whole seconds, so what is after the second before is not earlier than `from`.
        let whole = from.truncate_to_second();
        let before = if whole == from { whole - time::Duration::SECOND } else { whole };
        let next = |at: &OffsetDateTime| self.next_after(*at);
        std::iter::successors(self.next_after(before), next).take_while(|at| *at <= to).take(most).collect()
    }

    /// For rules that name days.
    fn next_day(&self, start: i64, now: i64) -> Option<i64> {
        let zone = &self.zone.0;
        let begun = zone.to_datetime(Timestamp::from_second(start).ok()?);
        let earliest = now.max(start);
        // The days before are looked at too: no zone moves its clocks by more than a day.
        let around = zone.to_datetime(Timestamp::from_second(earliest).ok()?).date();
        let mut from = around.checked_sub(Span::new().days(2)).ok()?.max(begun.date());
        loop {
            let day = first_day(&self.rule, begun.date(), from)?;
            let at = zone.to_ambiguous_timestamp(day.to_datetime(begun.time())).compatible().ok()?.as_second();
            if at > now && at >= start {
                return Some(at);
            }
            // At most five times: `from` has come past `earliest` then.
            from = day.tomorrow().ok()?;
        }
    }
}

/// The first of `start`, `start + step`, … after `now`.
fn counted(start: i64, step: i64, now: i64) -> Option<i64> {
    if now < start {
        return Some(start);
    }
    start.checked_add((now - start).checked_div(step)?.checked_add(1)?.checked_mul(step)?)
}

/// The first day that the rule names, not before `from`, which is not before `begun`.
fn first_day(rule: &Rule, begun: Date, from: Date) -> Option<Date> {
    match *rule {
        // Counted in seconds, not in days.
        Rule::Minute(_) | Rule::Hour(_) => Some(from),
        Rule::Day(n) => every(begun, from, i64::from(n)),
        Rule::Week(n) => every(begun, from, i64::from(n) * 7),
        Rule::Weekday => within_week(from, |day| !matches!(day, Weekday::Saturday | Weekday::Sunday)),
        Rule::DayOfWeek(days) => within_week(from, |day| days.has(day.to_sunday_zero_offset())),
        Rule::SemiMonth(first) => {
            let half = |month: Date| {
                let (one, other) = if first { (1, 15) } else { (14, month.days_in_month()) };
                [clipped(month, one), clipped(month, other)]
            };
            let next = from.first_of_month().checked_add(Span::new().months(1)).ok()?;
            half(from).into_iter().chain(half(next)).find(|day| *day >= from)
        }
        Rule::DayOfMonth { months, day } => every_months(begun, from, months, |month| Some(clipped(month, day))),
        Rule::DayWeekOfMonth { months, day, week } => every_months(begun, from, months, |month| {
            let nth = if week == 5 { -1 } else { week.max(1) };
            month.nth_weekday_of_month(nth, Weekday::from_sunday_zero_offset(day).ok()?).ok()
        }),
        Rule::Year(n) => {
            // From the beginning each time: the 29th of February comes back in leap years.
            let passed = i32::from(from.year()) - i32::from(begun.year());
            let first = passed / n;
            (first..=first + 1).find_map(|times| {
                let day = begun.checked_add(Span::new().try_years(i64::from(times) * i64::from(n)).ok()?).ok()?;
                (day >= from).then_some(day)
            })
        }
    }
}

/// The first of `begun`, `begun + step` days, … that is not before `from`.
fn every(begun: Date, from: Date, step: i64) -> Option<Date> {
    let passed = begun.duration_until(from).as_hours() / 24;
    let times = (passed + step - 1) / step;
    begun.checked_add(Span::new().try_days(times * step).ok()?).ok()
}

fn within_week(from: Date, wanted: impl Fn(Weekday) -> bool) -> Option<Date> {
    (0..7).find_map(|days| from.checked_add(Span::new().days(days)).ok().filter(|day| wanted(day.weekday())))
}

/// The day that `pick` names in the month of `begun` and every so many months after it, not before `from`.
fn every_months(begun: Date, from: Date, months: i32, pick: impl Fn(Date) -> Option<Date>) -> Option<Date> {
    let number = |date: Date| i32::from(date.year()) * 12 + i32::from(date.month());
    let first = (number(from) - number(begun)) / months;
    // The day of the month that `from` is in, or is after, may have passed.
    (first..=first + 1).find_map(|times| {
        let span = Span::new().try_months(i64::from(times) * i64::from(months)).ok()?;
        pick(begun.first_of_month().checked_add(span).ok()?).filter(|day| *day >= from)
    })
}

/// This day of the month, or its last.
fn clipped(month: Date, day: i8) -> Date {
    month.with().day(day.min(month.days_in_month())).build().unwrap_or(month)
}
