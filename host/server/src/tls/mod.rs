//! `[server.tls]`: the files of the listener's certificate and of the authorities of clients, read at the start, when they are checked,
//! and again when they have changed.

mod file;
mod renew;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use lectern_edge::{TlsAuthorities, TlsChain, TlsConfig, TlsKey, TlsPolicy};

use crate::cli::chain;
use crate::config::{Finding, Seen, Tls, TlsFiles};
use file::{read, read_private};
pub(crate) use renew::Renewal;

const CERT_FILE: &str = "server.tls.cert_file";
const KEY_FILE: &str = "server.tls.key_file";
const CLIENT_CA_FILE: &str = "server.tls.client_ca_file";

/// What was found in the files, and all that is wrong with them.
#[derive(Debug, Default)]
struct Looked {
    chain: Option<TlsChain>,
    key: Option<TlsKey>,
    authorities: Option<TlsAuthorities>,
    mistakes: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// Looks into each file that is given and says everything that is wrong with it.
pub(crate) fn look(files: &TlsFiles) -> Seen {
    let Looked { mistakes, warnings, .. } = read_all(files);
    Seen { mistakes, warnings }
}

fn read_all(files: &TlsFiles) -> Looked {
    let mut looked = Looked::default();
    let mistakes = &mut looked.mistakes;
    let certificates = |text: Vec<u8>| TlsChain::from_pem(&text);
    looked.chain = take(mistakes, CERT_FILE, files.cert_file.as_deref(), |path| Ok(certificates(read(path)?)?));
    looked.key =
        take(mistakes, KEY_FILE, files.key_file.as_deref(), |path| Ok(TlsKey::from_pem(&read_private(path)?)?));
    looked.authorities = take(mistakes, CLIENT_CA_FILE, files.client_ca_file.as_deref(), |path| {
        Ok(TlsAuthorities::from_pem(&read(path)?)?)
    });
    if let (Some(chain), Some(key), Some(path)) = (&looked.chain, &looked.key, &files.key_file)
        && let Err(mismatch) = TlsConfig::new(chain, key, &TlsPolicy::default())
    {
        let remedy = "give the key that the certificate was made for, and let the server's own certificate come first";
        mistakes.push(finding(KEY_FILE, path, format!("{mismatch}; {remedy}")));
    }
    let now = now();
    let untimely = [
        (CERT_FILE, &files.cert_file, looked.chain.as_ref().map(|chain| chain.untimely(now))),
        (CLIENT_CA_FILE, &files.client_ca_file, looked.authorities.as_ref().map(|all| all.untimely(now))),
    ];
    for (key, path, found) in untimely {
        let Some(path) = path else { continue };
        let consequence = if key == CERT_FILE { "clients will refuse it" } else { "it is believed nevertheless" };
        let texts = found.unwrap_or_default().into_iter().map(|text| format!("{text}; {consequence}"));
        looked.warnings.extend(texts.map(|text| finding(key, path, text)));
    }
    looked
}

fn take<T>(
    mistakes: &mut Vec<Finding>,
    key: &'static str,
    path: Option<&Path>,
    read: impl Fn(&Path) -> Result<T, file::FileError>,
) -> Option<T> {
    let path = path?;
    read(path).map_err(|error| mistakes.push(finding(key, path, chain(&error)))).ok()
}

fn finding(key: &'static str, path: &Path, text: String) -> Finding {
    Finding { key, value: path.display().to_string(), text }
}

/// Files that cannot be used, each with what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|Finding { key, value, text }| format!("{key} = {value}: {text}")).collect::<Vec<_>>().join("; "))]
pub(crate) struct Unusable(Vec<Finding>);

/// What handshakes are made with, from the files as they are now. The second part are warnings.
pub(crate) fn load(tls: &Tls) -> Result<(TlsConfig, Vec<Finding>), Unusable> {
    let looked = read_all(&tls.files());
    let (Some(chain), Some(key)) = (&looked.chain, &looked.key) else { return Err(Unusable(looked.mistakes)) };
    if !looked.mistakes.is_empty() {
        return Err(Unusable(looked.mistakes));
    }
    let policy = TlsPolicy {
        least_version: tls.min_version,
        authorities: looked.authorities,
        require_certificate: tls.require_client_certificate,
    };
    let config = TlsConfig::new(chain, key, &policy)
        .map_err(|mismatch| Unusable(vec![finding(KEY_FILE, &tls.key_file, mismatch.to_string())]))?;
    Ok((config, looked.warnings))
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// All files that `tls` names.
fn paths(tls: &Tls) -> Vec<PathBuf> {
    [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()].into_iter().flatten().cloned().collect()
}
