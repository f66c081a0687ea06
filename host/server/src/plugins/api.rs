//! `/__lectern__/v1`: what the Connect protocol has no word for. The same router serves the admin socket; there whoever may open the
//! socket is an operator, here an administrator with an API key.
//!
//! Errors are `{"code": "<word>", "error": "<what to change>"}`. A browser's session changes nothing and sees nothing: published
//! pages share the server's origin.

use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use lectern_domain::plugin::{Actor, BindingName, PackageDigest, Phase, PluginName};
use lectern_domain::{Principal, PrincipalVia, UserRole};
use lectern_metadata::plugins::{Note, history, nodes, packages, shadow, trusted_keys};
use lectern_packages::PACKAGE_BYTES;
use serde::Deserialize;
use serde_json::{Value, json};

use super::manage::{
    BindRequest, CanaryRequest, Expect, Plugins, Refused, SettingsRequest, ShadowRequest, SwapRequest,
};
use super::metrics;

/// The field that carries a package's signature.
pub(crate) const SIGNATURE: &str = "lectern-signature";
/// The field that carries the reason of a change without a JSON body.
pub(crate) const REASON: &str = "lectern-reason";

/// Bytes of a JSON body: a configuration has 256 KiB at most.
const JSON_BYTES: usize = 1 << 20;
/// Entries of the history in one answer.
const MOST_ENTRIES: i64 = 1_000;

/// Who operates.
#[derive(Debug, Clone)]
pub(crate) struct Operator(pub(crate) Actor);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Package(_) | Self::Load(_) | Self::Cases { .. } | Self::Config(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Signature(_) => StatusCode::FORBIDDEN,
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = json!({"code": self.code(), "error": crate::cli::chain(&self)});
        (status, Json(body)).into_response()
    }
}

type Answer = Result<Json<Value>, Refused>;

fn shown(value: impl serde::Serialize) -> Answer {
    serde_json::to_value(value).map(Json).map_err(|error| Refused::Unavailable(error.to_string()))
}

/// The routes, for whoever is an [`Operator`].
pub(crate) fn operations(plugins: Arc<Plugins>) -> Router {
    Router::new()
        .route("/plugins", get(overview))
        .route("/packages", get(list_packages).post(install).layer(DefaultBodyLimit::max(PACKAGE_BYTES)))
        .route("/packages/{digest}", delete(remove_package))
        .route("/bindings", get(list_bindings).post(bind))
        .route("/bindings/{name}", get(show_binding).patch(set_binding).delete(unbind))
        .route("/bindings/{name}/swap", post(swap))
        .route("/bindings/{name}/rollback", post(roll_back))
        .route("/bindings/{name}/shadow", get(shadow_report).post(offer_shadow))
        .route("/bindings/{name}/explain", get(explain))
        .route("/bindings/{name}/canary", post(offer_canary))
        .route("/bindings/{name}/promote", post(promote))
        .route("/bindings/{name}/withdraw", post(withdraw))
        .route("/bindings/{name}/secrets", get(list_secrets))
        .route("/bindings/{name}/secrets/{secret}", put(set_secret).delete(forget_secret))
        .route("/history", get(list_history))
        .route("/history/verify", get(verify_history))
        .route("/keys", get(list_keys).post(trust))
        .route("/keys/{id}", delete(untrust))
        .route("/nodes", get(list_nodes))
        .route("/metrics", get(metrics::answer))
        .layer(DefaultBodyLimit::max(JSON_BYTES))
        .fallback(|| async { Refused::NotFound("there is no such address below /__lectern__/v1".into()) })
        .layer(map_response(in_json))
        .with_state(plugins)
}

/// Gives what the router itself refuses the form of every other refusal: bodies that are too large, names that cannot be,
/// methods that an address does not have.
async fn in_json(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let is_json = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !parts.status.is_client_error() || is_json {
        return Response::from_parts(parts, body);
    }
    let error = match parts.status {
        StatusCode::PAYLOAD_TOO_LARGE => format!(
            "the body is too large: a package has at most {PACKAGE_BYTES} bytes, everything else at most {JSON_BYTES}"
        ),
        StatusCode::METHOD_NOT_ALLOWED => "this address does not have this method".to_owned(),
        // One sentence of the router's.
        _ => String::from_utf8_lossy(&to_bytes(body, 4 << 10).await.unwrap_or_default()).into_owned(),
    };
    let mut answer = (parts.status, Json(json!({"code": "request", "error": error}))).into_response();
    if let Some(methods) = parts.headers.get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, methods.clone());
    }
    answer
}

/// The routes below `/__lectern__/v1`, for administrators with a key.
pub(crate) fn router(plugins: Arc<Plugins>) -> Router {
    Router::new().nest("/__lectern__/v1", operations(plugins).layer(from_fn(operators_only)))
}

async fn operators_only(
    Extension(principal): Extension<Option<Principal>>,
    mut request: Request,
    next: Next,
) -> Response {
    let refuse =
        |status: StatusCode, text: &str| (status, Json(json!({"code": "refused", "error": text}))).into_response();
    match principal {
        None => refuse(StatusCode::UNAUTHORIZED, "send an administrator's API key: Authorization: Key …"),
        Some(Principal { via: PrincipalVia::Session, .. }) => {
            refuse(StatusCode::FORBIDDEN, "a browser's session does not operate the gate: use an API key")
        }
        Some(principal) if principal.role != UserRole::Administrator => {
            refuse(StatusCode::FORBIDDEN, "only administrators, with a key of that role, operate the gate")
        }
        Some(principal) => {
            request.extensions_mut().insert(Operator(Actor::User(principal.username)));
            next.run(request).await
        }
    }
}

fn note(operator: Operator, reason: impl Into<String>) -> Note {
    Note::new(operator.0, reason.into().chars().take(1_000).collect::<String>())
}

fn reason(headers: &HeaderMap) -> String {
    headers.get(REASON).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Reads a JSON body; the error says where it does not fit.
fn body<T: serde::de::DeserializeOwned>(bytes: &Bytes) -> Result<T, Refused> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| Refused::Request(format!("the request does not fit: {error}")))
}

async fn overview(State(plugins): State<Arc<Plugins>>) -> Answer {
    let report = plugins.node_report().await;
    shown(json!({
        "generation": report.generation,
        "bindings": plugins.views().await?,
        "packages": packages::list(&plugins.database().client().await?).await?,
        "server": report.server,
    }))
}

async fn list_packages(State(plugins): State<Arc<Plugins>>) -> Answer {
    shown(packages::list(&plugins.database().client().await?).await?)
}

async fn install(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let signature = match headers.get(SIGNATURE).map(|value| value.to_str()) {
        None => None,
        Some(Ok(text)) => Some(text),
        Some(Err(_)) => return Err(Refused::Request(format!("the field {SIGNATURE} is not text"))),
    };
    shown(plugins.install(bytes.to_vec(), signature, &note(operator, reason(&headers))).await?)
}

async fn remove_package(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let digest: PackageDigest =
        digest.parse().map_err(|error: lectern_domain::plugin::BadDigest| Refused::Request(error.to_string()))?;
    plugins.remove(digest, &note(operator, reason(&headers))).await?;
    shown(json!({"removed": digest}))
}

async fn list_bindings(State(plugins): State<Arc<Plugins>>) -> Answer {
    shown(plugins.views().await?)
}

async fn show_binding(State(plugins): State<Arc<Plugins>>, Path(name): Path<BindingName>) -> Answer {
    shown(plugins.view(&name).await?)
}

async fn bind(State(plugins): State<Arc<Plugins>>, Extension(operator): Extension<Operator>, bytes: Bytes) -> Answer {
    let request: BindRequest = body(&bytes)?;
    let note = note(operator, request.reason.clone());
    shown(plugins.bind(request, &note).await?)
}

/// A change without a body of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Plain {
    expect: Expect,
    reason: String,
}

/// A change of settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    settings: SettingsRequest,
    expect: Expect,
    reason: String,
}

async fn set_binding(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<BindingName>,
    bytes: Bytes,
) -> Answer {
    let request: Settings = body(&bytes)?;
    shown(plugins.set(&name, request.settings, request.expect, &note(operator, request.reason)).await?)
}

async fn unbind(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<BindingName>,
    bytes: Bytes,
) -> Answer {
    let request: Plain = body(&bytes)?;
    shown(plugins.unbind(&name, request.expect, &note(operator, request.reason)).await?)
}

async fn swap(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<BindingName>,
    bytes: Bytes,
) -> Answer {
    let request: SwapRequest = body(&bytes)?;
    let note = note(operator, request.reason.clone());
    shown(plugins.swap(&name, request, &note).await?)
}

async fn roll_back(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<BindingName>,
    bytes: Bytes,
) -> Answer {
    let request: Plain = body(&bytes)?;
    shown(plugins.roll_back(&name, request.expect, &note(operator, request.reason)).await?)
}

async fn offer_shadow(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<BindingName>,
    bytes: Bytes,
) -> Answer {
    let request: ShadowRequest = body(&bytes)?;
    let note = note(operator, request.reason.clone());
    shown(plugins.offer_shadow(&name, request, &note).await?)
}

async fn offer_canary(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<BindingName>,
    bytes: Bytes,
) -> Answer {
    let request: CanaryRequest = body(&bytes)?;
    let note = note(operator, request.reason.clone());
    shown(plugins.offer_canary(&name, request, &note).await?)
}

async fn promote(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<BindingName>,
    bytes: Bytes,
) -> Answer {
    let request: Plain = body(&bytes)?;
    shown(plugins.promote(&name, request.expect, &note(operator, request.reason)).await?)
}

async fn withdraw(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<BindingName>,
    bytes: Bytes,
) -> Answer {
    let request: Plain = body(&bytes)?;
    shown(plugins.withdraw(&name, request.expect, &note(operator, request.reason)).await?)
}

async fn shadow_report(State(plugins): State<Arc<Plugins>>, Path(name): Path<BindingName>) -> Answer {
    let binding = plugins.binding(&name).await?;
    let Some(candidate) = binding.releases.candidate else {
        return Err(Refused::NotFound(format!("{name} has no candidate: `lectern plugin shadow {name} …` offers one")));
    };
    let report = shadow::report(&plugins.database().client().await?, &name, candidate.release).await?;
    let differences: Vec<Value> = report
        .iter()
        .flat_map(|report| &report.differences)
        .map(|one| {
            json!({"fingerprint": one.fingerprint, "kind": one.kind, "count": one.count, "example": one.example.to_object()})
        })
        .collect();
    let chain = plugins.gate().chain();
    let dropped = chain.binding(name.as_str()).and_then(|bound| match bound.spec().candidate.as_ref()?.trial {
        lectern_gate::Trial::Shadow(ref shadow) => Some(shadow.dropped()),
        lectern_gate::Trial::Canary(_) => None,
    });
    shown(json!({
        "binding": name,
        "live": binding.releases.live,
        "candidate": candidate.release,
        "compared": report.as_ref().map_or(0, |report| report.compared),
        "differing": report.as_ref().map_or(0, |report| report.differing),
        "failures": report.as_ref().map_or(0, |report| report.failures),
        "dropped_here": dropped.unwrap_or(0),
        "differences": differences,
    }))
}

/// Which phase.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct InPhase {
    phase: Option<Phase>,
}

/// What was learned of the release that answers at a binding, as data and as text.
async fn explain(
    State(plugins): State<Arc<Plugins>>,
    Path(name): Path<BindingName>,
    Query(which): Query<InPhase>,
) -> Answer {
    let chain = plugins.gate().chain();
    let Some(bound) = chain.binding(name.as_str()) else {
        return Err(Refused::NotFound(format!("nothing is bound as {name}: `lectern plugin list` shows what is")));
    };
    let stands: Vec<Phase> =
        chain.bindings().filter(|(_, other)| other.name() == bound.name()).map(|(phase, _)| phase).collect();
    let place = if bound.has_fallen() { "previous" } else { "live" };
    let named = plugins.release_at(bound.name(), place);
    let (release, now_ms) = (Arc::clone(bound.answering()), plugins.gate().backend().clock.unix_millis());
    // Some milliseconds of computing, away from what waits for others.
    let explaining = tokio::task::spawn_blocking(move || {
        let phases = stands.into_iter().filter(|phase| which.phase.is_none_or(|wanted| wanted == *phase));
        phases
            .map(|phase| {
                let report = release.explain(phase, now_ms);
                json!({
                    "phase": phase.as_str(),
                    "release": named.unwrap_or_else(|| release.id()),
                    "off": release.learning_off(phase),
                    "text": report.as_ref().map(ToString::to_string),
                    "report": report,
                })
            })
            .collect::<Vec<Value>>()
    });
    shown(explaining.await.map_err(|error| Refused::Unavailable(error.to_string()))?)
}

async fn list_secrets(State(plugins): State<Arc<Plugins>>, Path(name): Path<BindingName>) -> Answer {
    shown(plugins.secret_names(&name).await?)
}

async fn set_secret(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path((name, secret)): Path<(BindingName, String)>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    plugins.set_secret(&name, &secret, &bytes, &note(operator, reason(&headers))).await?;
    shown(json!({"binding": name, "secret": secret}))
}

async fn forget_secret(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path((name, secret)): Path<(BindingName, String)>,
    headers: HeaderMap,
) -> Answer {
    plugins.forget_secret(&name, &secret, &note(operator, reason(&headers))).await?;
    shown(json!({"binding": name, "forgotten": secret}))
}

/// Which entries.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Which {
    binding: Option<BindingName>,
    plugin: Option<PluginName>,
    before: Option<i64>,
    limit: Option<i64>,
}

async fn list_history(State(plugins): State<Arc<Plugins>>, Query(which): Query<Which>) -> Answer {
    let filter = history::HistoryFilter { binding: which.binding, plugin: which.plugin, before: which.before };
    let limit = which.limit.unwrap_or(50).clamp(1, MOST_ENTRIES);
    shown(history::list(&plugins.database().client().await?, &filter, limit).await?)
}

async fn verify_history(State(plugins): State<Arc<Plugins>>) -> Answer {
    let chain = history::verify_chain(&plugins.database().client().await?).await?;
    match chain {
        history::Chain::Whole(head) => shown(json!({"whole": true, "entries": head.seq, "hash": head.hash})),
        history::Chain::Broken { seq } => shown(json!({"whole": false, "broken_at": seq})),
    }
}

async fn list_keys(State(plugins): State<Arc<Plugins>>) -> Answer {
    let configured: Vec<Value> = plugins
        .trusted()
        .await?
        .into_iter()
        .filter(|key| key.name == "configuration")
        .map(|key| json!({"id": key.key.id(), "public_key": key.key, "comment": "gate.trusted_keys"}))
        .collect();
    let rows = trusted_keys::list(&plugins.database().client().await?).await?;
    shown(json!({"configured": configured, "trusted": rows}))
}

/// A key to trust.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trust {
    public_key: String,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    reason: String,
}

async fn trust(State(plugins): State<Arc<Plugins>>, Extension(operator): Extension<Operator>, bytes: Bytes) -> Answer {
    let request: Trust = body(&bytes)?;
    let id = plugins.trust(&request.public_key, &request.comment, &note(operator, request.reason)).await?;
    shown(json!({"id": id}))
}

async fn untrust(
    State(plugins): State<Arc<Plugins>>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    plugins.untrust(&id, &note(operator, reason(&headers))).await?;
    shown(json!({"untrusted": id}))
}

async fn list_nodes(State(plugins): State<Arc<Plugins>>) -> Answer {
    let nodes = nodes::list(&plugins.database().client().await?).await?;
    let views: Vec<Value> = nodes
        .iter()
        .map(|node| json!({"node": node.report, "reported_at": node.reported_at.to_string(), "age_seconds": node.age.as_secs()}))
        .collect();
    shown(views)
}
