//! `/v1/oauth/…`: integrations, what content uses them, who signed in to them, and the exchange of tokens for credentials.
//!
//! Not to be taken for [`crate::oauth`], by which programs act in a user's name here. This is the other direction: content that acts
//! in a visitor's name, here or at a provider. What is decided is decided by `lectern_domain::integrations`.

mod access;
mod associations;
mod change;
mod config;
mod exchange;
mod sessions;
mod subject;
mod templates;
mod view;
mod visitor_keys;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(view::list, change::create))
        .routes(routes!(exchange::exchange))
        .routes(routes!(view::get, change::change, change::delete))
        .routes(routes!(associations::of_integration))
        .routes(routes!(associations::of_content, associations::replace))
        .routes(routes!(templates::list))
        .routes(routes!(templates::get))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::get, sessions::end))
}
