//! What there is.

use clap::Args;
use serde_json::Value;

use super::packages::text;
use super::remote::RemoteArgs;
use super::swap::short;
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

#[derive(Debug, Args)]
pub(in crate::cli) struct HistoryArgs {
    /// Only of this binding.
    #[arg(long)]
    binding: Option<String>,
    /// How many entries.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Check that no entry was changed, removed or put in.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    server: RemoteArgs,
}

pub(super) fn list(args: &ListArgs) -> anyhow::Result<()> {
    if args.nodes {
        return nodes(&args.server);
    }
    let answer = args.server.get("/plugins")?;
    if args.server.json {
        println!("{answer:#}");
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
    if !unbound.is_empty() {
        println!("\ninstalled, not bound: {}", unbound.join(", "));
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
            let share = candidate["share"]["per_ten_thousand"].as_u64().unwrap_or(0);
            format!("+canary {}.{:02} %", share / 100, share % 100)
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
        println!("{answer:#}");
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
        println!("{binding:#}");
        return Ok(());
    }
    table(&["BINDING", "PHASES", "ORDER", "VERSION", "RELEASE", "STATE", "CALLS", "FAILED", "FOR"], &[row(&binding)]);
    println!("revision {}, changed at {}", binding["revision"], text(&binding["changed_at"]));
    for release in binding["shown"].as_array().into_iter().flatten() {
        let grants: Vec<String> = release["grants"].as_array().into_iter().flatten().map(text).collect();
        println!(
            "\n{} {} (version {}, {} instances)",
            text(&release["place"]),
            text(&release["release"]),
            text(&release["version"]),
            text(&release["instances"]),
        );
        println!("  grants  {}", if grants.is_empty() { "nothing".to_owned() } else { grants.join(", ") });
        println!("  config  {}", release["config"]);
        let counts = release["counts"].as_object().into_iter().flatten();
        let counted: Vec<String> = counts
            .filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0))
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        println!("  counts  {}", if counted.is_empty() { "nothing yet".to_owned() } else { counted.join(", ") });
        let learned = &release["counts"]["learned"];
        if learned.is_object() {
            println!(
                "  learned {} decisions in {} bytes; {} found, {} not",
                learned["leaves"], learned["bytes"], learned["hits"], learned["misses"]
            );
        }
    }
    Ok(())
}

pub(super) fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let phase = args.phase.as_ref().map_or(String::new(), |phase| format!("?phase={phase}"));
    let answer = args.server.get(&format!("/bindings/{}/explain{phase}", args.name))?;
    if args.server.json {
        println!("{answer:#}");
        return Ok(());
    }
    for one in answer.as_array().into_iter().flatten() {
        println!("{} in the phase {}, release {}", args.name, text(&one["phase"]), short(&one["release"]));
        match one["text"].as_str() {
            Some(text) => println!("{text}"),
            None => println!("nothing is learned of it"),
        }
    }
    Ok(())
}

pub(super) fn history(args: &HistoryArgs) -> anyhow::Result<()> {
    if args.verify {
        let answer = args.server.get("/history/verify")?;
        if args.server.json {
            println!("{answer:#}");
        } else if answer["whole"] == true {
            println!(
                "all {} entries are as they were written; the last is {}",
                answer["entries"],
                text(&answer["hash"])
            );
        }
        anyhow::ensure!(
            answer["whole"] == true,
            "entry {} of the history was changed or is missing",
            answer["broken_at"]
        );
        return Ok(());
    }
    let binding = args.binding.as_ref().map_or(String::new(), |binding| format!("&binding={binding}"));
    let answer = args.server.get(&format!("/history?limit={}{binding}", args.limit))?;
    if args.server.json {
        println!("{answer:#}");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = answer
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            let actor = &entry["actor"];
            let who = actor["name"].as_str().map_or_else(|| text(&actor["kind"]), str::to_owned);
            let what = if entry["binding"].is_null() { text(&entry["plugin"]) } else { text(&entry["binding"]) };
            let moved = match (entry["from_release"].is_null(), entry["to_release"].is_null()) {
                (true, true) => String::new(),
                _ => format!("{} → {}", short(&entry["from_release"]), short(&entry["to_release"])),
            };
            let at: String = text(&entry["at"]).chars().take(19).collect();
            vec![
                text(&entry["seq"]),
                at.replace('T', " "),
                who,
                text(&entry["action"]),
                what,
                moved,
                text(&entry["reason"]),
            ]
        })
        .collect();
    table(&["NO", "WHEN (UTC)", "WHO", "DID", "WHAT", "RELEASE", "WHY"], &rows);
    Ok(())
}
