//! API keys: `Authorization: Key <key>`, or `X-RSC-Authorization` with `Key <key>` or the bare key, where a proxy in front
//! keeps `Authorization` for itself. Access tokens that this server gave programs are keys too: `Authorization: Bearer <token>`.
//!
//! A key that is malformed or unknown is rejected, also where anonymous visitors may enter: a client that sends a key wants to be
//! somebody. Bearer tokens that are none of this server's, and other schemes, are left to other plugins and to the content. `X-Auth-Token: anonymous-access`, which R clients send
//! without a credential, is none.

use lectern_plugin::{Authenticator, Failure, Host, Outcome, export_authenticator};

/// Longest key looked up, in bytes. Keys have 32 characters; a longer text is none.
const MAX_KEY_BYTES: usize = 256;

/// What begins this server's access tokens. Content has bearer tokens of its own, which are nobody's business here.
const ACCESS_PREFIX: &[u8] = b"lectern_access_";

/// The plugin.
#[derive(Debug)]
pub struct ApiKey;

export_authenticator!(ApiKey);

impl Authenticator for ApiKey {
    fn authenticate(host: &impl Host) -> Result<Outcome, Failure> {
        let credential = match presented(&host.header("authorization"), false) {
            Presented::Nothing => presented(&host.header("x-rsc-authorization"), true),
            found => found,
        };
        Ok(match credential {
            Presented::Nothing => Outcome::Abstain,
            Presented::Malformed(reason) => Outcome::Rejected(reason.to_owned()),
            Presented::Key(key) => match host.find_key(&key) {
                Some(identity) => Outcome::Authenticated(identity),
                None => Outcome::Rejected("no such API key, or it is revoked or its user locked".to_owned()),
            },
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Presented {
    Nothing,
    Malformed(&'static str),
    Key(String),
}

/// Reads the values of one field. `bare`: a value without a scheme is a key.
fn presented(values: &[Vec<u8>], bare: bool) -> Presented {
    // Credentials of other schemes need not be text.
    let mut keys = values.iter().filter_map(|value| {
        let value = value.trim_ascii();
        let end = value.iter().position(|&byte| byte == b' ' || byte == b'\t').unwrap_or(value.len());
        let (scheme, rest) = value.split_at(end);
        let rest = rest.trim_ascii();
        // Other bearers are content's own.
        let is_ours = scheme.eq_ignore_ascii_case(b"bearer") && rest.starts_with(ACCESS_PREFIX);
        if is_ours || scheme.eq_ignore_ascii_case(b"key") {
            Some(rest)
        } else {
            (bare && rest.is_empty() && !scheme.is_empty()).then_some(scheme)
        }
    });
    match (keys.next(), keys.next()) {
        (None, _) => Presented::Nothing,
        (Some(_), Some(_)) => Presented::Malformed("more than one API key"),
        (Some(key), None) if key.len() > MAX_KEY_BYTES => Presented::Malformed("an API key that is too long"),
        (Some(key), None) if key.is_empty() || !key.iter().all(u8::is_ascii_graphic) => {
            Presented::Malformed("an API key that is empty or no visible ASCII text")
        }
        (Some(key), None) => Presented::Key(String::from_utf8_lossy(key).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lectern_plugin::{Identity, Mock};

    /// The outcome on one line, for a server on which the key `k1` is known.
    fn line(fields: &[(&str, &str)]) -> String {
        let mock = fields.iter().fold(
            Mock::get("/x").key("k1", Identity::new("ada")).key("lectern_access_1", Identity::new("bob")),
            |mock, (n, v)| mock.header(n, v),
        );
        match ApiKey::authenticate(&mock).unwrap() {
            Outcome::Abstain => "abstain".into(),
            Outcome::Authenticated(identity) => identity.subject,
            Outcome::Challenge(reply) => format!("challenge {}", reply.status),
            Outcome::Rejected(reason) => {
                assert!(!reason.contains("k2"), "a credential in the log: {reason}");
                "rejected".into()
            }
        }
    }

    #[test]
    fn every_kind_of_credential() {
        let long = format!("Key {}", "k".repeat(257));
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "abstain"),
            (&[("Authorization", "Key k1")], "ada"),
            (&[("authorization", "KEY   k1 ")], "ada"),
            (&[("authorization", "key\tk1")], "ada"),
            (&[("authorization", "Key k2")], "rejected"),
            (&[("authorization", "Key")], "rejected"),
            (&[("authorization", "Key ")], "rejected"),
            (&[("authorization", "Key k1 k1")], "rejected"),
            (&[("authorization", "Key k\u{e9}")], "rejected"),
            (&[("authorization", &long)], "rejected"),
            (&[("authorization", "Key k1"), ("authorization", "Key k1")], "rejected"),
            (&[("authorization", "Bearer k1")], "abstain"),
            (&[("authorization", "Bearer lectern_access_1")], "bob"),
            (&[("authorization", "bearer  lectern_access_1")], "bob"),
            (&[("authorization", "Bearer lectern_access_2")], "rejected"),
            (&[("authorization", "Bearer lectern_access_1 x")], "rejected"),
            (&[("authorization", "Bearer lectern_refresh_1")], "abstain"),
            (&[("authorization", "Bearer lectern_access_1"), ("authorization", "Key k1")], "rejected"),
            (&[("authorization", "Basic azE6")], "abstain"),
            (&[("authorization", "Connect-Bootstrap x.y.z")], "abstain"),
            (&[("authorization", "k1")], "abstain"),
            (&[("authorization", "Keys k1")], "abstain"),
            (&[("x-rsc-authorization", "Key k1")], "ada"),
            (&[("x-rsc-authorization", "k1")], "ada"),
            (&[("x-rsc-authorization", "k2")], "rejected"),
            (&[("x-rsc-authorization", "Bearer k1")], "abstain"),
            (&[("x-rsc-authorization", "")], "abstain"),
            (&[("authorization", "Snowflake Token=\"t\""), ("x-rsc-authorization", "k1")], "ada"),
            (&[("authorization", "Key k2"), ("x-rsc-authorization", "k1")], "rejected"),
            (&[("x-auth-token", "anonymous-access")], "abstain"),
        ];
        for (fields, expected) in cases {
            assert_eq!(line(fields), *expected, "{fields:?}");
        }
    }

    #[test]
    fn a_visitor_without_a_key_costs_two_questions() {
        let mock = Mock::get("/x");
        ApiKey::authenticate(&mock).unwrap();
        assert_eq!(mock.asked(), ["header authorization", "header x-rsc-authorization"]);
    }
}
