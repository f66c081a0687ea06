//! Answers what a plugin asks about one request: the same code for the guest's calls and for the search for a learned decision.
//!
//! All of it is from memory, and what is asked often allocates nothing.

use std::fmt::Display;
use std::io::Write as _;

use lectern_domain::{BundleId, Principal, PrincipalVia, UserRole};

use crate::backend::{Backend, Secret};
use crate::head::Head;
use crate::learn::{Ask, Encoder, Kept, Part, Question, Take};
use crate::state::Effects;
use crate::visitor::{TargetView, Visitor};

/// Bytes of a text that is written without allocating: addresses, numbers, GUIDs and targets are shorter.
const SHORT_BYTES: usize = 64;

/// One request as one plugin may ask about it.
#[derive(Clone, Copy)]
pub(crate) struct Evaluator<'a> {
    pub(crate) plugin: &'a str,
    /// `None`: a check, which has no request.
    pub(crate) head: Option<&'a Head>,
    pub(crate) visitor: Option<&'a Visitor>,
    pub(crate) target: Option<&'a TargetView>,
    pub(crate) backend: &'a Backend,
    pub(crate) effects: Effects,
}

impl Ask for Evaluator<'_> {
    fn ask(&mut self, question: &Question, into: &mut Encoder<'_>) {
        match question {
            Question::VisitorPresent
            | Question::VisitorSubject
            | Question::InGroup(_)
            | Question::Claim(_)
            | Question::TargetName
            | Question::TargetContent
            | Question::ActiveBundle
            | Question::HasBundle(_) => self.ask_of_visit(question, into),
            Question::FindKey(digest) => someone(into, self.backend.directory.find_key_by_digest(digest), &[]),
            Question::FindUser(name) => someone(into, self.backend.directory.find_user(name), &[]),
            Question::KeySet(name) => {
                into.maybe_number(self.backend.key_sets.version(name, self.backend.clock.unix_millis()));
            }
            Question::Secret(name) => match self.backend.secrets.secret(self.plugin, name) {
                Some(secret) => into.bytes(&mark(&secret)),
                None => into.none(),
            },
            // An effect; see below.
            Question::Take(_) => into.none(),
            question => match self.head {
                Some(head) => self.ask_of_head(head, question, into),
                None => into.none(),
            },
        }
    }

    fn take(&mut self, take: &Take) -> Option<u32> {
        let now_ms = self.backend.clock.unix_millis();
        let from = |plugin: &str| self.backend.buckets.take(plugin, &take.bucket, take.per_minute, take.burst, now_ms);
        match self.effects {
            Effects::Real => from(self.plugin),
            // A shadow takes from buckets of its own.
            Effects::Off => from(&format!("{} (shadow)", self.plugin)),
        }
    }
}

impl Evaluator<'_> {
    fn ask_of_head(&self, head: &Head, question: &Question, into: &mut Encoder<'_>) {
        match question {
            Question::Method => into.text(head.method.as_str()),
            Question::Scheme => into.text(head.scheme.as_str()),
            Question::Authority => into.text(head.authority()),
            Question::Host => into.text(&head.host()),
            Question::ClientIp => shown(into, head.client_ip),
            Question::PeerIp => shown(into, head.peer_ip),
            Question::Path => into.text(head.path.decoded()),
            Question::PathPrefix(segments) => {
                into.text(head.path.prefix(usize::try_from(*segments).unwrap_or(usize::MAX)));
            }
            Question::PathHasPrefix(prefix) => into.flag(head.path.decoded().starts_with(&**prefix)),
            Question::Query => into.maybe_text(head.query.as_deref()),
            Question::QueryParam(name) => into.maybe_text(head.query_param(name).as_deref()),
            Question::Header(name) => {
                into.open();
                head.guest_header(name).for_each(|value| into.bytes(&value));
                into.close();
            }
            Question::Cookie(name) => into.maybe_text(head.guest_cookie(name)),
            Question::Headers => {
                into.open();
                for (name, value) in head.guest_headers() {
                    into.text(name);
                    into.bytes(&value);
                }
                into.close();
            }
            Question::ClientCertificate => match &head.certificate {
                Some(certificate) => {
                    into.open();
                    into.text(&certificate.sha256);
                    into.text(&certificate.subject);
                    certificate.dns_names.iter().for_each(|name| into.text(name));
                    into.close();
                }
                None => into.none(),
            },
            Question::Vanity => match self.backend.directory.find_vanity(head.path.decoded()) {
                Some((guid, segments)) => {
                    into.open();
                    shown(into, guid);
                    into.text(head.path.prefix(segments));
                    into.number(segments as u64);
                    into.close();
                }
                None => into.none(),
            },
            Question::Session => {
                let session = head.session_token().and_then(|token| self.backend.directory.find_session(token));
                match session {
                    Some((principal, groups)) => someone(into, Some(principal), &groups),
                    None => into.none(),
                }
            }
            _ => into.none(),
        }
    }

    fn ask_of_visit(&self, question: &Question, into: &mut Encoder<'_>) {
        let content = self.target.and_then(|view| view.content.as_deref());
        match question {
            Question::VisitorPresent => into.flag(self.visitor.is_some()),
            Question::VisitorSubject => into.maybe_text(self.visitor.map(|visitor| visitor.subject.as_str())),
            Question::InGroup(name) => {
                into.flag(self.visitor.is_some_and(|visitor| visitor.groups.iter().any(|group| **group == **name)));
            }
            Question::Claim(name) => {
                let claims = self.visitor.into_iter().flat_map(|visitor| &visitor.claims);
                into.maybe_text(claims.into_iter().find(|(claim, _)| **claim == **name).map(|(_, value)| &**value));
            }
            Question::TargetName => match self.target {
                Some(view) => shown(into, view.target),
                None => into.none(),
            },
            Question::TargetContent => match content {
                Some(content) => shown(into, content.guid),
                None => into.none(),
            },
            Question::ActiveBundle => match content.and_then(|content| content.active) {
                Some(active) => shown(into, active),
                None => into.none(),
            },
            Question::HasBundle(number) => {
                let has = |id: &BundleId| content.is_some_and(|content| content.bundles.contains_key(id));
                into.flag(number.parse::<BundleId>().is_ok_and(|id| has(&id)));
            }
            _ => into.none(),
        }
    }
}

/// Stands for the bytes of a secret.
pub(crate) fn mark(secret: &Secret) -> [u8; 32] {
    *blake3::hash(secret.reveal()).as_bytes()
}

fn shown(into: &mut Encoder<'_>, value: impl Display) {
    let mut buffer = [0; SHORT_BYTES];
    let mut rest = &mut buffer[..];
    let fits = write!(rest, "{value}").is_ok();
    let written = SHORT_BYTES - rest.len();
    match std::str::from_utf8(&buffer[..written]) {
        Ok(text) if fits => into.text(text),
        _ => into.text(&value.to_string()),
    }
}

/// Writes all of a principal: whatever of an account or a key changes is another answer.
fn someone(into: &mut Encoder<'_>, principal: Option<Principal>, groups: &[String]) {
    let Some(principal) = principal else { return into.none() };
    into.open();
    shown(into, principal.guid);
    into.text(&principal.username);
    into.text(principal.role.as_str());
    into.number(principal.user.0.cast_unsigned());
    match principal.via {
        PrincipalVia::Key(id) => into.number(id.0.cast_unsigned()),
        PrincipalVia::Content(content) => {
            into.open();
            shown(into, content);
            into.close();
        }
        // The API alone judges signatures: no plugin is asked about one.
        PrincipalVia::Session | PrincipalVia::Signature => into.none(),
    }
    groups.iter().for_each(|group| into.text(group));
    into.close();
}

/// Reads what [`someone`] wrote.
pub(crate) fn read_someone(answer: Kept) -> Option<(Principal, Vec<String>)> {
    let mut parts = answer.into_parts().into_iter();
    let Some(Part::Open) = parts.next() else { return None };
    let (Part::Text(guid), Part::Text(username), Part::Text(role), Part::Number(user)) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?)
    else {
        return None;
    };
    let via = match parts.next()? {
        Part::Number(id) => PrincipalVia::Key(lectern_domain::KeyId(id.cast_signed())),
        Part::Open => {
            let (Part::Text(content), Part::Close) = (parts.next()?, parts.next()?) else { return None };
            PrincipalVia::Content(content.parse().ok()?)
        }
        _ => PrincipalVia::Session,
    };
    let groups = parts.filter_map(|part| if let Part::Text(group) = part { Some(group) } else { None }).collect();
    let user = lectern_domain::UserId(user.cast_signed());
    let principal = Principal { user, guid: guid.parse().ok()?, username, role: UserRole::parse(&role)?, via };
    Some((principal, groups))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::IpAddr;
    use std::sync::Arc;

    use async_trait::async_trait;
    use lectern_domain::{ContentGuid, KeyId, UserId};

    use super::*;
    use crate::directory::{Directory, PasswordRefusal};
    use crate::head::tests::head;
    use crate::learn::Recorder;

    /// One account, with one key.
    pub(crate) struct Alone(pub(crate) Principal);

    pub(crate) fn ada() -> Principal {
        Principal {
            user: UserId(-3),
            guid: "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162".parse().unwrap(),
            username: "ada".into(),
            role: UserRole::Publisher,
            via: PrincipalVia::Key(KeyId(7)),
        }
    }

    #[async_trait]
    impl Directory for Alone {
        fn find_vanity(&self, _: &str) -> Option<(ContentGuid, usize)> {
            None
        }
        fn key_digest(&self, key: &str) -> [u8; 32] {
            *blake3::hash(key.as_bytes()).as_bytes()
        }
        fn find_key_by_digest(&self, digest: &[u8; 32]) -> Option<Principal> {
            (*digest == self.key_digest("k")).then(|| self.0.clone())
        }
        fn find_user(&self, name: &str) -> Option<Principal> {
            (name == self.0.username).then(|| Principal { via: PrincipalVia::Session, ..self.0.clone() })
        }
        fn find_session(&self, _: &str) -> Option<(Principal, Arc<[String]>)> {
            Some((self.0.clone(), Arc::from(["g".to_owned(), String::new()])))
        }
        async fn check_password(&self, _: IpAddr, _: &str, _: &str) -> Result<Principal, PasswordRefusal> {
            Err(PasswordRefusal::Wrong)
        }
    }

    #[test]
    fn who_somebody_is_survives_the_way_to_the_guest() {
        let backend = Backend::with_directory(Arc::new(Alone(ada())));
        let head = head("/", &[("cookie", "lectern=t")]);
        let mut evaluator = Evaluator {
            plugin: "p",
            head: Some(&head),
            visitor: None,
            target: None,
            backend: &backend,
            effects: Effects::Real,
        };
        let mut ask = |question| read_someone(Recorder::idle().ask(question, &mut evaluator));
        let key = |key: &str| Question::FindKey(Box::new(backend.directory.key_digest(key)));
        assert_eq!(ask(key("k")), Some((ada(), Vec::new())));
        assert_eq!(ask(key("other")), None);
        let by_name = Principal { via: PrincipalVia::Session, ..ada() };
        assert_eq!(ask(Question::FindUser("ada".into())), Some((by_name, Vec::new())));
        assert_eq!(ask(Question::Session), Some((ada(), vec!["g".to_owned(), String::new()])));
        let content = PrincipalVia::Content("7d1b9e0c-52c1-4a52-8a1e-0c3a4b5d6e7f".parse().unwrap());
        let process = Principal { via: content, ..ada() };
        let other = Backend::with_directory(Arc::new(Alone(process.clone())));
        let mut of_process = Evaluator { backend: &other, ..evaluator };
        let found = read_someone(Recorder::idle().ask(Question::Session, &mut of_process));
        assert_eq!(found, Some((process, vec!["g".to_owned(), String::new()])));
    }

    #[test]
    fn texts_of_any_length_are_whole() {
        struct Shown(usize);
        impl Display for Shown {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                (0..self.0).try_for_each(|_| f.write_str("ä"))
            }
        }
        struct Answering(usize);
        impl Ask for Answering {
            fn ask(&mut self, _: &Question, into: &mut Encoder<'_>) {
                shown(into, Shown(self.0));
            }
            fn take(&mut self, _: &Take) -> Option<u32> {
                None
            }
        }
        for length in [0, 1, 31, 32, 33, 1_000] {
            let text = Recorder::idle().ask(Question::Method, &mut Answering(length)).text();
            assert_eq!(text, "ä".repeat(length));
        }
    }
}
