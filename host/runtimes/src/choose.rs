//! Which interpreter a bundle gets.
//!
//! The rule, for all languages alike:
//!
//! 1. A constraint of the manifest (`environment.<language>.requires`, PEP 440: `>=3.11`, `~=3.10.0`, `==3.11.*`; a bare
//!    version means its minor version, `3.11.4` = `==3.11.*`; `^20.1` is `>=20.1,<21`) leaves only the interpreters that satisfy it. None: an error
//!    that lists what there is.
//! 2. Among those, the nearest to the version the publisher's client ran: that version itself; else the highest patch of
//!    the same minor version; else the nearest newer minor version; else the nearest older one.
//! 3. Without such a version, the highest.
//!
//! Python never crosses a major version unless a constraint allows it.

use std::str::FromStr;

use lectern_domain::launch::Interpreter;
use pep508_rs::pep440_rs::{Version, VersionSpecifiers};

use crate::Language;

/// What was chosen, and why, in words for the publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The interpreter.
    pub interpreter: Interpreter,
    /// One sentence for the task's output.
    pub reason: String,
}

/// No interpreter fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// The host has none that content can run.
    #[error("this server has no {language} that content can run (`lectern doctor` says why)")]
    None {
        /// Which language.
        language: Language,
    },
    /// The constraint is not in a form we know.
    #[error("the {language} version constraint {constraint:?} cannot be read: {reason}")]
    BadConstraint {
        /// Which language.
        language: Language,
        /// As in the manifest.
        constraint: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing satisfies the constraint.
    #[error("no {language} on this server satisfies {constraint:?}; available: {available}")]
    Unsatisfied {
        /// Which language.
        language: Language,
        /// As in the manifest.
        constraint: String,
        /// The versions there are.
        available: String,
    },
    /// Only other major versions.
    #[error(
        "the bundle was written with {language} {wanted}, and this server has no {language} of that major version; available: {available}"
    )]
    OtherMajor {
        /// Which language.
        language: Language,
        /// As in the manifest.
        wanted: String,
        /// The versions there are.
        available: String,
    },
}

/// Chooses an interpreter by the rule of this module. Of two with the same version the first in `available` is taken.
pub fn choose(
    language: Language,
    constraint: Option<&str>,
    wanted: Option<&str>,
    available: &[Interpreter],
) -> Result<Choice, ChooseError> {
    let all: Vec<Candidate<'_>> = available.iter().filter_map(Candidate::of).collect();
    if all.is_empty() {
        return Err(ChooseError::None { language });
    }
    let constraint = constraint.map(str::trim).filter(|text| !text.is_empty());
    let fitting = match constraint {
        None => all.clone(),
        Some(text) => {
            let specifiers = specifiers(text).map_err(|reason| ChooseError::BadConstraint {
                language,
                constraint: text.to_owned(),
                reason,
            })?;
            all.iter().filter(|candidate| specifiers.contains(&candidate.version)).cloned().collect()
        }
    };
    if fitting.is_empty() {
        let constraint = constraint.unwrap_or_default().to_owned();
        return Err(ChooseError::Unsatisfied { language, constraint, available: listed(&all) });
    }
    // A version the client could not name properly is no reason to fail.
    let asked = wanted.map(str::trim).and_then(|text| Version::from_str(text).ok());
    let (chosen, because) = match asked {
        None => (highest(fitting), "the highest".to_owned()),
        Some(asked) => {
            let crossing = language == Language::Python && constraint.is_none();
            let same_major = |candidate: &Candidate<'_>| part(&candidate.version, 0) == part(&asked, 0);
            if crossing && !fitting.iter().any(same_major) {
                let wanted = asked.to_string();
                return Err(ChooseError::OtherMajor { language, wanted, available: listed(&all) });
            }
            if crossing {
                nearest(fitting.into_iter().filter(same_major).collect(), &asked)
            } else {
                nearest(fitting, &asked)
            }
        }
    };
    let Some(chosen) = chosen else { return Err(ChooseError::None { language }) };
    let satisfies = constraint.map_or(String::new(), |text| format!(" satisfies {text} and"));
    let Interpreter { path, version } = chosen.interpreter;
    let reason = format!("{language} {version} ({}){satisfies} is {because}", path.display());
    Ok(Choice { interpreter: chosen.interpreter.clone(), reason })
}

#[derive(Clone)]
struct Candidate<'a> {
    version: Version,
    interpreter: &'a Interpreter,
}

impl<'a> Candidate<'a> {
    fn of(interpreter: &'a Interpreter) -> Option<Self> {
        Version::from_str(&interpreter.version).ok().map(|version| Self { version, interpreter })
    }
}

fn part(version: &Version, index: usize) -> u64 {
    version.release().get(index).copied().unwrap_or(0)
}

fn minor(version: &Version) -> (u64, u64) {
    (part(version, 0), part(version, 1))
}

/// The highest; the first of equals. Finished versions go before candidates for release.
fn highest(candidates: Vec<Candidate<'_>>) -> Option<Candidate<'_>> {
    candidates.into_iter().reduce(|best, next| {
        let rank = |candidate: &Candidate<'_>| (candidate.version.is_stable(), candidate.version.clone());
        if rank(&next) > rank(&best) { next } else { best }
    })
}

fn nearest<'a>(candidates: Vec<Candidate<'a>>, asked: &Version) -> (Option<Candidate<'a>>, String) {
    if let Some(exact) = candidates.iter().find(|candidate| candidate.version == *asked) {
        return (Some(exact.clone()), "the version the bundle was written with".into());
    }
    let (major, low) = minor(asked);
    let of =
        |wanted: (u64, u64)| candidates.iter().filter(|c| minor(&c.version) == wanted).cloned().collect::<Vec<_>>();
    let same = of((major, low));
    if !same.is_empty() {
        return (highest(same), format!("the highest {major}.{low} here (the bundle was written with {asked})"));
    }
    let minors = || candidates.iter().map(|candidate| minor(&candidate.version));
    let newer = minors().filter(|other| *other > (major, low)).min();
    let older = minors().filter(|other| *other < (major, low)).max();
    let words = |which: &str| {
        format!("the nearest {which} version (the bundle was written with {asked}; there is no {major}.{low} here)")
    };
    match (newer, older) {
        (Some(newer), _) => (highest(of(newer)), words("newer")),
        (None, Some(older)) => (highest(of(older)), words("older")),
        (None, None) => (None, String::new()),
    }
}

fn listed(candidates: &[Candidate<'_>]) -> String {
    let mut versions: Vec<&Version> = candidates.iter().map(|candidate| &candidate.version).collect();
    versions.sort();
    versions.dedup();
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Reads a constraint, in which a version without an operator means its minor version.
fn specifiers(text: &str) -> Result<VersionSpecifiers, String> {
    let mut parts = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if let Some((least, major)) = part.strip_prefix('^').and_then(|least| Some((least, next_major(least)?))) {
            parts.extend([format!(">={least}"), format!("<{major}")]);
            continue;
        }
        if part.starts_with(['=', '<', '>', '!', '~']) {
            parts.push(part.to_owned());
            continue;
        }
        let plain = part.strip_suffix(".*").unwrap_or(part);
        let numbers: Vec<&str> = plain.split('.').collect();
        if !numbers.iter().all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(format!("{part:?} is neither a version nor a comparison like >=3.11"));
        }
        parts.push(format!("=={}.*", numbers[..numbers.len().min(2)].join(".")));
    }
    VersionSpecifiers::from_str(&parts.join(","))
        .map_err(|error| error.to_string().lines().next().unwrap_or("").to_owned())
}

/// The major version after that of `20.1`; only of versions from 1 on, as `^` means something else below.
fn next_major(version: &str) -> Option<u64> {
    let mut numbers = version.split('.').map(|number| number.parse::<u64>().ok());
    let first = numbers.next()??;
    (first > 0 && numbers.all(|number| number.is_some())).then_some(first + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn check(language: Language, constraint: &str, wanted: &str, available: &[&str], expected: &str) {
        let available: Vec<Interpreter> =
            available.iter().map(|v| Interpreter { path: format!("/opt/{v}").into(), version: (*v).into() }).collect();
        let some = |text: &'static str| (!text.is_empty()).then_some(text);
        let (constraint, wanted): (&'static str, &'static str) =
            (constraint.to_owned().leak(), wanted.to_owned().leak());
        let got = match choose(language, some(constraint), some(wanted), &available) {
            Ok(choice) => choice.reason,
            Err(error) => error.to_string(),
        };
        assert!(got.contains(expected), "{constraint:?} {wanted:?}: {got:?} lacks {expected:?}");
    }

    #[test]
    fn python_by_wanted_version() {
        let here = &["3.9.18", "3.11.2", "3.11.9", "3.12.1", "3.14.0rc1"];
        let py = |wanted, expected| check(Language::Python, "", wanted, here, expected);
        py("3.11.2", "3.11.2 (/opt/3.11.2) is the version the bundle was written with");
        py("3.11.7", "3.11.9 (/opt/3.11.9) is the highest 3.11 here (the bundle was written with 3.11.7)");
        py("3.10.4", "3.11.9 (/opt/3.11.9) is the nearest newer version");
        py("3.8.1", "3.9.18 (/opt/3.9.18) is the nearest newer version");
        py("3.13.1", "3.14.0rc1");
        py("3.15.0", "3.14.0rc1 (/opt/3.14.0rc1) is the nearest older version");
        py("", "3.12.1 (/opt/3.12.1) is the highest");
        py("nonsense", "3.12.1 (/opt/3.12.1) is the highest");
        py("2.7.18", "no Python of that major version; available: 3.9.18, 3.11.2, 3.11.9, 3.12.1, 3.14.0rc1");
    }

    #[test]
    fn python_by_constraint() {
        let here = &["3.9.18", "3.10.3", "3.11.2", "3.12.1"];
        let py = |constraint, wanted, expected| check(Language::Python, constraint, wanted, here, expected);
        py(">=3.11", "", "3.12.1 (/opt/3.12.1) satisfies >=3.11 and is the highest");
        py(">=3.11", "3.11.7", "3.11.2 (/opt/3.11.2) satisfies >=3.11 and is the highest 3.11 here");
        py(">=3.11", "3.9.18", "3.11.2 (/opt/3.11.2) satisfies >=3.11 and is the nearest newer");
        py("~=3.10.0", "3.12.1", "3.10.3");
        py("==3.11.*", "", "3.11.2");
        py("3.11", "", "3.11.2");
        py("3.11.99", "", "3.11.2");
        py("3", "", "3.12.1");
        py(">=3.10, <3.12", "", "3.11.2");
        py("<3.9", "", "no Python on this server satisfies \"<3.9\"; available: 3.9.18, 3.10.3, 3.11.2, 3.12.1");
        py("==3.11.7", "", "available");
        py("pypy@3.9", "", "neither a version nor a comparison");
        py("^3.10", "", "3.12.1");
        py("^0.9", "", "neither a version nor a comparison");
        py(">=three", "", "cannot be read");
        py(">=3.9", "2.7.1", "3.9.18 (/opt/3.9.18) satisfies >=3.9 and is the nearest newer");
    }

    #[test]
    fn r_may_cross_majors() {
        check(Language::R, "", "3.6.3", &["4.2.2"], "R 4.2.2 (/opt/4.2.2) is the nearest newer version");
        check(
            Language::R,
            ">= 4.1.0",
            "4.3.1",
            &["4.2.2"],
            "4.2.2 (/opt/4.2.2) satisfies >= 4.1.0 and is the nearest older",
        );
        check(Language::R, "~=4.3.0", "", &["4.2.2"], "no R on this server satisfies");
        check(Language::R, "", "", &[], "this server has no R that content can run");
    }

    #[test]
    fn the_first_of_equals() {
        let at = |path: &str| Interpreter { path: path.into(), version: "3.11.2".into() };
        let choice = choose(Language::Python, None, Some("3.11.4"), &[at("/configured"), at("/usr/bin")]).unwrap();
        assert_eq!(choice.interpreter.path, std::path::Path::new("/configured"));
    }
}
