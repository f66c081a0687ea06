//! Runs a file's tests once more as an ordinary account.

use std::path::Path;
use std::process::Command;

use crate::is_root;
use crate::scratch::Scratch;
use crate::server::{LECTERN, TOOLS};

const NOBODY: u32 = 65_534;

/// Runs the tests of this program again as nobody, but for those whose names contain one of `skip`. All must pass. Without
/// root it says that it passes them over: they ran without already.
pub fn again_as_nobody(skip: &[&str]) {
    if !is_root() {
        println!("passed over: the others run without root already");
        return;
    }
    let scratch = Scratch::new();
    let copy = |from: &Path, to: &str| std::fs::copy(from, scratch.join(to)).map(drop).expect("copy a program");
    std::fs::create_dir_all(scratch.join("tools/bin")).expect("make a directory");
    copy(&std::env::current_exe().expect("know the test's own path"), "test");
    copy(&LECTERN, "lectern");
    copy(&TOOLS.join("uv").canonicalize().expect("find uv"), "tools/bin/uv");
    // Asked for and not used here.
    std::fs::write(scratch.join("tools/bin/rsconnect"), "").expect("write a file");
    let cache = LECTERN.with_file_name("plugin-cache");
    let (cache, here) = (cache.to_str().expect("a path in UTF-8"), scratch.path().to_str().expect("a path in UTF-8"));
    let script = format!("cp -r {cache} {here}/ 2>/dev/null; chown -R {NOBODY}:{NOBODY} {here}");
    assert!(Command::new("sh").args(["-c", &script]).status().expect("run a shell").success());
    let status = Command::new("setpriv")
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()])
        .arg(scratch.join("test"))
        .args(["--nocapture", "--test-threads=2"])
        .args(skip.iter().map(|name| format!("--skip={name}")))
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin")
        .env("HOME", scratch.path())
        .env("LECTERN_BIN", scratch.join("lectern"))
        .env("LECTERN_TOOLS", scratch.join("tools"))
        .current_dir("/")
        .status()
        .expect("run setpriv");
    assert!(status.success());
}
