//! Content that tests publish.

use crate::bundle;

/// The ASGI app that shows what reached it; see `apps/probe.py` for its paths.
pub const PROBE: &str = include_str!("../apps/probe.py");

/// What an ASGI app without a framework needs.
pub const PROBE_REQUIREMENTS: &str = "uvicorn>=0.29,<1\n";

/// A bundle of the probe.
pub fn probe() -> Vec<u8> {
    probe_version("1")
}

/// A bundle of the probe that names itself `version`.
pub fn probe_version(version: &str) -> Vec<u8> {
    let source = PROBE.replace("VERSION = \"1\"", &format!("VERSION = {version:?}"));
    asgi(&source)
}

/// A bundle of an ASGI app in one file, with the probe's requirements: they share one environment.
pub fn asgi(source: &str) -> Vec<u8> {
    bundle::app("python-fastapi", "app:app", &[("app.py", source), ("requirements.txt", PROBE_REQUIREMENTS)])
}

/// A bundle of one static page.
pub fn page(title: &str) -> Vec<u8> {
    bundle::app("static", "index.html", &[("index.html", &format!("<!doctype html><title>{title}</title>\n"))])
}

/// An app that does on request what an app must not be able to do to others; see `apps/misbehaves.py` for its paths. It also
/// speaks WebSocket.
pub fn misbehaves() -> Vec<u8> {
    let requirements = format!("{PROBE_REQUIREMENTS}websockets>=12\n");
    let files = [("app.py", include_str!("../apps/misbehaves.py")), ("requirements.txt", &requirements)];
    bundle::app("python-fastapi", "app:app", &files)
}
