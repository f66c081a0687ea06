//! The keys, their defaults and their rules: the one list that documentation and `lectern check --print` follow.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lectern_domain::admission::QUEUE_LIMIT;
use lectern_domain::outbound::Allowed;

use super::git::git;
use super::layers::Layers;
use super::r_packages::r_packages;
use super::reader::{Mistake, Reader};
use super::sandbox::sandbox;
use super::scheduler::scheduler;
use super::tls::tls;
use super::{
    Bootstrap, Config, Content, Data, Database, Gate, IdTokens, Instrumentation, Jobs, Language, Log, LogFormat,
    Outbound, Secret, Seen, Server, TlsFiles,
};

/// Longest any time-out may be set to: 30 days, the most the clients know.
pub(super) const MONTH: u64 = 2_592_000;

impl Config {
    /// Makes the configuration from its layers, or says everything that is wrong with them.
    ///
    /// `base` is what relative paths are relative to; `cores` and `memory` (bytes) are what this machine has; `look` looks into the files of
    /// `[server.tls]`, so that what is wrong there is said together with all else.
    pub(crate) fn resolve(
        layers: Layers,
        base: &Path,
        cores: usize,
        memory: u64,
        look: impl FnOnce(&TlsFiles) -> Seen,
    ) -> Result<Self, Vec<Mistake>> {
        let bootstrap_secret = layers.bootstrap_secret.clone();
        let mut read = Reader::new(layers, base);
        let mut warnings = Vec::new();
        let mut server = server(&mut read, cores);
        server.tls = tls(&mut read, look, &mut warnings);
        let data = data(&mut read);
        let database = database(&mut read);
        let bootstrap = Bootstrap {
            secret_file: read.optional_path("bootstrap.secret_file"),
            secret: bootstrap_secret.map(Secret::new),
        };
        let id_tokens = id_tokens(&mut read);
        let python = language(
            &mut read,
            ["python.interpreters", "python.uv", "python.index_url", "python.restore_timeout_seconds"],
        );
        let r = Language {
            interpreters: read.paths("r.interpreters"),
            uv: None,
            index_url: None,
            restore_timeout: read.seconds("r.restore_timeout_seconds", 900, 1, MONTH),
        };
        let r_packages = r_packages(&mut read);
        let node = Language {
            interpreters: read.paths("node.interpreters"),
            uv: None,
            index_url: read.optional("node.registry_url", "an http or https URL", false, parse_base_url),
            restore_timeout: python.restore_timeout,
        };
        let quarto = Language {
            interpreters: read.paths("quarto.interpreters"),
            uv: None,
            index_url: None,
            restore_timeout: python.restore_timeout,
        };
        let git = git(&mut read);
        let content = content(&mut read, cores, memory);
        let jobs = jobs(&mut read);
        let instrumentation = instrumentation(&mut read);
        let sandbox = sandbox(&mut read);
        let outbound = Outbound {
            allow: exceptions(&mut read, "outbound.allow"),
            ca_file: read.optional_path("outbound.ca_file"),
        };
        let gate = gate(&mut read, &data.dir);
        let log = log(&mut read);
        read.refuse_unknown();
        if !read.mistakes.is_empty() {
            return Err(read.mistakes);
        }
        let effective = read.effective;
        Ok(Self {
            server,
            data,
            database,
            bootstrap,
            id_tokens,
            python,
            r,
            r_packages,
            node,
            quarto,
            git,
            content,
            jobs,
            instrumentation,
            sandbox,
            outbound,
            gate,
            log,
            effective,
            warnings,
        })
    }
}

fn server(read: &mut Reader, cores: usize) -> Server {
    Server {
        listen: read.text(
            "server.listen",
            "an address and a port, like 127.0.0.1:3939 or [::]:3939",
            SocketAddr::from(([127, 0, 0, 1], 3939)),
            |text| text.parse().ok(),
        ),
        public_url: read.optional(
            "server.public_url",
            "an http or https URL without query, like https://publish.example.org/lectern",
            false,
            parse_base_url,
        ),
        trusted_proxies: read.list(
            "server.trusted_proxies",
            "a list of addresses or networks, like [\"10.0.0.0/8\", \"::1\"]",
            |text| text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from)),
        ),
        threads: usize::try_from(read.number("server.threads", cores as u64, 1, 256)).unwrap_or(1),
        stop_grace: read.seconds("server.stop_grace_seconds", 30, 0, 3600),
        take_over_grace: read.seconds("server.take_over_grace_seconds", 900, 0, 86_400),
        tls: None,
    }
}

fn data(read: &mut Reader) -> Data {
    let dir = read.path("data.dir", PathBuf::from("lectern-data"));
    Data {
        shared_dir: read.path("data.shared_dir", dir.join("shared")),
        key_file: read.path("data.key_file", dir.join("secret.key")),
        dir,
    }
}

fn database(read: &mut Reader) -> Database {
    let url = read.optional("database.url", "a URL like postgres://user:password@host:5432/name", true, |text| {
        let known = ["postgres", "postgresql"];
        url::Url::parse(text).ok().filter(|url| known.contains(&url.scheme())).map(|_| text.to_owned())
    });
    Database {
        url: url.map(Secret::new),
        tls_ca_file: read.optional_path("database.tls_ca_file"),
        allow_unverified_tls: read.switch("database.allow_unverified_tls", false),
        // More than PostgreSQL's own default of 100 connections would only move the waiting there.
        max_connections: usize::try_from(read.number("database.max_connections", 16, 2, 90)).unwrap_or(16),
        bin_dir: read.optional_path("database.bin_dir"),
    }
}

/// All three keys, or none.
fn id_tokens(read: &mut Reader) -> Option<IdTokens> {
    let text = |text: &str| (1..=1024).contains(&text.len()).then(|| text.to_owned());
    let issuer = read.optional("id_tokens.issuer", "the issuer's name, 1 to 1024 bytes", false, text);
    let audience = read.optional("id_tokens.audience", "a text of 1 to 1024 bytes", false, text);
    let jwks_url = read.optional("id_tokens.jwks_url", "an http or https URL", false, |text| {
        let url = url::Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none()).then_some(url)
    });
    match (issuer, audience, jwks_url) {
        (Some(issuer), Some(audience), Some(jwks_url)) => Some(IdTokens { issuer, audience, jwks_url }),
        (None, None, None) => None,
        (issuer, audience, jwks_url) => {
            let given = [issuer.is_some(), audience.is_some(), jwks_url.is_some()];
            for (key, given) in ["id_tokens.issuer", "id_tokens.audience", "id_tokens.jwks_url"].iter().zip(given) {
                if !given && !read.is_mistaken(key) {
                    read.mistake(key, String::new(), "must be set where another key of [id_tokens] is".to_owned());
                }
            }
            None
        }
    }
}

fn language(read: &mut Reader, [interpreters, uv, index_url, restore]: [&'static str; 4]) -> Language {
    Language {
        interpreters: read.paths(interpreters),
        uv: read.optional_path(uv),
        index_url: read.optional(index_url, "an http or https URL", false, parse_base_url),
        restore_timeout: read.seconds(restore, 900, 1, MONTH),
    }
}

/// Processes for each core: all at work they would get a hundredth of it each, and most wait for something.
const PROCESSES_PER_CORE: u64 = 100;
/// Memory of the machine that is left to the server, the database and the files that the system keeps in memory: a quarter.
const MEMORY_LEFT: u64 = 4;

fn content(read: &mut Reader, cores: usize, memory: u64) -> Content {
    const GIB: u64 = 1 << 30;
    let scheduler = scheduler(read);
    let max_workers = read.number("content.max_workers", 500, 1, 10_000);
    let for_cores = (cores as u64).saturating_mul(PROCESSES_PER_CORE).min(max_workers);
    let max_processes_total = read.number("content.max_processes_total", for_cores, 1, 10_000);
    if max_processes_total > max_workers {
        let rule = format!("must not exceed content.max_workers, {max_workers}: the supervisor starts no more");
        read.mistake("content.max_processes_total", max_processes_total.to_string(), rule);
    }
    let memory_budget = (memory - memory / MEMORY_LEFT).max(LEAST_BUDGET);
    Content {
        max_bundle_bytes: read.size("content.max_bundle_bytes", 10 * GIB, 1024),
        max_unpacked_bytes: read.size("content.max_unpacked_bytes", 40 * GIB, 1024),
        max_files: read.number("content.max_files", 200_000, 1, 10_000_000),
        max_bundles: usize::try_from(read.number("content.max_bundles", 0, 0, 100_000)).unwrap_or(0),
        scheduler,
        stop_grace: read.seconds("content.stop_grace_seconds", 10, 0, 600),
        max_waiting: usize::try_from(read.number("content.max_waiting", QUEUE_LIMIT as u64, 1, 100_000))
            .unwrap_or(QUEUE_LIMIT),
        max_workers: usize::try_from(max_workers).unwrap_or(500),
        max_processes_total: usize::try_from(max_processes_total).unwrap_or(500),
        memory_budget: read.size("content.memory_budget_bytes", memory_budget, LEAST_BUDGET),
        // Each holds 20 to 60 MiB, which the memory budget takes back when it is needed; the supervisor keeps at most 256.
        zygotes: usize::try_from(read.number("content.zygotes", 50, 0, 250)).unwrap_or(50),
        job_log_bytes: read.size("content.job_log_bytes", 10 << 20, 64 << 10),
        concurrent_deploys: usize::try_from(read.number("content.concurrent_deploys", 4, 1, 64)).unwrap_or(4),
        api_key: read.switch("content.api_key", true),
        server_address: read.switch("content.server_address", true),
    }
}

/// The least that is kept of logs: one whole log.
const LEAST_LOGS: u64 = 16 << 20;

fn jobs(read: &mut Reader) -> Jobs {
    const DAY: u64 = 24 * 3600;
    Jobs {
        keep_for: Duration::from_secs(read.number("jobs.keep_days", 90, 1, 3650) * DAY),
        // The list that people and clients see has 500; above, only the disk and the database notice.
        keep_per_content: u32::try_from(read.number("jobs.keep_per_content", 1000, 1, 100_000)).unwrap_or(1000),
        keep_bytes: read.size("jobs.keep_bytes", 10 << 30, LEAST_LOGS),
    }
}

fn instrumentation(read: &mut Reader) -> Instrumentation {
    const DAY: u64 = 24 * 3600;
    Instrumentation { keep_for: Duration::from_secs(read.number("instrumentation.keep_days", 90, 1, 3650) * DAY) }
}

/// One small process: with less, none would ever start.
const LEAST_BUDGET: u64 = 64 << 20;

/// Addresses beside the public Internet that may be reached.
fn exceptions(read: &mut Reader, key: &'static str) -> Vec<Allowed> {
    let form = "a list of addresses, with a port if only that is meant, or networks, like [\"127.0.0.1:8443\", \"10.1.0.0/16\"]";
    read.list(key, form, |text| text.parse().ok())
}

fn gate(read: &mut Reader, data_dir: &Path) -> Gate {
    Gate {
        outbound_allow: exceptions(read, "gate.outbound_allow"),
        outbound_ca_file: read.optional_path("gate.outbound_ca_file"),
        trusted_keys: read.list(
            "gate.trusted_keys",
            "a list of public keys, each ed25519: and 44 characters of base64",
            |text| is_public_key(text).then(|| text.to_owned()),
        ),
        allow_unsigned: read.switch("gate.allow_unsigned", false),
        cache_dir: read.path("gate.cache_dir", data_dir.join("plugin-cache")),
    }
}

/// The form of a key; whether it is one shows when it is used.
fn is_public_key(text: &str) -> bool {
    let key = text.strip_prefix("ed25519:").and_then(|base64| STANDARD.decode(base64).ok());
    key.is_some_and(|key| key.len() == 32)
}

fn log(read: &mut Reader) -> Log {
    let format = read.text("log.format", "\"text\" or \"json\"", "text".to_owned(), |text| {
        ["text", "json"].contains(&text).then(|| text.to_owned())
    });
    let level =
        read.text("log.level", "a filter like info, debug or info,lectern_edge=debug", "info".to_owned(), |text| {
            tracing_subscriber::EnvFilter::try_new(text).ok().filter(|_| !text.is_empty()).map(|_| text.to_owned())
        });
    Log { format: if format == "json" { LogFormat::Json } else { LogFormat::Text }, level }
}

/// An http(s) URL without query and fragment; the trailing slash is dropped when printed by those who use it.
fn parse_base_url(text: &str) -> Option<url::Url> {
    let url = url::Url::parse(text).ok()?;
    let fits = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    fits.then_some(url)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::{resolve, undocumented};
    use super::*;
    use lectern_domain::ContentGuid;
    use lectern_domain::confinement::{Layer, Profile, Walls};
    use lectern_domain::scaling::Defaults;

    #[test]
    fn defaults_need_no_file() {
        let config = resolve(&[]).unwrap();
        assert_eq!(config.server.listen.to_string(), "127.0.0.1:3939");
        assert_eq!(config.server.threads, 8);
        assert_eq!(config.data.dir, Path::new("/srv/lectern-data"));
        assert_eq!(config.data.shared_dir, Path::new("/srv/lectern-data/shared"));
        assert!(config.database.url.is_none());
        assert_eq!(config.content.scheduler, Defaults::default());
        assert_eq!((config.content.max_processes_total, config.content.memory_budget), (500, 12 << 30));
        assert!(config.outbound.allow.is_empty(), "nothing inside is reached unless it is said");
        assert!(config.gate.outbound_allow.is_empty() && config.gate.trusted_keys.is_empty());
        assert!(!config.gate.allow_unsigned, "what anybody could have made is not admitted");
        assert_eq!(config.gate.cache_dir, Path::new("/srv/lectern-data/plugin-cache"));
    }

    #[test]
    fn scheduler_settings_fit_together() {
        let config = resolve(&[
            ("content.load_factor", "0"),
            ("content.max_processes", "40"),
            ("content.max_processes_limit", "0"),
            ("content.min_processes", "2"),
            ("content.memory_budget_bytes", "2 GiB"),
        ])
        .unwrap();
        let scheduler = &config.content.scheduler;
        assert_eq!((scheduler.load_factor, scheduler.max_processes, scheduler.min_processes), (0.0, 40, 2));
        assert_eq!(config.content.memory_budget, 2 << 30);
        let bad = [
            [("content.load_factor", "1.5"), ("content.max_processes", "3")],
            [("content.max_processes", "21"), ("content.min_processes", "0")],
            [("content.max_processes", "2"), ("content.min_processes", "3")],
            [("content.max_workers", "5"), ("content.max_processes_total", "6")],
            [("content.memory_budget_bytes", "1 MiB"), ("content.max_conns_per_process", "20")],
        ];
        for values in bad {
            assert_eq!(resolve(&values).unwrap_err().len(), 1, "{values:?}");
        }
    }

    #[test]
    fn an_issuer_of_tokens_is_given_whole_or_not_at_all() {
        assert!(resolve(&[]).unwrap().id_tokens.is_none());
        let whole = [
            ("id_tokens.issuer", "https://token.example.org"),
            ("id_tokens.audience", "lectern"),
            ("id_tokens.jwks_url", "https://token.example.org/keys"),
        ];
        assert_eq!(resolve(&whole).unwrap().id_tokens.unwrap().audience, "lectern");
        assert_eq!(resolve(&whole[..1]).unwrap_err().len(), 2);
        assert_eq!(resolve(&[whole[0], whole[1], ("id_tokens.jwks_url", "file:///keys")]).unwrap_err().len(), 1);
        let content = resolve(&[]).unwrap().content;
        assert!(content.api_key && content.server_address);
    }

    #[test]
    fn records_of_jobs_have_bounds() {
        let jobs = resolve(&[]).unwrap().jobs;
        assert_eq!((jobs.keep_for.as_secs(), jobs.keep_per_content, jobs.keep_bytes), (7_776_000, 1000, 10 << 30));
        let mistakes =
            resolve(&[("jobs.keep_days", "0"), ("jobs.keep_per_content", "none"), ("jobs.keep_bytes", "1 MiB")]);
        assert_eq!(mistakes.unwrap_err().len(), 3);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let mistakes = resolve(&[
            ("server.listen", "nowhere"),
            ("server.public_url", "ftp://x"),
            ("server.threads", "0"),
            ("server.lisen", "127.0.0.1:1"),
            ("database.url", "mysql://root:hunter2@db/x"),
            ("content.max_bundle_bytes", "1.5 GiB"),
            ("log.format", "xml"),
            ("sandbox.build_uid", "200001"),
            ("python.interpreters", "bin/python"),
            ("gate.outbound_allow", "127.0.0.1:8443, localhost:8443"),
            ("outbound.allow", "10.1.0.0/16:80"),
            ("gate.trusted_keys", "ed25519:AAAA"),
            ("gate.allow_unsigned", "maybe"),
            ("sandbox.require", "secomp"),
            ("sandbox.memory_bytes", "1 MiB"),
            ("sandbox.network", "internet"),
            ("sandbox.egress_deny", "10.0.0.0/99"),
            ("sandbox.profiles", "not-a-guid=strict"),
            ("sandbox.memory", "1 GiB"),
            ("gate.trusted_key", "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
        ])
        .unwrap_err();
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let text = lines.join("\n");
        assert_eq!(lines.len(), 20, "{text}");
        for expected in [
            "server.listen = \"nowhere\" (command line --set): must be an address and a port",
            "server.threads = \"0\"",
            "server.lisen = (hidden) (command line --set): no such key; did you mean server.listen?",
            "must lie outside the ids of content, 200000 to 265535",
            "log.format = \"xml\" (command line --set): must be \"text\" or \"json\"",
            "gate.outbound_allow = \"127.0.0.1:8443, localhost:8443\" (command line --set): must be a list of addresses",
            "outbound.allow = \"10.1.0.0/16:80\" (command line --set): must be a list of addresses",
            "gate.trusted_keys = \"ed25519:AAAA\" (command line --set): must be a list of public keys, each ed25519:",
            "did you mean gate.trusted_keys?",
            "sandbox.require = \"secomp\" (command line --set): must be a list of layers: own-account, ",
            "sandbox.memory_bytes = 1048576 (command line --set): must be 0, for no limit, or at least 32 MiB",
            "sandbox.network = \"internet\" (command line --set): must be \"egress\", \"none\" or \"host\"",
            "sandbox.profiles = \"not-a-guid=strict\"",
        ] {
            assert!(text.contains(expected), "{expected}\n--\n{text}");
        }
        assert!(!text.contains("hunter2"), "secrets are not printed: {text}");
    }

    #[test]
    fn walls_are_set_key_by_key() {
        let config = resolve(&[]).unwrap();
        let pages = [include_str!("../../../../docs/sandbox.md"), include_str!("../../../../docs/operating.md")];
        assert_eq!(undocumented(&config, "sandbox.", &pages), [""; 0], "in no table");
        assert_eq!(config.sandbox.walls, Walls::default());
        let guid = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";
        let config = resolve(&[
            ("sandbox.require", "seccomp, pid-namespace"),
            ("sandbox.memory_bytes", "512 MiB"),
            ("sandbox.cpu_millis", "1500"),
            ("sandbox.network", "none"),
            ("sandbox.egress_deny", "10.0.0.0/8, 192.0.2.7"),
            ("sandbox.profiles", &format!("{guid}=strict")),
        ])
        .unwrap();
        let walls = &config.sandbox.walls;
        assert_eq!(walls.require, [Layer::Seccomp, Layer::PidNamespace]);
        assert_eq!((walls.memory_bytes, walls.cpu_millis), (Some(512 << 20), Some(1500)));
        assert_eq!(walls.egress_deny[1].to_string(), "192.0.2.7/32");
        assert_eq!(config.sandbox.profiles[&guid.parse::<ContentGuid>().unwrap()], Profile::Strict);
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = resolve(&[("database.url", "postgres://u:hunter2@db/x")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let shown = config.effective.iter().find(|e| e.key == "database.url").unwrap();
        assert_eq!(shown.value, "(hidden)");
    }

    #[test]
    fn lists_come_as_text_or_as_arrays() {
        let config = resolve(&[("server.trusted_proxies", "10.0.0.0/8, ::1")]).unwrap();
        assert_eq!(config.server.trusted_proxies.len(), 2);
        assert!(resolve(&[("server.trusted_proxies", "10.0.0.0/99")]).is_err());
        let config = resolve(&[
            ("gate.outbound_allow", "127.0.0.1:8443, [::1]:443, 10.1.2.3/16"),
            ("gate.trusted_keys", "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
            ("gate.outbound_ca_file", "ca.pem"),
            ("outbound.allow", "10.1.2.3:8443"),
            ("gate.cache_dir", "/var/cache/lectern"),
        ])
        .unwrap();
        let shown = |key: &str| config.effective.iter().find(|e| e.key == key).unwrap().value.clone();
        assert_eq!(shown("gate.outbound_allow"), "[127.0.0.1:8443, [::1]:443, 10.1.0.0/16]");
        assert_eq!(shown("outbound.allow"), "[10.1.2.3:8443]");
        assert_eq!(shown("gate.trusted_keys"), "[ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=]");
        assert_eq!(shown("gate.outbound_ca_file"), "/srv/ca.pem");
        assert_eq!(config.gate.cache_dir, Path::new("/var/cache/lectern"));
    }
}
