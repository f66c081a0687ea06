//! Where plugins apply.

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::release::ReleaseArgs;
use super::remote::{ChangeArgs, RemoteArgs};
use super::swap::{expected, percent, quoted, shown, told};

/// Where and how a binding applies.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct SettingsArgs {
    /// A phase it stands in: route, authenticate or select. May be given again.
    #[arg(long = "phase", value_name = "PHASE", value_parser = ["route", "authenticate", "select"])]
    phases: Vec<String>,
    /// Its place: small ones are asked first.
    #[arg(long, value_name = "N")]
    order: Option<i32>,
    /// Only requests to this host; `*.example.org` means all below. May be given again; `set` replaces the hosts that were there.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Only requests to this path and below. May be given again; `set` replaces the paths that were there.
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// Only requests to this content item. May be given again; `set` replaces the items that were there.
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
        let matcher: Map<String, Value> = [("hosts", &self.hosts), ("paths", &self.paths), ("content", &self.content)]
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(kind, list)| (kind.to_owned(), json!(list)))
            .collect();
        if !matcher.is_empty() {
            request.insert("matcher".into(), Value::Object(matcher));
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
    /// Requests to all hosts again.
    #[arg(long, conflicts_with = "hosts")]
    clear_host: bool,
    /// Requests to all paths again.
    #[arg(long, conflicts_with = "paths")]
    clear_path: bool,
    /// Requests to all content items again.
    #[arg(long, conflicts_with = "content")]
    clear_content: bool,
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
    for (clear, kind) in [(args.clear_host, "hosts"), (args.clear_path, "paths"), (args.clear_content, "content")] {
        if clear {
            settings["matcher"][kind] = json!([]);
        }
    }
    anyhow::ensure!(
        settings.as_object().is_some_and(|settings| !settings.is_empty()),
        "set what of {}? Say what is to be different, like --order or --path: see `lectern plugin set --help`; another \
         version or configuration comes with `lectern plugin swap`",
        args.name
    );
    let body = json!({"settings": settings, "expect": expected(&args.change), "reason": args.change.reason});
    let answer = args.server.ask(Method::PATCH, &format!("/bindings/{}", args.name), &body)?;
    told(&args.server, &answer, &format!("{} is changed", args.name), &as_before(&answer["was"], &answer["binding"]))
}

pub(super) fn unbind(args: &UnbindArgs) -> anyhow::Result<()> {
    let body = json!({"expect": expected(&args.change), "reason": args.change.reason});
    let answer = args.server.ask(Method::DELETE, &format!("/bindings/{}", args.name), &body)?;
    if args.server.json {
        say!("{answer:#}");
        return Ok(());
    }
    say!("{} is taken out of the gate", args.name);
    shown(&answer);
    say!("undo: {}", binding_again(&answer["binding"]));
    Ok(())
}

/// What a matcher is made of, with the arguments for it.
const MATCHED: [(&str, &str); 3] = [("host", "hosts"), ("path", "paths"), ("content", "content")];

/// The command that gives a binding back the settings that it had: those that differ now.
fn as_before(was: &Value, now: &Value) -> String {
    let one = |field: &str| super::packages::text(&was[field]);
    let mut command = format!("lectern plugin set {}", one("name"));
    let mut list = |flag: &str, was: &Value, now: &Value| {
        if was == now {
            return;
        }
        let values = was.as_array().map(Vec::as_slice).unwrap_or_default();
        if values.is_empty() {
            command.push_str(&format!(" --clear-{flag}"));
        }
        for value in values {
            command.push_str(&format!(" --{flag} {}", quoted(&super::packages::text(value))));
        }
    };
    list("phase", &was["phases"], &now["phases"]);
    for (flag, kind) in MATCHED {
        list(flag, &was["matcher"][kind], &now["matcher"][kind]);
    }
    for (flag, field) in [("order", "position"), ("on-failure", "on_failure"), ("enabled", "enabled")] {
        if was[field] != now[field] {
            command.push_str(&format!(" --{flag} {}", one(field)));
        }
    }
    if was["budget"] != now["budget"] {
        command.push_str(&format!(" --budget {}", percent(&was["budget"]["rollback_per_ten_thousand"])));
    }
    command
}

/// The command that makes a binding as it was.
fn binding_again(binding: &Value) -> String {
    let one = |field: &str| super::packages::text(&binding[field]);
    let mut command = format!("lectern plugin bind {} --name {} --release {}", one("plugin"), one("name"), one("live"));
    let matched = MATCHED.map(|(flag, kind)| (flag, &binding["matcher"][kind]));
    for (flag, values) in [("phase", &binding["phases"])].into_iter().chain(matched) {
        for value in values.as_array().into_iter().flatten() {
            command.push_str(&format!(" --{flag} {}", quoted(&super::packages::text(value))));
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
            "lectern plugin bind ip-allow --name office --release 00ff --phase route --phase select \
             --path '/it'\\''s' --order 10 --on-failure fail"
        );
    }

    #[test]
    fn settings_can_be_had_back_in_one_command() {
        let was = json!({
            "name": "office", "phases": ["route"], "position": 10, "on_failure": "fail", "enabled": true,
            "budget": {"rollback_per_ten_thousand": 200, "open_per_ten_thousand": 5000},
            "matcher": {"hosts": [], "paths": ["/a", "/it's"], "content": []},
        });
        let mut now = was.clone();
        now["position"] = json!(20);
        now["matcher"] = json!({"hosts": ["a.example"], "paths": [], "content": []});
        now["budget"]["rollback_per_ten_thousand"] = json!(150);
        assert_eq!(
            as_before(&was, &now),
            "lectern plugin set office --clear-host --path /a --path '/it'\\''s' --order 10 --budget 2"
        );
        now = was.clone();
        (now["enabled"], now["on_failure"]) = (json!(false), json!("skip"));
        assert_eq!(as_before(&was, &now), "lectern plugin set office --on-failure fail --enabled true");
    }
}
