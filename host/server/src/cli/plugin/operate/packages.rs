//! Packages and the keys that sign them.

use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::remote::{Ask, RemoteArgs};
use crate::cli::client::table;
use crate::cli::plugin::read_package_bytes;
use crate::plugins::api::SIGNATURE;

#[derive(Debug, Args)]
pub(in crate::cli) struct InstallArgs {
    /// The package, as `lectern plugin build` makes it.
    file: PathBuf,
    /// Its signature; FILE.sig where that is there.
    #[arg(long, value_name = "FILE")]
    sig: Option<PathBuf>,
    /// Why; stands in the history.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RemoveArgs {
    /// The plugin.
    plugin: String,
    /// Its version.
    version: String,
    /// Why; stands in the history.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct TrustArgs {
    /// The public key: `ed25519:` and base64, as `lectern plugin keygen` prints it.
    key: String,
    /// Whose it is.
    #[arg(long, default_value = "")]
    comment: String,
    /// Why; stands in the history.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UntrustArgs {
    /// The key's id, as `lectern plugin keys` prints it.
    id: String,
    /// Why; stands in the history.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    server: RemoteArgs,
}

pub(super) fn install(args: &InstallArgs) -> anyhow::Result<()> {
    let bytes = read_package_bytes(&args.file)?;
    let beside = PathBuf::from(format!("{}.sig", args.file.display()));
    let signature = match &args.sig {
        Some(file) => Some(file.clone()),
        None => beside.is_file().then_some(beside),
    };
    let mut fields = Vec::new();
    if let Some(file) = signature {
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        fields.push((SIGNATURE, text.trim().to_owned()));
    }
    let ask =
        Ask { method: Method::POST, path: "/packages".into(), body: Bytes::from(bytes), reason: &args.reason, fields };
    let answer = args.server.send(ask)?;
    if args.server.json {
        say!("{answer:#}");
        return Ok(());
    }
    let package = &answer["package"];
    let (plugin, version) = (text(&package["plugin"]), text(&package["version"]));
    let done = if answer["already"] == true { "was installed before" } else { "is installed" };
    say!("{plugin} {version} {done}: {}", text(&package["digest"]));
    match package["signed_by"].as_str() {
        Some(key) => say!("signed with the key {key}"),
        None => say!("not signed"),
    }
    say!("its own {} cases passed here", answer["cases"]);
    if let Some(asks) = answer["asks"].as_object().filter(|asks| !asks.is_empty()) {
        say!("it asks for");
        for (grant, why) in asks {
            say!("  {grant:28}{}", text(why));
        }
    }
    say!(
        "next: lectern plugin bind {plugin}    or, where it is bound: lectern plugin swap {plugin} --version {version}"
    );
    Ok(())
}

pub(super) fn remove(args: &RemoveArgs) -> anyhow::Result<()> {
    let packages = args.server.get("/packages")?;
    let found = packages.as_array().and_then(|list| {
        list.iter().find(|one| one["plugin"] == args.plugin.as_str() && one["version"] == args.version.as_str())
    });
    let digest = found.and_then(|package| package["digest"].as_str()).with_context(|| {
        format!("{} {} is not installed: `lectern plugin list` shows what is", args.plugin, args.version)
    })?;
    let ask = Ask {
        method: Method::DELETE,
        path: format!("/packages/{digest}"),
        body: Bytes::new(),
        reason: &args.reason,
        fields: Vec::new(),
    };
    let answer = args.server.send(ask)?;
    if args.server.json {
        say!("{answer:#}");
    } else {
        say!("{} {} is removed", args.plugin, args.version);
    }
    Ok(())
}

pub(super) fn trust(args: &TrustArgs) -> anyhow::Result<()> {
    let body = json!({"public_key": args.key, "comment": args.comment, "reason": args.reason});
    let answer = args.server.ask(Method::POST, "/keys", &body)?;
    if args.server.json {
        say!("{answer:#}");
    } else {
        say!("packages signed with the key {} are admitted", text(&answer["id"]));
    }
    Ok(())
}

pub(super) fn untrust(args: &UntrustArgs) -> anyhow::Result<()> {
    let ask = Ask {
        method: Method::DELETE,
        path: format!("/keys/{}", args.id),
        body: Bytes::new(),
        reason: &args.reason,
        fields: Vec::new(),
    };
    let answer = args.server.send(ask)?;
    if args.server.json {
        say!("{answer:#}");
    } else {
        say!("the key {} is trusted no more; what it signed stays installed", args.id);
    }
    Ok(())
}

pub(super) fn keys(args: &RemoteArgs) -> anyhow::Result<()> {
    let answer = args.get("/keys")?;
    if args.json {
        say!("{answer:#}");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = ["configured", "trusted"]
        .iter()
        .flat_map(|kind| answer[kind].as_array().cloned().unwrap_or_default())
        .map(|key| vec![text(&key["id"]), text(&key["public_key"]), text(&key["comment"])])
        .collect();
    if rows.is_empty() {
        say!("no key is trusted: `lectern plugin trust ed25519:…` trusts one");
    } else {
        table(&["ID", "KEY", "COMMENT"], &rows);
    }
    Ok(())
}

/// A time of an answer, to the second: `2026-11-25T20:52:40.1Z` is `2026-11-25 20:52:40`.
pub(super) fn at(value: &Value) -> String {
    let time: String = text(value).chars().take(19).collect();
    time.replace('T', " ")
}

/// A text of an answer.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}
