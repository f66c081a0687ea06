//! Where people sign in and out: links of the dashboard and of the API lead to the plugin that is bound for it, whatever its name.
//!
//! It is the first in the phase authenticate that has pages. `/` of these, with `next` for the way back, begins a sign-in, and
//! `sign-out` ends the session.

use std::sync::Arc;

use lectern_domain::plugin::{Binding, GateState, Hook, Matcher, Phase};

use super::manage::Plugins;

/// The page that the dashboard is at, for bindings that concern some paths only.
const DASHBOARD: &str = "/connect/";

/// The plugin that signs people in with passwords kept here.
const PASSWORDS: &str = "password-login";

/// Finds the pages for signing in and out, as the gate is at the time.
#[derive(Clone)]
pub(crate) struct SignIn(Arc<Plugins>);

impl SignIn {
    /// Of these plugins.
    pub(crate) fn of(plugins: Arc<Plugins>) -> Self {
        Self(plugins)
    }

    /// Where the pages stand, below the server's address and with a slash at the end. `host` is the name that the visitor knows
    /// the server by, without port, where it is known. `None`: nothing that is bound has any.
    pub(crate) fn pages(&self, host: Option<&str>) -> Option<String> {
        let state = self.0.state();
        let with_pages: Vec<(&str, &Matcher)> = state
            .bindings
            .iter()
            .filter(|binding| {
                let settings = &binding.spec.settings;
                settings.enabled && settings.phases.contains(&Phase::Authenticate) && has_pages(&state, binding)
            })
            .map(|binding| (binding.spec.name.as_str(), &binding.spec.settings.matcher))
            .collect();
        chosen(&with_pages, host).map(|name| format!("/__plugin__/{name}/"))
    }
}

/// Whether the manifest names pages; what a component exports says nothing, as the SDK exports pages that are not there.
fn has_pages(state: &GateState, binding: &Binding) -> bool {
    let package = state.releases.get(&binding.releases.live).and_then(|live| state.packages.get(&live.spec.package));
    let manifest = package.map(|package| package.manifest.to_object()).unwrap_or_default();
    let hooks = manifest.get("plugin").and_then(|plugin| plugin["hooks"].as_array());
    hooks.is_some_and(|hooks| hooks.iter().any(|hook| hook == Hook::Pages.as_str()))
}

impl lectern_api::Logout for SignIn {
    fn path(&self) -> String {
        // Without a plugin that knows sessions there is none to end.
        self.pages(None).map_or_else(|| DASHBOARD.to_owned(), |pages| format!("{pages}sign-out"))
    }

    fn takes_passwords(&self) -> bool {
        self.0.state().bindings.iter().any(|binding| {
            let settings = &binding.spec.settings;
            settings.enabled
                && settings.phases.contains(&Phase::Authenticate)
                && binding.spec.plugin.as_str() == PASSWORDS
        })
    }
}

/// The first binding that concerns the dashboard on this host; else, and where the host is not known, the first of all.
fn chosen<'a>(bindings: &[(&'a str, &Matcher)], host: Option<&str>) -> Option<&'a str> {
    let concerned = bindings.iter().find(|(_, matcher)| match host {
        Some(host) => matcher.matches(host, DASHBOARD, None),
        None => matcher.is_everything(),
    });
    concerned.or(bindings.first()).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_concerns_the_dashboard_signs_in() {
        let everything = Matcher::default();
        let staff = Matcher { hosts: ["staff.example".to_owned()].into(), ..Matcher::default() };
        let both = [("oidc-login", &staff), ("password-login", &everything)];
        for (bindings, host, found) in [
            (&both[..], Some("staff.example"), Some("oidc-login")),
            (&both[..], Some("apps.example"), Some("password-login")),
            (&both[..], None, Some("password-login")),
            (&both[..1], Some("apps.example"), Some("oidc-login")),
            (&[("sso", &everything), ("password-login", &everything)], None, Some("sso")),
            (&[], None, None),
        ] {
            assert_eq!(chosen(bindings, host), found, "{host:?}");
        }
    }
}
