//! `lectern migrate`: brings the schema up to date, or says what would be done.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{ConfigArgs, failed};

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only list what would be applied.
    #[arg(long)]
    dry_run: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &MigrateArgs) -> ExitCode {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(status) => return status,
    };
    match perform(args, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn perform(args: &MigrateArgs, config: &crate::config::Config) -> anyhow::Result<()> {
    crate::logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let list = runtime.block_on(async {
        let paths = crate::paths::Paths::new(&config.data);
        crate::host::make_directories(config, &paths)?;
        let store = crate::store::MetadataStore::open(config, &paths, None).await?;
        let list = if args.dry_run {
            lectern_metadata::pending(&store.database).await
        } else {
            lectern_metadata::migrate(&store.database).await
        };
        store.close().await?;
        anyhow::Ok(list?)
    })?;
    if args.json {
        let rows: Vec<_> = list.iter().map(|m| json!({"version": m.version, "name": m.name})).collect();
        let key = if args.dry_run { "pending" } else { "applied" };
        say!("{:#}", json!({ key: rows }));
    } else if list.is_empty() {
        say!("the schema is up to date");
    } else {
        for migration in &list {
            let done = if args.dry_run { "would apply" } else { "applied" };
            say!("{done} V{:04} {}", migration.version, migration.name);
        }
    }
    Ok(())
}
