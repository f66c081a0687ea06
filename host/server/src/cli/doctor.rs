//! `lectern doctor`: what this host gives and lacks, and what to do about it. Starts nothing that stays.

use std::net::TcpListener;
use std::process::{Command, ExitCode};

use clap::Args;
use lectern_confinement::{Standing, State, look, standings};
use lectern_metadata::reach::check_reachable;
use serde_json::json;

use super::{ConfigArgs, chain, failed};
use crate::config::Config;
use crate::host;
use crate::paths::Paths;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    /// Something does not work, or less well; the server runs.
    Lacking,
    /// The server cannot run.
    Bad,
}

/// One thing looked at.
struct Finding {
    grade: Grade,
    what: &'static str,
    found: String,
    /// What to do; empty when nothing is.
    remedy: String,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { grade: Grade::Good, what, found: found.into(), remedy: String::new() }
    }

    fn lacking(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { grade: Grade::Lacking, what, found: found.into(), remedy: remedy.into() }
    }

    fn bad(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { grade: Grade::Bad, what, found: found.into(), remedy: remedy.into() }
    }
}

pub(super) fn run(args: &DoctorArgs) -> ExitCode {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(status) => return status,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("start the runtime")),
    };
    let findings = runtime.block_on(examine(&config));
    let layers = standings(&config.sandbox.walls, &look(host::content_account(&config)));
    if args.json {
        print_json(&findings, &layers, &config);
    } else {
        print_text(&findings);
        print_layers(&layers, &config);
    }
    let refused = layers.iter().any(|one| is_refused(one, &config));
    if refused || findings.iter().any(|finding| finding.grade == Grade::Bad) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

async fn examine(config: &Config) -> Vec<Finding> {
    let paths = Paths::new(&config.data);
    let mut findings = vec![account(), directory(config, &paths), address(config)];
    findings.extend(tls(config));
    findings.push(database(config).await);
    findings.extend(languages(config, &paths).await);
    findings.push(tool("bubblewrap", "bwrap", "apt-get install bubblewrap", "content is confined less"));
    findings.push(tool("pandoc", "pandoc", "apt-get install pandoc", "R Markdown documents cannot be rendered"));
    if config.git.enabled && config.git.program.is_none() {
        findings.push(tool("git", "git", "apt-get install git", "content cannot be made of git repositories"));
    }
    findings.push(gate());
    findings
}

fn account() -> Finding {
    if host::is_root() {
        return Finding::good("account", "root: every content item runs as an account of its own");
    }
    Finding::lacking(
        "account",
        "not root: all content runs as the server's own account, and nothing but its walls keeps it apart",
        "run lectern as root (it drops privileges for everything it starts), or serve only content you trust",
    )
}

fn directory(config: &Config, paths: &Paths) -> Finding {
    let dir = paths.root();
    if let Some(uid) = host::first_uid(config)
        && let Err(error) = check_reachable(dir, uid, uid)
    {
        return Finding::bad("data directory", chain(&error), "choose another with --data-dir or data.dir");
    }
    let state = if dir.is_dir() { "is there" } else { "will be made" };
    Finding::good("data directory", format!("{} {state}", dir.display()))
}

fn address(config: &Config) -> Finding {
    match TcpListener::bind(config.server.listen) {
        Ok(_) => Finding::good("address", format!("{} is free", config.server.listen)),
        Err(error) => Finding::lacking(
            "address",
            format!("{}: {error}", config.server.listen),
            "a server may be running already; else choose another with --listen or server.listen",
        ),
    }
}

/// The certificate of a listener that speaks HTTPS. Files that cannot be used were a mistake before.
fn tls(config: &Config) -> Option<Finding> {
    let tls = config.server.tls.as_ref()?;
    Some(match crate::tls::load(tls) {
        Ok((loaded, warnings)) if warnings.is_empty() => Finding::good(
            "TLS",
            format!("the certificate of {:?} is valid until {}", loaded.subject(), loaded.valid_until()),
        ),
        Ok(_) => Finding::lacking("TLS", config.warnings.join("; "), "renew it; the running server takes it by itself"),
        Err(error) => Finding::bad("TLS", chain(&error), "see server.tls in docs/operating.md"),
    })
}

async fn database(config: &Config) -> Finding {
    if let Some(url) = &config.database.url {
        let mut settings = lectern_metadata::DatabaseConfig::new(url.reveal());
        settings.tls_ca_file.clone_from(&config.database.tls_ca_file);
        settings.allow_unverified_tls = config.database.allow_unverified_tls;
        return match lectern_metadata::Database::connect(settings).await {
            Ok(_) => Finding::good("database", "the configured PostgreSQL answers"),
            Err(error) => Finding::bad("database", chain(&error), "see database.url and docs/operating.md"),
        };
    }
    match lectern_metadata::cluster::find_binaries(config.database.bin_dir.as_deref(), None) {
        Ok(found) => {
            Finding::good("database", format!("private PostgreSQL {} from {}", found.version, found.dir.display()))
        }
        Err(error) => Finding::bad("database", chain(&error), "apt-get install postgresql, or set database.url"),
    }
}

async fn languages(config: &Config, paths: &Paths) -> Vec<Finding> {
    let search = |configured: &[std::path::PathBuf]| lectern_runtimes::Search {
        configured: configured.to_vec(),
        path: std::env::var_os("PATH"),
        for_other_accounts: host::is_root(),
    };
    let python = lectern_runtimes::interpreters::discover_python(&search(&config.python.interpreters)).await;
    let r = lectern_runtimes::interpreters::discover_r(&search(&config.r.interpreters)).await;
    let mut findings = interpreters("Python", &python, "apt-get install python3 python3-venv");
    findings.extend(interpreters("R", &r, "apt-get install r-base-core r-cran-plumber"));
    findings.push(uv(config, paths));
    findings.push(r_packages(config));
    let node = lectern_runtimes::interpreters::discover_node(&search(&config.node.interpreters)).await;
    findings.extend(interpreters("Node.js", &node, "apt-get install nodejs npm, at least 18.19"));
    let quarto = lectern_runtimes::interpreters::discover_quarto(&search(&config.quarto.interpreters)).await;
    findings.extend(interpreters(
        "Quarto",
        &quarto,
        "unpack a release of Quarto in /opt/quarto, as /opt/quarto/VERSION",
    ));
    findings
}

fn interpreters(what: &'static str, found: &[lectern_runtimes::Found], remedy: &str) -> Vec<Finding> {
    let usable = lectern_runtimes::interpreters::usable(found);
    let mut findings = Vec::new();
    if usable.is_empty() {
        findings.push(Finding::lacking(what, "none that content can run", remedy));
    } else {
        let list: Vec<String> = usable.iter().map(|i| format!("{} ({})", i.version, i.path.display())).collect();
        findings.push(Finding::good(what, list.join(", ")));
    }
    for rejected in found {
        if let Err(reason) = &rejected.usable {
            let text = format!("{} is not used: {}", rejected.path.display(), chain(reason));
            findings.push(Finding { grade: Grade::Good, what, found: text, remedy: String::new() });
        }
    }
    findings
}

fn uv(config: &Config, paths: &Paths) -> Finding {
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join("uv")).find(|file| file.is_file())
    };
    match config.python.uv.clone().or_else(in_path) {
        Some(file) if file.is_file() => Finding::good("uv", file.display().to_string()),
        _ if paths.root().join("tools").is_dir() => Finding::good("uv", "a copy in the data directory"),
        _ => {
            Finding::lacking("uv", "not found: Python content cannot be deployed", lectern_runtimes::python::uv::REMEDY)
        }
    }
}

/// Where R packages come from, and whether those with compiled code can be built from source.
fn r_packages(config: &Config) -> Finding {
    const WHAT: &str = "R packages";
    let sources = config.r_packages.sources(config.r.restore_timeout);
    let names: Vec<&str> = sources.repositories.iter().map(|one| one.name.as_str()).collect();
    if names.is_empty() {
        return Finding::good(WHAT, "are not restored, content has the installed ones; see r.packages.repositories");
    }
    let lacks = |program: &&str| Command::new(program).arg("--version").output().is_err();
    let missing: Vec<&str> = ["gcc", "g++", "make"].into_iter().filter(lacks).collect();
    if missing.is_empty() {
        return Finding::good(WHAT, format!("are restored from {}", names.join(", ")));
    }
    let found =
        format!("restored from {}; not found, so that only binaries can be: {}", names.join(", "), missing.join(", "));
    Finding::lacking(WHAT, found, "apt-get install r-base-dev")
}

fn tool(what: &'static str, program: &str, remedy: &str, without: &str) -> Finding {
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::good(what, text.lines().next().unwrap_or(program).to_owned())
        }
        _ => Finding::lacking(what, format!("not found: {without}"), remedy),
    }
}

/// Whether the plugins' engine can reserve the memory it works in.
fn gate() -> Finding {
    match lectern_gate::try_engine() {
        Ok(_) => Finding::good("gate", "the WebAssembly engine starts"),
        Err(error) => {
            Finding::bad("gate", chain(&error), "raise the limit of address space (ulimit -v) for this account")
        }
    }
}

fn print_text(findings: &[Finding]) {
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    for finding in findings {
        let mark = match finding.grade {
            Grade::Good => "ok  ",
            Grade::Lacking => "lack",
            Grade::Bad => "BAD ",
        };
        say!("{mark}  {:width$}  {}", finding.what, finding.found);
        if !finding.remedy.is_empty() {
            say!("      {:width$}  → {}", "", finding.remedy);
        }
    }
}

/// Whether no content is started because of this.
fn is_refused(standing: &Standing, config: &Config) -> bool {
    config.sandbox.walls.require.contains(&standing.layer) && standing.state != State::Have
}

/// The layers around content, as a table.
fn print_layers(layers: &[Standing], config: &Config) {
    say!("\nConfinement of content:");
    let width = layers.iter().map(|one| one.layer.as_str().len()).max().unwrap_or(0);
    for one in layers {
        let (mark, lack) = match &one.state {
            State::Have => ("have", None),
            State::Off(lack) => ("off ", Some(lack)),
            State::Lack(lack) => ("LACK", Some(lack)),
        };
        say!("{mark}  {:width$}  {}", one.layer.as_str(), one.layer.gives());
        if let Some(lack) = lack {
            let required = if is_refused(one, config) { " (required: no content is started)" } else { "" };
            say!("      {:width$}  {}{required}", "", lack.why);
            say!("      {:width$}  → {}", "", lack.remedy);
        }
    }
}

fn print_json(findings: &[Finding], layers: &[Standing], config: &Config) {
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| {
            let grade = match finding.grade {
                Grade::Good => "ok",
                Grade::Lacking => "lacking",
                Grade::Bad => "bad",
            };
            json!({"what": finding.what, "grade": grade, "found": finding.found, "remedy": finding.remedy})
        })
        .collect();
    let layers: Vec<_> = layers
        .iter()
        .map(|one| {
            let (state, lack) = match &one.state {
                State::Have => ("have", None),
                State::Off(lack) => ("off", Some(lack)),
                State::Lack(lack) => ("lack", Some(lack)),
            };
            json!({
                "layer": one.layer, "gives": one.layer.gives(), "state": state, "refuses": is_refused(one, config),
                "why": lack.map(|lack| &lack.why), "remedy": lack.map(|lack| &lack.remedy),
            })
        })
        .collect();
    say!("{:#}", json!({ "findings": rows, "layers": layers }));
}
