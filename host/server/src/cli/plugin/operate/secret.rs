//! Secrets of bindings. Values come from standard input or a prompt, never from the command line, where everybody reads them.

use std::io::{IsTerminal as _, Read as _};

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http::Method;

use super::packages::{at, text};
use super::remote::{Ask, RemoteArgs};
use crate::cli::client::table;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SecretVerb {
    /// Set a secret. The value is read from standard input, without its last newline, or asked for.
    Set(SecretArgs),
    /// List the names of secrets. Values are never shown.
    List(ListArgs),
    /// Forget a secret.
    Remove(SecretArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SecretArgs {
    /// The binding.
    binding: String,
    /// The secret's name.
    name: String,
    /// Why; stands in the history.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    server: RemoteArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// The binding.
    binding: String,
    #[command(flatten)]
    server: RemoteArgs,
}

pub(super) fn run(verb: &SecretVerb) -> anyhow::Result<()> {
    match verb {
        SecretVerb::Set(args) => {
            let value = read(&args.name)?;
            let answer = args.server.send(ask(args, Method::PUT, Bytes::from(value)))?;
            done(args, &answer, "is set")
        }
        SecretVerb::Remove(args) => {
            let answer = args.server.send(ask(args, Method::DELETE, Bytes::new()))?;
            done(args, &answer, "is forgotten")
        }
        SecretVerb::List(args) => {
            let answer = args.server.get(&format!("/bindings/{}/secrets", args.binding))?;
            if args.server.json {
                say!("{answer:#}");
                return Ok(());
            }
            let row = |one: &serde_json::Value| vec![text(&one["name"]), text(&one["set_by"]), at(&one["set_at"])];
            let rows: Vec<Vec<String>> = answer.as_array().into_iter().flatten().map(row).collect();
            if rows.is_empty() {
                say!("no secret is set for {0}: `lectern plugin secret set {0} NAME` sets one", args.binding);
            } else {
                table(&["SECRET", "SET BY", "WHEN (UTC)"], &rows);
            }
            Ok(())
        }
    }
}

fn ask(args: &SecretArgs, method: Method, body: Bytes) -> Ask<'_> {
    let path = format!("/bindings/{}/secrets/{}", args.binding, args.name);
    Ask { method, path, body, reason: &args.reason, fields: Vec::new() }
}

fn done(args: &SecretArgs, answer: &serde_json::Value, what: &str) -> anyhow::Result<()> {
    if args.server.json {
        say!("{answer:#}");
    } else {
        say!("the secret {} of {} {what}", args.name, args.binding);
    }
    Ok(())
}

fn read(name: &str) -> anyhow::Result<Vec<u8>> {
    if std::io::stdin().is_terminal() {
        return Ok(rpassword::prompt_password(format!("{name}: ")).context("ask for the secret")?.into_bytes());
    }
    let mut value = Vec::new();
    std::io::stdin().read_to_end(&mut value).context("read the secret from standard input")?;
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}
