//! The command line. Exit status: 0 done, 1 failed, 2 wrong use.

#[macro_use]
mod out;

mod audit;
mod check;
mod client;
mod doctor;
mod key;
mod migrate;
mod packages;
mod plugin;
mod sealing_key;
mod serve;
mod supervisor;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Layers, Seen, TlsFiles};

/// Publishes R and Python work: runs it as supervised processes behind a gate of WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "lectern", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server. Without configuration: 127.0.0.1:3939, ./lectern-data, a private PostgreSQL.
    Serve(serve::ServeArgs),
    /// Run the supervisor of content processes; `serve` starts it when none runs.
    #[command(hide = true)]
    Supervise(SuperviseArgs),
    /// Show the supervisor of content processes, or have another program take its place.
    #[command(subcommand)]
    Supervisor(supervisor::SupervisorVerb),
    /// Compile a plugin from standard input to standard output; `serve` does it in a process of its own.
    #[command(hide = true)]
    CompileComponent {
        /// light or heavy
        class: String,
    },
    /// Check the configuration and report every mistake at once.
    Check(check::CheckArgs),
    /// Say what this host gives and lacks, and what to do about it.
    Doctor(doctor::DoctorArgs),
    /// Bring the database's schema up to date (`serve` does it too).
    Migrate(migrate::MigrateArgs),
    /// Add, list and change accounts of a running server.
    #[command(subcommand)]
    User(user::UserVerb),
    /// Create, list and revoke API keys of a running server.
    #[command(subcommand)]
    Key(key::KeyVerb),
    /// Rotate the key that seals environment variables and plugins' secrets.
    #[command(subcommand)]
    SealingKey(sealing_key::SealingKeyVerb),
    /// Check the audit log of a running server.
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    /// List and evict what a running server has in its cache of R packages.
    #[command(subcommand)]
    Packages(packages::PackagesVerb),
    /// Make, build, test and sign plugins; install, bind and swap them on a running server.
    #[command(subcommand)]
    Plugin(Box<plugin::PluginVerb>),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file (TOML). Every key can also come from the environment, as LECTERN_SECTION__KEY.
    #[arg(long, value_name = "FILE", env = "LECTERN_CONFIG")]
    config: Option<PathBuf>,
    /// Directory for the server's data; the same as data.dir.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to serve on; the same as server.listen. Port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

#[derive(Debug, Args)]
struct SuperviseArgs {
    /// Unix socket to listen on.
    #[arg(long)]
    socket: PathBuf,
    /// Most workers at a time.
    #[arg(long, default_value_t = 1000)]
    max_workers: usize,
}

impl ConfigArgs {
    /// Reads all layers and makes the configuration. Mistakes are printed, one a line, and give exit status 2.
    pub(crate) fn load(&self) -> Result<Config, ExitCode> {
        let mistakes = match self.try_load_whole() {
            Ok(config) => return Ok(config),
            Err(mistakes) => mistakes,
        };
        let count = match mistakes.len() {
            1 => "1 mistake".to_owned(),
            n => format!("{n} mistakes"),
        };
        eprintln!("lectern: {count} in the configuration");
        for mistake in mistakes {
            eprintln!("  {mistake}");
        }
        Err(ExitCode::from(2))
    }

    /// The same without printing: every mistake as a line of text.
    pub(crate) fn try_load_whole(&self) -> Result<Config, Vec<String>> {
        self.resolve(crate::tls::look)
    }

    /// The configuration for those who only want to find a running server: into its files nobody looks.
    pub(crate) fn try_load(&self) -> Result<Config, Vec<String>> {
        self.resolve(|_| Seen::default())
    }

    fn resolve(&self, look: impl FnOnce(&TlsFiles) -> Seen) -> Result<Config, Vec<String>> {
        let mut layers = Layers::default();
        if let Some(file) = &self.config {
            layers.add_file(file).map_err(|error| vec![chain(&error)])?;
        }
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        layers.add_environment(variables);
        if let Some(dir) = &self.data_dir {
            layers.add_flag("data.dir", "--data-dir", &dir.to_string_lossy());
        }
        if let Some(listen) = &self.listen {
            layers.add_flag("server.listen", "--listen", listen);
        }
        let base = std::env::current_dir().map_err(|error| vec![format!("find the working directory: {error}")])?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Config::resolve(layers, &base, cores, crate::host::memory(), look)
            .map_err(|list| list.iter().map(ToString::to_string).collect())
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        // Some libraries repeat the cause in their own message.
        if !text.ends_with(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}

/// Prints a failure and gives the exit status for it.
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("lectern: {}", chain(error.as_ref()));
    ExitCode::FAILURE
}

/// Runs the command line.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.verb {
        Verb::Serve(args) => return serve::run(&args),
        Verb::Supervise(args) => supervise(&args),
        Verb::Supervisor(verb) => supervisor::run(&verb),
        Verb::CompileComponent { class } => return compile_component(&class),
        Verb::Check(args) => return check::run(&args),
        Verb::Doctor(args) => return doctor::run(&args),
        Verb::Migrate(args) => return migrate::run(&args),
        Verb::User(verb) => user::run(verb),
        Verb::Key(verb) => key::run(verb),
        Verb::SealingKey(verb) => sealing_key::run(verb),
        Verb::Audit(verb) => audit::run(&verb),
        Verb::Packages(verb) => packages::run(verb),
        Verb::Plugin(verb) => return plugin::run(*verb).unwrap_or_else(|error| failed(&error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Compiles a component; what is wrong with it goes to standard error as it is.
fn compile_component(class: &str) -> ExitCode {
    let Some(class) = lectern_gate::Class::parse(class) else {
        eprintln!("lectern: class {class:?} must be light or heavy");
        return ExitCode::from(2);
    };
    match lectern_gate::compile_stdin(class) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the supervisor: a process of its own, without a runtime when it starts, because it forks.
fn supervise(args: &SuperviseArgs) -> anyhow::Result<()> {
    crate::logging::start_of_supervisor();
    let mut config = lectern_supervisor::SupervisorConfig::new(&args.socket);
    config.max_workers = args.max_workers;
    let status = lectern_supervisor::run(config)?;
    if status == ExitCode::SUCCESS { Ok(()) } else { anyhow::bail!("the supervisor failed; its log says why") }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn no_two_arguments_of_a_verb_have_one_name() {
        Cli::command().debug_assert();
    }
}
