//! The routes, put together once for the server and for the document that describes them.

use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, middleware};
use http::{HeaderValue, StatusCode, header};
use tower::Layer;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::error::ApiError;
use crate::services::ANNOUNCED_VERSION;
use crate::{Services, document, guard, leftover};
use crate::{
    audit, bootstrap, bundles, caches, content, deploy, environment, environments, groups, hits, jobs, keys, legacy,
    login, oauth, oauth_integrations, packages, permission_requests, permissions, processes, repo, repository, search,
    settings, tags, tasks, thumbnails, timezones, tokens, users, vanity, variants,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Lectern: the protocol of Posit Connect's clients"),
    tags(
        (name = "server", description = "the server itself"),
        (name = "content", description = "content items and their settings"),
        (name = "tags", description = "the tree of tags, and what bears them"),
        (name = "bundles", description = "uploaded versions of content"),
        (name = "packages", description = "what content runs with"),
        (name = "tasks", description = "work that clients follow"),
        (name = "jobs", description = "runs of processes"),
        (name = "users", description = "accounts, their keys, tokens and sessions"),
        (name = "oauth", description = "programs that people let act in their name; errors as the RFCs say"),
        (name = "integrations", description = "what content reaches in a visitor's name, or in its own"),
        (name = "groups", description = "groups of accounts"),
        (name = "environments", description = "execution environments of other executors"),
        (name = "variants", description = "ways in which documents are rendered, and when"),
        (name = "legacy", description = "what R clients before 1.0 use")
    )
)]
struct Document;

/// Every route below `/__api__`, with its description.
fn described() -> OpenApiRouter<Services> {
    let routes = [
        settings::routes(),
        audit::routes(),
        hits::routes(),
        timezones::routes(),
        caches::routes(),
        environments::routes(),
        bootstrap::routes(),
        content::routes(),
        environment::routes(),
        permissions::routes(),
        permission_requests::routes(),
        tags::routes(),
        thumbnails::routes(),
        search::routes(),
        vanity::routes(),
        repository::routes(),
        repo::routes(),
        bundles::routes(),
        packages::routes(),
        deploy::routes(),
        tasks::routes(),
        jobs::routes(),
        processes::routes(),
        users::routes(),
        keys::routes(),
        tokens::routes(),
        login::routes(),
        groups::routes(),
        oauth::routes(),
        oauth_integrations::routes(),
        legacy::routes(),
        variants::routes(),
    ];
    let all = routes.into_iter().fold(OpenApiRouter::new(), OpenApiRouter::merge);
    OpenApiRouter::with_openapi(Document::openapi()).nest("/__api__", all).merge(oauth::well_known())
}

/// The OpenAPI document of every route.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = described().into_openapi();
    document.info.version = ANNOUNCED_VERSION.to_owned();
    document::complete(&mut document);
    document
}

/// The API as a service of whole paths (`/__api__/…`). Whatever it does not know is 404 in plain text.
pub fn router(services: Services) -> Router {
    let document = openapi();
    let (routes, _) = described().split_for_parts();
    let routes = routes
        .route("/__api__/openapi.json", axum::routing::get(async move || Json(document.clone())))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(middleware::from_fn(legacy::tell))
        .layer(middleware::from_fn_with_state(services.clone(), guard::check))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(leftover::drain_if_refused))
        // Every extractor that reads a body has a limit of its own.
        .layer(DefaultBodyLimit::disable())
        .with_state(services);
    // A layer of the router would run after a route was chosen.
    let trimmed = tower::util::MapRequestLayer::new(guard::without_trailing_slash).layer(routes);
    Router::new().fallback_service(trimmed)
}

/// Clients take a 404 without a JSON `code` for "this server has no such route" and use another one.
async fn unknown(request: Request) -> Response {
    let text = format!("no such route: {} {}\n", request.method(), request.uri().path());
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text)
        .into_response()
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::internal("a handler panicked").into_response()
}
