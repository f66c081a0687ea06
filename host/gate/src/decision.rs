//! Checked answers of plugins, as they are acted on and as they are learned.

use std::mem::size_of;
use std::sync::Arc;

use http::header::{HeaderMap, LOCATION};

use crate::answer::{Challenge, Forward, Reply, Rewrite, Vouched};
use crate::error::BadAnswer;
use crate::head::Head;
use crate::learn::Decision;

/// A checked answer of a routing plugin.
#[derive(Debug, Clone)]
pub(crate) enum Decided {
    Next,
    Forward(Arc<Forward>),
    Respond(Arc<Reply>),
}

/// A checked answer of an authenticator.
#[derive(Debug, Clone)]
pub(crate) enum Answered {
    Abstain,
    Vouched(Arc<Vouched>),
    Challenge(Arc<Challenge>),
    /// Why; for the log.
    Rejected(Arc<str>),
}

impl Decided {
    /// Whether it may be done to this request: the only check of an answer that looks at the request, and so the one that a
    /// decision made about another request has to pass again.
    pub(crate) fn fits(&self, head: &Head) -> Result<(), BadAnswer> {
        match self {
            Self::Forward(forward) => match forward.rewrite {
                Rewrite::StripSegments(count) if head.path.without(count).is_none() => {
                    Err(BadAnswer::Strip(u32::try_from(count).unwrap_or(u32::MAX)))
                }
                Rewrite::StripSegments(_) | Rewrite::Keep | Rewrite::Replace(_) => Ok(()),
            },
            Self::Next | Self::Respond(_) => Ok(()),
        }
    }
}

impl Decision for Decided {
    fn bytes(&self) -> usize {
        match self {
            Self::Next => 0,
            Self::Forward(forward) => {
                let hints: usize = forward.hints.iter().map(pair_bytes).sum();
                let path = if let Rewrite::Replace(path) = &forward.rewrite { path.encoded().len() * 2 } else { 0 };
                let names: usize = forward.remove_headers.iter().map(|name| ENTRY_BYTES + name.as_str().len()).sum();
                let key = forward.sticky_key.as_ref().map_or(0, String::len);
                size_of::<Forward>() + hints + path + names + key + field_bytes(&forward.set_headers)
            }
            Self::Respond(reply) => reply_bytes(reply),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Next => "next".into(),
            Self::Forward(forward) => describe_forward(forward),
            Self::Respond(reply) => describe_reply("respond", reply),
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Next, Self::Next) => true,
            (Self::Forward(one), Self::Forward(other)) => one == other,
            (Self::Respond(one), Self::Respond(other)) => one == other,
            (Self::Next | Self::Forward(_) | Self::Respond(_), _) => false,
        }
    }
}

impl Decision for Answered {
    fn bytes(&self) -> usize {
        match self {
            Self::Abstain => 0,
            Self::Vouched(vouched) => {
                let identity = &vouched.identity;
                let groups: usize = identity.groups.iter().map(|group| ENTRY_BYTES + group.len()).sum();
                let claims: usize = identity.claims.iter().map(pair_bytes).sum();
                let name = identity.display_name.as_ref().map_or(0, String::len);
                let principal = vouched.principal.as_ref().map_or(0, |principal| principal.username.len());
                size_of::<Vouched>() + identity.subject.len() + name + groups + claims + principal
            }
            Self::Challenge(challenge) => size_of::<Challenge>() + reply_bytes(&challenge.reply),
            Self::Rejected(reason) => reason.len(),
        }
    }

    /// Never says who somebody is.
    fn describe(&self) -> String {
        match self {
            Self::Abstain => "abstain".into(),
            Self::Vouched(vouched) => match vouched.identity.groups.len() {
                0 => "authenticated".into(),
                1 => "authenticated, 1 group".into(),
                groups => format!("authenticated, {groups} groups"),
            },
            Self::Challenge(challenge) => describe_reply("challenge", &challenge.reply),
            Self::Rejected(_) => "rejected".into(),
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Abstain, Self::Abstain) => true,
            (Self::Vouched(one), Self::Vouched(other)) => one == other,
            (Self::Challenge(one), Self::Challenge(other)) => one == other,
            (Self::Rejected(one), Self::Rejected(other)) => one == other,
            (Self::Abstain | Self::Vouched(_) | Self::Challenge(_) | Self::Rejected(_), _) => false,
        }
    }
}

/// What one entry of a list or a field map takes beside its texts.
const ENTRY_BYTES: usize = 96;

fn pair_bytes((name, value): &(String, String)) -> usize {
    size_of::<(String, String)>() + name.len() + value.len()
}

fn field_bytes(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| ENTRY_BYTES + name.as_str().len() + value.len()).sum()
}

fn reply_bytes(reply: &Reply) -> usize {
    size_of::<Reply>() + field_bytes(&reply.headers) + reply.body.len()
}

/// Names of fields only: a value may be a credential.
fn describe_forward(forward: &Forward) -> String {
    let mut words = format!("forward {}", forward.target);
    match &forward.rewrite {
        Rewrite::Keep => {}
        Rewrite::StripSegments(count) => words.push_str(&format!(", strip {count}")),
        Rewrite::Replace(path) => words.push_str(&format!(", path {}", path.encoded())),
    }
    if let Some(bundle) = forward.bundle {
        words.push_str(&format!(", bundle {bundle}"));
    }
    let list = |words: &mut String, what: &str, names: &mut dyn Iterator<Item = &str>| {
        let names: Vec<&str> = names.collect();
        if !names.is_empty() {
            words.push_str(&format!(", {what} {}", names.join(" ")));
        }
    };
    list(&mut words, "sets", &mut forward.set_headers.keys().map(|name| name.as_str()));
    list(&mut words, "removes", &mut forward.remove_headers.iter().map(|name| name.as_str()));
    if forward.sticky_key.is_some() {
        words.push_str(", sticky");
    }
    words
}

/// Without the query of its location, which may be a credential.
fn describe_reply(what: &str, reply: &Reply) -> String {
    let location = reply.headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let to = location.map_or(String::new(), |text| format!(" to {}", text.split('?').next().unwrap_or_default()));
    format!("{what} {}{to}", reply.status.as_u16())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::answer::{Identity, Target};
    use crate::path::RequestPath;

    fn forward(change: impl Fn(&mut Forward)) -> Decided {
        let mut forward = Forward {
            plugin: "p".into(),
            target: Target::System(crate::answer::System::Api),
            rewrite: Rewrite::StripSegments(2),
            bundle: Some(lectern_domain::BundleId(3)),
            selected: None,
            hints: vec![("note".into(), "hidden-1".into())],
            set_headers: HeaderMap::new(),
            remove_headers: vec![http::header::COOKIE],
            sticky_key: Some("hidden-2".into()),
        };
        forward.set_headers.insert("x-token", "hidden-3".parse().unwrap());
        change(&mut forward);
        Decided::Forward(Arc::new(forward))
    }

    fn reply(location: &str) -> Arc<Reply> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location.parse().unwrap());
        headers.insert("set-cookie", "hidden-4=1".parse().unwrap());
        Arc::new(Reply { status: http::StatusCode::SEE_OTHER, headers, body: "hidden-5".into() })
    }

    fn vouched(groups: &[&str]) -> Answered {
        let identity = Identity {
            subject: "hidden-6".into(),
            display_name: Some("hidden-7".into()),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            claims: vec![("hidden-8".into(), "hidden-9".into())],
            ttl: None,
        };
        Answered::Vouched(Arc::new(Vouched { plugin: "p".into(), identity, principal: None }))
    }

    #[test]
    fn words_hold_no_values() {
        let reply = reply("/in?code=hidden");
        let challenge = Challenge { plugin: "p".into(), reply: Reply::clone(&reply) };
        let words = [
            forward(|_| {}).describe(),
            Decided::Respond(reply).describe(),
            vouched(&[]).describe(),
            vouched(&["hidden", "hidden"]).describe(),
            Answered::Challenge(Arc::new(challenge)).describe(),
            Answered::Rejected("hidden".into()).describe(),
        ];
        assert_eq!(
            words,
            [
                "forward system:api, strip 2, bundle 3, sets x-token, removes cookie, sticky",
                "respond 303 to /in",
                "authenticated",
                "authenticated, 2 groups",
                "challenge 303 to /in",
                "rejected",
            ]
        );
    }

    #[test]
    fn the_same_means_all_of_it() {
        assert!(forward(|_| {}).same(&forward(|_| {})));
        let changes: [fn(&mut Forward); 6] = [
            |forward| forward.rewrite = Rewrite::Replace(RequestPath::parse("/x").unwrap()),
            |forward| forward.bundle = None,
            |forward| forward.hints.clear(),
            |forward| drop(forward.set_headers.insert("x-token", "other".parse().unwrap())),
            |forward| forward.remove_headers.clear(),
            |forward| forward.sticky_key = None,
        ];
        for change in changes {
            assert!(!forward(change).same(&forward(|_| {})));
        }
        assert!(!Decided::Next.same(&forward(|_| {})) && Decided::Next.same(&Decided::Next));
        assert!(!Decided::Respond(reply("/a")).same(&Decided::Respond(reply("/b"))));
        assert!(vouched(&["a"]).same(&vouched(&["a"])) && !vouched(&["a"]).same(&vouched(&[])));
        assert!(!Answered::Abstain.same(&Answered::Rejected("".into())));
    }

    #[test]
    fn large_decisions_count_as_large() {
        let large = forward(|forward| drop(forward.set_headers.insert("x", "y".repeat(10_000).parse().unwrap())));
        assert!(large.bytes() > 10_000 && forward(|_| {}).bytes() < 1_000);
    }
}
