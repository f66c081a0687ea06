//! Interactive Python applications: published with the real client, opened in a real browser, at both of their addresses.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::browser;
use lectern_tests::client::{directory, example, guid_in, rsconnect};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use serde_json::{Value, json};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));
static ROOT: LazyLock<Account> = LazyLock::new(|| SERVER.account("root", "administrator"));

/// Signs in where a page asks for it, and notes what of this server a page could not load.
const PRELUDE: &str = r#"
    const open = async (page, address, args) => {
      await page.goto(address);
      if (await page.getByLabel('User name').count()) {
        await page.getByLabel('User name').fill(args.name);
        await page.getByLabel('Password').fill(args.password);
        await page.getByRole('button', { name: 'Sign in' }).click();
        await page.waitForURL(address);
      }
    };
    const watch = (page, server) => {
      const bad = [];
      page.on('response', (reply) => {
        // Gradio's page names a manifest for installing it as an app at the root of the host, wherever the page is.
        const known = reply.url() === `${server}/manifest.json`;
        if (reply.url().startsWith(server) && reply.status() >= 400 && !known) bad.push(`${reply.status()} ${reply.url()}`);
      });
      page.on('pageerror', (error) => bad.push(`${error}`));
      page.on('websocket', (socket) => socket.on('socketerror', (error) => bad.push(`${socket.url()}: ${error}`)));
      return bad;
    };
"#;

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// Publishes a directory as this kind; answers its GUID.
fn publish(kind: &str, path: &str, words: &[&str]) -> String {
    let words = [&["--new", "--title", kind], words, &[path]].concat();
    let run = rsconnect(&SERVER, &ADA, &format!("deploy {kind}"), &words);
    assert!(run.success, "{}\n{}", run.printed, SERVER.job_logs());
    guid_in(&run.printed)
}

/// Publishes an example and uses it at both of its addresses: `usage` is the body of a JavaScript function of a page, which answers
/// what it saw. Answers the GUID and what was seen at each. Nothing of this server may have failed on the way.
fn example_is_used(kind: &str, name: &str, mode: &str, usage: &str) -> (String, [Value; 2]) {
    let guid = publish(kind, &example(&SERVER, name), &[]);
    assert_eq!(ada().content(&guid)["app_mode"], mode);
    let vanity = Publisher::new(&SERVER, &ROOT).api(Method::PUT, &format!("/v1/content/{guid}/vanity"));
    vanity.json(&json!({"path": format!("/apps/{name}/")})).send().expect(200);
    let script = format!(
        r#"{PRELUDE}
        const use = async (page, shot) => {{ {usage} }};
        export default async ({{ page, context, args, shot }}) => {{
          const bad = watch(page, args.server);
          const seen = [];
          for (const [name, path] of args.paths) {{
            await open(page, `${{args.server}}${{path}}`, args);
            seen.push(await use(page, (what) => shot(`${{name}}-${{what}}`)));
          }}
          const cookies = (await context.cookies()).map(({{ name, path }}) => ({{ name, path }}));
          await page.goto('about:blank');
          return {{ seen, bad, cookies }};
        }};"#
    );
    let mounts = [format!("/content/{guid}/"), format!("/apps/{name}/")];
    let seen = browser::run(
        &script,
        &json!({"server": SERVER.url(), "paths": [["guid", &mounts[0]], ["vanity", &mounts[1]]],
            "name": ADA.name, "password": ADA.password}),
    );
    println!("{kind}: {}", serde_json::to_string_pretty(&seen).unwrap());
    assert_eq!(seen["bad"], json!([]), "{seen}\n{}", SERVER.job_logs());
    for cookie in seen["cookies"].as_array().unwrap() {
        let path = cookie["path"].as_str().unwrap();
        let ours = cookie["name"] == "lectern" || cookie["name"].as_str().unwrap().starts_with("__Host-");
        assert!(ours || mounts.iter().any(|mount| path.starts_with(mount.trim_end_matches('/'))), "{cookie}");
    }
    (guid, seen["seen"].as_array().unwrap().clone().try_into().unwrap())
}

/// Checks that a WebSocket of content opens for pages of this server and for no others, even with a visitor's credentials.
fn only_own_pages_open(guid: &str, path: &str) {
    let status = |origin: &str| {
        let mut stream = TcpStream::connect(SERVER.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let host = SERVER.address();
        write!(
            stream,
            "GET /content/{guid}/{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Key {}\r\nOrigin: {origin}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            ADA.key
        )
        .unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(status(&SERVER.url()), "101", "{path}");
    assert_eq!(status("https://elsewhere.example"), "403", "{path}");
}

#[test]
fn dash() {
    let usage = r"
        const result = page.locator('.result');
        await result.getByText('After 20 years').waitFor();
        await page.locator('#growth .bars').first().waitFor();
        await shot('opened');
        const before = await result.innerText();
        await page.getByText('30', { exact: true }).click();
        await result.getByText('After 30 years').waitFor();
        await shot('clicked');
        const style = await page.locator('main').evaluate((main) => getComputedStyle(main).borderRadius);
        return { before, after: await result.innerText(), style };
    ";
    for seen in example_is_used("dash", "dash", "python-dash", usage).1 {
        assert_eq!(seen["before"], "After 20 years: 65,660, of which 17,660 is interest.");
        assert_eq!(seen["after"], "After 30 years: 116,547, of which 44,547 is interest.");
        assert_eq!(seen["style"], "12px", "the stylesheet of assets/ was loaded");
    }
}

#[test]
fn streamlit() {
    let usage = r"
        await page.getByText('People to ask').first().waitFor();
        const size = page.getByTestId('stMetricValue');
        await size.getByText('370').waitFor();
        await page.locator('canvas, svg.marks').first().waitFor();
        await shot('opened');
        await page.getByRole('button', { name: 'Keep this one' }).click();
        await page.getByTestId('stDataFrame').waitFor();
        await shot('clicked');
        return { size: await size.innerText() };
    ";
    let (guid, seen) = example_is_used("streamlit", "streamlit", "python-streamlit", usage);
    for seen in seen {
        assert_eq!(seen["size"], "370");
    }
    only_own_pages_open(&guid, "_stcore/stream");
}

#[test]
fn bokeh() {
    let usage = r"
        await page.getByText('2 beats a second').waitFor();
        await page.locator('.bk-Figure canvas').first().waitFor();
        await shot('opened');
        await page.getByRole('button', { name: 'In unison' }).click();
        await page.getByText('No beat: the waves are one').waitFor();
        await shot('clicked');
        return { title: await page.title(), url: page.url() };
    ";
    let (guid, seen) = example_is_used("bokeh", "bokeh", "python-bokeh", usage);
    for seen in seen {
        assert_eq!(seen["title"], "Beat of two waves");
        assert!(seen["url"].as_str().unwrap().ends_with('/'), "it is at the address itself: {seen}");
    }
    only_own_pages_open(&guid, "ws");
}

#[test]
fn shiny() {
    let usage = r"
        await page.getByText('7.00').waitFor();
        await shot('opened');
        await page.getByRole('button', { name: 'Throw 100 times' }).click();
        await page.getByText('100 times', { exact: true }).waitFor();
        await shot('clicked');
        return { title: await page.title() };
    ";
    for seen in example_is_used("shiny", "shiny-python", "python-shiny", usage).1 {
        assert_eq!(seen["title"], "Dice");
    }
}

#[test]
fn gradio() {
    let usage = r"
        await page.getByRole('button', { name: 'Read it' }).waitFor();
        await shot('opened');
        await page.getByRole('button', { name: 'Read it' }).click();
        const verdict = page.getByLabel('Verdict');
        await page.waitForFunction((element) => element.value !== '', await verdict.elementHandle());
        await shot('clicked');
        return { verdict: await verdict.inputValue(), title: await page.title() };
    ";
    for seen in example_is_used("gradio", "gradio", "python-gradio", usage).1 {
        assert_eq!(seen["verdict"], "30 words in 4 sentences: easy to read");
        assert_eq!(seen["title"], "Readability");
    }
}

#[test]
fn panel() {
    let usage = r"
        await page.getByText('Paid back in 19 years').waitFor();
        await page.locator('.bk-Figure canvas').first().waitFor();
        await shot('opened');
        await page.getByRole('button', { name: 'Pay 300 more' }).click();
        await page.getByText('Paid back in 14 years').waitFor();
        await shot('clicked');
        return { title: await page.title(), url: page.url() };
    ";
    let (guid, seen) = example_is_used("panel", "panel", "python-panel", usage);
    for seen in seen {
        assert_eq!(seen["title"], "Paying back a loan");
        assert!(seen["url"].as_str().unwrap().ends_with('/'), "it is at the address itself: {seen}");
    }
    only_own_pages_open(&guid, "ws");
}

#[test]
fn voila() {
    let usage = r"
        await page.getByText('visits of each version').waitFor();
        await shot('opened');
        const before = await page.getByText('visits of each version').innerText();
        await page.getByRole('button', { name: 'Only big changes' }).click();
        await page.waitForFunction((before) => !document.body.innerText.includes(before), before);
        await shot('clicked');
        return { before, after: await page.getByText('visits of each version').innerText() };
    ";
    for seen in example_is_used("voila", "voila", "jupyter-voila", usage).1 {
        assert_eq!(seen["before"], "31,234 visits of each version");
        assert_ne!(seen["before"], seen["after"]);
    }
}

/// Shows which process it runs in.
const WHERE: &str = r#"
import os
from shiny.express import render, ui

ui.input_action_button("more", "More")

@render.text
def process():
    return f"process {os.environ['CONNECT_CONTENT_JOB_KEY']}"

@render.text
def clicks():
    return f"{input.more()} clicks"
"#;

#[test]
fn a_session_meets_the_same_process_again() {
    let requirements =
        std::fs::read_to_string(format!("{}/requirements.txt", example(&SERVER, "shiny-python"))).unwrap();
    let app = WHERE.replace("import render, ui", "import input, render, ui");
    let path = directory(&SERVER, "where", &[("app.py", &app), ("requirements.txt", &requirements)]);
    let guid = publish("shiny", &path, &[]);
    let settings = json!({"min_processes": 3, "max_processes": 3, "load_factor": 0, "access_type": "all"});
    ada().change(&guid, &settings).expect(200);
    let script = r#"
        export default async ({ page, context, args, shot }) => {
          const process = async (page) => {
            const shown = page.locator('#process').getByText(/^process ./);
            await shown.waitFor();
            return await shown.innerText();
          };
          await page.goto(args.url);
          const first = await process(page);
          await page.getByRole('button', { name: 'More' }).click();
          await page.locator('#clicks').getByText('1 clicks').waitFor();
          await shot('clicked');
          // While this page is open, others without its cookie are spread over the other processes.
          const others = [];
          const mine = await context.cookies();
          for (let n = 0; n < 2; n += 1) {
            await context.clearCookies();
            const other = await context.newPage();
            await other.goto(args.url);
            others.push(await process(other));
          }
          await context.clearCookies();
          await context.addCookies(mine);
          const again = [];
          for (let n = 0; n < 5; n += 1) {
            await page.reload();
            again.push(await process(page));
          }
          const cookies = (await context.cookies()).filter((cookie) => cookie.name === 'lectern-worker');
          return { first, others, again, cookies };
        };
    "#;
    let seen = browser::run(script, &json!({"url": format!("{}/content/{guid}/", SERVER.url())}));
    println!("{}", serde_json::to_string_pretty(&seen).unwrap());
    let first = &seen["first"];
    assert!(seen["again"].as_array().unwrap().iter().all(|again| again == first), "{seen}");
    let others = seen["others"].as_array().unwrap();
    assert!(others.len() == 2 && others.iter().all(|other| other != first) && others[0] != others[1], "{seen}");
    let cookies = seen["cookies"].as_array().unwrap();
    assert_eq!(cookies.len(), 1, "{seen}");
    assert_eq!(
        (&cookies[0]["path"], &cookies[0]["httpOnly"]),
        (&json!(format!("/content/{guid}/")), &json!(true)),
        "{seen}"
    );
}

#[test]
fn a_framework_that_nobody_installs_is_named() {
    let path =
        directory(&SERVER, "frameless", &[("app.py", "import streamlit as st\n"), ("requirements.txt", "six\n")]);
    let run = rsconnect(&SERVER, &ADA, "deploy streamlit", &["--new", "--title", "Frameless", &path]).expect_failure();
    let told = "a Streamlit application needs the Python package streamlit, and requirements.txt does not install it; \
                add a line `streamlit` to requirements.txt and deploy again";
    assert!(run.printed.contains(told), "{}", run.printed);
}
