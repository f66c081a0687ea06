//! Who is asking: the gate's answer, made a principal from the snapshot.

use std::sync::Arc;

use http::{Response, StatusCode};
use lectern_domain::plugin::Phase;
use lectern_domain::snapshot::Snapshot;
use lectern_domain::{Principal, PrincipalVia, UserGuid};
use lectern_gate::{Authenticated, Challenge, Forward, Head, Identity, Selected, TargetView, Visitor, Vouched};
use tracing::{info, warn};

use crate::body::EdgeBody;
use crate::notice::Notice;
use crate::outward::outward;
use crate::serve::{Visit, gate_failed};

/// Who is asking.
pub(crate) enum Asking {
    /// A known user whose account is not locked, and what the plugin said of them.
    User(Principal, Arc<Vouched>),
    /// Nobody in particular; the challenge is for targets that do not admit anonymous visitors.
    Anonymous(Option<Arc<Challenge>>),
    /// Somebody with a bad credential, or whom a plugin knows and the server does not.
    Rejected,
}

/// Asks the gate, and looks the answer up. A gate that fails lets nobody in.
pub(crate) async fn identify(
    visit: &mut Visit<'_>,
    head: &Arc<Head>,
    target: &Arc<TargetView>,
) -> Result<Asking, Notice> {
    let services = &visit.connection.thread.services;
    let authenticated = services.gate.authenticate(&visit.chain, head, target).await;
    match authenticated.map_err(|error| gate_failed(visit.id, &error))? {
        Authenticated::Identity(vouched) => match principal(&vouched, &visit.snapshot) {
            Some(principal) => {
                visit.ending.set_principal(&principal.username);
                Ok(Asking::User(principal, vouched))
            }
            None => {
                let subject = vouched.identity.subject.as_str();
                warn!(request.id = visit.id.as_str(), plugin = %vouched.plugin, subject, "subject is unknown or locked");
                Ok(Asking::Rejected)
            }
        },
        Authenticated::Anonymous { challenge } => Ok(Asking::Anonymous(challenge)),
        Authenticated::Rejected { plugin, reason } => {
            info!(request.id = visit.id.as_str(), plugin = %plugin, reason, "credential rejected");
            Ok(Asking::Rejected)
        }
    }
}

/// Asks the plugins of the phase select, of somebody who has been admitted.
pub(crate) async fn select(
    visit: &Visit<'_>,
    head: &Arc<Head>,
    target: &Arc<TargetView>,
    known: Option<(&Principal, &Vouched)>,
    forward: Arc<Forward>,
) -> Result<Selected, Notice> {
    let gate = &visit.connection.thread.services.gate;
    let visitor = known
        .filter(|_| !visit.chain.phase(Phase::Select).is_empty())
        .map(|(principal, vouched)| Arc::new(visitor(principal, &vouched.identity)));
    gate.select(&visit.chain, head, target, visitor.as_ref(), forward)
        .await
        .map_err(|error| gate_failed(visit.id, &error))
}

/// What plugins of the phase select may know of a user.
fn visitor(principal: &Principal, identity: &Identity) -> Visitor {
    // The account's name is the host's to say, whatever the plugin claims.
    let stated = identity.claims.iter().filter(|(claim, _)| claim != "username").cloned();
    let claims = stated.chain([("username".to_owned(), principal.username.clone())]).collect();
    Visitor {
        subject: principal.guid.to_string(),
        username: Some(principal.username.clone()),
        groups: identity.groups.clone(),
        claims,
    }
}

/// The principal of an identity: what the directory gave during the call, or else the account with that GUID. `None`: there is
/// no such account, or it is locked. Role and name are never the plugin's.
pub(crate) fn principal(vouched: &Vouched, snapshot: &Snapshot) -> Option<Principal> {
    if let Some(principal) = &vouched.principal {
        return Some(principal.clone());
    }
    let guid: UserGuid = vouched.identity.subject.parse().ok()?;
    let user = snapshot.users.values().find(|user| user.guid == guid).filter(|user| !user.locked)?;
    Some(Principal {
        user: user.id,
        guid: user.guid,
        username: user.username.clone(),
        role: user.role,
        via: PrincipalVia::Session,
    })
}

/// The answer to a bad credential.
pub(crate) fn rejected() -> Notice {
    Notice::new(
        StatusCode::UNAUTHORIZED,
        "Not authorized",
        "The credential sent with this request is not valid. It may have been revoked, or belong to a locked account.",
    )
    .wants_key()
}

/// The answer to an anonymous visitor where none may enter: the way to sign in that a plugin offers, or a plain 401.
pub(crate) fn sign_in(
    challenge: Option<Arc<Challenge>>,
    head: &Head,
    prefix: &str,
) -> Result<Response<EdgeBody>, Notice> {
    match challenge {
        Some(challenge) => Ok(outward(challenge.reply_to(head), &head.method, prefix)),
        None => Err(Notice::new(
            StatusCode::UNAUTHORIZED,
            "Sign in first",
            "This needs a signed-in user, or an API key in the field Authorization: Key ….",
        )
        .wants_key()),
    }
}
