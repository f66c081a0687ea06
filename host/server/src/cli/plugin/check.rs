//! `lectern plugin check`: what a server asks of a package before it admits one, without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lectern_packages::Package;
use lectern_trials::{Admission, Trials};
use serde_json::json;

use super::{block_on, compiler, package_of};

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// A package, or the directory of a project, which is built first.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (package, admission) = match package_of(&args.path) {
        Ok(package) => {
            let admission = block_on(async { Ok(Trials::start(compiler())?.admit(&package).await) })?;
            (Some(package), admission)
        }
        // A package that cannot be read has findings; anything else is no answer about a package.
        Err(error) if error.downcast_ref::<lectern_packages::PackageError>().is_some() => {
            let found = error.root_cause().to_string();
            (None, Admission { findings: found.lines().map(str::to_owned).collect(), notes: Vec::new() })
        }
        Err(error) => return Err(error),
    };
    if args.json {
        print_json(package.as_ref(), &admission);
    } else {
        print(package.as_ref(), &admission);
    }
    Ok(if admission.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_json(package: Option<&Package>, admission: &Admission) {
    let answer = json!({
        "name": package.map(|package| package.manifest.name.as_str()),
        "version": package.map(|package| package.manifest.version.to_string()),
        "digest": package.map(|package| package.digest.to_string()),
        "admitted": admission.findings.is_empty(),
        "findings": admission.findings,
        "notes": admission.notes,
    });
    say!("{answer:#}");
}

fn print(package: Option<&Package>, admission: &Admission) {
    if let Some(package) = package {
        say!("{} {}  {}", package.manifest.name, package.manifest.version, package.digest);
        say!("  asks    {}", package.manifest.asked());
        say!("  cases   {}", package.cases.len());
    }
    for note in &admission.notes {
        say!("  note    {note}");
    }
    match admission.findings.as_slice() {
        [] => say!("a server would admit it"),
        findings => {
            for finding in findings {
                eprintln!("{finding}");
            }
            eprintln!("a server would not admit it");
        }
    }
}
