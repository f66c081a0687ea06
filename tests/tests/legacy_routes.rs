//! Variants, schedules and the unversioned routes, as posit-sdk and R's rsconnect 0.8 use them; and the documentation.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use http::Method;
use lectern_tests::apps;
use lectern_tests::client::{Run, posit_sdk, r};
use lectern_tests::postgres::Postgres;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ROOT: LazyLock<Account> = LazyLock::new(|| SERVER.account("root", "administrator"));

fn root() -> Publisher<'static> {
    Publisher::new(&SERVER, &ROOT)
}

/// Runs a script of posit-sdk's with the item of this GUID as `item`; a warning that an address is old ends it.
fn sdk(server: &Server, account: &Account, guid: &str, code: &str) -> Run {
    let prelude = format!(
        "import os, warnings
warnings.simplefilter('error', DeprecationWarning)
warnings.simplefilter('ignore', FutureWarning)
from posit import connect
from posit.connect.errors import ClientError
client = connect.Client(os.environ['TEST_SERVER'], os.environ['TEST_KEY'])
item = client.content.get('{guid}')"
    );
    posit_sdk(server, account, &format!("{prelude}\n{code}"))
}

#[test]
fn a_variant_has_an_address() {
    let guid = root().publish("variants", &apps::page("Varied"));
    let list = root().api(Method::GET, &format!("/applications/{guid}/variants")).send().expect(200).json();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["is_default"]), (1, &true.into()));
    let key = text(&list[0]["key"]);
    let bundle = text(&root().content(&guid)["bundle_id"]);
    for path in [format!("v{key}/"), format!("v{key}/index.html"), format!("v{key}/_rev{bundle}/")] {
        assert!(root().open(&guid, &path).expect(200).text().contains("Varied"), "{path}");
    }
    let bare = root().open(&guid, &format!("v{key}")).expect(307);
    assert!(bare.header("location").ends_with(&format!("/content/{guid}/v{key}/")));
    let other = if key.starts_with("a0") { "b1000000" } else { "a0000000" };
    let unknown = root().open(&guid, &format!("v{other}/")).expect(404);
    assert!(unknown.text().contains("No such variant"), "{}", unknown.text());
    SERVER.get(&format!("/content/{guid}/v{key}/")).send().expect(401);
    // Without the slash as clients append nothing to it.
    let address = root().open(&guid, "").expect(200);
    assert!(address.text().contains("Varied"));
    let bare = SERVER.get(&format!("/content/{guid}")).key(&ROOT.key).send().expect(307);
    assert!(bare.header("location").ends_with(&format!("/content/{guid}/")));
}

#[test]
fn the_sdk_restarts_and_does_not_render_what_is_no_document() {
    let guid = root().publish("restarted", &apps::probe());
    root().open(&guid, "").expect(200);
    let before = SERVER.workers().len();
    assert!(before > 0);
    sdk(
        &SERVER,
        &ROOT,
        &guid,
        r#"
item.restart()
assert list(item.environment_variables.find()) == []
try:
    item.render()
    assert False
except ValueError as refused:
    assert "Render not supported" in str(refused), refused
try:
    item.schedule
    assert False
except ValueError as refused:
    assert "not supported" in str(refused), refused
variants = client.get(f"applications/{item['guid']}/variants").json()
try:
    client.post(f"variants/{variants[0]['id']}/render")
    assert False
except ClientError as refused:
    assert refused.error_code == 25 and "is not rendered" in refused.error_message, refused
"#,
    )
    .expect_success();
    root().open(&guid, "").expect(200);
}

#[test]
fn the_sdk_schedules_a_document() {
    let postgres = Postgres::start();
    let server = Server::setup()
        .env("LECTERN_DATABASE__URL", postgres.url())
        .env("LECTERN_DATABASE__TLS_CA_FILE", postgres.authority.to_str().unwrap())
        .start();
    let ada = server.account("ada", "publisher");
    let guid = Publisher::new(&server, &ada).publish("report", &apps::page("Report"));
    // Documents cannot be deployed here yet: its kind is changed past the server.
    postgres.sql(&format!("UPDATE content SET app_mode = 'quarto-static' WHERE guid = '{guid}'"));
    sdk(
        &server,
        &ada,
        &guid,
        r#"
from datetime import datetime, timezone
assert item.schedule.find_one() is None
made = item.schedule.create(type="dayofweek", days=["monday", "wednesday"], timezone="America/New_York",
    start_time=datetime(2100, 1, 1, 12, tzinfo=timezone.utc))
assert made.rule == {"Days": [1, 3]} and made["activate"] is True, made
assert made["next_run"] == "2100-01-04T12:00:00Z", made
found = item.schedule.find_one()
assert dict(found) == dict(made), (found, made)
for words in [
    dict(type="minute", n=15), dict(type="hour", n=2), dict(type="day", n=3), dict(type="weekday"), dict(type="week", n=2),
    dict(type="semimonth", first=False), dict(type="dayofmonth", day=31), dict(type="dayweekofmonth", day=1, week=4),
    dict(type="year", n=2),
]:
    changed = item.schedule.create(**words)
    assert changed["type"] == words["type"] and changed["id"] == made["id"] and changed["activate"] is True, changed
    assert changed["timezone"] == "America/New_York" and changed["next_run"] >= "2100-01-01", changed
upcoming = client.get("v1/experimental/schedules", params={"start": "2100-01-01T00:00:00Z", "end": "2100-02-01T00:00:00Z"})
assert [one["app_guid"] for one in upcoming.json()["schedules"]] == [item["guid"]], upcoming.json()
try:
    item.schedule.create(type="day", n=1, timezone="Mars/Olympus")
    assert False
except ClientError as refused:
    assert refused.error_code == 87 and "Mars/Olympus" in refused.error_message, refused
item.schedule.delete()
item.schedule.delete()
assert item.schedule.find_one() is None

task = item.render()
task.wait_for()
assert task.error_code == 1 and "does not render documents" in task.error_message, task
variant = item._default_variant
try:
    variant.send_mail("me")
    assert False
except ClientError as refused:
    assert refused.error_code == 22 and "sends no mail" in refused.error_message, refused
"#,
    )
    .expect_success();
    let log = server.get("/__api__/v1/audit_logs?limit=500").key(&server.account("root", "administrator").key).send();
    let log = log.expect(200).json();
    let actions: Vec<String> = log["results"].as_array().unwrap().iter().map(|entry| text(&entry["action"])).collect();
    for action in ["edit_schedule", "remove_schedule", "render_variant"] {
        assert!(actions.iter().any(|one| one == action), "{action} in {actions:?}");
    }
}

#[test]
fn an_old_r_client_ends_what_runs() {
    let guid = root().publish("ended", &apps::probe());
    root().open(&guid, "").expect(200);
    let id = text(&root().content(&guid)["id"]);
    let code = format!(
        r#"
library(rsconnect)
options(rsconnect.check.certificate = FALSE)
addConnectServer(server, 'here', quiet = TRUE)
connectApiUser(account = name, server = 'here', apiKey = key, quiet = TRUE)
terminateApp('ended', account = name, server = 'here')
client <- rsconnect:::clientForAccount(rsconnect:::accountInfo(name, 'here'))
config <- client$configureApplication('{id}')
stopifnot(config$config_url == paste0(server, '/connect/#/apps/{guid}'))
made <- client$addUser(list(email = 'bob@example.org', username = 'bob', first_name = 'Bob', last_name = 'B',
    password = 'a long password'))
stopifnot(client$getUser(made$id)$username == 'bob')
stopifnot(client$getApplication('{id}')$guid == '{guid}')
task <- client$deployApplication('{id}')
ended <- tryCatch(client$killTask(task$id), error = conditionMessage)
# It may have ended before.
stopifnot(is.list(ended) || grepl('409', ended))
killed <- tryCatch(client$killTask(task$id), error = conditionMessage)
stopifnot(grepl('409', killed))
"#
    );
    let run = r(&SERVER, &ROOT, &code).expect_success();
    assert!(run.printed.contains("Asked job"), "{}", run.printed);
    // It starts again for whoever opens it.
    root().open(&guid, "").expect(200);
}

#[test]
fn the_documentation_is_where_clients_open_it() {
    for path in ["/__docs__", "/__docs__/", "/__docs__/user", "/__docs__/admin", "/__docs__/api"] {
        let page = SERVER.get(path).send().expect(200);
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        let text = page.text();
        // Nothing is fetched from elsewhere.
        assert!(!text.contains("src=\"http") && !text.contains("href=\"http"), "{path}");
    }
    let reference = SERVER.get("/__docs__/api").send().expect(200).text();
    for word in ["POST /__api__/v1/content/{guid}/deploy", "GET /__api__/v1/experimental/schedules", "ContentView"] {
        assert!(reference.contains(word), "{word}");
    }
    let guide = SERVER.get("/__docs__/user").send().expect(200).text();
    let links = guide.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let links: Vec<&str> = links.filter(|link| link.starts_with("/__docs__/user/")).collect();
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        assert!(SERVER.get(link).send().expect(200).text().contains("<pre"), "{link}");
    }
    for path in ["/__docs__/nothing", "/__docs__/user/nothing", "/__docs__/user/../../etc/passwd"] {
        SERVER.get(path).send().expect(404);
    }
}
