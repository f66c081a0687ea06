//! Lets one machine in: it sends a token that the host keeps as a secret.

use lectern_plugin::{Authenticator, Failure, Host, Outcome, export_authenticator};
use serde::Deserialize;

/// The secret's name. `plugin.toml` asks for it.
const TOKEN: &str = "token";

/// What the operator sets. It has passed `config.schema.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The account that the machine acts as.
    user: String,
    /// Where the token comes.
    #[serde(default = "usual_header")]
    header: String,
}

fn usual_header() -> String {
    "x-machine-token".to_owned()
}

/// The plugin.
#[derive(Debug)]
pub struct Plugin;

export_authenticator!(Plugin);

impl Authenticator for Plugin {
    /// Called once when a configuration is loaded: what the schema cannot say is refused here.
    fn check(host: &impl Host) -> Result<(), Failure> {
        host.settings::<Settings>().map(drop)
    }

    fn authenticate(host: &impl Host) -> Result<Outcome, Failure> {
        let settings: Settings = host.settings()?;
        let sent = host.header(&settings.header);
        // No token: another plugin may know this visitor.
        let Some(token) = sent.first() else { return Ok(Outcome::Abstain) };
        // The host compares; the plugin never sees the secret.
        match host.secret_matches(TOKEN, token) {
            None => Err(Failure::Misconfigured(format!("the secret {TOKEN} is not set"))),
            Some(false) => Ok(Outcome::Rejected("a wrong token".to_owned())),
            Some(true) => Ok(match host.find_user(&settings.user) {
                Some(identity) => Outcome::Authenticated(identity),
                None => Outcome::Rejected(format!("nobody is called {}, or the account is locked", settings.user)),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lectern_plugin::{Identity, Mock};

    fn request() -> Mock {
        Mock::get("/")
            .document(r#"{"user": "robot"}"#)
            .user("robot", Identity::new("7d6f0f0a-52c2-4d7c-8f57-0a3f3a4f9f11"))
            .secret(TOKEN, b"not a real token")
    }

    #[test]
    fn the_token_decides() {
        let right = request().header("x-machine-token", "not a real token");
        assert!(matches!(Plugin::authenticate(&right), Ok(Outcome::Authenticated(_))));
        let wrong = request().header("x-machine-token", "guessed");
        assert!(matches!(Plugin::authenticate(&wrong), Ok(Outcome::Rejected(_))));
        assert!(matches!(Plugin::authenticate(&request()), Ok(Outcome::Abstain)));
    }

    #[test]
    fn a_secret_that_is_not_set_is_told() {
        let host = Mock::get("/").document(r#"{"user": "robot"}"#).header("x-machine-token", "x");
        assert!(matches!(Plugin::authenticate(&host), Err(Failure::Misconfigured(_))));
    }
}
