//! What came of a case.

use std::fmt;
use std::time::Duration;

use lectern_packages::cases::Difference;

/// One case, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// The file it stands in, without the directory.
    pub file: String,
    /// Its name.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// The lines that the plugin logged.
    pub logs: Vec<String>,
    /// The questions that it asked.
    pub asked: Vec<String>,
    /// How long it took, instantiation included.
    pub took: Duration,
}

/// Whether a case passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is as expected.
    Passed,
    /// Something else came out; never empty.
    Differs(Vec<Difference>),
    /// It could not be run: why.
    NotRun(String),
}

impl CaseResult {
    /// Whether all is as expected.
    pub fn passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }
}

/// What is to be said of a case that did not pass, one thing after another; nothing for one that did.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => Ok(()),
            Self::NotRun(why) => write!(f, "not run: {why}"),
            Self::Differs(differences) => {
                for (at, difference) in differences.iter().enumerate() {
                    let newline = if at == 0 { "" } else { "\n" };
                    write!(f, "{newline}{difference}")?;
                }
                Ok(())
            }
        }
    }
}
