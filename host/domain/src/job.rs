//! Runs of processes: why one ended, what a deployment's job is called, and which logs have to go.

use time::OffsetDateTime;

use crate::app_mode::AppMode;
use crate::ids::JobKey;
use crate::worker::{Ending, ExitStatus};

/// Why a process ended, in words for its publisher; `excess` are the limits that it reached, in sentences.
pub fn reason(ending: Ending, status: Option<ExitStatus>, excess: &[String]) -> String {
    let how = match status {
        Some(ExitStatus::Code(code)) => format!("it exited with status {code}"),
        Some(ExitStatus::Signal(signal)) => format!("signal {signal} ended it"),
        None => "it ended".to_owned(),
    };
    let mut words = match ending {
        Ending::Stopped => format!("stopped by the server: {how}"),
        Ending::NotStarted => "it could not be started".to_owned(),
        Ending::FailedToStart => format!("{how} before it accepted connections"),
        Ending::NeverListened => "it did not accept connections in time".to_owned(),
        Ending::Crashed => format!("{how} while it was serving"),
    };
    for sentence in excess {
        words.push_str("; ");
        words.push_str(sentence);
    }
    words
}

/// The protocol's word for a job that begins with fetching a commit.
pub const GIT_TAG: &str = "git";

/// The protocol's word for the job that a deployment of such content is: what most of it consists of.
pub fn deployment_tag(mode: AppMode) -> &'static str {
    match mode {
        AppMode::PythonApi
        | AppMode::PythonDash
        | AppMode::PythonStreamlit
        | AppMode::PythonBokeh
        | AppMode::PythonFastapi
        | AppMode::PythonShiny
        | AppMode::JupyterVoila
        | AppMode::PythonGradio
        | AppMode::PythonPanel => "python_restore",
        AppMode::Shiny | AppMode::RmdShiny | AppMode::QuartoShiny | AppMode::Api => "packrat_restore",
        AppMode::RmdStatic | AppMode::QuartoStatic => "build_report",
        AppMode::JupyterStatic => "build_jupyter",
        AppMode::Unknown | AppMode::Static | AppMode::TensorflowSavedModel | AppMode::Nodejs => "unknown",
    }
}

/// A log on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLog {
    /// The job that wrote it.
    pub job: JobKey,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// When something was last written to it.
    pub written_at: OffsetDateTime,
    /// Whether the job runs: its log is in use.
    pub in_use: bool,
}

/// Which logs go so that all together have at most `most_bytes`: those that were written to longest ago, and none that is in
/// use, even if these alone have more.
pub fn surplus(mut logs: Vec<KeptLog>, most_bytes: u64) -> Vec<JobKey> {
    let mut total: u64 = logs.iter().map(|log| log.bytes).sum();
    logs.sort_by(|a, b| (a.written_at, &a.job).cmp(&(b.written_at, &b.job)));
    let mut gone = Vec::new();
    for log in logs.into_iter().filter(|log| !log.in_use) {
        if total <= most_bytes {
            break;
        }
        total -= log.bytes;
        gone.push(log.job);
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn endings_are_said_to_publishers() {
        let code = |code| Some(ExitStatus::Code(code));
        let cases = [
            (Ending::Stopped, Some(ExitStatus::Signal(15)), "stopped by the server: signal 15 ended it"),
            (Ending::NotStarted, None, "it could not be started"),
            (Ending::FailedToStart, code(1), "it exited with status 1 before it accepted connections"),
            (Ending::NeverListened, Some(ExitStatus::Signal(9)), "it did not accept connections in time"),
            (Ending::Crashed, code(0), "it exited with status 0 while it was serving"),
            (Ending::Crashed, None, "it ended while it was serving"),
        ];
        for (ending, status, expected) in cases {
            assert_eq!(reason(ending, status, &[]), expected);
        }
        let excess = ["the process needed more than 64 MiB of memory".to_owned()];
        let said = reason(Ending::Crashed, Some(ExitStatus::Signal(9)), &excess);
        assert_eq!(said, "signal 9 ended it while it was serving; the process needed more than 64 MiB of memory");
    }

    fn log(number: u8, bytes: u64, second: i64, in_use: bool) -> KeptLog {
        let written_at = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(second);
        KeptLog { job: JobKey::from_random([number; 16]), bytes, written_at, in_use }
    }

    #[test]
    fn the_oldest_logs_go_first() {
        let logs = vec![log(1, 10, 3, false), log(2, 10, 1, false), log(3, 10, 0, true), log(4, 10, 2, false)];
        let gone = |most| surplus(logs.clone(), most);
        let key = |number: u8| JobKey::from_random([number; 16]);
        assert_eq!(gone(40), []);
        assert_eq!(gone(39), [key(2)]);
        assert_eq!(gone(20), [key(2), key(4)]);
        assert_eq!(gone(0), [key(2), key(4), key(1)], "what is in use stays");
    }

    proptest! {
        /// Enough goes and not more, and never what is in use.
        #[test]
        fn enough_goes_and_not_more(
            parts in prop::collection::vec((0_u64..1000, 0_i64..5, any::<bool>()), 0..20),
            most in 0_u64..10_000,
        ) {
            let logs: Vec<KeptLog> = parts.iter().enumerate()
                .map(|(n, (bytes, second, in_use))| log(u8::try_from(n).unwrap_or(0), *bytes, *second, *in_use))
                .collect();
            let gone = surplus(logs.clone(), most);
            let left: Vec<&KeptLog> = logs.iter().filter(|log| !gone.contains(&log.job)).collect();
            let sum = |logs: &[&KeptLog]| logs.iter().map(|log| log.bytes).sum::<u64>();
            prop_assert!(sum(&left) <= most || left.iter().all(|log| log.in_use));
            prop_assert!(logs.iter().all(|log| !(log.in_use && gone.contains(&log.job))));
            if let Some(last) = gone.last() {
                let with_last: Vec<&KeptLog> = logs.iter().filter(|log| log.job == *last || !gone.contains(&log.job)).collect();
                prop_assert!(sum(&with_last) > most, "the last one had to go");
            }
        }
    }
}
