//! Where plugins apply.

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::release::ReleaseArgs;
use super::remote::{ChangeArgs, RemoteArgs};
use super::swap::{expected, told};

/// Where and how a binding applies.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct SettingsArgs {
    /// A phase it stands in: route, authenticate or select. May be given again.
    #[arg(long = "phase", value_name = "PHASE", value_parser = ["route", "authenticate", "select"])]
    phases: Vec<String>,
    /// Its place: small ones are asked first.
    #[arg(long, value_name = "N")]
    order: Option<i32>,
    /// Only requests to this host; `*.example.org` means all below. May be given again.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Only requests to this path and below. May be given again.
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// Only requests to this content item. May be given again.
    #[arg(long = "content", value_name = "GUID")]
    content: Vec<String>,
    /// What becomes of a request when the plugin fails while routing.
    #[arg(long, value_parser = ["fail", "skip"])]
    on_failure: Option<String>,
    /// Give a new version up when more than this share of calls fails, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = lectern_domain::plugin::share_of)]
    budget: Option<u16>,
}

impl SettingsArgs {
    fn to_json(&self) -> Value {
        let mut request = Map::new();
        if !self.phases.is_empty() {
            request.insert("phases".into(), json!(self.phases));
        }
        if let Some(order) = self.order {
            request.insert("position".into(), json!(order));
        }
        if !self.hosts.is_empty() || !self.paths.is_empty() || !self.content.is_empty() {
            request
                .insert("matcher".into(), json!({"hosts": self.hosts, "paths": self.paths, "content": self.content}));
        }
        if let Some(mode) = &self.on_failure {
            request.insert("on_failure".into(), json!(mode));
        }
        if let Some(share) = self.budget {
            let open = lectern_domain::plugin::Budget::default().open_per_ten_thousand;
            request.insert(
                "budget".into(),
                json!({"rollback_per_ten_thousand": share, "open_per_ten_thousand": open.max(share)}),
            );
        }
        Value::Object(request)
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BindArgs {
    /// The plugin.
    plugin: String,
    /// A name for the binding; else the plugin's. Pages stand below /__plugin__/NAME/.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    release: ReleaseArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Why; stands in the history.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SetArgs {
    /// The binding.
    name: String,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Ask it (again), or keep it and ask it no more.
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UnbindArgs {
    /// The binding.
    name: String,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: RemoteArgs,
}

pub(super) fn bind(args: &BindArgs) -> anyhow::Result<()> {
    let mut body = json!({
        "plugin": args.plugin,
        "release": args.release.to_json()?,
        "settings": args.settings.to_json(),
        "reason": args.reason,
    });
    if let Some(name) = &args.name {
        body["name"] = json!(name);
    }
    let answer = args.server.ask(Method::POST, "/bindings", &body)?;
    let name = args.name.as_deref().unwrap_or(&args.plugin);
    told(
        &args.server,
        &answer,
        &format!("{} is bound as {name}", args.plugin),
        &format!("lectern plugin unbind {name}"),
    )
}

pub(super) fn set(args: &SetArgs) -> anyhow::Result<()> {
    let mut settings = args.settings.to_json();
    if let Some(enabled) = args.enabled {
        settings["enabled"] = json!(enabled);
    }
    let body = json!({"settings": settings, "expect": expected(&args.change), "reason": args.change.reason});
    let answer = args.server.ask(Method::PATCH, &format!("/bindings/{}", args.name), &body)?;
    told(
        &args.server,
        &answer,
        &format!("{} is changed", args.name),
        &format!("lectern plugin history --binding {}", args.name),
    )
}

pub(super) fn unbind(args: &UnbindArgs) -> anyhow::Result<()> {
    let body = json!({"expect": expected(&args.change), "reason": args.change.reason});
    let answer = args.server.ask(Method::DELETE, &format!("/bindings/{}", args.name), &body)?;
    let undo = binding_again(&answer["binding"]);
    told(&args.server, &answer, &format!("{} is taken out of the gate", args.name), &undo)
}

/// The command that makes a binding as it was.
fn binding_again(binding: &Value) -> String {
    let one = |field: &str| super::packages::text(&binding[field]);
    let mut command = format!("lectern plugin bind {} --name {} --release {}", one("plugin"), one("name"), one("live"));
    let matcher = &binding["matcher"];
    for (flag, values) in [
        ("phase", &binding["phases"]),
        ("host", &matcher["hosts"]),
        ("path", &matcher["paths"]),
        ("content", &matcher["content"]),
    ] {
        for value in values.as_array().into_iter().flatten() {
            command.push_str(&format!(" --{flag} '{}'", super::packages::text(value).replace('\'', "'\\''")));
        }
    }
    command.push_str(&format!(" --order {} --on-failure {}", one("position"), one("on_failure")));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_away_can_be_put_back() {
        let binding = json!({
            "plugin": "ip-allow", "name": "office", "live": "00ff", "phases": ["route", "select"], "position": 10,
            "on_failure": "fail", "matcher": {"hosts": [], "paths": ["/it's"], "content": []},
        });
        assert_eq!(
            binding_again(&binding),
            "lectern plugin bind ip-allow --name office --release 00ff --phase 'route' --phase 'select' \
             --path '/it'\\''s' --order 10 --on-failure fail"
        );
    }
}
