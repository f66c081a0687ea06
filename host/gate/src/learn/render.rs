//! A report as text.

use std::fmt::{self, Write};

use super::explain::{Answered, Asked, Branch, Decided, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.off, &self.rests) {
            (Some(off), _) => writeln!(f, "off: {off}")?,
            (None, Some(rest)) => writeln!(
                f,
                "resting: only {} of {} requests found a decision again, because {}",
                grouped(u64::from(rest.hits)),
                grouped(u64::from(rest.walks)),
                rest.why
            )?,
            (None, None) => writeln!(f, "learning")?,
        }
        let counters = &self.counters;
        writeln!(
            f,
            "{}: {} found their decision ({}), of which {} were compared with a call and {} differed",
            many(counters.walks, "request"),
            grouped(counters.hits),
            percent(counters.hits, counters.walks),
            grouped(counters.reruns),
            grouped(counters.differences),
        )?;
        writeln!(
            f,
            "{} behind {} in {} KiB on {}; {} given up for room",
            many(counters.leaves, "decision"),
            many(counters.nodes, "question"),
            grouped(counters.bytes.div_ceil(1024)),
            many(u64::try_from(self.threads).unwrap_or(u64::MAX), "thread"),
            grouped(counters.evictions),
        )?;
        for (reason, count) in &counters.not_learned {
            writeln!(f, "not learned, {reason}: {}", grouped(*count))?;
        }
        branch(f, &self.tree, 0)
    }
}

fn branch(f: &mut fmt::Formatter<'_>, of: &Branch, depth: usize) -> fmt::Result {
    for decided in &of.decided {
        indent(f, depth)?;
        writeln!(f, "-> {}", decision(decided)?)?;
    }
    for asked in &of.asked {
        question(f, asked, depth)?;
    }
    more(f, of.more, of.more_hits, depth)
}

fn question(f: &mut fmt::Formatter<'_>, asked: &Asked, depth: usize) -> fmt::Result {
    indent(f, depth)?;
    let answers = if asked.answers == 1 { "answer" } else { "different answers" };
    writeln!(f, "{}? ({} {answers})", asked.question, grouped(asked.answers))?;
    for answered in &asked.shown {
        indent(f, depth + 1)?;
        answer(f, answered)?;
        match &answered.then {
            // Most answers lead to one decision: one line.
            Branch { decided, asked, more: 0, .. } if decided.len() == 1 && asked.is_empty() => {
                writeln!(f, " -> {}", decision(&decided[0])?)?;
            }
            then => {
                writeln!(f, " ({})", hits(answered.hits))?;
                branch(f, then, depth + 2)?;
            }
        }
    }
    more(f, asked.more, asked.more_hits, depth + 1)
}

fn answer(f: &mut fmt::Formatter<'_>, answered: &Answered) -> fmt::Result {
    match &answered.answer {
        Some(answer) => f.write_str(answer),
        None if answered.answers == 1 => f.write_str("(hidden)"),
        None => write!(f, "({} hidden)", grouped(answered.answers)),
    }
}

fn decision(decided: &Decided) -> Result<String, fmt::Error> {
    let mut text = format!("{} ({}, known for {}", decided.decision, hits(decided.hits), span(decided.age_ms));
    if decided.leaves > 1 {
        write!(text, ", in {} places", grouped(decided.leaves))?;
    }
    if let Some(ends_in_ms) = decided.ends_in_ms {
        write!(text, ", ends in {}", span(ends_in_ms))?;
    }
    if decided.lines > 0 {
        write!(text, ", {} log line{}", decided.lines, if decided.lines == 1 { "" } else { "s" })?;
    }
    text.push(')');
    Ok(text)
}

fn more(f: &mut fmt::Formatter<'_>, more: u64, more_hits: u64, depth: usize) -> fmt::Result {
    if more == 0 {
        return Ok(());
    }
    indent(f, depth)?;
    writeln!(f, "… and {} more ({})", grouped(more), hits(more_hits))
}

fn indent(f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    (0..depth).try_for_each(|_| f.write_str("  "))
}

fn hits(count: u64) -> String {
    many(count, "hit")
}

/// So many of something.
fn many(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn percent(part: u64, whole: u64) -> String {
    match part.saturating_mul(1_000).checked_div(whole) {
        Some(per_mille) => format!("{}.{} %", per_mille / 10, per_mille % 10),
        None => "none yet".to_owned(),
    }
}

fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([grouped(0), grouped(999), grouped(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([percent(1, 3), percent(0, 0)], ["33.3 %", "none yet"]);
        assert_eq!([span(1_500), span(3_600_000), span(90_000_000_000)], ["1 s", "60 min", "1041 days"]);
    }
}
