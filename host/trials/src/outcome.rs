//! What the gate answered, as cases speak of it.

use http::HeaderMap;
use lectern_gate::{Authenticated, Failure, Forward, GateError, Page, Rewrite, Routed, Selected};
use lectern_packages::cases::{Answer, FailureKind, Identity, Reply, Rewrite as Rewritten};

/// The answer of a call; an error says why there is none that could be compared.
pub(crate) type Answered = Result<Answer, String>;

pub(crate) fn routed(routed: Result<Routed, GateError>) -> Answered {
    Ok(match routed {
        Ok(Routed::NotMine) => Answer::Next,
        Ok(Routed::Respond { reply: answer, .. }) => Answer::Respond(reply(answer)),
        Ok(Routed::Forward(forward)) => forwarded(&forward),
        Err(error) => return failed(&error),
    })
}

/// A forward that changes nothing is `next`: the gate does not tell them apart either.
pub(crate) fn selected(selected: Result<Selected, GateError>) -> Answered {
    Ok(match selected {
        Ok(Selected::Respond { reply: answer, .. }) => Answer::Respond(reply(answer)),
        Ok(Selected::Forward(forward)) => {
            let changes = forward.selected.is_some()
                || forward.sticky_key.is_some()
                || !forward.set_headers.is_empty()
                || !forward.remove_headers.is_empty()
                || !forward.hints.is_empty();
            if changes { forwarded(&forward) } else { Answer::Next }
        }
        Err(error) => return failed(&error),
    })
}

pub(crate) fn authenticated(authenticated: Result<Authenticated, GateError>) -> Answered {
    Ok(match authenticated {
        Ok(Authenticated::Identity(vouched)) => Answer::Authenticated(identity(vouched.identity.clone())),
        Ok(Authenticated::Anonymous { challenge: None }) => Answer::Abstain,
        Ok(Authenticated::Anonymous { challenge: Some(challenge) }) => {
            Answer::Challenge(reply(challenge.reply.clone()))
        }
        Ok(Authenticated::Rejected { reason, .. }) => Answer::Rejected(reason),
        Err(error) => return failed(&error),
    })
}

pub(crate) fn paged(page: Result<Page, GateError>) -> Answered {
    Ok(match page {
        Ok(Page::Reply(answer)) => Answer::Respond(reply(answer)),
        Ok(Page::SignedIn { vouched, reply: answer }) => Answer::SignedIn(identity(vouched.identity), reply(answer)),
        Ok(Page::SignedOut(answer)) => Answer::SignedOut(reply(answer)),
        Ok(Page::NoSuchPlugin) => return Err("the component does not export pages".into()),
        Err(error) => return failed(&error),
    })
}

/// A call that gave no decision. What the host is to blame for is no outcome of the plugin's.
pub(crate) fn failed(error: &GateError) -> Answered {
    let (kind, text) = match error {
        GateError::Failed { failure: Failure::Unavailable(text), .. } => (FailureKind::Unavailable, text.clone()),
        GateError::Failed { failure: Failure::Misconfigured(text), .. } => (FailureKind::Misconfigured, text.clone()),
        GateError::Failed { failure: Failure::Internal(text), .. } => (FailureKind::Internal, text.clone()),
        GateError::Trap { detail, .. } => (FailureKind::Crashed, detail.clone()),
        GateError::Limit { exceeded, .. } => (FailureKind::Limit, exceeded.to_string()),
        GateError::Invalid { reason, .. } => (FailureKind::Invalid, reason.to_string()),
        GateError::Busy { .. } | GateError::Broken { .. } | GateError::Host { .. } | GateError::BodyTooLarge { .. } => {
            return Err(error.to_string());
        }
    };
    Ok(Answer::Failed(kind, text))
}

fn forwarded(forward: &Forward) -> Answer {
    Answer::Forward {
        target: forward.target.to_string(),
        rewrite: match &forward.rewrite {
            Rewrite::Keep | Rewrite::StripSegments(0) => Rewritten::Keep,
            Rewrite::StripSegments(segments) => Rewritten::StripSegments(u32::try_from(*segments).unwrap_or(u32::MAX)),
            Rewrite::Replace(path) => Rewritten::Replace(path.decoded().to_owned()),
        },
        set_headers: fields(&forward.set_headers),
        remove_headers: forward.remove_headers.iter().map(|name| name.as_str().to_owned()).collect(),
        sticky_key: forward.sticky_key.clone(),
        hints: forward.hints.clone(),
    }
}

fn identity(identity: lectern_gate::Identity) -> Identity {
    Identity {
        subject: identity.subject,
        display_name: identity.display_name,
        groups: identity.groups,
        claims: identity.claims,
        ttl: identity.ttl.map(|ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
    }
}

fn reply(reply: lectern_gate::Reply) -> Reply {
    Reply { status: reply.status.as_u16(), headers: fields(&reply.headers), body: reply.body.to_vec() }
}

fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}
