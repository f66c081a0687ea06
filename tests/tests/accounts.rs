//! Accounts from outside: R's `connectUser` with its page in a real browser, posit-sdk over users and groups, keys and
//! passwords, and pages of others that try to use a visitor's session.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::apps;
use lectern_tests::browser;
use lectern_tests::client::{directory, python, r};
use lectern_tests::http::Reply;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use serde_json::{Value, json};

/// A client starts, asks and waits a second between tries; uses of keys are written down twice a minute.
const SOON: Duration = Duration::from_secs(90);

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));
static BOSS: LazyLock<Account> = LazyLock::new(|| SERVER.account("boss", "administrator"));

fn api(who: &Account, method: Method, path: &str) -> lectern_tests::http::Ask {
    SERVER.ask(method, &format!("/__api__{path}")).key(&who.key)
}

/// Signs in on the page that asks for it, and goes on in the same window.
const SIGN_IN: &str = "
const signIn = async (page, args) => {
  await page.getByLabel('User name').fill(args.name);
  await page.getByLabel('Password').fill(args.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
};
";

#[test]
fn connect_user_from_r_with_its_page_in_a_browser() {
    let page = directory(&SERVER, "signed", &[("index.html", "<!doctype html><title>Signed</title>")]);
    let asked: PathBuf = SERVER.scratch().join("claim-url");
    let code = format!(
        "library(rsconnect)
         options(rsconnect.check.certificate = FALSE, repos = c(CRAN = 'https://cran.example.org'))
         addConnectServer(server, 'signed', quiet = TRUE)
         connectUser(server = 'signed', quiet = TRUE, launch.browser = function(url) {{
           writeLines(url, '{asked}.new'); file.rename('{asked}.new', '{asked}') }})
         stopifnot(accounts('signed')$name == 'ada')
         for (again in 1:2) {{
           writeLines(sprintf('<!doctype html><title>Signed %d</title>', again), '{page}/index.html')
           stopifnot(isTRUE(deployApp('{page}', appName = 'signed', appPrimaryDoc = 'index.html', account = 'ada',
             server = 'signed', launch.browser = FALSE, forceUpdate = TRUE)))
         }}",
        asked = asked.display(),
    );
    let nobody = Account { key: String::new(), ..ADA.clone() };
    let client = std::thread::spawn(move || r(&SERVER, &nobody, &code));
    let url = until("R asks for a token", SOON, || std::fs::read_to_string(&asked).ok());
    let url = url.trim().to_owned();
    assert!(url.starts_with(&format!("{}/connect/tokens/T", SERVER.url())), "{url}");

    let script = format!(
        "{SIGN_IN}
export default async ({{ page, args, shot }}) => {{
  await page.goto(args.url);
  await signIn(page, args);
  await page.getByRole('heading', {{ name: 'A program asks for access' }}).waitFor();
  await shot('claim');
  const asked = await page.innerText('main');
  await page.getByRole('button', {{ name: 'Confirm' }}).click();
  await page.getByRole('heading', {{ name: 'Confirmed' }}).waitFor();
  await shot('confirmed');
  const again = await page.goto(args.url);
  return {{ asked, again: again.status(), said: await page.innerText('main') }};
}};"
    );
    let seen = browser::run(&script, &json!({"url": url, "name": "ada", "password": ADA.password}));
    assert!(text(&seen["asked"]).contains("127.0.0.1"), "who asks: {seen}");
    assert_eq!(seen["again"], 410, "once: {seen}");
    assert!(text(&seen["said"]).contains("already"), "{seen}");
    client.join().unwrap().expect_success();

    let listed = api(&ADA, Method::GET, "/v1/content?name=signed").send().expect(200).json();
    let guid = text(&listed[0]["guid"]);
    let ada = Publisher::new(&SERVER, &ADA);
    assert!(ada.open(&guid, "").expect(200).text().contains("Signed 2"));
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let tokens = api(&ADA, Method::GET, &format!("/v1/users/{}/tokens", ADA.guid)).send().expect(200).json();
    assert!(tokens[0]["last_used_time"].is_string(), "{tokens}");
}

/// Published pages share the server's origin: what their scripts may do with a visitor's session is nothing.
#[test]
fn a_published_page_uses_nobodys_session() {
    let id = "T00112233445566778899aabbccddeeff";
    let pem = SERVER.scratch().join("attack.pem");
    let openssl = |words: &[&str]| {
        let run = std::process::Command::new("openssl").args(words).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        run.stdout
    };
    openssl(&["genrsa", "-out", pem.to_str().unwrap(), "2048"]);
    let der = openssl(&["rsa", "-in", pem.to_str().unwrap(), "-pubout", "-outform", "DER"]);
    let wanted = json!({"token": id, "public_key": base64(&der), "user_id": 0});
    let claim = text(&SERVER.post("/__api__/tokens").json(&wanted).send().expect(200).json()["token_claim_url"]);

    let attacker = SERVER.account("mallory", "publisher");
    let guid = Publisher::new(&SERVER, &attacker).publish("trap", &apps::page("Trap"));
    Publisher::new(&SERVER, &attacker).change(&guid, &json!({"access_type": "logged_in"})).expect(200);
    let script = format!(
        "{SIGN_IN}
export default async ({{ page, context, args }}) => {{
  await page.goto(args.trap);
  await signIn(page, args);
  await page.waitForURL(args.trap);
  // What the page's own script could do, with the visitor's cookie sent along.
  return await page.evaluate(async ({{ claim, account }}) => {{
    const out = {{}};
    for (const address of [claim, account]) {{
      const read = await fetch(address, {{ credentials: 'include' }});
      out['read ' + address] = read.status + ' ' + (await read.text()).includes('name=\"pass\"');
      const sent = await fetch(address, {{
        method: 'POST', credentials: 'include', body: new URLSearchParams({{ pass: '', name: 'stolen' }}),
      }});
      out['sent ' + address] = sent.status;
      const opened = window.open(address);
      const frame = document.createElement('iframe');
      frame.src = address;
      document.body.append(frame);
      // Until the window shows the page of the address: from then on it must be closed to this one.
      let looked = 'nothing';
      for (let round = 0; round < 600 && looked !== 'closed'; round += 1) {{
        try {{ looked = opened.document.body?.innerHTML.includes('name=\"pass\"') ? 'open' : 'empty'; }} catch {{ looked = 'closed'; }}
        if (looked === 'open') break;
        await new Promise((done) => setTimeout(done, 50));
      }}
      out['looked ' + address] = looked;
      let framed = 'nothing';
      try {{ framed = (frame.contentDocument?.body?.innerHTML ?? '').includes('name=\"pass\"') ? 'open' : 'empty'; }} catch {{ framed = 'closed'; }}
      out['framed ' + address] = framed;
      opened.close();
    }}
    const key = await fetch('/__api__/v1/users/' + account.split('#')[1] + '/keys', {{
      method: 'POST', credentials: 'include', body: '{{\"name\":\"stolen\"}}', headers: {{ 'X-RSC-XSRF': 'guess' }},
    }});
    out.key = key.status;
    return out;
  }}, {{ claim: args.claim, account: args.account }});
}};"
    );
    let account = format!("{}/connect/account#{}", SERVER.url(), ADA.guid);
    let trap = format!("{}/content/{guid}/", SERVER.url());
    let args = json!({"trap": trap, "claim": claim, "account": account, "name": "ada", "password": ADA.password});
    let seen = browser::run(&script, &args);
    for address in [&claim, &account] {
        assert_eq!(seen[format!("read {address}")], "403 false", "{seen}");
        assert_eq!(seen[format!("sent {address}")], 403, "{seen}");
        assert_eq!(seen[format!("looked {address}")], "closed", "{seen}");
        assert_ne!(seen[format!("framed {address}")], "open", "{seen}");
    }
    assert_eq!(seen["key"], 403, "{seen}");
    let keys = api(&ADA, Method::GET, &format!("/v1/users/{}/keys", ADA.guid)).send().expect(200).json();
    assert!(!keys.to_string().contains("stolen"), "{keys}");
}

/// A form is worth what its account is. A program can say of itself what browsers say; a key of a lesser role is not to get there what
/// it does not give.
#[test]
fn a_key_opens_no_page_with_a_form() {
    let kay = SERVER.account("kay", "administrator");
    let wanted = json!({"name": "reader", "role": "viewer"});
    let made = api(&kay, Method::POST, &format!("/v1/users/{}/keys", kay.guid)).json(&wanted).send().expect(200).json();
    for key in [&text(&made["key"]), &kay.key] {
        for page in ["account", "users", "oauth/device"] {
            let opened = SERVER.get(&format!("/connect/{page}")).key(key);
            let opened = opened.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document").send();
            assert!(!opened.text().contains("name=\"pass\""), "/connect/{page}: {}", opened.status);
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn posit_sdk_over_users_and_groups() {
    // It counts and lists, so nobody else may make accounts meanwhile.
    let server = Server::new();
    let boss = server.account("boss", "administrator");
    let code = r#"
import os
from posit.connect import Client
boss = Client(os.environ["TEST_SERVER"], os.environ["TEST_KEY"])
me = boss.me
assert (me["username"], me["user_role"]) == ("boss", "administrator"), me
made = boss.users.create(username="grace", email="grace@example.org", first_name="Grace", last_name="H",
                         password="long enough", user_role="publisher")
assert boss.users.get(made["guid"]) == made
assert boss.users.find(prefix="gra") == [made]
assert boss.users.find_one(prefix="gra") == made
total = boss.users.count()
assert total == len(boss.users.find())
user = boss.users.get(made["guid"])
user.update(first_name="Grace B.")
assert boss.users.get(made["guid"])["first_name"] == "Grace B."
user.lock()
assert [u["username"] for u in boss.users.find(account_status="locked")] == ["grace"]
user.unlock()
assert boss.users.find(account_status="locked") == []
try:
    me.lock()
    raise SystemExit("locked oneself")
except RuntimeError:
    pass
try:
    boss.users.create(username="GRACE", user_role="viewer")
    raise SystemExit("one name twice")
except Exception as error:
    assert getattr(error, "error_code", None) == 8, error

group = boss.groups.create(name="Friends")
assert boss.groups.get(group["guid"]) == group
assert boss.groups.find(prefix="Fri") == [group]
assert boss.groups.count() == len(boss.groups.find())
group.members.add(user)
group.members.add(user_guid=me["guid"])
assert group.members.count() == 2
assert [u["username"] for u in group.members.find()] == ["grace", "boss"]
item = boss.content.create(name="for-friends")
item.permissions.create(principal_guid=group["guid"], principal_type="group", role="viewer")
assert [p["principal_type"] for p in item.permissions.find()] == ["group"]
assert [g["name"] for g in [boss.groups.get(p["principal_guid"]) for p in item.permissions.find()]] == ["Friends"]
group.members.delete(user_guid=made["guid"])
assert group.members.count() == 1
item.update(owner_guid=made["guid"])
assert item.owner["username"] == "grace"
item.delete()
group.delete()
assert boss.groups.find(prefix="Fri") == []
print("all done")
"#;
    let run = python(&server, &boss, code).expect_success();
    assert!(run.stdout.contains("all done"), "{}", run.printed);
}

/// The set-up of pins' own tests: a session by password, and a key by that session.
#[test]
fn a_key_by_way_of_a_session() {
    let credentials = json!({"username": "ada", "password": ADA.password});
    let signed_in = SERVER.post("/__api__/__login__").json(&credentials).send().expect(200);
    let cookies = cookies(&signed_in);
    let second = cookies.split("RSC-XSRF=").nth(1).unwrap().split(';').next().unwrap().to_owned();
    let keys = format!("/__api__/v1/users/{}/keys", ADA.guid);
    let ask = |path: &str, second: &str| {
        SERVER.post(path).header("cookie", &cookies).header("x-rsc-xsrf", second).json(&json!({"name": "pins"})).send()
    };
    ask(&keys, "guess").expect_error(403, 92);
    ask("/__api__/v1/content", &second).expect_error(403, 92);
    let key = text(&ask(&keys, &second).expect(200).json()["key"]);
    assert_eq!(SERVER.get("/__api__/v1/user").key(&key).send().expect(200).json()["username"], "ada");
}

fn cookies(reply: &Reply) -> String {
    let set = reply.header_values("set-cookie");
    set.iter().map(|cookie| cookie.split(';').next().unwrap_or("")).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_key_acts_with_its_own_role_everywhere() {
    let keys = format!("/v1/users/{}/keys", ADA.guid);
    let made = api(&ADA, Method::POST, &keys).json(&json!({"name": "looking", "role": "viewer"})).send().expect(200);
    let lesser = Account { key: text(&made.json()["key"]), ..ADA.clone() };
    let guid = Publisher::new(&SERVER, &ADA).publish("own", &apps::page("Own"));
    assert!(Publisher::new(&SERVER, &lesser).open(&guid, "").expect(200).text().contains("Own"));
    assert_eq!(
        api(&lesser, Method::GET, &format!("/v1/content/{guid}")).send().expect(200).json()["app_role"],
        "viewer"
    );
    api(&lesser, Method::POST, "/v1/content").json(&json!({"name": "more"})).send().expect_error(403, 22);
    api(&lesser, Method::PATCH, &format!("/v1/content/{guid}"))
        .json(&json!({"title": "x"}))
        .send()
        .expect_error(403, 21);
    api(&lesser, Method::DELETE, &format!("/v1/content/{guid}")).send().expect_error(403, 21);
    api(&lesser, Method::GET, &format!("/v1/content/{guid}/environment")).send().expect_error(403, 21);
    api(&lesser, Method::POST, &keys).json(&json!({"name": "x", "role": "publisher"})).send().expect_error(403, 22);
    api(&lesser, Method::POST, "/v1/groups").json(&json!({"name": "x"})).send().expect_error(403, 22);
    // A use is written down by itself, in a while.
    until("the use of a key is known", SOON, || {
        let listed = api(&ADA, Method::GET, &keys).send().expect(200).json();
        let key = listed.as_array().unwrap().iter().find(|key| key["name"] == "looking").unwrap().clone();
        key["last_used_time"].is_string().then_some(())
    });
    // One that has an end ends, without anybody doing anything.
    let end = time::OffsetDateTime::now_utc() + time::Duration::seconds(3);
    let end = end.format(&time::format_description::well_known::Rfc3339).unwrap();
    let made = api(&ADA, Method::POST, &keys).json(&json!({"name": "short", "expires_time": end})).send().expect(200);
    let short = Account { key: text(&made.json()["key"]), ..ADA.clone() };
    until("the key has ended", SOON, || {
        let status = api(&short, Method::GET, "/v1/user").send().status;
        assert!(status == 200 || status == 401, "{status}");
        (status == 401).then_some(())
    });
    Publisher::new(&SERVER, &short).open(&guid, "").expect(401);
}

#[test]
fn groups_open_content_and_leaving_closes_it() {
    let (bob, guid) =
        (SERVER.account("bob", "viewer"), Publisher::new(&SERVER, &ADA).publish("grouped", &apps::page("Ours")));
    let group = api(&ADA, Method::POST, "/v1/groups").json(&json!({"name": "team"})).send().expect(200).json();
    let group = text(&group["guid"]);
    let entry = json!({"principal_guid": group, "principal_type": "group", "role": "viewer"});
    api(&ADA, Method::POST, &format!("/v1/content/{guid}/permissions")).json(&entry).send().expect(200);
    let open = || Publisher::new(&SERVER, &bob).open(&guid, "").status;
    assert_eq!(open(), 403);
    let members = format!("/v1/groups/{group}/members");
    api(&ADA, Method::POST, &members).json(&json!({"user_guid": bob.guid})).send().expect(204);
    assert_eq!(open(), 200);
    api(&ADA, Method::DELETE, &format!("{members}/{}", bob.guid)).send().expect(204);
    assert_eq!(open(), 403);
}

#[test]
fn a_link_lets_somebody_choose_a_password() {
    let new = json!({"username": "newcomer", "user_role": "publisher", "user_must_set_password": true});
    let made = api(&BOSS, Method::POST, "/v1/users").json(&new).send().expect(200).json();
    let at = format!("/v1/users/{}", text(&made["guid"]));
    let link = api(&BOSS, Method::POST, &format!("{at}/password_link")).send().expect(200).json();
    let script = format!(
        "{SIGN_IN}
export default async ({{ page, args, shot }}) => {{
  await page.goto(args.url);
  await page.getByLabel('Password, at least 8 characters').fill('a new password');
  await page.getByLabel('The same again').fill('another password');
  await page.getByRole('button', {{ name: 'Set the password' }}).click();
  const differ = await page.getByRole('alert').innerText();
  await shot('differ');
  await page.getByLabel('Password, at least 8 characters').fill('a new password');
  await page.getByLabel('The same again').fill('a new password');
  await page.getByRole('button', {{ name: 'Set the password' }}).click();
  await page.getByRole('heading', {{ name: 'Password chosen' }}).waitFor();
  const again = (await page.goto(args.url)).status();
  await page.goto(args.server + '/connect/');
  await page.getByRole('link', {{ name: 'Sign in' }}).click();
  await signIn(page, {{ name: 'newcomer', password: 'a new password' }});
  await page.getByText('newcomer').first().waitFor();
  return {{ differ, again }};
}};"
    );
    let seen = browser::run(&script, &json!({"url": link["url"], "server": SERVER.url()}));
    assert_eq!(seen, json!({"differ": "The two passwords are not the same.", "again": 410}));
    assert_eq!(api(&BOSS, Method::GET, &at).send().expect(200).json()["confirmed"], true);
    let sessions = api(&BOSS, Method::GET, &format!("{at}/sessions")).send().expect(200).json();
    assert_eq!(sessions[0]["source"], "password-login", "{sessions}");
    let _: Value = sessions;
}

#[test]
fn an_account_is_looked_after_on_its_page() {
    let eve = SERVER.account("eve", "publisher");
    let script = format!(
        "{SIGN_IN}
export default async ({{ page, args, shot }}) => {{
  await page.goto(args.server + '/connect/account');
  await signIn(page, args);
  await page.getByRole('heading', {{ name: 'Your account' }}).waitFor();
  await page.getByLabel('Name of a new key').fill('from the page');
  await page.getByLabel('Role').selectOption('viewer');
  await page.getByRole('button', {{ name: 'Make a key' }}).click();
  const key = await page.locator('#key').innerText();
  await shot('account');
  const roles = await page.locator('#role option').allInnerTexts();
  await page.getByLabel('Name of a new key').fill('From the page');
  await page.getByRole('button', {{ name: 'Make a key' }}).click();
  const twice = await page.getByRole('alert').innerText();
  const gone = await page.locator('#key').count();
  await page.goto(args.server + '/connect/account');
  const background = await page.evaluate(() => getComputedStyle(document.querySelector('header.bar')).display);
  await page.getByRole('button', {{ name: 'Revoke tests' }}).click();
  await page.getByRole('status').waitFor();
  await page.getByLabel('Present password').fill('wrong');
  await page.getByLabel('New password, at least 8 characters').fill('a better password');
  await page.getByLabel('The same again').fill('a better password');
  await page.getByRole('button', {{ name: 'Change the password' }}).click();
  const wrong = await page.getByRole('alert').innerText();
  await page.getByLabel('Present password').fill(args.password);
  await page.getByLabel('New password, at least 8 characters').fill('a better password');
  await page.getByLabel('The same again').fill('a better password');
  await page.getByRole('button', {{ name: 'Change the password' }}).click();
  await page.getByRole('status').waitFor();
  await page.goto(args.server + '/connect/account');
  await signIn(page, {{ name: args.name, password: 'a better password' }});
  await page.getByRole('heading', {{ name: 'Your account' }}).waitFor();
  await page.getByRole('button', {{ name: 'Sign out everywhere' }}).click();
  await page.getByRole('status').waitFor();
  await page.goto(args.server + '/connect/account');
  await page.getByLabel('Password').waitFor();
  return {{ key, roles, twice, gone, background, wrong }};
}};"
    );
    let seen = browser::run(&script, &json!({"server": SERVER.url(), "name": "eve", "password": eve.password}));
    assert_eq!(seen["roles"], json!(["publisher", "viewer"]), "{seen}");
    assert_eq!(
        (&seen["gone"], &seen["background"]),
        (&json!(0), &json!("flex")),
        "shown once, and in our style: {seen}"
    );
    assert!(text(&seen["twice"]).contains("another API key of this name"), "{seen}");
    assert!(text(&seen["wrong"]).contains("wrong"), "{seen}");
    let made = Account { key: text(&seen["key"]), ..eve.clone() };
    api(&made, Method::POST, "/v1/content").json(&json!({})).send().expect_error(403, 22);
    assert_eq!(api(&eve, Method::GET, "/v1/user").send().status, 401, "revoked");
    assert_eq!(
        api(&made, Method::GET, &format!("/v1/users/{}/sessions", eve.guid)).send().expect(200).json(),
        json!([])
    );
}

#[test]
fn administrators_look_after_accounts_on_a_page() {
    let mut root = SERVER.account("root2", "administrator");
    let target = SERVER.account("target", "viewer");
    root.password = format!("password of {}", root.name);
    let script = format!(
        "{SIGN_IN}
export default async ({{ page, args, shot }}) => {{
  await page.goto(args.server + '/connect/users');
  await signIn(page, args);
  await page.getByRole('heading', {{ name: 'Users' }}).waitFor();
  await page.getByLabel('User name').fill('invited');
  await page.getByLabel('E-mail').fill('invited@example.org');
  await page.locator('#role').selectOption('publisher');
  await page.getByRole('button', {{ name: 'Add' }}).click();
  const link = await page.locator('#link').innerText();
  await shot('users');
  await page.getByRole('button', {{ name: 'Lock target' }}).click();
  await page.getByRole('button', {{ name: 'Unlock target' }}).waitFor();
  await page.getByRole('button', {{ name: 'Lock root2' }}).click();
  const own = await page.getByRole('alert').innerText();
  await page.getByLabel('Role of target', {{ exact: true }}).selectOption('publisher');
  await page.getByRole('button', {{ name: 'Set the role of target' }}).click();
  const said = await page.getByRole('status').innerText();
  await page.getByLabel('Name begins with').fill('tar');
  await page.getByRole('button', {{ name: 'Find' }}).click();
  await page.getByText('1 account', {{ exact: true }}).waitFor();
  return {{ link, own, said }};
}};"
    );
    let args = json!({"server": SERVER.url(), "name": root.name, "password": root.password});
    let seen = browser::run(&script, &args);
    assert!(text(&seen["link"]).starts_with(&format!("{}/connect/password?link=", SERVER.url())), "{seen}");
    assert!(text(&seen["own"]).contains("nobody locks their own account"), "{seen}");
    assert!(text(&seen["said"]).contains("target has the role publisher now"), "{seen}");
    let about = |name: &str| {
        api(&root, Method::GET, &format!("/v1/users?prefix={name}")).send().expect(200).json()["results"][0].clone()
    };
    let (invited, target_now) = (about("invited"), about("target"));
    assert_eq!((&invited["user_role"], &invited["confirmed"]), (&json!("publisher"), &json!(false)), "{invited}");
    assert_eq!((&target_now["user_role"], &target_now["locked"]), (&json!("publisher"), &json!(true)), "{target_now}");
    assert_eq!(api(&target, Method::GET, "/v1/user").send().status, 401, "locked");

    // Others do not get there, and a page made for one purpose opens no other.
    let script = format!(
        "{SIGN_IN}
export default async ({{ page, args }}) => {{
  await page.goto(args.server + '/connect/users');
  await signIn(page, args);
  await page.getByRole('heading', {{ name: 'For administrators' }}).waitFor();
  await page.goto(args.server + '/connect/account');
  const pass = await page.locator('input[name=pass]').first().getAttribute('value');
  const links = await page.getByRole('link', {{ name: 'Users' }}).count();
  return {{ pass, links }};
}};"
    );
    let seen = browser::run(&script, &json!({"server": SERVER.url(), "name": "ada", "password": ADA.password}));
    assert_eq!(seen["links"], 0, "{seen}");
    let pass = text(&seen["pass"]);
    let fields = [("pass", pass.as_str()), ("deed", "set-role"), ("guid", &ADA.guid), ("role", "administrator")];
    assert_eq!(SERVER.post("/connect/users").form(&fields).send().status, 403);
}
