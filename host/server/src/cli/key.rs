//! `lectern key`: API keys of a running server.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{ServerArgs, table};
use crate::admin::protocol::{CreateKey, CreatedKey, KeyView, RevokeKey};

#[derive(Debug, Subcommand)]
pub(super) enum KeyVerb {
    /// Create a key. Its text is printed once and kept nowhere.
    Create(CreateArgs),
    /// List an account's keys.
    List(ListArgs),
    /// Revoke a key; it stops working at once.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Whose key it is.
    #[arg(long)]
    user: String,
    /// A name to tell keys apart.
    #[arg(long, default_value = "lectern")]
    name: String,
    /// The most it may do; the account's role bounds it too.
    #[arg(long, value_parser = ["viewer", "publisher", "administrator"], default_value = "administrator")]
    role: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Whose keys.
    #[arg(long)]
    user: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// Whose key it is.
    #[arg(long)]
    user: String,
    /// The key's number, as `lectern key list` prints it.
    id: i64,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(verb: KeyVerb) -> anyhow::Result<()> {
    match verb {
        KeyVerb::Create(args) => {
            let body = CreateKey { username: args.user, name: args.name, role: args.role };
            let created: CreatedKey = args.server.call("/keys/create", &body)?;
            if args.server.json {
                say!("{:#}", serde_json::to_value(&created)?);
            } else {
                say!("{}", created.key);
            }
        }
        KeyVerb::List(args) => {
            let keys: Vec<KeyView> = args.server.call("/keys/list", &json!({"username": args.user}))?;
            if args.server.json {
                say!("{:#}", serde_json::to_value(&keys)?);
            } else {
                let rows: Vec<Vec<String>> =
                    keys.into_iter().map(|key| vec![key.id.to_string(), key.name, key.role, key.created_at]).collect();
                table(&["ID", "NAME", "ROLE", "CREATED"], &rows);
            }
        }
        KeyVerb::Revoke(args) => {
            let _: Value = args.server.call("/keys/revoke", &RevokeKey { username: args.user, id: args.id })?;
            if args.server.json {
                say!("{:#}", json!({"revoked": args.id}));
            } else {
                say!("revoked key {}", args.id);
            }
        }
    }
    Ok(())
}
