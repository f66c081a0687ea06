//! Tests in a real browser: Chromium, driven by a script.
//!
//! A script is a JavaScript module whose default export gets a page and what the test passes, and answers what the test
//! checks:
//!
//! ```js
//! export default async ({ page, context, args, shot }) => {
//!   await page.goto(args.url);
//!   await page.getByRole('button', { name: 'Sign in' }).click();
//!   await shot('signed-in');
//!   return { title: await page.title() };
//! };
//! ```
//!
//! Each run has a new profile, and reaches nothing but this machine. `LECTERN_TEST_SHOTS` names a directory where the
//! pictures that scripts take are kept, in one directory for each test.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::node::Script;
use crate::server::TOOLS;

/// Some pages that each wait for a process on a busy machine; one wait in a script takes a minute at most.
const PATIENCE: Duration = Duration::from_secs(300);

/// Signs in with a password and confirms the token of a client, on the page that the client was given.
#[track_caller]
pub fn confirm_token(url: &str, username: &str, password: &str) {
    let script = "
export default async ({ page, args, shot }) => {
  await page.goto(args.url);
  await page.getByLabel('User name').fill(args.name);
  await page.getByLabel('Password').fill(args.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('button', { name: 'Confirm' }).click();
  await page.getByRole('heading', { name: 'Confirmed' }).waitFor();
  await shot('confirmed');
  return {};
};";
    run(script, &serde_json::json!({"url": url.trim(), "name": username, "password": password}));
}

/// Runs a script in a browser and answers what it answered. Panics with the script's error and the page's text.
#[track_caller]
pub fn run(script: &str, args: &Value) -> Value {
    let browser = TOOLS.join("chromium");
    assert!(browser.is_file(), "no browser at {}: run `./just setup test`", browser.display());
    let shots = shots();
    let words = [browser.as_path(), "script.mjs".as_ref(), shots.as_path()].map(|path| path.to_str().expect("UTF-8"));
    let files = [("run.mjs", include_str!("../browser/run.mjs")), ("script.mjs", script)];
    let mut running = Script::start(&files, &[&words[..], &[&args.to_string()]].concat());
    let status = running.wait(PATIENCE);
    assert!(status.success(), "in the browser, {status}:\n{}", running.log());
    serde_json::from_str(&running.printed()).expect("JSON")
}

/// Where pictures go: a directory that stays, or one in the script's own.
fn shots() -> PathBuf {
    let test = std::thread::current().name().unwrap_or("unnamed").replace("::", "-");
    std::env::var_os("LECTERN_TEST_SHOTS").map_or_else(|| "shots".into(), |dir| PathBuf::from(dir).join(test))
}
