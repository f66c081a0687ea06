//! `/applications…` and `/tasks/{id}`: the unversioned routes that R clients use, with numbers for ids.

mod applications;
mod deprecated;
mod publish;
mod stop;
mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use deprecated::tell;

use crate::Services;

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(applications::list, applications::create))
        .routes(routes!(applications::get))
        .routes(routes!(applications::config))
        .routes(routes!(publish::upload))
        .routes(routes!(publish::deploy))
        .routes(routes!(publish::task))
        .routes(routes!(stop::terminate))
        .routes(routes!(stop::kill))
}
