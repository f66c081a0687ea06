//! Tells those who poll a task that it has news, without asking the database.

use std::collections::HashMap;
use std::time::Duration;

use lectern_domain::TaskId;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Without knowledge of a task (it waits, or another server runs it) its row is looked at again after this.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// How far a task of this server is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    lines: i64,
    finished: bool,
}

/// The tasks that run here.
#[derive(Default)]
pub(crate) struct News {
    tasks: Mutex<HashMap<TaskId, watch::Sender<Progress>>>,
}

impl News {
    /// A task begins here with `lines` of output so far.
    pub(super) fn begin(&self, task: &TaskId, lines: i64) {
        self.tasks.lock().insert(task.clone(), watch::Sender::new(Progress { lines, finished: false }));
    }

    /// The task has this many lines now.
    pub(super) fn lines(&self, task: &TaskId, lines: i64) {
        if let Some(sender) = self.tasks.lock().get(task) {
            sender.send_modify(|progress| progress.lines = lines);
        }
    }

    /// The task ended, or runs here no longer.
    pub(super) fn end(&self, task: &TaskId) {
        if let Some(sender) = self.tasks.lock().remove(task) {
            sender.send_modify(|progress| progress.finished = true);
        }
    }

    /// Returns when `task` has more than `after` lines or ended, at the latest after `wait`.
    pub(crate) async fn wait(&self, task: &TaskId, after: i64, wait: Duration) {
        let receiver = self.tasks.lock().get(task).map(watch::Sender::subscribe);
        let Some(mut receiver) = receiver else {
            return tokio::time::sleep(wait.min(ELSEWHERE)).await;
        };
        let news = receiver.wait_for(|progress| progress.lines > after || progress.finished);
        // A time-out and a dropped sender both mean: look at the row.
        let _ = tokio::time::timeout(wait, news).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_hear_of_lines_and_of_the_end() {
        let news = News::default();
        let task = TaskId::from_random([1; 16]);
        // Never waited for: each of these waits would hang the test if the news did not end it.
        let for_ever = Duration::from_secs(3600);
        news.begin(&task, 2);
        news.wait(&task, 1, for_ever).await;
        tokio::join!(news.wait(&task, 2, for_ever), async { news.lines(&task, 3) });
        tokio::join!(news.wait(&task, 3, for_ever), async { news.end(&task) });
        // Without news the wait ends by itself.
        news.begin(&task, 0);
        news.wait(&task, 0, Duration::from_millis(20)).await;
        // Not a task of this server: looked at again soon.
        news.wait(&TaskId::from_random([2; 16]), 0, for_ever).await;
    }
}
