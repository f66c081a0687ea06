//! `lectern supervisor`: the process that content processes are children of. It is spoken to directly, with or without a server.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use lectern_supervisor::protocol::{Greeting, OLDEST, VERSION};
use lectern_supervisor::{Client, WorkerState};
use serde_json::json;

use super::ConfigArgs;
use crate::paths::Paths;

#[derive(Debug, Subcommand)]
pub(super) enum SupervisorVerb {
    /// Say which program runs as the supervisor, and what it runs.
    Status(StatusArgs),
    /// Have another program take the supervisor's place. Its process and all workers stay. `serve --take-over` does it, too.
    Upgrade(UpgradeArgs),
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    /// The program: a `lectern`. This one, unless it is named.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(verb: &SupervisorVerb) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    match verb {
        SupervisorVerb::Status(args) => runtime.block_on(status(args)),
        SupervisorVerb::Upgrade(args) => runtime.block_on(upgrade(args)),
    }
}

fn socket(config: &ConfigArgs) -> anyhow::Result<PathBuf> {
    let config = config.try_load().map_err(|mistakes| anyhow::anyhow!("{}", mistakes.join("; ")))?;
    Ok(Paths::new(&config.data).supervisor_socket())
}

async fn status(args: &StatusArgs) -> anyhow::Result<()> {
    let client = Client::connect(&socket(&args.config)?).await.context("no supervisor runs for this data directory")?;
    let workers = client.list().await.context("ask what runs")?;
    let running = workers.iter().filter(|worker| !matches!(worker.state, WorkerState::Exited(_))).count();
    let greeting = client.greeting();
    let same = greeting.program.as_deref() == Some(lectern_supervisor::identity().as_str());
    if args.json {
        let mut value = serde_json::to_value(greeting)?;
        value["workers"] = json!(running);
        value["same_program"] = json!(same);
        say!("{value:#}");
        return Ok(());
    }
    describe(greeting);
    say!("workers   {running}");
    say!("the same program as this: {}", if same { "yes" } else { "no; `lectern supervisor upgrade` makes it so" });
    Ok(())
}

async fn upgrade(args: &UpgradeArgs) -> anyhow::Result<()> {
    let program = match &args.program {
        Some(program) => std::path::absolute(program).with_context(|| format!("find {}", program.display()))?,
        None => std::env::current_exe().context("find this program's own file")?,
    };
    let socket = socket(&args.config)?;
    let now = Client::upgrade(&socket, &program).await.with_context(|| {
        format!(
            "the supervisor stays the program that it is, and its workers run on; {} was to replace it",
            program.display()
        )
    })?;
    if args.json {
        say!("{:#}", serde_json::to_value(&now)?);
    } else {
        describe(&now);
    }
    Ok(())
}

fn describe(greeting: &Greeting) {
    say!("process   {}", greeting.pid);
    say!("program   {}", greeting.program.as_deref().unwrap_or("of a build before programs were named"));
    say!("protocol  {} (this program speaks {OLDEST} to {VERSION})", greeting.version);
    say!("since     {}", greeting.started_at);
}
