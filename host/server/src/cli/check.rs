//! `lectern check`: every mistake in the configuration, at once; `--print` shows what is in force.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::ConfigArgs;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Show every key with its value and where it comes from; secrets are hidden.
    #[arg(long)]
    print: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let result = args.config.try_load_whole();
    if args.json {
        let (mistakes, keys) = match &result {
            Ok(config) => {
                let keys: Vec<_> = config
                    .effective
                    .iter()
                    .map(|e| json!({"key": e.key, "value": e.value, "origin": e.origin}))
                    .collect();
                (Vec::new(), keys)
            }
            Err(mistakes) => (mistakes.clone(), Vec::new()),
        };
        let warnings = result.as_ref().map(|config| config.warnings.clone()).unwrap_or_default();
        let mut answer = json!({"valid": result.is_ok(), "mistakes": mistakes, "warnings": warnings});
        if args.print {
            answer["keys"] = keys.into();
        }
        say!("{answer:#}");
        return if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match result {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}");
            }
            if args.print {
                let width = config.effective.iter().map(|e| e.key.len()).max().unwrap_or(0);
                for e in &config.effective {
                    say!("{:width$}  {}  ({})", e.key, e.value, e.origin);
                }
            } else {
                say!("the configuration is valid");
            }
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("{mistake}");
            }
            ExitCode::FAILURE
        }
    }
}
