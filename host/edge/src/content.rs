//! Requests to content: who may see it, which version, and what answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use lectern_domain::access::{Action, AppRole, Verdict, decide};
use lectern_domain::admission::patience;
use lectern_domain::integrations::visitor;
use lectern_domain::launch::Program;
use lectern_domain::snapshot::{BundleEntry, ContentEntry};
use lectern_domain::visits::{self, Asked};
use lectern_domain::{ContentGuid, Principal};
use lectern_gate::{Forward, Head, Selected, TargetView};
use tracing::{debug, error, warn};

use crate::access_log::chain;
use crate::body::{EdgeBody, RequestBody};
use crate::bridge::{Crossing, ExchangeError, Story, to_worker};
use crate::config::ContentTimeouts;
use crate::failure::{NotAdmitted, StartFailure};
use crate::identify::{Asking, identify, rejected, select, sign_in};
use crate::notice::Notice;
use crate::outward::outward;
use crate::queue;
use crate::serve::Visit;
use crate::services::Seen;
use crate::statics::{self, FileRequest};
use crate::sticky;
use crate::thumbnail;

/// Workers that are asked in all when one turns out to be dead before it saw the request.
const TRIES: u32 = 2;

/// Answers a request for the content item `guid`.
pub(crate) async fn answer(
    visit: &mut Visit<'_>,
    head: Arc<Head>,
    forward: Arc<Forward>,
    guid: ContentGuid,
) -> Result<Response<EdgeBody>, Notice> {
    // Also where a visitor would have to sign in: a GUID cannot be guessed, and clients tell the two apart.
    let content = visit.snapshot.content.get(&guid).cloned().ok_or_else(Notice::not_found)?;
    visit.ending.set_content(guid);
    let target = Arc::new(TargetView { target: forward.target, content: Some(Arc::clone(&content)) });
    let asking = identify(visit, &head, &target).await?;
    let (principal, vouched, challenge) = match asking {
        Asking::User(principal, vouched) => (Some(principal), Some(vouched), None),
        Asking::Anonymous(challenge) => (None, None, challenge),
        Asking::Rejected => return Err(rejected()),
    };
    // The active version by its number is what the plain address shows anyway.
    let version = forward.bundle.filter(|bundle| Some(*bundle) != content.active);
    let is_thumbnail = version.is_none() && forward.target_path(&head.path) == thumbnail::PATH;
    let action = match &principal {
        _ if version.is_some() => Action::Preview,
        // Administrators see it where they see the item: in lists.
        Some(_) if is_thumbnail => Action::Inspect,
        Some(_) | None => Action::Open,
    };
    let standing = match decide(principal.as_ref(), &content.access, action) {
        Verdict::Allowed(standing) => standing,
        Verdict::SignIn => return sign_in(challenge, &head, &visit.origin.prefix),
        Verdict::Refused => return Err(refused(principal.as_ref(), action)),
    };
    if is_thumbnail {
        return thumbnail::answer(visit, &head, &content).await;
    }
    if let Some(message) = &content.locked_message {
        return Err(locked(message));
    }
    // The default variant is what the plain address shows, and nothing stores others yet.
    if forward.hints.iter().any(|(name, key)| name == "variant" && *key != content.variant_key) {
        return Err(no_such_variant());
    }
    let forward = match select(visit, &head, &target, principal.as_ref().zip(vouched.as_deref()), forward).await? {
        Selected::Forward(forward) => forward,
        Selected::Respond { reply, .. } => return Ok(outward(reply, &head.method, &visit.origin.prefix)),
    };
    let base = forward.base_path(&head.path).into_owned();
    let mount = format!("{}{base}", visit.origin.prefix);
    if let Some(response) = to_directory(&head, &base, &mount)? {
        return Ok(response);
    }
    // A preview is asked for by name, and nothing else will do. What a plugin selected may have gone: the active one is shown.
    let selected = forward.selected.filter(|id| content.bundles.contains_key(id));
    let bundle = match version.or(selected).or(content.active) {
        None => return Err(unpublished(standing)),
        Some(id) => content.bundles.get(&id).cloned().ok_or_else(|| no_such_version(version.is_some()))?,
    };
    let groups = principal.as_ref().and_then(|principal| visit.snapshot.groups.get(&principal.user).cloned());
    let served = Served { content, bundle, mount, principal, groups, standing };
    // Who looks at a version by its number works on it.
    if version.is_none() {
        count(visit, &head, &forward, &served);
    }
    if let Program::Static { primary } = &served.bundle.prepared.program {
        return Box::pin(files(visit, &head, &forward, &served, primary)).await;
    }
    worker(visit, &head, &forward, &base, &served).await
}

/// What a request that may enter is for.
struct Served {
    content: Arc<ContentEntry>,
    bundle: Arc<BundleEntry>,
    /// The external path of the content, without a last slash.
    mount: String,
    principal: Option<Principal>,
    /// The names of the principal's groups, if there are any.
    groups: Option<Arc<[String]>>,
    standing: AppRole,
}

/// `/content/<guid>` without its slash: links on the page behind it would miss the mount.
fn to_directory(head: &Head, base: &str, mount: &str) -> Result<Option<Response<EdgeBody>>, Notice> {
    let is_bare = !base.is_empty() && head.path.encoded().len() == base.len();
    if !is_bare || (head.method != Method::GET && head.method != Method::HEAD) {
        return Ok(None);
    }
    // It would name a host.
    if mount.starts_with("//") {
        return Err(Notice::not_found());
    }
    let query = head.query.as_deref().map_or(String::new(), |query| format!("?{query}"));
    let to = HeaderValue::try_from(format!("{mount}/{query}")).map_err(|_| Notice::not_found())?;
    let mut response = Response::new(EdgeBody::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(header::LOCATION, to);
    Ok(Some(response))
}

/// Tells who counts visits, if the request is one. What is answered does not matter: somebody came.
fn count(visit: &Visit<'_>, head: &Head, forward: &Forward, served: &Served) {
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let path = forward.target_path(&head.path);
    let asked = Asked {
        method: head.method.as_str(),
        path,
        dest: field("sec-fetch-dest"),
        accept: field("accept"),
        websocket: visit.upgrade.is_some(),
    };
    if visits::counts(served.content.mode, asked) {
        visit.connection.thread.services.visits.note(&Seen {
            content: served.content.id,
            bundle: served.bundle.id,
            user: served.principal.as_ref().map(|principal| principal.user),
            path,
            user_agent: field("user-agent"),
        });
    }
}

async fn files(
    visit: &mut Visit<'_>,
    head: &Head,
    forward: &Forward,
    served: &Served,
    primary: &str,
) -> Result<Response<EdgeBody>, Notice> {
    let tree = visit.connection.thread.services.trees.tree(&served.bundle).await.map_err(|failure| {
        error!(request.id = visit.id.as_str(), bundle.id = %served.bundle.id, error = %chain(&failure), "unpacked bundle");
        Notice::unavailable()
    })?;
    let path = forward.target_path(&head.path);
    // Encoded paths were normalised by the gate's own parser, so this cannot fail; were it to, there is no such file.
    let parsed = lectern_gate::RequestPath::parse(path).map_err(|_| Notice::not_found())?;
    let request = FileRequest {
        method: &head.method,
        path,
        decoded: parsed.decoded(),
        headers: &head.headers,
        mount: &served.mount,
    };
    statics::serve(&tree, &served.bundle, primary, served.content.access.access_type, request).await
}

async fn worker(
    visit: &mut Visit<'_>,
    head: &Head,
    forward: &Forward,
    base: &str,
    served: &Served,
) -> Result<Response<EdgeBody>, Notice> {
    let thread = &visit.connection.thread;
    let (services, limits) = (&thread.services, &thread.config.limits);
    let timeouts = timeouts(&served.content, thread.config.content);
    visit.connection.watch.set_limits(timeouts.read, timeouts.connection);
    let token = visitor_token(served, services.workers.visitor_key());
    let story = Story {
        forward,
        origin: &visit.origin,
        id: visit.id,
        mount: base,
        principal: served.principal.as_ref(),
        groups: served.groups.as_deref().unwrap_or_default(),
        visitor_token: token.as_deref(),
        mode: served.content.mode,
        websocket: visit.upgrade.is_some(),
    };
    let mate = sticky::mate(&served.content, head, services.workers.cookie_key());
    let body = std::mem::replace(&mut visit.body, RequestBody::empty());
    let mut request = to_worker(head, &story, body).map_err(|failure| {
        error!(request.id = visit.id.as_str(), error = %chain(&failure), "request for the worker");
        Notice::not_found()
    })?;
    let crossing = Crossing {
        thread,
        watch: &visit.connection.watch,
        id: visit.id,
        limits,
        mount: &served.mount,
        host: visit.origin.host(),
        shiny: visits::is_shiny(served.content.mode)
            .then_some((served.content.id, served.principal.as_ref().map(|principal| principal.user))),
    };
    let asking = queue::Asking {
        content: served.content.guid,
        bundle: served.bundle.id,
        principal: served.principal.as_ref(),
        client: visit.origin.client,
        patience: patience(timeouts.init),
        limit: limits.queue_per_content,
    };
    let workers = services.workers.as_ref();
    let mut tries = 0;
    loop {
        tries += 1;
        let admitted = asking.admit(workers, mate.as_ref()).await;
        let in_flight = admitted.map_err(|failure| not_admitted(visit, served, &failure))?;
        let cookie = mate.as_ref().and_then(|mate| mate.cookie(in_flight.worker(), &served.mount, visit.origin.scheme));
        match crossing.forward(in_flight, request, &mut visit.upgrade).await {
            Ok(mut response) => {
                if let Some(cookie) = cookie {
                    response.headers_mut().append(header::SET_COOKIE, cookie);
                }
                return Ok(response);
            }
            Err(ExchangeError::Connect { job, request: unsent, cause }) => {
                warn!(request.id = visit.id.as_str(), job.key = %job, error = %cause, "worker does not accept connections");
                workers.report_dead(&job);
                if tries == TRIES {
                    return Err(bad_gateway());
                }
                request = *unsent;
            }
            Err(failure @ ExchangeError::Client { .. }) => {
                debug!(request.id = visit.id.as_str(), error = %chain(&failure), "request broke off");
                return Err(Notice::bad_request("The request broke off before its end."));
            }
            Err(failure) => {
                error!(
                    request.id = visit.id.as_str(),
                    content.id = %served.content.guid,
                    job.key = %failure.job(),
                    error = %chain(&failure),
                    "worker gave no answer"
                );
                return Err(bad_gateway());
            }
        }
    }
}

/// What tells the content who visits, where it can exchange that for something. Computed each time: that takes less than remembering.
fn visitor_token(served: &Served, key: &[u8; 32]) -> Option<String> {
    let principal = served.principal.as_ref().filter(|_| served.content.has_integrations)?;
    let visit = visitor::Visit { content: served.content.guid, user: principal.guid, role: principal.role };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(visitor::token(&visit, key, now.as_secs()))
}

/// The content's own time-outs where it has any.
fn timeouts(content: &ContentEntry, defaults: ContentTimeouts) -> ContentTimeouts {
    let seconds = |own: Option<i32>, default| {
        own.and_then(|seconds| u64::try_from(seconds).ok()).map_or(default, Duration::from_secs)
    };
    ContentTimeouts {
        init: seconds(content.processes.init_timeout, defaults.init),
        connection: seconds(content.processes.connection_timeout, defaults.connection),
        read: seconds(content.processes.read_timeout, defaults.read),
    }
}

fn refused(principal: Option<&Principal>, action: Action) -> Notice {
    let who = principal.map_or("somebody", |principal| principal.username.as_str());
    let what = match action {
        Action::Preview => "Versions that are not active can only be opened by collaborators.",
        Action::Open | Action::Inspect | Action::Change => "It is not shared with this account.",
    };
    let text = format!("You are signed in as {who}. {what} Ask the owner for access, or sign in with another account.");
    Notice::new(StatusCode::FORBIDDEN, "No access", text)
}

fn locked(message: &str) -> Notice {
    let notice = Notice::new(StatusCode::LOCKED, "Locked", "This content is locked at the moment.");
    if message.trim().is_empty() { notice } else { notice.details(message.trim()) }
}

fn unpublished(standing: AppRole) -> Notice {
    let text = if standing >= AppRole::Editor {
        "No version of this content has been deployed successfully. The output of its last deployment says why."
    } else {
        "Nothing has been published here yet."
    };
    Notice::new(StatusCode::NOT_FOUND, "Nothing published yet", text)
}

fn no_such_version(asked_for: bool) -> Notice {
    if asked_for {
        Notice::new(
            StatusCode::NOT_FOUND,
            "No such version",
            "This content has no such version, or it was not prepared.",
        )
    } else {
        // The snapshot names an active version that it does not hold: it is being prepared.
        Notice::unavailable()
    }
}

fn no_such_variant() -> Notice {
    Notice::new(StatusCode::NOT_FOUND, "No such variant", "This content is not rendered in such a way.")
}

fn bad_gateway() -> Notice {
    let text =
        "The content stopped before it answered. Please try again; if this persists, tell its owner the request below.";
    Notice::new(StatusCode::BAD_GATEWAY, "The content failed", text)
}

/// Visitors learn that it failed; collaborators also how, with the job whose log says more.
fn not_admitted(visit: &Visit<'_>, served: &Served, failure: &NotAdmitted) -> Notice {
    let job = match failure {
        NotAdmitted::Start(failure) => failure.job().map(tracing::field::display),
        NotAdmitted::Full { .. } | NotAdmitted::Visitor { .. } | NotAdmitted::TimedOut { .. } => None,
    };
    warn!(
        request.id = visit.id.as_str(),
        content.id = %served.content.guid,
        bundle.id = %served.bundle.id,
        job.key = job,
        error = %chain(failure),
        "no worker"
    );
    let busy = |after| {
        let text = "The content has more visitors than it can serve at the moment. Please try again shortly.";
        Notice::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", text).retry_after(after)
    };
    let notice = match failure {
        NotAdmitted::Full { retry_after, .. }
        | NotAdmitted::Visitor { retry_after, .. }
        | NotAdmitted::TimedOut { retry_after, .. } => busy(*retry_after),
        NotAdmitted::Start(
            StartFailure::Crashed { .. } | StartFailure::NeverListened { .. } | StartFailure::Ended { .. },
        ) => Notice::new(StatusCode::BAD_GATEWAY, "The content failed", "The content could not be started."),
        NotAdmitted::Start(StartFailure::BackOff { retry_after, .. }) => Notice::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The content failed",
            "The content could not be started, and is tried again in a while.",
        )
        .retry_after(*retry_after),
        NotAdmitted::Start(StartFailure::Unavailable(_)) => Notice::unavailable(),
    };
    if served.standing >= AppRole::Editor { notice.details(chain(failure)) } else { notice }
}
