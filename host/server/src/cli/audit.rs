//! `lectern audit`: the audit log of a running server.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::client::ServerArgs;
use crate::admin::protocol::AuditView;

#[derive(Debug, Subcommand)]
pub(super) enum AuditVerb {
    /// Compute the hashes of all entries again; exit status 1 when one is changed, missing or inserted.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(verb: &AuditVerb) -> anyhow::Result<()> {
    let AuditVerb::Verify(args) = verb;
    let found: AuditView = args.server.call("/audit/verify", &json!({}))?;
    if args.server.json {
        say!("{:#}", serde_json::to_value(&found)?);
    } else if let Some(hash) = &found.hash {
        say!("the audit log is whole: {} entries, the newest has the hash {hash}", found.entries);
    }
    match found.broken_at {
        None => Ok(()),
        Some(seq) => bail!("entry {seq} of the audit log is not the one that was written, or is missing"),
    }
}
