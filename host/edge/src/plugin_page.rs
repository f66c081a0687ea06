//! Pages that plugins own: `/__plugin__/<name>/…`. The only place where a plugin sees a body, and where sessions begin and end.

use std::sync::Arc;

use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use lectern_gate::{GateError, Head, PAGE_BODY_BYTES, Page, Reply, RequestPath, Routed};
use tracing::{error, info};

use crate::access_log::chain;
use crate::body::{EdgeBody, RequestBody};
use crate::identify::principal;
use crate::notice::Notice;
use crate::outward::outward;
use crate::serve::{Visit, gate_failed};
use crate::services::Unavailable;
use crate::session;

/// The plugin that owns a path.
pub(crate) fn plugin_of(path: &RequestPath) -> Option<&str> {
    path.decoded().strip_prefix("/__plugin__/")?.split('/').next()
}

/// Lets the plugin answer, and does to the session what it decided.
///
/// The plugins of the phase route are asked first: what they answer themselves (an address that is not let in, a site that is
/// closed, a flood) holds for pages too. Where they would send the request does not matter: a page is its plugin's.
pub(crate) async fn answer(
    visit: &mut Visit<'_>,
    head: &Arc<Head>,
    plugin: &str,
) -> Result<Response<EdgeBody>, Notice> {
    let services = &visit.connection.thread.services;
    match services.gate.route(&visit.chain, head).await {
        Ok(Routed::Respond { reply, .. }) => return Ok(outward(reply, &head.method, &visit.origin.prefix)),
        Ok(Routed::Forward(_) | Routed::NotMine) => {}
        Err(error) => return Err(gate_failed(visit.id, &error)),
    }
    let body = std::mem::replace(&mut visit.body, RequestBody::empty());
    let body = Limited::new(body, PAGE_BODY_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            too_large()
        } else {
            Notice::bad_request("The body did not arrive completely.")
        }
    })?;
    let page =
        services.gate.page(&visit.chain, plugin, head, body.to_bytes()).await.map_err(|failure| match failure {
            GateError::BodyTooLarge { .. } => too_large(),
            failure => gate_failed(visit.id, &failure),
        })?;
    let prefix = visit.origin.prefix.clone();
    let respond = |reply: Reply| outward(reply, &head.method, &prefix);
    let failed = |failure: Unavailable| {
        error!(request.id = visit.id.as_str(), error = %chain(&failure), "session");
        Notice::unavailable()
    };
    match page {
        Page::Reply(reply) => Ok(respond(reply)),
        Page::NoSuchPlugin => Err(Notice::not_found()),
        Page::SignedOut(reply) => {
            if let Some(token) = head.session_token() {
                services.sessions.end(token).await.map_err(failed)?;
            }
            let mut response = respond(reply);
            session::take_back(response.headers_mut(), visit.origin.scheme);
            Ok(response)
        }
        Page::SignedIn { vouched, reply } => {
            let Some(user) = principal(&vouched, &services.snapshot.load()) else {
                info!(request.id = visit.id.as_str(), plugin, subject = vouched.identity.subject, "no such account");
                return Err(Notice::new(
                    StatusCode::FORBIDDEN,
                    "No account",
                    "You proved who you are, but there is no open account of yours on this server. Ask its administrator.",
                ));
            };
            let made = services.sessions.create(user.guid, vouched.identity.groups, plugin).await.map_err(failed)?;
            info!(request.id = visit.id.as_str(), plugin, principal = user.username, "signed in");
            visit.ending.set_principal(&user.username);
            let mut response = respond(reply);
            session::give(response.headers_mut(), &made, visit.origin.scheme);
            Ok(response)
        }
    }
}

fn too_large() -> Notice {
    Notice::new(StatusCode::PAYLOAD_TOO_LARGE, "Too large", "Pages take at most 64 KiB.")
}
