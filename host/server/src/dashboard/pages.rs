//! What the templates show.

use askama::Template;

/// The frame around every page.
pub(super) struct Frame {
    /// The server's path, without a trailing slash.
    pub(super) base: String,
    /// The server's address, without a trailing slash.
    pub(super) server: String,
    pub(super) user: Option<Who>,
    /// Where people sign in and out, below `base`.
    pub(super) sign_in: Option<String>,
    /// The page has an origin of its own: other forms sent from it would be taken for another site's.
    pub(super) sealed: bool,
}

impl Frame {
    pub(super) fn administers(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.role == "administrator")
    }

    fn may_publish(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.publishes)
    }
}

/// The signed-in user.
pub(super) struct Who {
    pub(super) username: String,
    pub(super) role: &'static str,
    pub(super) publishes: bool,
}

/// One row of the list.
pub(super) struct Row {
    pub(super) guid: String,
    pub(super) title: String,
    pub(super) mode: &'static str,
    pub(super) access: &'static str,
    pub(super) owner: String,
    pub(super) locked: bool,
    pub(super) published: bool,
    pub(super) address: String,
}

#[derive(Template)]
#[template(path = "list.html")]
pub(super) struct ListPage {
    pub(super) frame: Frame,
    pub(super) items: Vec<Row>,
}

/// One content item.
pub(super) struct Item {
    pub(super) guid: String,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) mode: &'static str,
    pub(super) access: &'static str,
    pub(super) owner: String,
    pub(super) address: String,
    pub(super) vanity: Option<String>,
    pub(super) published: bool,
    pub(super) locked: bool,
    pub(super) locked_message: String,
    pub(super) created: String,
    pub(super) deployed: String,
    pub(super) python: Option<String>,
    pub(super) r: Option<String>,
}

/// Somebody listed in the permissions.
pub(super) struct Person {
    pub(super) name: String,
    pub(super) may: &'static str,
}

/// What collaborators see besides.
pub(super) struct Inside {
    pub(super) bundles: Vec<Bundle>,
    pub(super) task: Option<Task>,
    pub(super) jobs: Vec<Job>,
    /// Of the newest process.
    pub(super) log: Option<JobLog>,
}

pub(super) struct Bundle {
    pub(super) id: String,
    pub(super) created: String,
    pub(super) size: String,
    pub(super) active: bool,
    pub(super) prepared: bool,
}

pub(super) struct Task {
    pub(super) created: String,
    pub(super) finished: bool,
    pub(super) failed: bool,
    pub(super) error: String,
    pub(super) output: Vec<String>,
}

/// A run of a process, or a deployment.
pub(super) struct Job {
    pub(super) key: String,
    pub(super) what: &'static str,
    pub(super) bundle: Option<String>,
    pub(super) active: bool,
    pub(super) state: &'static str,
    /// The class of the state's mark.
    pub(super) chip: &'static str,
    pub(super) started: String,
    pub(super) ended: Option<String>,
    pub(super) cpu: Option<String>,
    pub(super) memory: Option<String>,
    pub(super) why: String,
}

/// A job's log.
pub(super) struct JobLog {
    pub(super) key: String,
    /// Where the lines to come are, while it runs.
    pub(super) follow: Option<String>,
    pub(super) download: String,
    pub(super) lines: Vec<LogLine>,
}

pub(super) struct LogLine {
    pub(super) source: &'static str,
    pub(super) time: String,
    pub(super) text: String,
}

#[derive(Template)]
#[template(path = "item.html")]
pub(super) struct ItemPage {
    pub(super) frame: Frame,
    pub(super) item: Item,
    pub(super) people: Vec<Person>,
    pub(super) inside: Option<Inside>,
}

#[derive(Template)]
#[template(path = "job.html")]
pub(super) struct JobPage {
    pub(super) frame: Frame,
    pub(super) guid: String,
    /// The content's.
    pub(super) title: String,
    /// The address that ends the job.
    pub(super) stop: String,
    pub(super) hostname: String,
    pub(super) pid: Option<String>,
    pub(super) job: Job,
    pub(super) log: JobLog,
}

#[derive(Template)]
#[template(path = "message.html")]
pub(super) struct MessagePage {
    pub(super) frame: Frame,
    pub(super) title: String,
    pub(super) text: String,
}
