//! `[server.tls]`: its keys, what they need of each other, and what was seen in the files that they name.

use std::path::PathBuf;

use lectern_edge::TlsVersion;

use super::reader::Reader;

/// `[server.tls]`: files in PEM form, and what is asked of clients.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    /// The server's certificate, and those of the authorities between it and one that clients know.
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
    /// Authorities whose certificates of clients are believed; without it clients are not asked.
    pub(crate) client_ca_file: Option<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub(crate) require_client_certificate: bool,
    pub(crate) min_version: TlsVersion,
}

impl Tls {
    /// The files it names.
    pub(crate) fn files(&self) -> TlsFiles {
        TlsFiles {
            cert_file: Some(self.cert_file.clone()),
            key_file: Some(self.key_file.clone()),
            client_ca_file: self.client_ca_file.clone(),
        }
    }
}

/// The files of `[server.tls]` as they are given, together or not.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    pub(crate) cert_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) client_ca_file: Option<PathBuf>,
}

/// Something seen in a file that a key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) key: &'static str,
    /// The path.
    pub(crate) value: String,
    /// What was seen, and what to do about it.
    pub(crate) text: String,
}

/// What was seen in the files of `[server.tls]`.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The server cannot run with these.
    pub(crate) mistakes: Vec<Finding>,
    /// It can with these.
    pub(crate) warnings: Vec<Finding>,
}

/// `[server.tls]`; off unless its two files are given.
pub(super) fn tls(read: &mut Reader, look: impl FnOnce(&TlsFiles) -> Seen, warnings: &mut Vec<String>) -> Option<Tls> {
    let files = TlsFiles {
        cert_file: read.optional_path("server.tls.cert_file"),
        key_file: read.optional_path("server.tls.key_file"),
        client_ca_file: read.optional_path("server.tls.client_ca_file"),
    };
    let require = read.switch("server.tls.require_client_certificate", false);
    let version = read.text("server.tls.min_version", "\"1.2\" or \"1.3\"", "1.2".to_owned(), |text| {
        ["1.2", "1.3"].contains(&text).then(|| text.to_owned())
    });
    let seen = look(&files);
    for finding in seen.mistakes {
        read.mistake(finding.key, finding.value, finding.text);
    }
    warnings.extend(seen.warnings.into_iter().map(|seen| format!("{} = {}: {}", seen.key, seen.value, seen.text)));
    let missing = |read: &mut Reader, key: &str, other: &str| {
        // One that is misspelt has been named already.
        if !read.is_mistaken(key) {
            read.mistake(
                key,
                "(not set)".into(),
                format!("must be set where {other} is: HTTPS needs a certificate and its key"),
            );
        }
    };
    match (files.cert_file, files.key_file) {
        (Some(cert_file), Some(key_file)) => {
            if require && files.client_ca_file.is_none() && !read.is_mistaken("server.tls.client_ca_file") {
                let remedy = "nobody could come in: set server.tls.client_ca_file to the authorities of those who may";
                read.mistake("server.tls.require_client_certificate", "true".into(), remedy.into());
            }
            let min_version = if version == "1.3" { TlsVersion::Tls13 } else { TlsVersion::Tls12 };
            let client_ca_file = files.client_ca_file;
            Some(Tls { cert_file, key_file, client_ca_file, require_client_certificate: require, min_version })
        }
        (Some(_), None) => {
            missing(read, "server.tls.key_file", "server.tls.cert_file");
            None
        }
        (None, Some(_)) => {
            missing(read, "server.tls.cert_file", "server.tls.key_file");
            None
        }
        (None, None) => {
            // Whoever asks for certificates must not get plain HTTP instead.
            for key in ["server.tls.client_ca_file", "server.tls.require_client_certificate", "server.tls.min_version"]
            {
                if let Some(value) = read.given(key) {
                    let remedy = "has no effect without HTTPS: set server.tls.cert_file and server.tls.key_file";
                    read.mistake(key, value, remedy.into());
                }
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::super::resolve;
    use super::super::{Config, Layers};
    use super::*;

    #[test]
    fn tls_is_whole_or_off() {
        let tls = |values: &[(&str, &str)]| {
            let keys: Vec<String> = values.iter().map(|(key, _)| format!("server.tls.{key}")).collect();
            let values: Vec<_> = keys.iter().zip(values).map(|(key, (_, value))| (key.as_str(), *value)).collect();
            resolve(&values).map(|config| config.server.tls)
        };
        assert!(tls(&[]).unwrap().is_none());
        let both = [("cert_file", "c.pem"), ("key_file", "/k.pem")];
        let on = tls(&both).unwrap().unwrap();
        assert_eq!((on.cert_file.as_path(), on.key_file.as_path()), (Path::new("/srv/c.pem"), Path::new("/k.pem")));
        assert_eq!((on.require_client_certificate, on.min_version), (false, TlsVersion::Tls12));
        let more = [("client_ca_file", "ca.pem"), ("require_client_certificate", "true"), ("min_version", "1.3")];
        let on = tls(&[both.as_slice(), &more].concat()).unwrap().unwrap();
        assert_eq!((on.require_client_certificate, on.min_version), (true, TlsVersion::Tls13));

        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case<'_>; 6] = [
            (&both[..1], &["server.tls.key_file = (not set) (default): must be set where server.tls.cert_file is"]),
            (&both[1..], &["server.tls.cert_file = (not set) (default): must be set where server.tls.key_file is"]),
            (
                &more[..1],
                &["server.tls.client_ca_file = /srv/ca.pem (command line --set): has no effect without HTTPS"],
            ),
            (
                &more[1..],
                &[
                    "require_client_certificate = true (command line --set): has no effect",
                    "min_version = 1.3 (command",
                ],
            ),
            (&[both[0], both[1], more[1]], &["require_client_certificate = true (command line --set): nobody could"]),
            (
                &[both[0], both[1], ("min_version", "1.1")],
                &["min_version = \"1.1\" (command line --set): must be \"1.2\""],
            ),
        ];
        for (values, expected) in cases {
            let lines: Vec<String> = tls(values).unwrap_err().iter().map(ToString::to_string).collect();
            assert_eq!(lines.len(), expected.len(), "{lines:?}");
            for (line, expected) in lines.iter().zip(expected) {
                assert!(line.contains(expected), "{expected}: {line}");
            }
        }
    }

    #[test]
    fn what_is_seen_in_files_is_said_with_all_else() {
        let mut layers = Layers::default();
        layers.add_flag("server.threads", "--set", "0");
        layers.add_flag("server.tls.cert_file", "--set", "c.pem");
        let finding =
            |text: &str| Finding { key: "server.tls.cert_file", value: "/srv/c.pem".into(), text: text.to_owned() };
        let look = |files: &TlsFiles| {
            assert_eq!(files.cert_file.as_deref(), Some(Path::new("/srv/c.pem")));
            Seen { mistakes: vec![finding("cannot be read")], warnings: vec![finding("expired")] }
        };
        let mistakes = Config::resolve(layers, Path::new("/srv"), 8, 16 << 30, look).unwrap_err();
        let text: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 3, "{text:?}");
        assert!(
            text.contains(&"server.tls.cert_file = /srv/c.pem (command line --set): cannot be read".to_owned()),
            "{text:?}"
        );
    }
}
