//! `/applications…` and `/tasks/{id}`: the unversioned routes that R clients use, with numbers for ids.

mod applications;
mod publish;
mod variants;
mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(applications::list, applications::create))
        .routes(routes!(applications::get))
        .routes(routes!(applications::config))
        .routes(routes!(variants::list))
        .routes(routes!(publish::upload))
        .routes(routes!(publish::deploy))
        .routes(routes!(publish::task))
}
