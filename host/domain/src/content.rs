//! Settings of a content item and the rules they must keep.

use serde::{Deserialize, Serialize};

/// Scheduler settings of one content item; `None` means "the server's default".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSettings {
    /// Seconds without bytes either way before a connection closes; 0 = never.
    pub connection_timeout: Option<i32>,
    /// Seconds without bytes from the client before a connection closes; 0 = never.
    pub read_timeout: Option<i32>,
    /// Seconds a process may take until it accepts a connection.
    pub init_timeout: Option<i32>,
    /// Seconds a process is kept after its last connection closed; 0 = never stopped.
    pub idle_timeout: Option<i32>,
    /// Most processes at a time.
    pub max_processes: Option<i32>,
    /// Processes kept up without traffic.
    pub min_processes: Option<i32>,
    /// Connections one process may hold.
    pub max_conns_per_process: Option<i32>,
    /// How early another process starts: 0 eagerly, 1 only when full.
    pub load_factor: Option<f64>,
}

/// A setting broke its rule. [`BadSetting::code`] is the protocol's error code.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadSetting {
    /// Content name.
    #[error("content name {0:?} must be 3 to 64 letters, digits, `-`, `_` or `.`")]
    Name(String),
    /// Title length.
    #[error("title must be 3 to 1024 characters long, not {0}")]
    Title(usize),
    /// Description length.
    #[error("description must be at most 4096 characters long, not {0}")]
    Description(usize),
    /// A time-out out of range.
    #[error("{key} must be 0 to 2592000 seconds, not {value}")]
    Timeout {
        /// The field.
        key: &'static str,
        /// What was asked for.
        value: i32,
    },
    /// Load factor out of range.
    #[error("load_factor must be 0 to 1, not {0}")]
    LoadFactor(f64),
    /// A process count out of range.
    #[error("{key} must be at least {least}, not {value}")]
    Processes {
        /// The field.
        key: &'static str,
        /// The least value allowed.
        least: i32,
        /// What was asked for.
        value: i32,
    },
    /// A count above what the server allows.
    #[error("{key} must not exceed the server's limit {limit}, and {value} was asked for")]
    AboveLimit {
        /// The field.
        key: &'static str,
        /// The most allowed.
        limit: i32,
        /// What was asked for.
        value: i32,
    },
    /// More least than most processes.
    #[error("min_processes {min} must not exceed max_processes {max}")]
    MinAboveMax {
        /// Asked for as minimum.
        min: i32,
        /// Asked for as maximum.
        max: i32,
    },
}

impl BadSetting {
    /// The protocol's error code (connect protocol, error codes 5, 45, 87, 113, 114, 150, 151, 191, 192).
    pub fn code(&self) -> i32 {
        match self {
            Self::Name(_) => 5,
            Self::Title(_) | Self::Description(_) => 87,
            Self::Timeout { .. } => 151,
            Self::LoadFactor(_) => 150,
            Self::Processes { .. } => 45,
            Self::AboveLimit { key: "min_processes", .. } => 191,
            Self::AboveLimit { key: "max_conns_per_process", .. } => 192,
            Self::AboveLimit { .. } => 113,
            Self::MinAboveMax { .. } => 114,
        }
    }
}

/// Checks a content name: 3 to 64 ASCII letters, digits, `-`, `_`, `.`.
pub fn check_name(name: &str) -> Result<(), BadSetting> {
    let fits = (3..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && name.bytes().any(|b| b != b'.');
    if fits { Ok(()) } else { Err(BadSetting::Name(name.chars().take(80).collect())) }
}

/// Checks a title: 3 to 1024 characters. An absent title is not checked here.
pub fn check_title(title: &str) -> Result<(), BadSetting> {
    match title.chars().count() {
        3..=1024 => Ok(()),
        length => Err(BadSetting::Title(length)),
    }
}

/// Checks a description: at most 4096 characters.
pub fn check_description(text: &str) -> Result<(), BadSetting> {
    match text.chars().count() {
        0..=4096 => Ok(()),
        length => Err(BadSetting::Description(length)),
    }
}

/// Longest time-out a publisher may choose: 30 days, in seconds.
pub const MAX_TIMEOUT_SECONDS: i32 = 2_592_000;

impl ProcessSettings {
    /// Checks ranges and that the minimum does not exceed the maximum (the server's defaults where none is set).
    pub fn check(&self, default_min: i32, default_max: i32) -> Result<(), BadSetting> {
        let timeouts = [
            ("connection_timeout", self.connection_timeout),
            ("read_timeout", self.read_timeout),
            ("init_timeout", self.init_timeout),
            ("idle_timeout", self.idle_timeout),
        ];
        for (key, value) in timeouts {
            if let Some(value) = value.filter(|value| !(0..=MAX_TIMEOUT_SECONDS).contains(value)) {
                return Err(BadSetting::Timeout { key, value });
            }
        }
        let counts = [
            ("min_processes", self.min_processes, 0),
            ("max_processes", self.max_processes, 1),
            ("max_conns_per_process", self.max_conns_per_process, 1),
        ];
        for (key, value, least) in counts {
            if let Some(value) = value.filter(|value| *value < least) {
                return Err(BadSetting::Processes { key, least, value });
            }
        }
        if let Some(factor) = self.load_factor.filter(|factor| !(0.0..=1.0).contains(factor)) {
            return Err(BadSetting::LoadFactor(factor));
        }
        let (min, max) = (self.min_processes.unwrap_or(default_min), self.max_processes.unwrap_or(default_max));
        if min > max { Err(BadSetting::MinAboveMax { min, max }) } else { Ok(()) }
    }
}

/// The most that publishers may choose; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessLimits {
    /// For `max_processes`.
    pub max_processes: i32,
    /// For `min_processes`.
    pub min_processes: i32,
    /// For `max_conns_per_process`.
    pub max_conns_per_process: i32,
}

impl ProcessLimits {
    /// Checks what is asked for now. What an item has from a time with other limits is not asked for, and stays.
    pub fn check(&self, asked: &ProcessSettings) -> Result<(), BadSetting> {
        let counts = [
            ("max_processes", asked.max_processes, self.max_processes),
            ("min_processes", asked.min_processes, self.min_processes),
            ("max_conns_per_process", asked.max_conns_per_process, self.max_conns_per_process),
        ];
        for (key, value, limit) in counts {
            if let Some(value) = value.filter(|value| limit > 0 && *value > limit) {
                return Err(BadSetting::AboveLimit { key, limit, value });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_by_the_field() {
        let limits = ProcessLimits { max_processes: 20, min_processes: 2, max_conns_per_process: 0 };
        let base = ProcessSettings::default();
        let code = |asked: ProcessSettings| limits.check(&asked).map_err(|bad| bad.code());
        assert_eq!(code(base.clone()), Ok(()));
        assert_eq!(code(ProcessSettings { max_processes: Some(20), min_processes: Some(2), ..base.clone() }), Ok(()));
        assert_eq!(code(ProcessSettings { max_processes: Some(21), ..base.clone() }), Err(113));
        assert_eq!(code(ProcessSettings { min_processes: Some(3), ..base.clone() }), Err(191));
        assert_eq!(code(ProcessSettings { max_conns_per_process: Some(i32::MAX), ..base.clone() }), Ok(()));
        let most = ProcessLimits { max_conns_per_process: 10_000, ..limits };
        let asked = ProcessSettings { max_conns_per_process: Some(10_001), ..base };
        assert_eq!(most.check(&asked).map_err(|bad| bad.code()), Err(192));
    }

    #[test]
    fn names_and_texts() {
        for good in ["abc", "my-app_1.2", &"a".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "ab", "a b", "a/b", "...", "näme", &"a".repeat(65)] {
            assert_eq!(check_name(bad).map_err(|e| e.code()), Err(5), "{bad}");
        }
        assert!(check_title("äöü").is_ok());
        assert!(check_title("ab").is_err());
        assert!(check_description(&"x".repeat(4097)).is_err());
    }

    #[test]
    fn process_settings() {
        let base = ProcessSettings::default();
        let code = |settings: ProcessSettings| settings.check(0, 3).map_err(|e| e.code());
        assert_eq!(code(base.clone()), Ok(()));
        assert_eq!(code(ProcessSettings { idle_timeout: Some(0), ..base.clone() }), Ok(()));
        assert_eq!(code(ProcessSettings { idle_timeout: Some(-1), ..base.clone() }), Err(151));
        assert_eq!(code(ProcessSettings { init_timeout: Some(2_592_001), ..base.clone() }), Err(151));
        assert_eq!(code(ProcessSettings { load_factor: Some(1.1), ..base.clone() }), Err(150));
        assert_eq!(code(ProcessSettings { load_factor: Some(f64::NAN), ..base.clone() }), Err(150));
        assert_eq!(code(ProcessSettings { max_processes: Some(0), ..base.clone() }), Err(45));
        assert_eq!(code(ProcessSettings { min_processes: Some(4), ..base.clone() }), Err(114));
        assert_eq!(code(ProcessSettings { min_processes: Some(4), max_processes: Some(4), ..base.clone() }), Ok(()));
        // The server keeps two up: one at most contradicts that.
        let one = ProcessSettings { max_processes: Some(1), ..base };
        assert_eq!(one.check(2, 3).map_err(|e| e.code()), Err(114));
    }
}
