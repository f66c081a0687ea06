//! Gives each tenant a host name below one domain, and tells the tenant's content whose request it is.

use std::collections::BTreeMap;

use lectern_plugin::{Decision, Failure, Forward, Host, Level, Reply, Router, export_router};
use serde::Deserialize;

/// The field that tells content the tenant. Whatever a client sends in it is replaced.
const TENANT: &str = "x-tenant";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    domain: String,
    #[serde(default)]
    tenants: BTreeMap<String, String>,
}

/// The plugin.
#[derive(Debug)]
pub struct TenantRouter;

export_router!(TenantRouter);

impl Router for TenantRouter {
    fn check(host: &impl Host) -> Result<(), Failure> {
        let settings: Settings = host.settings()?;
        if settings.tenants.is_empty() {
            host.log(Level::Warn, "there are no tenants yet: every name answers 404", &[("domain", &settings.domain)]);
        }
        Ok(())
    }

    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let settings: Settings = host.settings()?;
        let name = host.host();
        let Some(tenant) = name.strip_suffix(&settings.domain).and_then(|before| before.strip_suffix('.')) else {
            return Ok(Decision::Next);
        };
        match settings.tenants.get(tenant) {
            Some(guid) => {
                let mut forward = Forward::to(&format!("content:{guid}"));
                forward.set_headers.push((TENANT.to_owned(), tenant.as_bytes().to_vec()));
                Ok(Decision::Forward(forward))
            }
            // Not `next`: the domain is this plugin's, and no other should answer for a tenant that left.
            None => Ok(Decision::Respond(Reply::text(404, "There is nothing at this address."))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lectern_plugin::Mock;

    const SETTINGS: &str =
        r#"{"domain": "apps.example.org", "tenants": {"acme": "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162"}}"#;

    fn route(host: &str) -> Decision {
        TenantRouter::route(&Mock::get("/x").header("host", host).document(SETTINGS)).unwrap()
    }

    #[test]
    fn each_tenant_has_a_name() {
        let Decision::Forward(forward) = route("ACME.apps.example.org:8443") else { panic!("not forwarded") };
        assert_eq!(forward.target, "content:0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162");
        assert_eq!(forward.set_headers, [("x-tenant".to_owned(), b"acme".to_vec())]);
    }

    #[test]
    fn names_that_only_look_alike_are_nobodys() {
        for host in ["apps.example.org", "evil-apps.example.org", "acme.apps.example.org.evil.example", "example.org"] {
            assert!(matches!(route(host), Decision::Next), "{host}");
        }
        for host in ["gone.apps.example.org", "a.acme.apps.example.org"] {
            assert!(matches!(route(host), Decision::Respond(reply) if reply.status == 404), "{host}");
        }
    }
}
