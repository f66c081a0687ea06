//! A server below a path of another host, `https://example.org/rsc`, as many are: the clients keep the path, and every address
//! that they are given has it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::browser;
use lectern_tests::client::{directory, example, guid_in, pins, posit_sdk, r, rsconnect_raw};
use lectern_tests::node::Script;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use serde_json::json;

static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::setup().env("LECTERN_SERVER__TRUSTED_PROXIES", "127.0.0.1").start());
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));
/// The proxy before the server, which ends with the tests.
static PROXY: LazyLock<(Script, String)> = LazyLock::new(|| {
    let source = include_str!("../apps/prefix_proxy.mjs");
    let mut script = Script::start(&[("prefix_proxy.mjs", source)], &[&SERVER.url(), "/rsc"]);
    let port = script.first_line(SOON);
    (script, format!("http://127.0.0.1:{}/rsc", port.trim()))
});

/// A client or a proxy starts on a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// The server's address as everybody outside knows it.
fn outside() -> &'static str {
    &PROXY.1
}

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

#[test]
fn rsconnect_and_a_browser() {
    let path = example(&SERVER, "shiny-python");
    let words = ["deploy", "shiny", "--server", outside(), "--api-key", &ADA.key, "--new", "--title", "Below", &path];
    let printed = rsconnect_raw(&SERVER, &words, &[]).expect_success().printed;
    println!("{printed}");
    let guid = guid_in(&printed);
    let (content, dashboard) =
        (format!("{}/content/{guid}/", outside()), format!("{}/connect/#/apps/{guid}", outside()));
    assert!(printed.contains(&content) && printed.contains(&dashboard), "{printed}");

    let script = "
export default async ({ page, args, shot }) => {
  const away = [];
  page.on('request', (request) => { if (!request.url().startsWith(args.outside)) away.push(request.url()); });
  await page.goto(args.dashboard);
  await page.getByLabel('User name').fill(args.name);
  await page.getByLabel('Password').fill(args.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Below' }).waitFor();
  await shot('dashboard');
  const at = page.url();
  // The application, with its WebSocket.
  await page.goto(args.content);
  await page.getByRole('button', { name: 'Throw 100 times' }).click();
  await page.getByText('100 times', { exact: true }).waitFor();
  await page.goto('about:blank');
  return { at, away: away.filter((url) => !/^(data|blob|about):|favicon/.test(url)) };
};";
    let args = json!({"outside": outside(), "dashboard": dashboard, "content": content, "name": ADA.name, "password": ADA.password});
    let seen = browser::run(script, &args);
    println!("{seen}");
    assert!(text(&seen["at"]).starts_with(&format!("{}/connect/", outside())), "{seen}");
    assert_eq!(seen["away"], json!([]), "{seen}");
}

#[test]
fn libraries_of_python() {
    let code = format!(
        r#"
import os
from posit import connect
client = connect.Client("{outside}", os.environ["TEST_KEY"])
item = client.content.create(name="below-a-path")
assert item["content_url"] == f"{outside}/content/{{item['guid']}}/", item
assert item["dashboard_url"] == f"{outside}/connect/#/apps/{{item['guid']}}", item
visits = client.get("v1/instrumentation/content/visits", params={{"limit": 1}}).json()
assert visits["paging"]["first"].startswith("{outside}/__api__/"), visits
"#,
        outside = outside(),
    );
    posit_sdk(&SERVER, &ADA, &code).expect_success();
    let code = format!(
        r#"
import os, pandas as pd, pins
board = pins.board_connect(server_url="{outside}", api_key=os.environ["TEST_KEY"], allow_pickle_read=True)
for x in (1, 2):
    board.pin_write(pd.DataFrame({{"x": [x]}}), "ada/below", type="csv", title="Below")
versions = board.pin_versions("ada/below")["version"]
assert list(board.pin_read("ada/below", version=versions[0])["x"]) == [1]
assert list(board.pin_read("ada/below")["x"]) == [2]
"#,
        outside = outside(),
    );
    pins(&SERVER, &ADA, &code).expect_success();
}

/// R signs the path with the prefix, which the server does not see.
#[test]
fn r_with_a_token() {
    let page = directory(&SERVER, "below", &[("index.html", "<!doctype html><title>Signed below</title>")]);
    let asked = SERVER.scratch().join("claim-below");
    let code = format!(
        "library(rsconnect)
         options(rsconnect.check.certificate = FALSE, repos = c(CRAN = 'https://cran.example.org'))
         addConnectServer('{outside}', 'below', quiet = TRUE)
         connectUser(server = 'below', quiet = TRUE, launch.browser = function(url) {{
           writeLines(url, '{asked}.new'); file.rename('{asked}.new', '{asked}') }})
         stopifnot(isTRUE(deployApp('{page}', appName = 'signed-below', appPrimaryDoc = 'index.html', account = 'ada',
             server = 'below', launch.browser = FALSE)))
         cat('published', deployments('{page}')$url)",
        outside = outside(),
        asked = asked.display(),
    );
    let nobody = Account { key: String::new(), ..ADA.clone() };
    let client = std::thread::spawn(move || r(&SERVER, &nobody, &code));
    let url = until("R asks for a token", SOON, || std::fs::read_to_string(&asked).ok());
    assert!(url.starts_with(&format!("{}/connect/tokens/T", outside())), "{url}");
    browser::confirm_token(&url, &ADA.name, &ADA.password);
    let printed = client.join().unwrap().expect_success().printed;
    let listed = ada().api(Method::GET, "/v1/content?name=signed-below").send().expect(200).json();
    let guid = text(&listed[0]["guid"]);
    assert!(printed.contains(&format!("published {}/content/{guid}/", outside())), "{printed}");
    assert!(ada().open(&guid, "").expect(200).text().contains("Signed below"));
}
