//! What a worker wanted beyond its limits, in words for its publisher.

use lectern_confinement::cgroup::Group;
use lectern_domain::confinement::Walls;
use lectern_domain::launch::LaunchSpec;
use time::OffsetDateTime;

use crate::log::LogFile;
use crate::protocol::Source;

/// What it wanted.
#[derive(Debug, Default)]
pub(crate) struct Excess {
    /// One sentence for each limit that was reached, without a full stop.
    pub(crate) words: Vec<String>,
}

impl Excess {
    /// Asks the group of an ended worker.
    pub(crate) fn of(group: &Group, walls: &Walls) -> Self {
        Self::from_counts(group.out_of_memory(), group.tasks_refused(), walls)
    }

    fn from_counts(out_of_memory: u64, tasks_refused: u64, walls: &Walls) -> Self {
        let mut words = Vec::new();
        if let Some(bytes) = walls.memory_bytes.filter(|_| out_of_memory > 0) {
            words.push(format!(
                "the process needed more than {} MiB of memory and was ended; use less, or raise the content's \
                 memory_limit or the server's sandbox.memory_bytes",
                bytes >> 20
            ));
        }
        if tasks_refused > 0 {
            words.push(format!(
                "the process wanted more than {} processes and threads and was refused them; use fewer, or raise the \
                 server's sandbox.tasks",
                walls.tasks
            ));
        }
        Self { words }
    }

    /// Adds the words to the worker's log, which nobody else writes any more.
    pub(crate) async fn log(&self, spec: &LaunchSpec) {
        if self.words.is_empty() {
            return;
        }
        let (path, limit) = (spec.log.clone(), spec.log_limit_bytes);
        let text: String = self.words.iter().map(|words| format!("lectern: {words}\n")).collect();
        let written = tokio::task::spawn_blocking(move || {
            LogFile::open(&path, limit)
                .map(|mut log| log.absorb(Source::Stderr, text.as_bytes(), OffsetDateTime::now_utc()))
        });
        if let Ok(Err(error)) = written.await {
            tracing::warn!(job = %spec.job, %error, "cannot write a worker's log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_are_told_what_to_do() {
        let walls = Walls { memory_bytes: Some(512 << 20), tasks: 64, ..Walls::default() };
        assert!(Excess::from_counts(0, 0, &walls).words.is_empty());
        let both = Excess::from_counts(1, 5, &walls).words;
        assert!(both[0].starts_with("the process needed more than 512 MiB of memory and was ended"), "{both:?}");
        assert!(both[1].contains("64 processes and threads"), "{both:?}");
        assert!(Excess::from_counts(1, 0, &Walls::default()).words.is_empty());
    }
}
