//! Sessions of Shiny: they outlive their connections, a new server, and need no WebSocket.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use lectern_tests::bundle;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use lectern_tests::visitor::Visitor;
use lectern_tests::wait::until;
use serde_json::{Value, json};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

/// The example, with a change of its last line.
fn samples(last: &str) -> Vec<u8> {
    let source = include_str!("../../examples/shiny/app.R");
    assert!(source.contains("shinyApp(ui, server)"));
    bundle::app("shiny", "app.R", &[("app.R", &source.replace("shinyApp(ui, server)", last))])
}

fn published(name: &str, last: &str) -> String {
    Publisher::new(&SERVER, &ADA).publish(name, &samples(last))
}

/// Opens the item in a browser, signed in as ada, and runs `script` on the page.
fn used(guid: &str, script: &str) -> Value {
    Visitor::new(&SERVER, &ADA).uses(&format!("/content/{guid}/"), &format!("{NOTE}{script}"), &Value::Null)
}

static SAMPLES: LazyLock<String> = LazyLock::new(|| published("samples", "shinyApp(ui, server)"));

/// Notes a plan down, and waits until there are so many.
const NOTE: &str = "
    const note = async (count) => {
      await page.getByRole('button', { name: 'Note it down' }).click();
      await page.locator('#notes tbody tr').nth(count - 1).waitFor();
    };
    const sockets = (code) => page.addInitScript(code).then(() => page.reload());
";

/// Has the page keep its sockets where the test finds them.
const KEPT: &str = "
    await sockets(() => {
      window.opened = [];
      window.WebSocket = class extends WebSocket { constructor(...all) { super(...all); window.opened.push(this); } };
    });
";

#[test]
fn a_shiny_session_outlives_its_connection() {
    let breaks = "
        await note(1);
        for (let n = 2; n < 4; n += 1) {
          await page.evaluate(() => window.opened.at(-1).close());
          // Told while there is no connection, and answered by the same session.
          await note(n);
        }
        return { opened: await page.evaluate(() => window.opened.length), rows: await page.locator('#notes tbody tr').count() };
    ";
    let seen = used(&SAMPLES, &format!("{KEPT}{breaks}"));
    assert_eq!(seen, json!({"opened": 3, "rows": 3}));
}

#[test]
fn shiny_works_where_websockets_are_blocked() {
    let blocked = "
        const polls = [];
        page.on('request', (request) => { if (request.url().includes('__lectern__/poll')) polls.push(request.url()); });
        await sockets(() => {
          // Nobody listens there.
          window.WebSocket = class extends WebSocket { constructor() { super('ws://127.0.0.1:9/'); } };
        });
        await page.locator('#answer strong').filter({ hasText: '64' }).waitFor();
        await page.locator('#effect').evaluate((input) => window.jQuery(input).data('ionRangeSlider').update({ from: 1 }));
        await page.locator('#answer strong').filter({ hasText: '17' }).waitFor();
        await page.locator('#curve img').waitFor();
        await note(1);
        await note(2);
        await all.shot('polled');
        return { who: await page.locator('.who').innerText(), polled: polls.length > 3 };
    ";
    let seen = used(&SAMPLES, blocked);
    assert_eq!(seen, json!({"who": "signed in as ada", "polled": true}));
}

#[test]
fn a_page_begins_anew_when_its_process_is_gone() {
    let guid =
        published("mortal", "shinyApp(function(req) if (req$QUERY_STRING == '?die') quit('no') else ui, server)");
    let gone = "
        const overlay = page.locator('#shiny-disconnected-overlay');
        await page.locator('#effect').evaluate((input) => window.jQuery(input).data('ionRangeSlider').update({ from: 1 }));
        await page.locator('#answer strong').filter({ hasText: '17' }).waitFor();
        await note(1);
        const before = await page.evaluate(() => window.Shiny.shinyapp.config.sessionId);
        await page.evaluate(() => fetch('?die'));
        await overlay.waitFor({ state: 'attached' });
        await page.waitForFunction((before) => window.Shiny.shinyapp.config.sessionId !== before, before);
        // Another session with the same inputs, the button's count among them.
        await overlay.waitFor({ state: 'detached' });
        await page.locator('#answer strong').filter({ hasText: '17' }).waitFor();
        await note(2);
        return await page.evaluate(() => window.Shiny.shinyapp.$socket.readyState);
    ";
    assert_eq!(used(&guid, gone), 1);
}

/// A process and a browser start on a busy machine.
const SOON: Duration = Duration::from_secs(120);

#[test]
fn a_shiny_session_goes_on_with_a_new_server() {
    let server = Server::new();
    let account = server.account("ada", "publisher");
    let telling = "shinyApp(ui, function(input, output, session) {
        observeEvent(input$note, message('noted ', input$note)); server(input, output, session) })";
    let guid = Publisher::new(&server, &account).publish("samples", &samples(telling));
    let goes_on = "
        await note(1);
        const { config } = await page.evaluate(() => window.Shiny.shinyapp);
        await page.waitForFunction(() => window.opened.length > 1);
        await note(2);
        const now = await page.evaluate(() => window.Shiny.shinyapp);
        return now.config.sessionId === config.sessionId;
    ";
    std::thread::scope(|scope| {
        let script = format!("{NOTE}{KEPT}{goes_on}");
        let page = scope.spawn({
            let (server, account, path) = (&server, &account, format!("/content/{guid}/"));
            move || Visitor::new(server, account).uses(&path, &script, &Value::Null)
        });
        until("the page's first note", SOON, || server.job_logs().contains("noted 1").then_some(()));
        let mut old = server.take_over();
        // It would let the page's WebSocket go on for a quarter of an hour.
        old.kill().unwrap();
        old.wait().unwrap();
        assert_eq!(page.join().unwrap(), true, "the same session");
    });
    assert!(server.stop().success());
}
