//! Releases of a binding: swapped, tried, taken back.

use clap::Args;
use http::Method;
use lectern_domain::plugin::share_of;
use serde_json::{Value, json};

use super::packages::text;
use super::release::ReleaseArgs;
use super::remote::{ChangeArgs, RemoteArgs};
use crate::cli::client::table;

#[derive(Debug, Args)]
pub(in crate::cli) struct SwapArgs {
    /// The binding.
    name: String,
    #[command(flatten)]
    release: ReleaseArgs,
    /// Only if the release was in the shadow and decided otherwise in at most this share of calls, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = share_of)]
    require_shadow: Option<u16>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PlainArgs {
    /// The binding.
    name: String,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShadowArgs {
    /// The binding.
    name: String,
    #[command(flatten)]
    release: ReleaseArgs,
    /// Show what the candidate decided so far.
    #[arg(long)]
    report: bool,
    /// End the trial.
    #[arg(long, conflicts_with = "report")]
    stop: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CanaryArgs {
    /// The binding.
    name: String,
    #[command(flatten)]
    release: ReleaseArgs,
    /// The share of visitors, in percent: 5 or 0.25 %. The same visitor always falls on the same side.
    #[arg(long, value_name = "PERCENT", value_parser = share_of, default_value = "0")]
    share: u16,
    /// A user who gets it, by name. May be given again.
    #[arg(long = "user", value_name = "NAME")]
    users: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: RemoteArgs,
}

/// What the server is to expect.
pub(super) fn expected(change: &ChangeArgs) -> Value {
    json!({"revision": change.expect})
}

pub(super) fn swap(args: &SwapArgs) -> anyhow::Result<()> {
    let body = json!({
        "release": args.release.to_json()?,
        "expect": expected(&args.change),
        "require_shadow": args.require_shadow,
        "reason": args.change.reason,
    });
    let answer = args.server.ask(Method::POST, &format!("/bindings/{}/swap", args.name), &body)?;
    told(&args.server, &answer, &format!("{} is swapped", args.name), &format!("lectern plugin rollback {}", args.name))
}

pub(super) fn plain(args: &PlainArgs, verb: &str) -> anyhow::Result<()> {
    let body = json!({"expect": expected(&args.change), "reason": args.change.reason});
    let answer = args.server.ask(Method::POST, &format!("/bindings/{}/{verb}", args.name), &body)?;
    let (what, undo) = match verb {
        "withdraw" => ("the candidate is withdrawn", format!("lectern plugin history --binding {}", args.name)),
        "promote" => ("the candidate is live", format!("lectern plugin rollback {}", args.name)),
        _ => ("the release before is live again", format!("lectern plugin rollback {}", args.name)),
    };
    told(&args.server, &answer, &format!("{}: {what}", args.name), &undo)
}

pub(super) fn shadow(args: &ShadowArgs) -> anyhow::Result<()> {
    let path = format!("/bindings/{}/shadow", args.name);
    if args.report {
        return report(&args.server, &args.server.get(&path)?);
    }
    if args.stop {
        let plain = PlainArgs { name: args.name.clone(), change: args.change.clone(), server: args.server.clone() };
        return self::plain(&plain, "withdraw");
    }
    let body = json!({
        "release": args.release.to_json()?,
        "expect": expected(&args.change),
        "reason": args.change.reason,
    });
    let answer = args.server.ask(Method::POST, &path, &body)?;
    told(
        &args.server,
        &answer,
        &format!(
            "{}: the candidate sees copies of requests (`lectern plugin shadow {} --report`)",
            args.name, args.name
        ),
        &format!("lectern plugin shadow {} --stop", args.name),
    )
}

pub(super) fn canary(args: &CanaryArgs) -> anyhow::Result<()> {
    let body = json!({
        "release": args.release.to_json()?,
        "per_ten_thousand": args.share,
        "users": args.users,
        "expect": expected(&args.change),
        "reason": args.change.reason,
    });
    let answer = args.server.ask(Method::POST, &format!("/bindings/{}/canary", args.name), &body)?;
    told(
        &args.server,
        &answer,
        &format!("{}: the candidate answers for some", args.name),
        &format!("lectern plugin withdraw {}    (or promote it)", args.name),
    )
}

fn report(server: &RemoteArgs, report: &Value) -> anyhow::Result<()> {
    if server.json {
        println!("{report:#}");
        return Ok(());
    }
    let number = |name: &str| report[name].as_u64().unwrap_or(0);
    let (compared, differing) = (number("compared"), number("differing"));
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    let share = if compared == 0 { 0.0 } else { differing as f64 * 100.0 / compared as f64 };
    println!(
        "candidate {} beside {}: {compared} calls compared, {differing} decided otherwise ({share:.2} %), {} failed, {} not seen here",
        short(&report["candidate"]),
        short(&report["live"]),
        number("failures"),
        number("dropped_here"),
    );
    let rows: Vec<Vec<String>> = report["differences"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            let example = &one["example"];
            vec![text(&one["count"]), text(&example["request"]), text(&example["live"]), text(&example["candidate"])]
        })
        .collect();
    if !rows.is_empty() {
        table(&["COUNT", "FOR EXAMPLE", "LIVE", "CANDIDATE"], &rows);
    }
    Ok(())
}

/// The beginning of a release's name.
pub(super) fn short(release: &Value) -> String {
    text(release).chars().take(12).collect()
}

/// Says what a change did, and how to undo it.
pub(super) fn told(server: &RemoteArgs, answer: &Value, what: &str, undo: &str) -> anyhow::Result<()> {
    if server.json {
        println!("{answer:#}");
        return Ok(());
    }
    let binding = &answer["binding"];
    println!("{what}");
    let before =
        if answer["before"].is_null() { String::new() } else { format!(", before: {}", short(&answer["before"])) };
    println!("live: {}{before}; revision {}", short(&binding["live"]), binding["revision"]);
    let micros = answer["shown"]["micros"].as_u64().unwrap_or(0);
    println!(
        "shown by this server after {}.{:03} ms (state {})",
        micros / 1_000,
        micros % 1_000,
        answer["shown"]["generation"]
    );
    println!("undo: {undo}");
    Ok(())
}
