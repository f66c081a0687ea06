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
        "withdraw" => ("the candidate is withdrawn", offer_again(&answer["was"])),
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

/// The command that puts a binding's candidate on trial as it was.
fn offer_again(was: &Value) -> String {
    let candidate = &was["candidate"];
    let (name, release) = (text(&was["name"]), text(&candidate["release"]));
    if candidate["mode"] == "shadow" {
        return format!("lectern plugin shadow {name} --release {release}");
    }
    let share = &candidate["share"];
    let mut command = format!("lectern plugin canary {name} --release {release}");
    if share["per_ten_thousand"].as_u64().is_some_and(|part| part > 0) {
        command.push_str(&format!(" --share {}", percent(&share["per_ten_thousand"])));
    }
    for user in share["users"].as_array().into_iter().flatten() {
        command.push_str(&format!(" --user {}", quoted(&text(user))));
    }
    command
}

/// Hundredths of a percent in percent: 525 is 5.25, and 500 is 5.
pub(super) fn percent(per_ten_thousand: &Value) -> String {
    let part = per_ten_thousand.as_u64().unwrap_or(0);
    let text = format!("{}.{:02}", part / 100, part % 100);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A word for a shell, in quotes where it needs them.
pub(super) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn report(server: &RemoteArgs, report: &Value) -> anyhow::Result<()> {
    if server.json {
        say!("{report:#}");
        return Ok(());
    }
    let number = |name: &str| report[name].as_u64().unwrap_or(0);
    let (compared, differing) = (number("compared"), number("differing"));
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    let share = if compared == 0 { 0.0 } else { differing as f64 * 100.0 / compared as f64 };
    say!(
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

/// Says what a change did, and the one command that undoes it.
pub(super) fn told(server: &RemoteArgs, answer: &Value, what: &str, undo: &str) -> anyhow::Result<()> {
    if server.json {
        say!("{answer:#}");
        return Ok(());
    }
    let binding = &answer["binding"];
    say!("{what}");
    let before =
        if answer["before"].is_null() { String::new() } else { format!(", before: {}", short(&answer["before"])) };
    say!("live: {}{before}; revision {}", short(&binding["live"]), binding["revision"]);
    shown(answer);
    say!("undo: {undo}");
    Ok(())
}

/// Says since when the asked server shows a change.
pub(super) fn shown(answer: &Value) {
    let micros = answer["shown"]["micros"].as_u64().unwrap_or(0);
    say!(
        "shown by this server after {}.{:03} ms (state {})",
        micros / 1_000,
        micros % 1_000,
        answer["shown"]["generation"]
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_was_withdrawn_can_be_offered_again() {
        for (candidate, command) in [
            (json!({"release": "00ff", "mode": "shadow"}), "lectern plugin shadow moved --release 00ff"),
            (
                json!({"release": "00ff", "mode": "canary", "share": {"per_ten_thousand": 525, "users": ["ada", "it's"]}}),
                "lectern plugin canary moved --release 00ff --share 5.25 --user ada --user 'it'\\''s'",
            ),
            (
                json!({"release": "00ff", "mode": "canary", "share": {"per_ten_thousand": 0, "users": ["ada"]}}),
                "lectern plugin canary moved --release 00ff --user ada",
            ),
        ] {
            assert_eq!(offer_again(&json!({"name": "moved", "candidate": candidate})), command);
        }
    }

    #[test]
    fn shares_have_no_needless_digits() {
        for (part, text) in [(0, "0"), (1, "0.01"), (50, "0.5"), (500, "5"), (525, "5.25"), (10_000, "100")] {
            assert_eq!(percent(&json!(part)), text);
        }
    }
}
