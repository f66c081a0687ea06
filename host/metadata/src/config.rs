//! How to reach the database, and the rule that a connection over a network is verified.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{Config, Host, SslMode};

/// How to reach the database. Printing it never shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`, or with a directory as host for a Unix socket:
    /// `postgres://user@/database?host=/run/postgresql`.
    pub url: String,
    /// PEM file with the certificates that may sign the server's; `None`: the system's roots.
    pub tls_ca_file: Option<PathBuf>,
    /// Accepts connections over TCP that are not encrypted (`sslmode=disable`, `prefer`) or not verified
    /// (`sslmode=require`). For databases on loopback.
    pub allow_unverified_tls: bool,
    /// Most connections of the pool, at least 1.
    pub pool_size: usize,
    /// How long a caller waits for a connection of the pool.
    pub wait_timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the server works on one statement before it gives up.
    pub statement_timeout: Duration,
}

impl DatabaseConfig {
    /// The defaults for `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tls_ca_file: None,
            allow_unverified_tls: false,
            // Only publishing and settings use connections: more than this many at once only queue inside PostgreSQL,
            // and several servers must fit below its usual limit of 100.
            pool_size: 16,
            // Longer than a burst of publishing takes, shorter than the time-out of any client (300 s).
            wait_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            // Queries take milliseconds; a statement that takes this long waits for a lock that will not be released.
            statement_timeout: Duration::from_secs(30),
        }
    }

    /// Checks the configuration without connecting.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.plan().map(drop)
    }

    /// Decides how to connect.
    pub(crate) fn plan(&self) -> Result<Plan, ConfigError> {
        let Split { url, sslmode } = split_sslmode(&self.url)?;
        let mut config = Config::from_str(&url).map_err(|_| ConfigError::Malformed)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(ConfigError::NoHost);
        }
        if config.get_user().is_none() {
            return Err(ConfigError::NoUser);
        }
        let local =
            config.get_hostaddrs().is_empty() && config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let encryption = if local {
            Encryption::None
        } else {
            match (sslmode.as_deref(), self.allow_unverified_tls) {
                (None | Some("verify-full"), _) | (Some("require"), false) => Encryption::Verified,
                (Some("require"), true) => Encryption::Unverified,
                (Some("prefer"), true) => Encryption::Opportunistic,
                (Some("disable"), true) => Encryption::None,
                (Some(mode @ ("disable" | "prefer")), false) => {
                    return Err(ConfigError::Unverified { sslmode: mode.to_owned() });
                }
                (Some(mode), _) => {
                    return Err(ConfigError::UnknownSslMode { sslmode: mode.chars().take(40).collect() });
                }
            }
        };
        config
            .ssl_mode(match encryption {
                Encryption::None => SslMode::Disable,
                Encryption::Opportunistic => SslMode::Prefer,
                Encryption::Unverified | Encryption::Verified => SslMode::Require,
            })
            .application_name("lectern")
            .connect_timeout(self.connect_timeout)
            // A server that vanished without a word is noticed within this time, while a query waits and while none does.
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(30));
        let own = config.get_options().unwrap_or_default().to_owned();
        // A transaction is never left open across anything slow, so one that idles is a fault; its locks must go.
        config.options(format!(
            "-c statement_timeout={} -c idle_in_transaction_session_timeout=60000 -c timezone=UTC {own}",
            self.statement_timeout.as_millis(),
        ));
        Ok(Plan { config, encryption })
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("url", &shown_url(&self.url))
            .field("tls_ca_file", &self.tls_ca_file)
            .field("allow_unverified_tls", &self.allow_unverified_tls)
            .field("pool_size", &self.pool_size)
            .finish_non_exhaustive()
    }
}

/// `url` with everything between the scheme and the host, and every parameter's value, replaced: safe to print.
pub fn shown_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "<hidden>".to_owned() };
    // The last `@`: an unescaped one in a password must not uncover its tail.
    let (user, host) = match rest.rsplit_once('@') {
        Some((_, host)) => ("…@", host),
        None => ("", rest),
    };
    let (host, query) = match host.split_once('?') {
        Some((host, _)) => (host, "?…"),
        None => (host, ""),
    };
    format!("{scheme}://{user}{host}{query}")
}

/// The connection to make.
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) encryption: Encryption,
}

/// How the bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// A Unix socket, or plain TCP by explicit permission.
    None,
    /// TLS when the server has it, unverified, by explicit permission.
    Opportunistic,
    /// TLS without verification, by explicit permission.
    Unverified,
    /// TLS; certificate and host name are verified.
    Verified,
}

/// The database configuration cannot be used. Messages never hold the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not a URL of the known form.
    #[error(
        "database.url must have the form postgres://user:password@host:port/database?sslmode=verify-full, with special characters percent-encoded"
    )]
    Malformed,
    /// No host in the URL.
    #[error("database.url names no host; for a Unix socket write postgres://user@/database?host=/directory")]
    NoHost,
    /// No user in the URL.
    #[error("database.url names no user")]
    NoUser,
    /// Plain text over TCP without permission.
    #[error(
        "database.url has sslmode={sslmode}, which does not verify the server: remove it (or set sslmode=verify-full) and set database.tls_ca_file to the authority's certificate; only for a database on this host, set database.allow_unverified_tls = true"
    )]
    Unverified {
        /// What was asked for.
        sslmode: String,
    },
    /// A mode that is not offered.
    #[error(
        "database.url has sslmode={sslmode}; allowed are verify-full (the default) and require, and with database.allow_unverified_tls also prefer and disable"
    )]
    UnknownSslMode {
        /// What was asked for.
        sslmode: String,
    },
    /// A parameter of libpq that has its own key here.
    #[error("database.url has the parameter {parameter}; set database.tls_ca_file instead")]
    CaInUrl {
        /// The parameter.
        parameter: String,
    },
    /// The CA file cannot be read.
    #[error("read database.tls_ca_file {path:?}: {reason}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system has no usable roots.
    #[error("the system has no certificate roots ({reason}); install ca-certificates or set database.tls_ca_file")]
    NoSystemRoots {
        /// Why.
        reason: String,
    },
    /// A pool without connections.
    #[error("database.pool_size must be at least 1")]
    EmptyPool,
}

struct Split {
    url: String,
    sslmode: Option<String>,
}

/// Takes `sslmode` out of the URL: tokio-postgres does not know all of its values.
fn split_sslmode(url: &str) -> Result<Split, ConfigError> {
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(ConfigError::Malformed);
    }
    let Some((base, query)) = url.split_once('?') else {
        return Ok(Split { url: url.to_owned(), sslmode: None });
    };
    let (mut kept, mut sslmode) = (Vec::new(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => sslmode = Some(value.to_owned()),
            Some((name @ ("sslrootcert" | "sslcert" | "sslkey"), _)) => {
                return Err(ConfigError::CaInUrl { parameter: name.to_owned() });
            }
            _ => kept.push(pair),
        }
    }
    let url = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    Ok(Split { url, sslmode })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn check(url: &str, allow: bool, expected: Result<Encryption, ConfigError>) {
        let config = DatabaseConfig { allow_unverified_tls: allow, ..DatabaseConfig::new(url) };
        assert_eq!(config.plan().map(|plan| plan.encryption), expected, "{url} allow={allow}");
    }

    #[test]
    fn a_network_connection_is_verified_unless_explicitly_allowed() {
        use Encryption::{None, Opportunistic, Unverified, Verified};
        let refused = |mode: &str| Err(ConfigError::Unverified { sslmode: mode.into() });
        check("postgres://u:p@db:5432/x", false, Ok(Verified));
        check("postgres://u:p@db/x?sslmode=verify-full", true, Ok(Verified));
        check("postgres://u:p@db/x?sslmode=require", false, Ok(Verified));
        check("postgres://u:p@db/x?sslmode=prefer", false, refused("prefer"));
        check("postgres://u:p@127.0.0.1/x?sslmode=disable", false, refused("disable"));
        check("postgres://u:p@127.0.0.1/x?sslmode=disable", true, Ok(None));
        check("postgres://u:p@db/x?sslmode=prefer&connect_timeout=3", true, Ok(Opportunistic));
        check("postgres://u:p@db/x?sslmode=require", true, Ok(Unverified));
        let unknown = Err(ConfigError::UnknownSslMode { sslmode: "verify-ca".into() });
        check("postgres://u:p@db/x?sslmode=verify-ca", true, unknown);
        // No network, nothing to verify; one network host among sockets is enough to verify all.
        check("postgres://u@/x?host=/run/postgresql", false, Ok(None));
        check("postgres://u@%2Frun%2Fpostgresql/x?sslmode=disable", false, Ok(None));
        check("postgres://u@%2Frun%2Fpostgresql,db/x", false, Ok(Verified));
    }

    #[test]
    fn mistakes_are_told_without_the_password() {
        let cases = [
            ("mysql://u:hunter2@db/x", ConfigError::Malformed),
            ("postgres://u:hunter2@db:port/x", ConfigError::Malformed),
            ("postgres://u:hunter2@db/x?colour=hunter2", ConfigError::Malformed),
            ("postgres:///x", ConfigError::NoHost),
            ("postgres://db/x", ConfigError::NoUser),
            ("postgres://u:hunter2@db/x?sslrootcert=/ca", ConfigError::CaInUrl { parameter: "sslrootcert".into() }),
        ];
        for (url, expected) in cases {
            let error = DatabaseConfig::new(url).check().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
            assert_eq!(error, expected, "{url}");
        }
    }

    #[test]
    fn printing_hides_the_password() {
        for url in [
            "postgres://u:hunter2@db/x",
            "postgres://u:p@hunter2@db/x",
            "postgres://u@db/x?password=hunter2",
            "user=u password=hunter2",
        ] {
            let shown = format!("{:?}", DatabaseConfig::new(url));
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(shown_url("postgres://u:p@db:5432/x?sslmode=require"), "postgres://…@db:5432/x?…");
    }
}
