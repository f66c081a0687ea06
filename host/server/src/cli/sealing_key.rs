//! `lectern sealing-key`: the key that seals environment variables and plugins' secrets.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::ServerArgs;
use crate::rotation::RotationStatus;

/// Between looks at how a rotation goes.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(super) enum SealingKeyVerb {
    /// Replace the key of a running server and seal everything anew; waits until that is done.
    Rotate(RotateArgs),
    /// Say whether a rotation is under way.
    Status(StatusArgs),
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// Do not wait for the end.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
}

fn print(server: &ServerArgs, status: &RotationStatus) -> anyhow::Result<()> {
    if server.json {
        say!("{:#}", serde_json::to_value(status)?);
        return Ok(());
    }
    let RotationStatus { running, resealed, unreadable, problem } = status;
    let state = if *running { "a rotation is under way" } else { "no rotation is under way" };
    say!("{state}: {resealed} values sealed anew, {unreadable} that open with no key");
    if !problem.is_empty() {
        say!("held up: {problem}");
    }
    Ok(())
}

pub(super) fn run(verb: SealingKeyVerb) -> anyhow::Result<()> {
    match verb {
        SealingKeyVerb::Rotate(args) => {
            let mut status: RotationStatus = args.server.call("/sealing-key/rotate", &json!({}))?;
            while status.running && !args.no_wait {
                std::thread::sleep(LOOK);
                status = args.server.call("/sealing-key/status", &json!({}))?;
            }
            print(&args.server, &status)
        }
        SealingKeyVerb::Status(args) => {
            let status: RotationStatus = args.server.call("/sealing-key/status", &json!({}))?;
            print(&args.server, &status)
        }
    }
}
