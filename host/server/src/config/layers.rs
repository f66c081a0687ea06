//! The layers a configuration is made of: file, environment, command line. Later layers win, key by key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Value;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    CommandLine(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::CommandLine(flag) => write!(f, "command line {flag}"),
        }
    }
}

/// A value and its origin. Values from the environment and the command line are strings, whatever the key's type.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// The values given, by `section.key`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers {
    pub(crate) values: BTreeMap<String, Given>,
    /// The clients' own names for the bootstrap secret, honoured beside `[bootstrap]`.
    pub(crate) bootstrap_secret: Option<String>,
}

/// The configuration file could not be read at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("read configuration file {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("configuration file {} is not TOML: {}", .path.display(), .cause.message())]
    Syntax { path: PathBuf, cause: Box<toml::de::Error> },
    #[error("configuration file {}: {key:?} stands outside a section; every key belongs to one, like [server]", .path.display())]
    OutsideSection { path: PathBuf, key: String },
}

impl Layers {
    /// Adds a file's values.
    pub(crate) fn add_file(&mut self, path: &Path) -> Result<(), LoadError> {
        let text = std::fs::read_to_string(path).map_err(|cause| LoadError::Read { path: path.to_owned(), cause })?;
        self.add_toml(path, &text)
    }

    fn add_toml(&mut self, path: &Path, text: &str) -> Result<(), LoadError> {
        let table: toml::Table = toml::from_str(text)
            .map_err(|cause| LoadError::Syntax { path: path.to_owned(), cause: Box::new(cause) })?;
        for (section, value) in table {
            let Value::Table(keys) = value else {
                return Err(LoadError::OutsideSection { path: path.to_owned(), key: section });
            };
            self.add_keys(path, &section, keys);
        }
        Ok(())
    }

    /// Adds the keys of a section, and of sections in it: `[server.tls]`.
    fn add_keys(&mut self, path: &Path, section: &str, keys: toml::Table) {
        for (key, value) in keys {
            let dotted = format!("{section}.{key}");
            match value {
                Value::Table(keys) => self.add_keys(path, &dotted, keys),
                value => {
                    let given = Given { value, origin: Origin::File(path.to_owned()) };
                    self.values.insert(dotted, given);
                }
            }
        }
    }

    /// Adds the environment's values: `LECTERN_SERVER__LISTEN` is `server.listen`, and `LECTERN_SERVER__TLS__KEY_FILE` is
    /// `server.tls.key_file`. Names without two underscores after
    /// the section (`LECTERN_API_KEY`) are not configuration keys and are left alone.
    pub(crate) fn add_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (name, text) in variables {
            if name == "CONNECT_BOOTSTRAP_SECRETKEY" {
                self.bootstrap_secret = Some(text);
                continue;
            }
            let Some((section, key)) = name.strip_prefix("LECTERN_").and_then(|rest| rest.split_once("__")) else {
                continue;
            };
            let dotted = format!("{}.{}", section.to_ascii_lowercase(), key.to_ascii_lowercase().replace("__", "."));
            self.values.insert(dotted, Given { value: Value::String(text), origin: Origin::Environment(name) });
        }
    }

    /// Adds one value of the command line.
    pub(crate) fn add_flag(&mut self, key: &str, flag: &'static str, text: &str) {
        let given = Given { value: Value::String(text.to_owned()), origin: Origin::CommandLine(flag) };
        self.values.insert(key.to_owned(), given);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn later_layers_win_key_by_key() {
        let mut layers = Layers::default();
        let file = Path::new("lectern.toml");
        layers.add_toml(file, "[server]\nlisten = \"127.0.0.1:1\"\nthreads = 3\n").unwrap();
        layers.add_environment(
            [("LECTERN_SERVER__LISTEN", "127.0.0.1:2"), ("LECTERN_API_KEY", "k"), ("PATH", "/bin")]
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        layers.add_flag("server.listen", "--listen", "127.0.0.1:3");
        assert_eq!(layers.values["server.listen"].value.as_str(), Some("127.0.0.1:3"));
        assert_eq!(layers.values["server.threads"].value.as_integer(), Some(3));
        assert_eq!(layers.values.len(), 2);
    }

    #[test]
    fn sections_have_sections() {
        let mut layers = Layers::default();
        let text = "[server]\nthreads = 3\n[server.tls]\ncert_file = \"a\"\nkey_file = \"b\"\n";
        layers.add_toml(Path::new("lectern.toml"), text).unwrap();
        let variable = ("LECTERN_SERVER__TLS__KEY_FILE".to_owned(), "c".to_owned());
        layers.add_environment([variable].into_iter());
        let given: Vec<_> = layers.values.iter().map(|(key, given)| (key.as_str(), given.value.to_string())).collect();
        let expected = [("server.threads", "3"), ("server.tls.cert_file", "\"a\""), ("server.tls.key_file", "\"c\"")];
        assert_eq!(given, expected.map(|(key, value)| (key, value.to_owned())));
    }

    #[test]
    fn files_that_cannot_be_read_say_why() {
        let mut layers = Layers::default();
        let path = Path::new("lectern.toml");
        let message = layers.add_toml(path, "listen = 1").unwrap_err().to_string();
        assert!(message.contains("\"listen\" stands outside a section"), "{message}");
        assert!(layers.add_toml(path, "[server").unwrap_err().to_string().contains("is not TOML"));
        assert!(layers.add_file(Path::new("/nonexistent/lectern.toml")).is_err());
    }
}
