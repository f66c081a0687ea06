//! Templates of integrations: which fields a configuration has, which of them are secret, and what each may hold.
//!
//! One table describes the templates to clients and judges configurations, so the two cannot differ.

use serde_json::{Map, Value};

use super::AuthType;
use crate::user::UserRole;

/// Longest value of a field, in characters: addresses and secrets of providers are far shorter.
pub const MOST_CHARS: usize = 4096;

/// The template of this server's own API: visitors' keys.
pub const CONNECT: &str = "connect";

/// The template of any OAuth 2 provider.
pub const CUSTOM: &str = "custom";

/// A kind of integration.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    /// What integrations name it by.
    pub id: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// All fields of a configuration, in the order of a form.
    pub fields: &'static [Field],
}

/// A field of a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Its key in the configuration.
    pub name: &'static str,
    /// Its name for people.
    pub label: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What it may hold.
    pub holds: Holds,
    /// It is given back to nobody.
    pub secret: bool,
    /// Where it is asked for.
    pub when: When,
    /// It must be there where it is asked for, and has no default.
    pub required: bool,
}

/// What a field may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// One of these words; the first when nothing is said.
    OneOf(&'static [&'static str]),
    /// Text without control characters.
    Text,
    /// An absolute `http` or `https` address.
    Url,
}

/// Where a field is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Where another field holds this word.
    Is(&'static str, &'static str),
    /// Everywhere but where another field holds this word.
    IsNot(&'static str, &'static str),
}

const MAX_ROLES: &[&str] = &["Viewer", "Publisher", "Administrator"];

/// All templates.
pub const TEMPLATES: &[Template] = &[
    Template {
        id: CONNECT,
        name: "Connect API",
        description: "Lets content call this server's own API in the name of its visitors, by keys that end within the hour",
        fields: &[Field {
            name: "max_role",
            label: "Max role",
            description: "The most that a key gives, however much its visitor may do",
            holds: Holds::OneOf(MAX_ROLES),
            secret: false,
            when: When::Always,
            required: false,
        }],
    },
    Template {
        id: CUSTOM,
        name: "Custom",
        description: "Any provider of OAuth 2.0: visitors sign in to it, or content has an account of its own there",
        fields: &[
            Field {
                name: "auth_type",
                label: "Authentication type",
                description: "Whether visitors sign in (Viewer) or the content has an account (Service Account)",
                holds: Holds::OneOf(&["Viewer", "Service Account"]),
                secret: false,
                when: When::Always,
                required: false,
            },
            Field {
                name: "auth_mode",
                label: "Client type",
                description: "Whether the provider gave this server a secret (Confidential) or not (Public)",
                holds: Holds::OneOf(&["Confidential", "Public"]),
                secret: false,
                when: When::IsNot("auth_type", "Service Account"),
                required: false,
            },
            Field {
                name: "client_id",
                label: "Client ID",
                description: "What the provider calls this server",
                holds: Holds::Text,
                secret: false,
                when: When::Always,
                required: true,
            },
            Field {
                name: "client_secret",
                label: "Client secret",
                description: "What proves to the provider that it is this server; it is never shown again",
                holds: Holds::Text,
                secret: true,
                when: When::IsNot("auth_mode", "Public"),
                required: true,
            },
            Field {
                name: "authorization_uri",
                label: "Authorization URI",
                description: "Where visitors sign in: the provider's authorization endpoint",
                holds: Holds::Url,
                secret: false,
                when: When::IsNot("auth_type", "Service Account"),
                required: true,
            },
            Field {
                name: "token_uri",
                label: "Token URI",
                description: "Where tokens are issued: the provider's token endpoint",
                holds: Holds::Url,
                secret: false,
                when: When::Always,
                required: true,
            },
            Field {
                name: "token_endpoint_auth_method",
                label: "Token endpoint authentication",
                description: "How the client secret is sent: as Basic authentication, or in the form",
                holds: Holds::OneOf(&["client_secret_basic", "client_secret_post"]),
                secret: false,
                when: When::IsNot("auth_mode", "Public"),
                required: false,
            },
            Field {
                name: "scopes",
                label: "Scopes",
                description: "What is asked for, in the provider's words, separated by spaces",
                holds: Holds::Text,
                secret: false,
                when: When::Always,
                required: false,
            },
        ],
    },
];

/// The template of this id.
pub fn find(id: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.id == id)
}

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    /// There is no such template.
    #[error("there is no template {0:?}; there are {known}. The template custom is for any OAuth 2.0 provider", known = ids())]
    Template(String),
    /// The template has no such field.
    #[error("the template {template} has no field {field:?}; it has {known}", known = names(.template))]
    Unknown {
        /// Which template.
        template: &'static str,
        /// The field given, cut.
        field: String,
    },
    /// A field is missing.
    #[error("config.{0} is missing")]
    Missing(&'static str),
    /// A field that holds something else than text.
    #[error("config.{0} must be text")]
    NotText(&'static str),
    /// A field that holds another word.
    #[error("config.{field} must be one of {allowed}", allowed = .words.join(", "))]
    Word {
        /// Which field.
        field: &'static str,
        /// What it may hold.
        words: &'static [&'static str],
    },
    /// A field that is too long, or has characters that nothing would take.
    #[error("config.{0} must be at most {MOST_CHARS} characters long, without control characters")]
    Text(&'static str),
    /// A field that is no address.
    #[error("config.{0} must be an address as https://provider.example/path, without user name and without fragment")]
    Url(&'static str),
}

fn ids() -> String {
    TEMPLATES.iter().map(|template| template.id).collect::<Vec<_>>().join(", ")
}

fn names(template: &str) -> String {
    let fields = find(template).map_or(&[][..], |template| template.fields);
    fields.iter().map(|field| field.name).collect::<Vec<_>>().join(", ")
}

/// A configuration that fits its template.
#[derive(Clone, PartialEq, Eq)]
pub struct Checked {
    /// How the integration comes to credentials.
    pub auth_type: AuthType,
    /// What may be shown.
    pub public: Map<String, Value>,
    /// What may not.
    pub secret: Map<String, Value>,
}

/// Judges a configuration as it was given. Fields that are null or empty are as if they were absent, and those that are not asked for
/// are dropped; words are taken in any letter case and kept as the table writes them.
pub fn check(template: &str, given: &Map<String, Value>) -> Result<Checked, BadConfig> {
    let cut = |text: &str| text.chars().take(80).collect();
    let template = find(template).ok_or_else(|| BadConfig::Template(cut(template)))?;
    if let Some(field) = given.keys().find(|key| template.fields.iter().all(|field| field.name != key.as_str())) {
        return Err(BadConfig::Unknown { template: template.id, field: cut(field) });
    }
    let (mut public, mut secret) = (Map::new(), Map::new());
    for field in template.fields {
        let value = read(field, given.get(field.name))?;
        if !asked_for(template, field, &public) {
            continue;
        }
        match value {
            Some(value) if field.secret => secret.insert(field.name.to_owned(), Value::String(value)),
            Some(value) => public.insert(field.name.to_owned(), Value::String(value)),
            None if field.required => return Err(BadConfig::Missing(field.name)),
            None => None,
        };
    }
    let auth_type = match template.id {
        CONNECT => AuthType::VisitorApiKey,
        _ if value_of(template, "auth_type", &public) == Some("Service Account") => AuthType::ServiceAccount,
        _ => AuthType::Viewer,
    };
    Ok(Checked { auth_type, public, secret })
}

/// What a field holds in a configuration that was checked, or its default.
pub fn value_of<'a>(template: &Template, name: &str, public: &'a Map<String, Value>) -> Option<&'a str> {
    if let Some(value) = public.get(name).and_then(Value::as_str) {
        return Some(value);
    }
    template.fields.iter().find(|field| field.name == name).and_then(|field| match field.holds {
        Holds::OneOf(words) => words.first().copied(),
        Holds::Text | Holds::Url => None,
    })
}

/// Whether a field is asked for; those it hangs on stand before it.
fn asked_for(template: &Template, field: &Field, public: &Map<String, Value>) -> bool {
    match field.when {
        When::Always => true,
        When::Is(other, word) => value_of(template, other, public) == Some(word),
        When::IsNot(other, word) => value_of(template, other, public) != Some(word),
    }
}

fn read(field: &'static Field, given: Option<&Value>) -> Result<Option<String>, BadConfig> {
    let text = match given {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim(),
        Some(_) => return Err(BadConfig::NotText(field.name)),
    };
    if text.is_empty() {
        return Ok(None);
    }
    if text.chars().count() > MOST_CHARS || text.chars().any(char::is_control) {
        return Err(BadConfig::Text(field.name));
    }
    match field.holds {
        Holds::Text => Ok(Some(text.to_owned())),
        Holds::Url if is_address(text) => Ok(Some(text.to_owned())),
        Holds::Url => Err(BadConfig::Url(field.name)),
        Holds::OneOf(words) => {
            // Published examples write the short form.
            let text =
                if field.name == "max_role" && text.eq_ignore_ascii_case("admin") { "Administrator" } else { text };
            let word = words.iter().find(|word| word.eq_ignore_ascii_case(text));
            word.map(|word| Some((*word).to_owned())).ok_or(BadConfig::Word { field: field.name, words })
        }
    }
}

/// A first look at an address; who sends something there parses it and judges where it leads.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte);
        !host.is_empty() && !host.starts_with(':') && !host.contains('@') && rest.bytes().all(plain)
    })
}

/// The most that visitors' keys of a checked configuration give.
pub fn max_role(public: &Map<String, Value>) -> UserRole {
    match public.get("max_role").and_then(Value::as_str) {
        Some("Administrator") => UserRole::Administrator,
        Some("Publisher") => UserRole::Publisher,
        Some(_) | None => UserRole::Viewer,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn confidential() -> Value {
        json!({
            "auth_mode": "Confidential", "authorization_uri": "https://p.example/authorize", "client_id": "id",
            "client_secret": "hunter2", "scopes": "a b", "token_endpoint_auth_method": "client_secret_post",
            "token_uri": "https://p.example/token?x=1",
        })
    }

    #[test]
    fn what_is_secret_is_kept_apart() {
        let checked = check("custom", &object(confidential())).unwrap();
        assert_eq!(checked.auth_type, AuthType::Viewer);
        assert_eq!(checked.secret, object(json!({"client_secret": "hunter2"})));
        let mut shown = confidential();
        shown.as_object_mut().unwrap().remove("client_secret");
        assert_eq!(checked.public, object(shown));
    }

    #[test]
    fn what_is_asked_for_depends_on_the_rest() {
        let with = |changes: Value| {
            let mut config = object(confidential());
            config.extend(object(changes));
            check("custom", &config)
        };
        let public = with(json!({"auth_mode": "public"})).unwrap();
        assert_eq!((public.secret.len(), public.public["auth_mode"].as_str()), (0, Some("Public")));
        assert!(!public.public.contains_key("token_endpoint_auth_method"), "there is nothing to send");
        let service = with(json!({"auth_type": "Service Account", "authorization_uri": null})).unwrap();
        assert_eq!(service.auth_type, AuthType::ServiceAccount);
        let cases = [
            (json!({"auth_type": "Service Account", "client_secret": ""}), BadConfig::Missing("client_secret")),
            (json!({"client_secret": null}), BadConfig::Missing("client_secret")),
            (json!({"authorization_uri": " "}), BadConfig::Missing("authorization_uri")),
            (json!({"client_id": 7}), BadConfig::NotText("client_id")),
            (json!({"scopes": "a\nb"}), BadConfig::Text("scopes")),
            (json!({"scopes": "x".repeat(MOST_CHARS + 1)}), BadConfig::Text("scopes")),
            (json!({"auth_mode": "x"}), BadConfig::Word { field: "auth_mode", words: &["Confidential", "Public"] }),
            (json!({"color": "x"}), BadConfig::Unknown { template: "custom", field: "color".into() }),
        ];
        for (changes, expected) in cases {
            assert_eq!(with(changes.clone()).err(), Some(expected), "{changes}");
        }
        let text = with(json!({"color": "x"})).err().unwrap().to_string();
        assert!(text.contains("auth_mode") && text.contains("custom"), "{text}");
        assert_eq!(check("nimbus", &Map::new()).err(), Some(BadConfig::Template("nimbus".into())));
    }

    #[test]
    fn addresses_lead_somewhere_and_carry_nobody() {
        for good in ["https://p.example", "http://127.0.0.1:8080/a?b=c", "https://[::1]/x", "https://p.example/%20"] {
            assert!(is_address(good), "{good}");
        }
        let bad = [
            "",
            "p.example/x",
            "ftp://p.example",
            "https://",
            "https:///x",
            "https://u@p.example",
            "https://p.example/#x",
        ];
        for bad in
            bad.into_iter().chain(["https://p.example/a b", "javascript:alert(1)", "https://:80/", "https://ü.example"])
        {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn keys_give_at_most_what_was_said() {
        let cases = [
            (json!({}), UserRole::Viewer),
            (json!({"max_role": "viewer"}), UserRole::Viewer),
            (json!({"max_role": "Publisher"}), UserRole::Publisher),
            (json!({"max_role": "Admin"}), UserRole::Administrator),
            (json!({"max_role": "administrator"}), UserRole::Administrator),
        ];
        for (config, role) in cases {
            let checked = check("connect", &object(config)).unwrap();
            assert_eq!((checked.auth_type, max_role(&checked.public)), (AuthType::VisitorApiKey, role));
        }
        assert!(check("connect", &object(json!({"max_role": "owner"}))).is_err());
    }

    #[test]
    fn the_table_is_in_order() {
        for template in TEMPLATES {
            for (at, field) in template.fields.iter().enumerate() {
                let before = &template.fields[..at];
                assert!(before.iter().all(|other| other.name != field.name), "{} twice", field.name);
                let (When::Is(other, word) | When::IsNot(other, word)) = field.when else { continue };
                let other = before.iter().find(|before| before.name == other).unwrap();
                assert!(matches!(other.holds, Holds::OneOf(words) if words.contains(&word)), "{}", field.name);
            }
        }
    }

    proptest! {
        /// What was checked once is good: a change of one field begins with what is there.
        #[test]
        fn checking_again_changes_nothing(mode in "(Public|Confidential)?", kind in "(Viewer|Service Account)?", id in "[a-z]{1,9}") {
            let mut config = object(confidential());
            config.extend(object(json!({"auth_mode": mode, "auth_type": kind, "client_id": id})));
            let once = check("custom", &config).unwrap();
            let mut all = once.public.clone();
            all.extend(once.secret.clone());
            prop_assert!(check("custom", &all).unwrap() == once);
        }
    }
}
