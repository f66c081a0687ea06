//! Gathers what the pages show: the list from the snapshot, an item's page from the database.

use lectern_domain::access::{Action, Verdict, decide};
use lectern_domain::snapshot::{ContentEntry, Snapshot};
use lectern_domain::{AccessType, AppMode, ContentGuid, JobKey};
use lectern_metadata::tasks::TaskState;
use lectern_metadata::{Client, DbError, bundles, content, permissions, tasks};

use super::pages::{Bundle, Inside, Item, ItemPage, JobPage, ListPage, Person, Row, Task};
use super::{Dashboard, Visit, jobs};
use crate::moment;

/// Lines of a task or a log that a page shows; the API gives all.
pub(super) const LINES: usize = 500;

/// Why there is no page.
pub(super) enum NoPage {
    Absent,
    SignIn,
    Refused,
    Away(DbError),
}

impl From<DbError> for NoPage {
    fn from(error: DbError) -> Self {
        Self::Away(error)
    }
}

fn access_words(access: AccessType) -> &'static str {
    match access {
        AccessType::All => "Anybody, without signing in",
        AccessType::LoggedIn => "Everybody with an account",
        AccessType::Acl => "The users listed",
    }
}

/// What people call a mode.
fn mode_words(mode: AppMode) -> &'static str {
    match mode {
        AppMode::Unknown => "Not deployed yet",
        AppMode::Shiny => "Shiny application",
        AppMode::RmdShiny | AppMode::QuartoShiny => "Interactive document",
        AppMode::RmdStatic | AppMode::QuartoStatic => "Document",
        AppMode::Static => "Static page",
        AppMode::Api => "Plumber API",
        AppMode::TensorflowSavedModel => "TensorFlow model",
        AppMode::JupyterStatic => "Jupyter notebook",
        AppMode::PythonApi => "Python API (WSGI)",
        AppMode::PythonDash => "Dash application",
        AppMode::PythonStreamlit => "Streamlit application",
        AppMode::PythonBokeh => "Bokeh application",
        AppMode::PythonFastapi => "Python API (ASGI)",
        AppMode::PythonShiny => "Shiny for Python application",
        AppMode::JupyterVoila => "Voila application",
        AppMode::PythonGradio => "Gradio application",
        AppMode::PythonPanel => "Panel application",
        AppMode::Nodejs => "Node.js application",
    }
}

fn owner_name(view: &Snapshot, entry: &ContentEntry) -> String {
    view.users.get(&entry.access.owner).map_or_else(String::new, |user| user.username.clone())
}

fn title(entry_title: Option<&str>, name: &str) -> String {
    entry_title.filter(|title| !title.is_empty()).unwrap_or(name).to_owned()
}

fn address(visit: &Visit, guid: ContentGuid) -> String {
    format!("{}/content/{guid}/", visit.server)
}

/// The list: what the visitor may see, by title. From memory, so it is there while the database is away.
pub(super) fn list(dashboard: &Dashboard, visit: &Visit) -> ListPage {
    let view = dashboard.view.current();
    let principal = visit.principal.as_ref();
    let visible = |entry: &ContentEntry| {
        let may = |action| matches!(decide(principal, &entry.access, action), Verdict::Allowed(_));
        may(Action::Open) || may(Action::Inspect)
    };
    let mut items: Vec<Row> = view
        .content
        .values()
        .filter(|entry| visible(entry))
        .map(|entry| Row {
            guid: entry.guid.to_string(),
            title: title(entry.title.as_deref(), &entry.name),
            mode: mode_words(entry.mode),
            access: access_words(entry.access.access_type),
            owner: owner_name(&view, entry),
            locked: entry.locked_message.is_some(),
            published: entry.active.is_some(),
            address: address(visit, entry.guid),
        })
        .collect();
    items.sort_by_cached_key(|row| row.title.to_lowercase());
    ListPage { frame: visit.frame(), items }
}

/// An item's page, as far as the visitor may see it.
pub(super) async fn item(dashboard: &Dashboard, visit: &Visit, guid: &str) -> Result<Box<ItemPage>, NoPage> {
    let guid: ContentGuid = guid.parse().map_err(|_| NoPage::Absent)?;
    let view = dashboard.view.current();
    let entry = view.content.get(&guid).ok_or(NoPage::Absent)?;
    let principal = visit.principal.as_ref();
    match decide(principal, &entry.access, Action::Inspect) {
        Verdict::Allowed(_) => {}
        Verdict::SignIn => return Err(NoPage::SignIn),
        Verdict::Refused => return Err(NoPage::Refused),
    }
    let collaborates = matches!(decide(principal, &entry.access, Action::Change), Verdict::Allowed(_));
    let client = dashboard.database.client().await?;
    let row = content::get_by_guid(&client, guid).await?.ok_or(NoPage::Absent)?;
    let people = if collaborates { people(&client, &row).await? } else { Vec::new() };
    let inside = if collaborates { Some(inside(dashboard, visit, &client, &row).await?) } else { None };
    Ok(Box::new(ItemPage {
        frame: visit.frame(),
        item: Item {
            guid: guid.to_string(),
            title: title(row.title.as_deref(), &row.name),
            name: row.name,
            description: row.description,
            mode: mode_words(row.app_mode),
            access: access_words(row.access_type),
            owner: row.owner.username,
            address: address(visit, guid),
            vanity: row.vanity.map(|path| format!("{}{path}", visit.server)),
            published: row.active_bundle.is_some(),
            locked: row.locked,
            locked_message: row.locked_message,
            created: moment::show(row.created_at),
            deployed: if row.active_bundle.is_some() { moment::show(row.last_deployed_at) } else { "never".into() },
            python: row.traits.py_version,
            r: row.traits.r_version,
        },
        people,
        inside,
    }))
}

async fn people(client: &Client, row: &content::ContentRow) -> Result<Vec<Person>, DbError> {
    let listed = permissions::list(client, row.id).await?.into_iter().map(|permission| Person {
        name: permission.name,
        may: match permission.role {
            lectern_domain::access::PermissionRole::Viewer => "open it",
            lectern_domain::access::PermissionRole::Owner => "open and change it",
        },
    });
    let owner = Person { name: row.owner.username.clone(), may: "owns it" };
    Ok([owner].into_iter().chain(listed).collect())
}

/// A job's page, for those who may change its content.
pub(super) async fn job(dashboard: &Dashboard, visit: &Visit, guid: &str, key: &str) -> Result<Box<JobPage>, NoPage> {
    let guid: ContentGuid = guid.parse().map_err(|_| NoPage::Absent)?;
    let key: JobKey = key.parse().map_err(|_| NoPage::Absent)?;
    let view = dashboard.view.current();
    let entry = view.content.get(&guid).ok_or(NoPage::Absent)?;
    match decide(visit.principal.as_ref(), &entry.access, Action::Change) {
        Verdict::Allowed(_) => {}
        Verdict::SignIn => return Err(NoPage::SignIn),
        Verdict::Refused => return Err(NoPage::Refused),
    }
    let client = dashboard.database.client().await?;
    let row = content::get_by_guid(&client, guid).await?.ok_or(NoPage::Absent)?;
    let job = jobs::one(&client, &row, &key).await?.ok_or(NoPage::Absent)?;
    let log = jobs::log(dashboard, visit, &client, &guid.to_string(), &job).await?;
    Ok(Box::new(JobPage {
        frame: visit.frame(),
        guid: guid.to_string(),
        title: title(row.title.as_deref(), &row.name),
        stop: format!("{}/__api__/v1/content/{guid}/jobs/{key}", visit.server),
        hostname: job.hostname.clone(),
        pid: job.pid.map(|pid| pid.to_string()),
        job: jobs::shown(&job),
        log,
    }))
}

async fn inside(
    dashboard: &Dashboard,
    visit: &Visit,
    client: &Client,
    row: &content::ContentRow,
) -> Result<Inside, DbError> {
    let bundles = bundles::list(client, row.id).await?.into_iter().map(|bundle| Bundle {
        id: bundle.id.to_string(),
        created: moment::show(bundle.created_at),
        size: size_words(bundle.size_bytes),
        active: bundle.active,
        prepared: bundle.prepared.is_some(),
    });
    let bundles = bundles.collect();
    let task = match tasks::list(client, row.id, 1).await?.pop() {
        None => None,
        Some(task) => {
            let first = (task.output_lines - LINES as i64).max(0);
            let output = tasks::output(client, &task.id, first).await?;
            let (finished, failed, error) = match task.state {
                TaskState::Queued | TaskState::Running => (false, false, String::new()),
                TaskState::Finished { code, error, .. } => (true, code != 0, error),
            };
            Some(Task { created: moment::show(task.created_at), finished, failed, error, output })
        }
    };
    let (listed, newest) = jobs::of_item(client, row).await?;
    let log = match &newest {
        Some(job) => Some(jobs::log(dashboard, visit, client, &row.guid.to_string(), job).await?),
        None => None,
    };
    Ok(Inside { bundles, task, jobs: listed, log })
}

pub(super) fn size_words(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
