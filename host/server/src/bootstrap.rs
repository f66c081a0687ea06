//! The API's settings, and the secret that makes the first administrator.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lectern_api::{Logout, Scheduler, Settings};
use zeroize::Zeroizing;

use crate::config::{Bootstrap, Config};
use crate::host;

/// What the API is told of the configuration, and where people sign out.
pub(crate) fn api_settings(config: &Config, logout: Arc<dyn Logout>) -> anyhow::Result<Settings> {
    let seconds = |time: std::time::Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let given = &config.content.scheduler;
    let scheduler = Scheduler {
        min_processes: count(given.min_processes),
        max_processes: count(given.max_processes),
        max_conns_per_process: count(given.max_conns_per_process),
        load_factor: given.load_factor,
        init_timeout: seconds(given.init_timeout),
        idle_timeout: seconds(given.idle_timeout),
        connection_timeout: seconds(given.connection_timeout),
        read_timeout: seconds(given.read_timeout),
        min_processes_limit: count(given.min_processes_limit),
        max_processes_limit: count(given.max_processes_limit),
    };
    let run_as = match host::first_uid(config) {
        Some(first) => format!("uid {first} and up, one per content item"),
        None => "the server's own account".to_owned(),
    };
    Ok(Settings {
        public_url: config.server.public_url.clone(),
        hostname: host::hostname(),
        max_bundle_bytes: config.content.max_bundle_bytes,
        scheduler,
        logout,
        run_as,
        bootstrap_secret: secret(&config.bootstrap)?,
    })
}

/// The decoded secret: at least 32 bytes, base64 in a file or in the clients' own variable.
fn secret(bootstrap: &Bootstrap) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let (text, origin) = match (&bootstrap.secret_file, &bootstrap.secret) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("read bootstrap.secret_file {}", file.display()))?;
            (Zeroizing::new(text), file.display().to_string())
        }
        (None, Some(secret)) => (Zeroizing::new(secret.reveal().to_owned()), "CONNECT_BOOTSTRAP_SECRETKEY".to_owned()),
        (None, None) => return Ok(None),
    };
    let remedy = "make one with `openssl rand -base64 32`";
    // The decoder's own message would show a byte of the secret.
    let Ok(key) = STANDARD.decode(text.trim()) else {
        bail!("the bootstrap secret in {origin} is not base64; {remedy}");
    };
    let key = Zeroizing::new(key);
    if key.len() < 32 {
        bail!("the bootstrap secret in {origin} has {} bytes and needs 32; {remedy}", key.len());
    }
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Secret;

    #[test]
    fn secrets_are_checked_and_not_shown() {
        let with = |text: &str| secret(&Bootstrap { secret_file: None, secret: Some(Secret::new(text.into())) });
        let good = STANDARD.encode([7; 32]);
        assert_eq!(with(&good).unwrap().unwrap().len(), 32);
        assert_eq!(with(&format!("{good}\n")).unwrap().unwrap().len(), 32);
        assert!(secret(&Bootstrap { secret_file: None, secret: None }).unwrap().is_none());
        for bad in ["not base64!", &STANDARD.encode([7; 31])] {
            let message = with(bad).unwrap_err().to_string();
            assert!(message.contains("openssl rand") && !message.contains(bad), "{message}");
        }
    }
}
