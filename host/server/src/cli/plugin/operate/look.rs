//! What there is.

use clap::Args;
use serde_json::Value;

use super::packages::{at, text};
use super::remote::RemoteArgs;
use super::swap::{percent, short};
use crate::cli::client::table;

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Show which server runs what instead.
    #[arg(long)]
    nodes: bool,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The binding.
    name: String,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The binding.
    name: String,
    /// Only this phase.
    #[arg(long, value_parser = ["route", "authenticate", "select"])]
    phase: Option<String>,
    #[command(flatten)]
    server: RemoteArgs,
}

pub(super) fn list(args: &ListArgs) -> anyhow::Result<()> {
    if args.nodes {
        return nodes(&args.server);
    }
    let answer = args.server.get("/plugins")?;
    if args.server.json {
        say!("{answer:#}");
        return Ok(());
    }
    let bindings = answer["bindings"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = bindings.iter().map(row).collect();
    table(&["BINDING", "PHASES", "ORDER", "VERSION", "RELEASE", "STATE", "CALLS", "FAILED", "FOR"], &rows);
    let bound: Vec<&str> = bindings
        .iter()
        .flat_map(|binding| binding["shown"].as_array().into_iter().flatten())
        .filter_map(|release| release["package"].as_str())
        .collect();
    let unbound: Vec<String> = answer["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| package["digest"].as_str().is_some_and(|digest| !bound.contains(&digest)))
        .map(|package| format!("{} {}", text(&package["plugin"]), text(&package["version"])))
        .collect();
    for binding in &bindings {
        for (phase, why) in binding["shown"].as_array().into_iter().flatten().flat_map(off) {
            say!("\n{}, learning: off in the phase {phase}, because {why}", text(&binding["name"]));
        }
    }
    if !unbound.is_empty() {
        say!("\ninstalled, not bound: {}", unbound.join(", "));
    }
    Ok(())
}

fn row(binding: &Value) -> Vec<String> {
    let shown = |place: &str| {
        binding["shown"].as_array().into_iter().flatten().find(|one| one["place"] == place).cloned().unwrap_or_default()
    };
    let live = shown("live");
    let phases: Vec<String> = binding["phases"].as_array().into_iter().flatten().map(text).collect();
    vec![
        text(&binding["name"]),
        phases.join(","),
        text(&binding["position"]),
        text(&live["version"]),
        short(&binding["live"]),
        state(binding, &live),
        text(&live["calls"]),
        text(&live["failures"]),
        applies(&binding["matcher"]),
    ]
}

fn state(binding: &Value, live: &Value) -> String {
    if binding["enabled"] == false {
        return "off".into();
    }
    if binding["fallen"] == true {
        return "fallen".into();
    }
    let candidate = &binding["candidate"];
    let trial = match candidate["mode"].as_str() {
        Some("shadow") => "+shadow".to_owned(),
        Some(_) => {
            let (share, users) = (&candidate["share"]["per_ten_thousand"], candidate["share"]["users"].as_array());
            match users.map_or(0, Vec::len) {
                0 => format!("+canary {} %", percent(share)),
                1 => format!("+canary {} %, 1 user", percent(share)),
                users => format!("+canary {} %, {users} users", percent(share)),
            }
        }
        None => String::new(),
    };
    match live["breaker"].as_str() {
        Some("closed") => format!("live{trial}"),
        Some(other) => format!("{other}{trial}"),
        None => "not loaded".into(),
    }
}

fn applies(matcher: &Value) -> String {
    let parts: Vec<String> = ["hosts", "paths", "content"]
        .iter()
        .flat_map(|kind| matcher[kind].as_array().into_iter().flatten().map(text))
        .collect();
    if parts.is_empty() { "everything".into() } else { parts.join(" ") }
}

fn nodes(server: &RemoteArgs) -> anyhow::Result<()> {
    let answer = server.get("/nodes")?;
    if server.json {
        say!("{answer:#}");
        return Ok(());
    }
    let mut rows = Vec::new();
    for node in answer.as_array().into_iter().flatten() {
        let report = &node["node"];
        for (binding, running) in report["releases"].as_object().into_iter().flatten() {
            rows.push(vec![
                text(&report["hostname"]),
                short(&report["server"]),
                text(&report["generation"]),
                binding.clone(),
                short(&running["release"]),
                text(&running["state"]),
                format!("{} s ago", node["age_seconds"]),
            ]);
        }
    }
    table(&["HOST", "SERVER", "STATE", "BINDING", "RELEASE", "IS", "REPORTED"], &rows);
    Ok(())
}

pub(super) fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let binding = args.server.get(&format!("/bindings/{}", args.name))?;
    if args.server.json {
        say!("{binding:#}");
        return Ok(());
    }
    table(&["BINDING", "PHASES", "ORDER", "VERSION", "RELEASE", "STATE", "CALLS", "FAILED", "FOR"], &[row(&binding)]);
    say!(
        "revision {}, changed {} UTC by {}",
        binding["revision"],
        at(&binding["changed_at"]),
        who(&binding["changed_by"])
    );
    for release in binding["shown"].as_array().into_iter().flatten() {
        let grants: Vec<String> = release["grants"].as_array().into_iter().flatten().map(text).collect();
        say!(
            "\n{} {} (version {}, {} instances)",
            text(&release["place"]),
            text(&release["release"]),
            text(&release["version"]),
            text(&release["instances"]),
        );
        say!("  grants  {}", if grants.is_empty() { "nothing".to_owned() } else { grants.join(", ") });
        say!("  config  {}", release["config"]);
        let counts = release["counts"].as_object().into_iter().flatten();
        let counted: Vec<String> = counts
            .filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0))
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        say!("  counted {}", if counted.is_empty() { "nothing yet".to_owned() } else { counted.join(", ") });
        for line in learning(release) {
            say!("  {line}");
        }
    }
    Ok(())
}

/// What is learned of a release: nothing is said where nothing was looked for.
fn learning(release: &Value) -> Vec<String> {
    let learned = &release["counts"]["learned"];
    let count = |name: &str| learned[name].as_u64().unwrap_or(0);
    let mut lines: Vec<String> =
        off(release).map(|(phase, why)| format!("learning: off in the phase {phase}, because {why}")).collect();
    if count("hits") + count("misses") + count("leaves") > 0 {
        lines.push(format!(
            "learned {} decision{} ({} KiB): {} requests found theirs, {} did not",
            count("leaves"),
            if count("leaves") == 1 { "" } else { "s" },
            count("bytes").div_ceil(1024),
            count("hits"),
            count("misses")
        ));
    }
    lines
}

/// The phases in which nothing more is learned of a release, and why.
fn off(release: &Value) -> impl Iterator<Item = (&str, String)> {
    release["learning_off"].as_object().into_iter().flatten().map(|(phase, why)| (phase.as_str(), text(why)))
}

/// Whoever did something, in one word.
pub(super) fn who(actor: &Value) -> String {
    actor["name"].as_str().map_or_else(|| text(&actor["kind"]), str::to_owned)
}

pub(super) fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let phase = args.phase.as_ref().map_or(String::new(), |phase| format!("?phase={phase}"));
    let answer = args.server.get(&format!("/bindings/{}/explain{phase}", args.name))?;
    if args.server.json {
        say!("{answer:#}");
        return Ok(());
    }
    for one in answer.as_array().into_iter().flatten() {
        say!("{} in the phase {}, release {}", args.name, text(&one["phase"]), short(&one["release"]));
        match one["text"].as_str() {
            Some(text) => say!("{text}"),
            None => say!("nothing is learned of it"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn learning_is_told_where_there_is_any() {
        let release = |learned: Value, off: Value| json!({"counts": {"learned": learned}, "learning_off": off});
        let nothing = json!({"leaves": 0, "bytes": 0, "hits": 0, "misses": 0});
        assert!(learning(&release(nothing, json!({}))).is_empty());
        assert_eq!(
            learning(&release(Value::Null, json!({"route": "it answered twice"}))),
            ["learning: off in the phase route, because it answered twice"]
        );
        assert_eq!(
            learning(&release(json!({"leaves": 1, "bytes": 1025, "hits": 7, "misses": 2}), json!({}))),
            ["learned 1 decision (2 KiB): 7 requests found theirs, 2 did not"]
        );
    }
}
