//! What a plugin may reach in a case: all that its manifest asks for, with `*` meaning what the case itself speaks of.

use lectern_domain::UserRole;
use lectern_domain::plugin::{Grant, Grants, Origin};
use lectern_packages::cases::{Case, Expectation};

/// A name that no server has (RFC 2606 §2): it opens the interface where a case speaks of no origin.
const NOWHERE: &str = "https://nowhere.invalid";
/// The same for secrets.
const NO_SECRET: &str = "none";

/// Concrete grants for what is asked. A gate takes no `*`: an operator names what is meant, and here the case does.
pub(crate) fn concrete(asked: &Grants, case: Option<&Case>, config: &serde_json::Value) -> Grants {
    let mut origins: Vec<Origin> = Origin::parse(NOWHERE).into_iter().collect();
    let mut secrets = vec![NO_SECRET.to_owned()];
    for text in texts(case, config) {
        origins.extend(origins_in(&text));
    }
    if let Some(case) = case {
        secrets.extend(case.world.secrets.keys().cloned());
    }
    let give = |grant: &Grant| -> Vec<Grant> {
        match grant {
            Grant::Origin(kind, None) => {
                origins.iter().map(|origin| Grant::Origin(*kind, Some(origin.clone()))).collect()
            }
            Grant::Secret(kind, None) => secrets.iter().map(|name| Grant::Secret(*kind, Some(name.clone()))).collect(),
            Grant::Accounts(None) => vec![Grant::Accounts(Some(UserRole::Administrator))],
            named => vec![named.clone()],
        }
    };
    asked.iter().flat_map(give).collect()
}

/// Everything in which a case can speak of another server.
fn texts(case: Option<&Case>, config: &serde_json::Value) -> Vec<String> {
    let mut texts = vec![config.to_string()];
    let Some(case) = case else { return texts };
    let world = &case.world;
    texts.extend(world.jwks.keys().cloned());
    texts.extend(world.key_values.values().cloned());
    for fetch in &world.fetches {
        texts.push(fetch.url.clone());
        texts.extend(fetch.answer.iter().map(|answer| String::from_utf8_lossy(&answer.body).into_owned()));
    }
    texts.extend(case.expect.outbound.iter().flatten().cloned());
    let reply = match &case.expect.answer {
        Expectation::Respond(reply) | Expectation::Challenge(reply) | Expectation::SignedOut(reply) => Some(reply),
        Expectation::SignedIn(_, reply) => Some(reply),
        _ => None,
    };
    texts.extend(reply.into_iter().flat_map(|reply| reply.headers.iter().map(|(_, value)| value.clone())));
    texts
}

/// The origins of the addresses in a text.
fn origins_in(text: &str) -> Vec<Origin> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>\\,;()[]{}|".contains(c);
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let before = &text[..at];
        let Some(scheme) = ["https", "http"].into_iter().find(|scheme| before.ends_with(scheme)) else { continue };
        let rest = &text[at + 3..];
        // An IPv6 address has brackets of its own.
        let from = if rest.starts_with('[') { rest.find(']').unwrap_or(0) } else { 0 };
        let end = rest[from..].find(|c| c != ']' && ends(c)).map_or(rest.len(), |end| from + end);
        found.extend(Origin::of_url(&format!("{scheme}://{}", &rest[..end])));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn grants(texts: &[&str]) -> Grants {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_star_is_what_the_case_speaks_of() {
        let asked = grants(&["clock", "outbound:*", "redirect:*", "secret:*", "accounts:*", "secret-value:mine"]);
        let case = "[[case]]\nname = \"n\"\nhook = \"page\"\n\
                    world.secrets = { one = \"1\" }\n\
                    world.key_values = { k = '{\"a\":\"http://10.0.0.1:8080/x\"}' }\n\
                    expect = { decision = \"respond\", headers = { location = \"https://b.example/in?next=https://c.example\" } }";
        let case = lectern_packages::cases::read_cases("x.toml", case).unwrap().remove(0);
        let given = concrete(&asked, Some(&case), &json!({"issuer": "https://idp.example/realm"}));
        let expected = grants(&[
            "clock",
            "accounts:administrator",
            "secret-value:mine",
            "secret:none",
            "secret:one",
            "outbound:https://nowhere.invalid",
            "outbound:https://idp.example",
            "outbound:http://10.0.0.1:8080",
            "outbound:https://b.example",
            "outbound:https://c.example",
            "redirect:https://nowhere.invalid",
            "redirect:https://idp.example",
            "redirect:http://10.0.0.1:8080",
            "redirect:https://b.example",
            "redirect:https://c.example",
        ]);
        assert_eq!(given, expected);
        assert_eq!(
            concrete(&grants(&["clock"]), Some(&case), &json!({})),
            grants(&["clock"]),
            "nothing that is not asked"
        );
    }

    #[test]
    fn addresses_are_found_in_texts() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("see https://a.example, or <http://b.example:81/x?y>", &["https://a.example", "http://b.example:81"]),
            (r#"{"u":"https://[2001:db8::1]:8443/x"}"#, &["https://[2001:db8::1]:8443"]),
            ("ftp://a.example://", &[]),
            ("https://", &[]),
        ];
        for (text, expected) in cases {
            let found: Vec<String> = origins_in(text).iter().map(ToString::to_string).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }
}
