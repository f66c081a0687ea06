//! Refuses launch specifications that cannot or may not be run, before anything is touched.

use std::path::{Component, Path};

use lectern_domain::launch::{Account, LaunchSpec, home};

use crate::config::SupervisorConfig;

/// Bytes in a Unix socket's path, with the terminating zero (unix(7)).
pub(crate) const SOCKET_PATH_BYTES: usize = 108;

/// What is wrong with a launch specification.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("argv is empty")]
    NoProgram,
    #[error("{what} {path:?} is not a plain absolute path")]
    NotAbsolute { what: &'static str, path: std::path::PathBuf },
    #[error("{what} holds a zero byte")]
    ZeroByte { what: &'static str },
    #[error("environment variable name {name:?} is empty or holds '='")]
    VariableName { name: String },
    #[error("zygote name {name:?} is not 1 to 64 letters, digits and hyphens")]
    ZygoteName { name: String },
    #[error("private directory {private:?} is not directly below {root:?}")]
    PrivateElsewhere { private: std::path::PathBuf, root: std::path::PathBuf },
    #[error("socket {socket:?} is not below the private directory {private:?}")]
    SocketElsewhere { socket: std::path::PathBuf, private: std::path::PathBuf },
    #[error("socket {socket:?} is not alone in a directory of {private:?}, as {private:?}/s/s is")]
    SocketNotAlone { socket: std::path::PathBuf, private: std::path::PathBuf },
    #[error("socket path {socket:?} is longer than {} bytes", SOCKET_PATH_BYTES - 1)]
    SocketTooLong { socket: std::path::PathBuf },
    #[error("the supervisor runs as root, so content needs an account of its own")]
    AccountMissing,
    #[error("content may not run as uid {uid}, gid {gid}")]
    AccountPrivileged { uid: u32, gid: u32 },
    #[error("uid {uid}, gid {gid} asked for, but the supervisor runs as uid {own} and cannot change it")]
    AccountOutOfReach { uid: u32, gid: u32, own: u32 },
}

/// Checks `spec`; `own` is the account that the supervisor runs as.
pub(crate) fn check(spec: &LaunchSpec, config: &SupervisorConfig, own: Account) -> Result<(), SpecError> {
    let program = spec.argv.first().ok_or(SpecError::NoProgram)?;
    plain("program", Path::new(program))?;
    plain("directory", &spec.directory)?;
    plain("private directory", &spec.private)?;
    plain("socket", &spec.socket)?;
    plain("log", &spec.log)?;
    if spec.argv.iter().any(|arg| arg.contains('\0')) {
        return Err(SpecError::ZeroByte { what: "argv" });
    }
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains('=') {
            return Err(SpecError::VariableName { name: name.chars().take(80).collect() });
        }
        if name.contains('\0') || value.contains('\0') {
            return Err(SpecError::ZeroByte { what: "the environment" });
        }
    }
    if let Some(zygote) = &spec.zygote {
        plain("zygote's program", Path::new(zygote.argv.first().ok_or(SpecError::NoProgram)?))?;
        let texts = zygote.env.iter().flat_map(|(name, value)| [name, value]).chain(&zygote.argv);
        let name = &zygote.name.0;
        let is_name =
            !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_name {
            return Err(SpecError::ZygoteName { name: name.chars().take(80).collect() });
        }
        if texts.into_iter().any(|text| text.contains('\0')) {
            return Err(SpecError::ZeroByte { what: "the zygote's command" });
        }
    }
    if spec.private.parent() != Some(&config.private_root) {
        return Err(SpecError::PrivateElsewhere { private: spec.private.clone(), root: config.private_root.clone() });
    }
    if !spec.socket.starts_with(&spec.private) || spec.socket == spec.private {
        return Err(SpecError::SocketElsewhere { socket: spec.socket.clone(), private: spec.private.clone() });
    }
    if spec.socket.parent().and_then(Path::parent) != Some(&spec.private)
        || spec.socket.parent() == Some(&home(&spec.private))
    {
        return Err(SpecError::SocketNotAlone { socket: spec.socket.clone(), private: spec.private.clone() });
    }
    if spec.socket.as_os_str().len() >= SOCKET_PATH_BYTES {
        return Err(SpecError::SocketTooLong { socket: spec.socket.clone() });
    }
    match spec.account {
        None if own.uid == 0 => Err(SpecError::AccountMissing),
        Some(Account { uid, gid }) if uid == 0 || gid == 0 => Err(SpecError::AccountPrivileged { uid, gid }),
        Some(account) if own.uid != 0 && account != own => {
            Err(SpecError::AccountOutOfReach { uid: account.uid, gid: account.gid, own: own.uid })
        }
        None | Some(_) => Ok(()),
    }
}

/// Absolute, without `..` or a zero byte.
fn plain(what: &'static str, path: &Path) -> Result<(), SpecError> {
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(SpecError::ZeroByte { what });
    }
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(SpecError::NotAbsolute { what, path: path.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::time::Duration;

    use lectern_domain::confinement::Walls;
    use lectern_domain::{BundleId, JobKey};

    use super::*;

    pub(crate) fn spec() -> LaunchSpec {
        LaunchSpec {
            job: JobKey::from_random([1; 16]),
            content: "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162".parse().unwrap(),
            bundle: BundleId(1),
            argv: vec!["/bin/true".to_owned()],
            env: vec![("A".to_owned(), "b".to_owned())],
            directory: "/".into(),
            account: Some(Account { uid: 200_001, gid: 200_001 }),
            private: "/run/l/w/a".into(),
            socket: "/run/l/w/a/s/s".into(),
            log: "/var/log/a.log".into(),
            log_limit_bytes: 1 << 20,
            init_timeout: Duration::from_secs(10),
            stop_grace: Duration::from_secs(5),
            walls: Walls::default(),
            notifies: false,
            zygote: None,
        }
    }

    const ROOT: Account = Account { uid: 0, gid: 0 };
    const USER: Account = Account { uid: 1000, gid: 1000 };

    #[track_caller]
    fn refused(own: Account, change: impl Fn(&mut LaunchSpec), part: &str) {
        let mut spec = spec();
        change(&mut spec);
        let error = check(&spec, &SupervisorConfig::new("/run/l/s.sock"), own).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn good_ones_pass() {
        let config = SupervisorConfig::new("/run/l/s.sock");
        check(&spec(), &config, ROOT).unwrap();
        check(&LaunchSpec { account: None, ..spec() }, &config, USER).unwrap();
        check(&LaunchSpec { account: Some(USER), ..spec() }, &config, USER).unwrap();
    }

    #[test]
    fn content_never_runs_as_root() {
        refused(ROOT, |spec| spec.account = None, "account of its own");
        refused(ROOT, |spec| spec.account = Some(ROOT), "uid 0");
        refused(ROOT, |spec| spec.account = Some(Account { uid: 1000, gid: 0 }), "gid 0");
        refused(USER, |_| {}, "cannot change");
    }

    #[test]
    fn paths_stay_where_they_belong() {
        refused(ROOT, |spec| spec.argv.clear(), "argv");
        refused(ROOT, |spec| spec.argv[0] = "python3".to_owned(), "program");
        refused(ROOT, |spec| spec.directory = "app".into(), "directory");
        refused(ROOT, |spec| spec.private = "/run/l/w/../../etc".into(), "private directory");
        refused(ROOT, |spec| spec.private = "/run/l/w/a/b".into(), "directly below");
        refused(ROOT, |spec| spec.private = "/run/l/w".into(), "directly below");
        refused(ROOT, |spec| spec.socket = "/run/l/w/b/s/s".into(), "not below");
        refused(ROOT, |spec| spec.socket = "/run/l/w/a".into(), "not below");
        refused(ROOT, |spec| spec.socket = "/run/l/w/a/s".into(), "not alone");
        refused(ROOT, |spec| spec.socket = "/run/l/w/a/home/s".into(), "not alone");
        refused(ROOT, |spec| spec.socket = format!("/run/l/w/a/s/{}", "s".repeat(100)).into(), "107 bytes");
        refused(ROOT, |spec| spec.log = "x.log".into(), "log");
        refused(ROOT, |spec| spec.argv.push("a\0b".to_owned()), "argv");
        refused(ROOT, |spec| spec.env.push(("A=B".to_owned(), String::new())), "A=B");
        refused(ROOT, |spec| spec.env.push(("A".to_owned(), "\0".to_owned())), "environment");
        let zygote = |name: &str, argv: &[&str]| {
            let argv = argv.iter().map(|word| (*word).to_owned()).collect();
            let name = lectern_domain::launch::ZygoteName(name.to_owned());
            Some(lectern_domain::launch::Zygote { name, argv, env: Vec::new(), init_timeout: Duration::from_secs(1) })
        };
        refused(ROOT, |spec| spec.zygote = zygote("a", &[]), "argv");
        refused(ROOT, |spec| spec.zygote = zygote("a", &["python3"]), "zygote's program");
        refused(ROOT, |spec| spec.zygote = zygote("../a", &["/bin/true"]), "../a");
    }
}
