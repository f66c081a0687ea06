//! Programs that people let act in their name: `rsconnect login` with its page in a real browser and with a code, and what it
//! does with its tokens after.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::apps;
use lectern_tests::browser;
use lectern_tests::client::directory;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server, TOOLS};
use lectern_tests::wait::until;
use serde_json::{Value, json};

/// A client starts, asks, and waits five seconds between tries.
const SOON: Duration = Duration::from_secs(90);

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

/// Signs in on the page that asks for it, and goes on in the same window.
const SIGN_IN: &str = "
const signIn = async (page, args) => {
  await page.getByLabel('User name').fill(args.name);
  await page.getByLabel('Password').fill(args.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
};
";

/// Where the client keeps what it was given.
fn home(name: &str) -> PathBuf {
    let home = SERVER.scratch().join(format!("home-of-{name}"));
    std::fs::create_dir_all(&home).unwrap();
    home
}

/// The client at work; what it prints is in a file.
struct Client {
    process: Child,
    printed: PathBuf,
}

impl Client {
    /// Starts `rsconnect` with a home, and a "browser" that writes down what it is to open.
    fn start(home: &Path, words: &[&str]) -> Self {
        let (browser, opened, printed) = (home.join("browser"), home.join("opened"), home.join("printed"));
        let script = format!("#!/bin/sh\nprintf '%s' \"$1\" > '{0}.new' && mv '{0}.new' '{0}'\n", opened.display());
        std::fs::write(&browser, script).unwrap();
        std::fs::set_permissions(&browser, PermissionsExt::from_mode(0o755)).unwrap();
        let output = File::create(&printed).unwrap();
        let mut command = Command::new(TOOLS.join("rsconnect"));
        for name in ["CONNECT_SERVER", "CONNECT_API_KEY", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
        command.args(words).env("HOME", home).env("BROWSER", format!("{} %s", browser.display()));
        command.env("PYTHONUNBUFFERED", "1").env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command.stdin(Stdio::null()).stderr(output.try_clone().unwrap()).stdout(output);
        Self { process: command.spawn().unwrap(), printed }
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(&self.printed).unwrap()
    }

    /// What it printed, once it has ended as expected.
    #[track_caller]
    fn ended(mut self, success: bool) -> String {
        let status = until("the client ends", SOON, || self.process.try_wait().unwrap());
        assert_eq!(status.success(), success, "{}", self.printed());
        self.printed()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The file in which the client keeps its servers.
fn servers(home: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut open = vec![home.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|name| name == "servers.json") {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn kept(home: &Path) -> Value {
    let all: Value = serde_json::from_str(&std::fs::read_to_string(servers(home)).unwrap()).unwrap();
    all.as_object().unwrap().values().next().unwrap().clone()
}

fn user(token: &str) -> lectern_tests::http::Reply {
    SERVER.get("/__api__/v1/user").header("authorization", &format!("Bearer {token}")).send()
}

#[test]
fn login_by_a_browser_then_publish_and_refresh() {
    let home = home("browser");
    let client = Client::start(&home, &["login", &SERVER.url(), "--name", "here"]);
    let url = until("the client opens a browser", SOON, || std::fs::read_to_string(home.join("opened")).ok());
    assert!(url.starts_with(&format!("{}/connect/oauth/authorize?", SERVER.url())), "{url}");
    let script = format!(
        "{SIGN_IN}
export default async ({{ page, args, shot }}) => {{
  await page.goto(args.url);
  await signIn(page, args);
  await page.getByRole('heading', {{ name: 'Posit CLI asks for access' }}).waitFor();
  await shot('authorize');
  const asked = await page.innerText('main');
  // What a published page could do with the visitor's cookie.
  const read = await page.context().request.get(args.url);
  const stolen = (await read.text()).includes('name=\"pass\"');
  await page.getByRole('button', {{ name: 'Allow' }}).click();
  await page.getByRole('heading', {{ name: 'Authentication successful!' }}).waitFor();
  return {{ asked, stolen, at: page.url() }};
}};"
    );
    let seen = browser::run(&script, &json!({"url": url, "name": "ada", "password": ADA.password}));
    assert!(text(&seen["asked"]).contains("acts as ada"), "{seen}");
    assert!(text(&seen["at"]).starts_with("http://127.0.0.1:"), "{seen}");
    assert_eq!(seen["stolen"], false, "{seen}");
    let printed = client.ended(true);
    assert!(printed.contains("Logged in"), "{printed}");

    let entry = kept(&home);
    let token = text(&entry["oauth_access_token"]);
    assert!(token.starts_with("lectern_access_"), "{entry}");
    assert_eq!(user(&token).expect(200).json()["username"], "ada");
    user(&format!("{token}x")).expect_error(401, 30);
    user("another's").expect_error(401, 30);

    let page = directory(&SERVER, "by-token", &[("index.html", "<!doctype html><title>By token</title>")]);
    let entrypoint = format!("{page}/index.html");
    let deploy = ["deploy", "html", "--name", "here", "--title", "By token", entrypoint.as_str()];
    Client::start(&home, &deploy).ended(true);
    let listed = SERVER.get("/__api__/v1/content").key(&ADA.key).send().expect(200).json();
    let item = listed.as_array().unwrap().iter().find(|item| item["title"] == "By token").unwrap().clone();
    // Content is open to the token as to a key.
    let address = format!("/content/{}/", text(&item["guid"]));
    SERVER.get(&address).send().expect(401);
    let opened = SERVER.get(&address).header("authorization", &format!("Bearer {token}")).send().expect(200);
    assert!(opened.text().contains("By token"));

    // Content's code does not see it.
    let probe = Publisher::new(&SERVER, &ADA).publish("probe", &apps::probe());
    let echo = SERVER.get(&format!("/content/{probe}/echo")).header("authorization", &format!("Bearer {token}"));
    let echo = echo.send().expect(200).text();
    assert!(echo.contains("rstudio-connect-credentials") && !echo.contains(&token), "{echo}");

    // The access token ends: the client gets another one by itself.
    let id = text(&entry["oauth_client_id"]);
    let end = |token: &str| SERVER.post("/__api__/oauth/revoke").form(&[("client_id", &id), ("token", token)]).send();
    let file = servers(&home);
    let changed = std::fs::read_to_string(&file).unwrap().replace(&token, "lectern_access_ended");
    std::fs::write(&file, changed).unwrap();
    Client::start(&home, &["content", "search", "--name", "here"]).ended(true);
    let renewed = text(&kept(&home)["oauth_access_token"]);
    assert_ne!(renewed, "lectern_access_ended");
    assert_eq!(user(&renewed).expect(200).json()["username"], "ada");

    // The user sees the program, and what ends is ended at once.
    let grants = format!("/__api__/v1/users/{}/oauth_grants", ADA.guid);
    let listed = SERVER.ask(Method::GET, &grants).key(&ADA.key).send().expect(200).json();
    let mine = listed.as_array().unwrap().iter().find(|grant| grant["client_id"] == json!(id)).unwrap().clone();
    assert_eq!(mine["client_name"], "Posit CLI");
    end(&renewed).expect(200);
    user(&renewed).expect_error(401, 30);
    Client::start(&home, &["content", "search", "--name", "here"]).ended(false);
}

#[test]
fn login_by_a_code() {
    let bob = SERVER.account("bob", "publisher");
    let home = home("code");
    let client = Client::start(&home, &["login", &SERVER.url(), "--name", "here", "--use-device-code"]);
    let user_code = until("the client shows a code", SOON, || {
        let printed = client.printed();
        let line = printed.lines().find_map(|line| line.strip_prefix("Enter the code: "))?;
        (line.len() == 9).then(|| line.to_owned())
    });
    let complete = format!("{}/connect/oauth/device?user_code={user_code}", SERVER.url());
    assert!(client.printed().contains(&complete), "{}", client.printed());
    let script = format!(
        "{SIGN_IN}
export default async ({{ page, args, shot }}) => {{
  await page.goto(args.url.split('?')[0]);
  await signIn(page, args);
  await page.getByLabel('Code').fill('bbbb bbbb');
  await page.getByRole('button', {{ name: 'Continue' }}).click();
  const wrong = await page.getByRole('alert').innerText();
  // The address that the client shows fills the code in, and no more.
  await page.goto(args.url);
  const filled = await page.getByLabel('Code').inputValue();
  await shot('code');
  await page.getByRole('button', {{ name: 'Continue' }}).click();
  await page.getByRole('heading', {{ name: 'Posit CLI asks for access' }}).waitFor();
  await shot('device');
  const asked = await page.innerText('main');
  await page.getByRole('button', {{ name: 'Allow' }}).click();
  await page.getByRole('heading', {{ name: 'Allowed' }}).waitFor();
  return {{ wrong, filled, asked }};
}};"
    );
    let seen = browser::run(&script, &json!({"url": complete, "name": "bob", "password": bob.password}));
    assert!(text(&seen["wrong"]).contains("No program waits"), "{seen}");
    assert_eq!(seen["filled"], json!(user_code), "{seen}");
    assert!(text(&seen["asked"]).contains(&user_code), "{seen}");
    assert!(client.ended(true).contains("Logged in"));
    let token = text(&kept(&home)["oauth_access_token"]);
    assert_eq!(user(&token).expect(200).json()["username"], "bob");

    // What a user allowed ends where the user says so.
    let script = format!(
        "{SIGN_IN}
export default async ({{ page, args, shot }}) => {{
  await page.goto(args.url);
  await signIn(page, args);
  const programs = page.locator('#programs');
  await programs.getByRole('cell', {{ name: 'Posit CLI', exact: true }}).waitFor();
  await shot('programs');
  const keys = await page.locator('#keys').innerText();
  await programs.getByRole('button', {{ name: 'End Posit CLI' }}).click();
  await page.locator('#done').waitFor();
  return {{ keys, left: await programs.innerText() }};
}};"
    );
    let account = format!("{}/connect/account", SERVER.url());
    let seen = browser::run(&script, &json!({"url": account, "name": "bob", "password": bob.password}));
    assert!(!text(&seen["keys"]).contains("Posit CLI") && text(&seen["left"]).contains("None."), "{seen}");
    user(&token).expect_error(401, 30);
}

/// A browser holds the form to the page's policy, which must let it go to both kinds of addresses.
#[test]
fn who_says_no_goes_back_too() {
    let new = json!({"client_name": "Shy", "redirect_uris": ["http://127.0.0.1/callback", "http://[::1]/callback"]});
    let registered = SERVER.post("/__api__/oauth/register").json(&new).send().expect(201).json();
    let urls = ["http://127.0.0.1:9/callback", "http://[::1]:9/callback"].map(|redirect| {
        let fields = authorization(&text(&registered["client_id"]), redirect);
        json!([
            format!("{}/connect/oauth/authorize?{fields}", SERVER.url()),
            format!("{redirect}?error=access_denied&")
        ])
    });
    let script = format!(
        "{SIGN_IN}
export default async ({{ context, args }}) => {{
  for (const [at, [url, back]] of args.urls.entries()) {{
    const page = await context.newPage();
    await page.goto(url);
    if (at === 0) await signIn(page, args);
    // Nobody listens there: that the browser goes is enough.
    const gone = page.waitForRequest((request) => request.url().startsWith(back));
    await page.getByRole('button', {{ name: 'Deny' }}).click();
    await gone;
  }}
  return {{}};
}};"
    );
    browser::run(&script, &json!({"urls": urls, "name": "ada", "password": ADA.password}));
}

/// The query of an authorization request.
fn authorization(client: &str, redirect: &str) -> String {
    lectern_tests::http::form(&[
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", redirect),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ])
}

/// Nobody is sent anywhere that was not registered, signed in or not.
#[test]
fn nobody_is_led_elsewhere() {
    let new = json!({"client_name": "Trap", "redirect_uris": ["http://127.0.0.1/callback"]});
    let registered = SERVER.post("/__api__/oauth/register").json(&new).send().expect(201).json();
    let ask = |redirect: &str| {
        let query = authorization(&text(&registered["client_id"]), redirect);
        SERVER.get(&format!("/connect/oauth/authorize?{query}")).send()
    };
    for evil in ["https://evil.example/", "http://127.0.0.1@evil.example/callback", "//evil.example"] {
        let reply = ask(evil).expect(400);
        assert_eq!(reply.header("location"), "", "{evil}");
    }
    let reply = ask("http://127.0.0.1:9/callback").expect(303);
    assert!(reply.header("location").starts_with("/__plugin__/"), "{}", reply.header("location"));
    // A form without the page's pass is worth nothing, whoever sends it.
    SERVER.post("/connect/oauth/authorize").form(&[("answer", "allow"), ("query", "x")]).send().expect(403);
    SERVER.post("/connect/oauth/device").form(&[("answer", "allow"), ("user_code", "x")]).send().expect(403);
}
