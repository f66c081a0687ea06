//! Which files of the system a confined process sees.

use std::path::{Path, PathBuf};

/// One of the system's places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Shown as it is, read-only.
    Tree(PathBuf),
    /// A link.
    Link { at: PathBuf, to: PathBuf },
}

/// Directories of programs and libraries; on most systems all but the first are links into it.
const ROOTS: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What programs read besides, where it is there. Of `/etc` only what holds no secret of the host: no `shadow`, no keys,
/// no configuration of services.
pub(crate) const READ: &[&str] = &[
    "/etc/ImageMagick-6",
    "/etc/R",
    "/etc/alternatives",
    "/etc/bash.bashrc",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/java",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/odbcinst.ini",
    "/etc/os-release",
    "/etc/papersize",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/profile.d",
    "/etc/protocols",
    "/etc/python3",
    "/etc/python3.11",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/texmf",
    "/etc/timezone",
    "/sys/devices/system/cpu",
    "/var/cache/fontconfig",
    "/var/lib/texmf",
];

/// Devices that do nothing but what their names say.
pub(crate) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Looks at the system's directories.
pub(crate) fn look() -> Vec<Place> {
    let place = |root: &&str| {
        let path = Path::new(root);
        match std::fs::read_link(path) {
            Ok(to) => Some(Place::Link { at: path.to_owned(), to }),
            Err(_) => path.is_dir().then(|| Place::Tree(path.to_owned())),
        }
    };
    ROOTS.iter().filter_map(place).collect()
}
