//! `lectern plugin test`: the cases of a package, on its component, in the gate that servers have.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use lectern_packages::Package;
use lectern_packages::cases::Case;
use lectern_trials::{CaseResult, Trials, Verdict};
use serde_json::{Value, json};

use super::{block_on, compiler, package_of};

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// A package, or the directory of a project, which is built first.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Only cases in whose file or name this text stands.
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    /// Show what each case logged and asked, and how long it took.
    #[arg(long, conflicts_with = "json")]
    verbose: bool,
}

pub(super) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let package = package_of(&args.path)?;
    let wanted = |case: &Case| match &args.case {
        Some(text) => title(&case.file, &case.name).contains(text.as_str()),
        None => true,
    };
    let count = package.cases.iter().filter(|case| wanted(case)).count();
    if count == 0 {
        match &args.case {
            Some(text) => anyhow::bail!("none of the {} cases has {text:?} in its file or name", package.cases.len()),
            None => anyhow::bail!("{} has no cases: write cases/<name>.toml", package.manifest.name),
        }
    }
    if !args.json {
        say!("running {} of {} {}", cases(count), package.manifest.name, package.manifest.version);
    }
    let began = Instant::now();
    let results = block_on(async {
        let trials = Trials::start(compiler())?;
        let told = |result: &CaseResult| {
            if !args.json {
                print_one(result, args.verbose);
            }
        };
        Ok(trials.run(&package, wanted, told).await?)
    })?;
    if args.json {
        print_json(&package, &results);
    } else {
        print_end(&results, began.elapsed());
    }
    Ok(if results.iter().all(CaseResult::passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn title(file: &str, name: &str) -> String {
    format!("{file}: {name}")
}

fn cases(count: usize) -> String {
    if count == 1 { "1 case".into() } else { format!("{count} cases") }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "ok",
        Verdict::Differs(_) => "FAILED",
        Verdict::NotRun(_) => "NOT RUN",
    }
}

fn print_one(result: &CaseResult, verbose: bool) {
    let title = title(&result.file, &result.name);
    if !verbose {
        say!("case {title} ... {}", word(&result.verdict));
        return;
    }
    say!("case {title} ... {} ({:.1?})", word(&result.verdict), result.took);
    for question in &result.asked {
        say!("    asked   {question}");
    }
    for line in &result.logs {
        say!("    logged  {line}");
    }
}

fn print_end(results: &[CaseResult], took: Duration) {
    let failed: Vec<&CaseResult> = results.iter().filter(|result| !result.passed()).collect();
    if !failed.is_empty() {
        say!("\nfailures:");
    }
    for result in &failed {
        say!("\n---- {} ----\n{}", title(&result.file, &result.name), result.verdict);
        for line in &result.logs {
            say!("logged: {line}");
        }
    }
    let passed = results.len() - failed.len();
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    say!("\ncase result: {verdict}. {passed} passed; {} failed; finished in {took:.2?}", failed.len());
}

fn print_json(package: &Package, results: &[CaseResult]) {
    let one = |result: &CaseResult| -> Value {
        json!({
            "file": result.file,
            "name": result.name,
            "result": match &result.verdict {
                Verdict::Passed => "passed",
                Verdict::Differs(_) => "failed",
                Verdict::NotRun(_) => "not-run",
            },
            "told": result.verdict.to_string(),
            "asked": result.asked,
            "logged": result.logs,
            "took_us": u64::try_from(result.took.as_micros()).unwrap_or(u64::MAX),
        })
    };
    let passed = results.iter().filter(|result| result.passed()).count();
    let answer = json!({
        "name": package.manifest.name.as_str(),
        "version": package.manifest.version.to_string(),
        "digest": package.digest.to_string(),
        "passed": passed,
        "failed": results.len() - passed,
        "cases": results.iter().map(one).collect::<Vec<_>>(),
    });
    say!("{answer:#}");
}
