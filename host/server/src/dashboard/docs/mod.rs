//! `/__docs__`: the documentation that belongs to this very build, where clients look for it. The reference of the API is made from
//! the OpenAPI document; the guides are the project's own, as they are written.

mod reference;

use std::sync::LazyLock;

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;

use super::pages::Frame;
use super::{Dashboard, Visit, page, unknown};
use reference::Reference;

/// A page of a guide.
struct Chapter {
    /// In the address.
    name: &'static str,
    text: &'static str,
}

impl Chapter {
    /// The first line of the text.
    fn title(&self) -> &str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }
}

macro_rules! chapters {
    ($($name:literal $file:literal),*) => {
        &[$(Chapter { name: $name, text: include_str!(concat!("../../../../../docs/", $file, ".md")) }),*]
    };
}

/// For publishers and those who open what they publish.
const USER: &[Chapter] = chapters!(
    "publishing" "publishing",
    "content" "content",
    "git" "git",
    "integrations" "integrations",
    "integrations-oauth" "integrations-oauth",
    "scaling" "scaling",
    "faults" "faults"
);

/// For those who run the server.
const ADMIN: &[Chapter] = chapters!(
    "operating" "operating",
    "sandbox" "sandbox",
    "performance" "performance",
    "plugins" "plugins",
    "plugins-shipped" "plugins/shipped",
    "plugins-operating" "plugins/operating",
    "plugins-security" "plugins/security",
    "plugins-first" "plugins/first-plugin",
    "plugins-contract" "plugins/contract",
    "plugins-languages" "plugins/languages",
    "plugins-testing" "plugins/testing"
);

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| Reference::of(&lectern_api::openapi()));

#[derive(Template)]
#[template(path = "docs.html")]
struct GuidePage {
    frame: Frame,
    user: &'static [Chapter],
    admin: &'static [Chapter],
}

#[derive(Template)]
#[template(path = "docs_chapter.html")]
struct ChapterPage {
    frame: Frame,
    chapter: &'static Chapter,
}

#[derive(Template)]
#[template(path = "docs_api.html")]
struct ReferencePage {
    frame: Frame,
    reference: &'static Reference,
}

/// The routes below `/__docs__`.
pub(super) fn routes() -> Router<Dashboard> {
    Router::new()
        .route("/__docs__", get(index))
        .route("/__docs__/", get(index))
        .route("/__docs__/{part}", get(part))
        .route("/__docs__/{part}/", get(part))
        .route("/__docs__/{part}/{chapter}", get(chapter))
}

fn guide(visit: &Visit, user: &'static [Chapter], admin: &'static [Chapter]) -> Response {
    page(StatusCode::OK, &GuidePage { frame: visit.frame(), user, admin })
}

async fn index(visit: Visit) -> Response {
    guide(&visit, USER, ADMIN)
}

async fn part(visit: Visit, Path(part): Path<String>) -> Response {
    match &*part {
        "api" => page(StatusCode::OK, &ReferencePage { frame: visit.frame(), reference: &REFERENCE }),
        "user" => guide(&visit, USER, &[]),
        "admin" => guide(&visit, &[], ADMIN),
        _ => unknown(visit).await,
    }
}

async fn chapter(visit: Visit, Path((part, name)): Path<(String, String)>) -> Response {
    let chapters = match &*part {
        "user" => USER,
        "admin" => ADMIN,
        _ => &[],
    };
    match chapters.iter().find(|chapter| chapter.name == name) {
        Some(chapter) => page(StatusCode::OK, &ChapterPage { frame: visit.frame(), chapter }),
        None => unknown(visit).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chapter_has_a_title() {
        for chapter in USER.iter().chain(ADMIN) {
            assert!(chapter.text.starts_with("# ") && !chapter.title().is_empty(), "{}", chapter.name);
        }
    }
}
