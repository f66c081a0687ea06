//! `[content]`, as far as it says how many processes content gets.

use std::time::Duration;

use lectern_domain::scaling::{Defaults, MOST_PROCESSES};

use super::reader::Reader;
use super::resolve::MONTH;

/// What content gets that sets nothing of its own, and the most that it may set.
pub(super) fn scheduler(read: &mut Reader) -> Defaults {
    let given = Defaults::default();
    let mut count = |key, default: u32, least| {
        u32::try_from(read.number(key, default.into(), least, MOST_PROCESSES as u64)).unwrap_or(default)
    };
    let min_processes = count("content.min_processes", given.min_processes, 0);
    let max_processes = count("content.max_processes", given.max_processes, 1);
    let min_processes_limit = count("content.min_processes_limit", given.min_processes_limit, 0);
    let max_processes_limit = count("content.max_processes_limit", given.max_processes_limit, 0);
    let max_conns_per_process = count("content.max_conns_per_process", given.max_conns_per_process, 1);
    let seconds = |time: Duration| time.as_secs();
    let settings = Defaults {
        min_processes,
        max_processes,
        max_conns_per_process,
        load_factor: read.fraction("content.load_factor", given.load_factor),
        init_timeout: read.seconds("content.init_timeout_seconds", seconds(given.init_timeout), 1, MONTH),
        idle_timeout: read.seconds("content.idle_timeout_seconds", seconds(given.idle_timeout), 0, MONTH),
        connection_timeout: read.seconds(
            "content.connection_timeout_seconds",
            seconds(given.connection_timeout),
            0,
            MONTH,
        ),
        read_timeout: read.seconds("content.read_timeout_seconds", seconds(given.read_timeout), 0, MONTH),
        min_processes_limit,
        max_processes_limit,
    };
    let limits = [
        ("content.min_processes", min_processes, "content.max_processes", max_processes),
        ("content.min_processes", min_processes, "content.min_processes_limit", min_processes_limit),
        ("content.max_processes", max_processes, "content.max_processes_limit", max_processes_limit),
    ];
    for (key, value, limit_key, limit) in limits {
        // A limit of 0 is none.
        if value > limit && limit > 0 {
            read.mistake(key, value.to_string(), format!("must not exceed {limit_key}, {limit}"));
        }
    }
    settings
}
