//! What was done, by whom and why.

use clap::Args;
use serde_json::Value;

use super::look::who;
use super::packages::{at, text};
use super::remote::RemoteArgs;
use super::swap::short;
use crate::cli::client::table;

#[derive(Debug, Args)]
pub(in crate::cli) struct HistoryArgs {
    /// Only of this binding.
    #[arg(long)]
    binding: Option<String>,
    /// How many entries; 1,000 at most.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Only entries before the one of this number.
    #[arg(long, value_name = "NO")]
    before: Option<i64>,
    /// Check that no entry was changed, removed or put in.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    server: RemoteArgs,
}

pub(super) fn history(args: &HistoryArgs) -> anyhow::Result<()> {
    if args.verify {
        let answer = args.server.get("/history/verify")?;
        if args.server.json {
            say!("{answer:#}");
        } else if answer["whole"] == true {
            say!("all {} entries are as they were written; the last is {}", answer["entries"], text(&answer["hash"]));
        }
        anyhow::ensure!(
            answer["whole"] == true,
            "entry {} of the history was changed or is missing",
            answer["broken_at"]
        );
        return Ok(());
    }
    let binding = args.binding.as_ref().map_or(String::new(), |binding| format!("&binding={binding}"));
    let before = args.before.map_or(String::new(), |before| format!("&before={before}"));
    let answer = args.server.get(&format!("/history?limit={}{binding}{before}", args.limit))?;
    if args.server.json {
        say!("{answer:#}");
        return Ok(());
    }
    let entries = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            vec![
                text(&entry["seq"]),
                at(&entry["at"]),
                who(&entry["actor"]),
                text(&entry["action"]),
                what(entry),
                moved(entry),
                text(&entry["reason"]),
            ]
        })
        .collect();
    table(&["NO", "WHEN (UTC)", "WHO", "DID", "WHAT", "RELEASE", "WHY"], &rows);
    let oldest = entries.last().and_then(|entry| entry["seq"].as_i64()).filter(|seq| *seq > 1);
    if let Some(seq) = oldest.filter(|_| entries.len() >= args.limit as usize) {
        let binding = args.binding.as_ref().map_or(String::new(), |binding| format!(" --binding {binding}"));
        say!("\nolder ones: lectern plugin history{binding} --before {seq}");
    }
    Ok(())
}

/// What an entry is about: a binding, a version of a plugin, a key, a secret.
fn what(entry: &Value) -> String {
    let (details, plugin) = (&entry["details"], text(&entry["plugin"]));
    if let Some(key) = details["key"].as_str() {
        let comment = text(&details["comment"]);
        return if comment.is_empty() { format!("key {key}") } else { format!("key {key} ({comment})") };
    }
    if let Some(secret) = details["secret"].as_str() {
        return format!("{plugin}, secret {secret}");
    }
    let changed: Vec<&str> =
        details["changes"].as_object().into_iter().flatten().map(|(setting, _)| setting.as_str()).collect();
    match (entry["binding"].as_str(), details["version"].as_str()) {
        (Some(binding), _) if !changed.is_empty() => format!("{binding}, {}", changed.join(" and ")),
        (Some(binding), _) => binding.to_owned(),
        (None, Some(version)) => format!("{plugin} {version}"),
        (None, None) => plugin,
    }
}

/// From which release to which.
fn moved(entry: &Value) -> String {
    let (from, to) = (short(&entry["from_release"]), short(&entry["to_release"]));
    match (from.is_empty(), to.is_empty()) {
        (true, true) => String::new(),
        // As wide as a name, so that arrows stand below each other.
        (true, false) => format!("{:12} → {to}", ""),
        (false, true) => format!("{from} →"),
        (false, false) => format!("{from} → {to}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_say_what_they_are_about() {
        for (entry, about) in [
            (json!({"plugin": "moved", "binding": "m", "details": {}}), "m"),
            (
                json!({"plugin": "moved", "binding": "m", "details": {"changes": {"matcher": {}, "position": {}}}}),
                "m, matcher and position",
            ),
            (json!({"plugin": "moved", "details": {"version": "0.2.0", "signed_by": null}}), "moved 0.2.0"),
            (json!({"details": {"key": "a20276cd33e61f82", "comment": "ada"}}), "key a20276cd33e61f82 (ada)"),
            (json!({"details": {"key": "a20276cd33e61f82", "comment": ""}}), "key a20276cd33e61f82"),
            (
                json!({"plugin": "oidc-login", "details": {"secret": "client-secret"}}),
                "oidc-login, secret client-secret",
            ),
        ] {
            assert_eq!(what(&entry), about);
        }
        assert_eq!(
            moved(&json!({"from_release": null, "to_release": "00112233445566778899"})),
            "             → 001122334455"
        );
    }
}
