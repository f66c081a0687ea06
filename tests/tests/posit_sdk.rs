//! posit-sdk, the Python library that publishers' scripts use, over content and what belongs to it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use lectern_tests::client::{directory, posit_sdk, rsconnect};
use lectern_tests::server::{Account, Server};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADMIN: LazyLock<Account> = LazyLock::new(|| SERVER.account("root", "administrator"));
/// For tests that neither count what there is on a server nor take it away.
static SHARED: LazyLock<Server> = LazyLock::new(Server::new);
static BOSS: LazyLock<Account> = LazyLock::new(|| SHARED.account("root", "administrator"));

/// Runs a script with a client as `client`, packed bundles made by `bundle(files)`, and the account's name in `name`.
fn script(server: &Server, admin: &Account, code: &str) {
    let prelude = r#"
import io, json, os, sys, tarfile, time
from posit import connect
client = connect.Client(os.environ["TEST_SERVER"], os.environ["TEST_KEY"])
name = os.environ["TEST_NAME"]

def bundle(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            info = tarfile.TarInfo(file)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path

def page(path):
    metadata = {"appmode": "static", "primary_html": "index.html", "entrypoint": "index.html"}
    manifest = json.dumps({"version": 1, "metadata": metadata, "files": {}})
    return bundle(path, {"manifest.json": manifest, "index.html": "<h1>page</h1>"})

def refused(what, status, code, call):
    try:
        call()
    except connect.errors.ClientError as error:
        assert (error.http_status, error.error_code) == (status, code), (what, error)
    else:
        raise SystemExit(f"{what} was not refused")

def until(what, look):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"not within a minute: {what}")

def account(username, role):
    return client.users.create(username=username, first_name="A", last_name="Z", email=f"{username}@example.org",
                               password="long enough 1", user_role=role)
"#;
    posit_sdk(server, admin, &format!("{prelude}\n{code}")).expect_success();
}

#[test]
fn content_and_what_belongs_to_it() {
    script(
        &SERVER,
        &ADMIN,
        r#"
made = client.content.create(name="sdk-content", title="A title", description="about", access_type="acl")
got = client.content.get(made["guid"])
assert {key: got[key] for key in made if key != "owner"} == {key: made[key] for key in made if key != "owner"}
assert client.content.find()[0]["guid"] == made["guid"]
assert client.content.find_one(name="SDK-Content")["guid"] == made["guid"]
made.update(title="Another")
assert client.content.get(made["guid"])["title"] == "Another"
assert client.content.find(include="owner")[0]["owner"]["username"] == name

made.environment_variables.update({"B": "2", "A": "1"})
assert list(made.environment_variables.find()) == ["A", "B"]
made.environment_variables.create("A", "3")
made.environment_variables.delete("B")
made.environment_variables.delete("B")
assert list(made.environment_variables.find()) == ["A"]
made.environment_variables.clear()
assert list(made.environment_variables.find()) == []

path = page(os.path.join(os.environ["HOME"], "page.tar.gz"))
one = made.bundles.create(path)
assert client.content.get(made["guid"])["bundle_id"] is None
task = one.deploy()
task.wait_for()
assert task["code"] == 0, task
assert client.content.get(made["guid"])["bundle_id"] == one["id"]
assert [b["id"] for b in made.bundles.find() if b["active"]] == [one["id"]]
saved = os.path.join(os.environ["HOME"], "again.tar.gz")
one.download(saved)
assert open(saved, "rb").read() == open(path, "rb").read()

assert made.permissions.find() == []
reader = client.users.find()[0]
assert made.tags.find() == []
teams = client.tags.create(name="Teams")
sales = client.tags.create(name="Sales", parent=teams)
north = client.tags.create(name="North", parent=sales)
assert [t["name"] for t in teams.descendant_tags.find()] == ["Sales", "North"]
assert [t["name"] for t in teams.child_tags.find()] == ["Sales"]
made.tags.add(north)
assert [t["name"] for t in made.tags.find()] == ["Sales", "North"]
assert [c["guid"] for c in sales.content_items.find()] == [made["guid"]]
made.tags.delete(north)
assert [t["name"] for t in made.tags.find()] == ["Sales"]
teams.destroy()
assert client.tags.find() == [] and made.tags.find() == []

assert made.vanity is None
made.vanity = "example"
assert made.find_vanity()["path"] == "/example/"
assert [v["path"] for v in client.vanities.all()] == ["/example/"]
made.reset_vanity()
made.create_vanity(path="/again/")
made.delete()
assert client.vanities.all() == []
assert client.content.find(name="sdk-content") == []
"#,
    );
}

#[test]
fn packages_and_caches_after_a_deployment() {
    let app = "from flask import Flask\napp = Flask(__name__)\n\n@app.get('/')\ndef root():\n    return 'hello'\n";
    let path = directory(&SERVER, "sdk-flask", &[("app.py", app), ("requirements.txt", "flask>=3,<4\n")]);
    rsconnect(&SERVER, &ADMIN, "deploy flask", &["--new", "--title", "sdk flask", &path]).expect_success();
    script(
        &SERVER,
        &ADMIN,
        r#"
item = client.content.find_one(name="sdk_flask")
assert "flask" in [p["name"] for p in item.packages], list(item.packages)
assert "flask" in [p["name"] for p in client.packages]
flask = client.packages.find_by(name="flask")
assert flask["app_guid"] == item["guid"] and flask["language"] == "python", flask

answer = client.get(f"v1/content/{item['guid']}/lockfile")
assert "python=" + item["py_version"] in answer.headers["Generated-By"], answer.headers
assert "flask==" in answer.text

found = client.get("v1/search/content", params={"q": "type:api -is:locked", "page_size": 500}).json()
assert item["guid"] in [c["guid"] for c in found["results"]]

caches = client.system.caches.runtime.find()
assert len(caches) == 1, caches
assert caches[0].destroy(dry_run=True) is None
assert len(client.system.caches.runtime.find()) == 1
task = caches[0].destroy()
task.wait_for()
assert client.system.caches.runtime.find() == []
# What ran with it is restored when it is asked for.
address = f"{os.environ['TEST_SERVER']}/content/{item['guid']}/"
assert client.session.get(address).text == "hello"
assert len(client.system.caches.runtime.find()) == 1

environments = client.environments
made = environments.create(title="Old", name="images/x", cluster_name="Kubernetes")
made.update(title="New")
assert environments.find(made["guid"])["title"] == "New"
made.destroy()
assert list(environments.fetch()) == []
"#,
    );
}

#[test]
fn people_and_what_they_may_do() {
    script(
        &SHARED,
        &BOSS,
        r#"
assert client.version == "2026.01.0"
assert client.me["username"] == name
reader, author = account("sdk-reader", "viewer"), account("sdk-author", "viewer")
group = client.groups.create(name="SDK readers")
reader.groups.add(group)
assert [g["guid"] for g in reader.groups.find()] == [group["guid"]]
reader.groups.delete(group)
assert reader.groups.find() == []
reader.groups.add(group["guid"])

item = client.content.create(name="sdk-permissions")
assert item.permissions.count() == 0
made = [item.permissions.create(author, role="viewer"), item.permissions.create(group, role="viewer")]
assert [p["id"] for p in item.permissions.find()] == [p["id"] for p in made]
assert item.permissions.get(made[0]["id"]) == made[0]
assert item.permissions.find_one(principal_guid=author["guid"])["role"] == "viewer"
refused("collaboration of a viewer", 403, 33, lambda: made[0].update(role="owner"))
author.update(user_role="publisher")
made[0].update(role="owner")
assert item.permissions.get(made[0]["id"])["role"] == "owner"
refused("a user twice", 409, 154, lambda: item.permissions.create(author, role="viewer"))
refused("a group twice", 409, 155, lambda: item.permissions.create(group, role="viewer"))
refused("the owner", 400, 34, lambda: item.permissions.create(client.me, role="viewer"))
item.permissions.destroy(author)
item.permissions.destroy(made[1])
assert item.permissions.find() == []

refused("a viewer as owner", 403, 156, lambda: item.update(owner_guid=reader["guid"]))
item.update(owner_guid=author["guid"])
assert item["owner_guid"] == author["guid"] and item.permissions.find() == []
assert item["guid"] in [c["guid"] for c in author.content.find()]
item.update(owner_guid=client.me["guid"])
assert item.permissions.find() == []
"#,
    );
}

#[test]
fn versions_and_settings() {
    script(
        &SHARED,
        &BOSS,
        r#"
item = client.content.create(name="sdk-versions", title="Versions")
got = client.get(f"v1/content/{item['guid']}").json()
listed = [c for c in client.content.find() if c["guid"] == item["guid"]][0]
assert dict(item) == got == dict(listed), (item, got, listed)
included = client.content.find_one(name="sdk-versions", include=["owner", "tags", "vanity_url"])
assert set(included) - set(listed) == {"owner"}
assert client.content.find_by(name="sdk-versions")["guid"] == item["guid"]
assert client.content.count() >= 1
refused("a wrong include", 400, 161, lambda: client.content.find(include="nothing"))
refused("an absent item", 404, 4, lambda: client.content.get("11111111-1111-4111-8111-111111111111"))
refused("no GUID", 400, 3, lambda: client.content.get("x"))
refused("a taken name", 409, 26, lambda: client.content.create(name="SDK-versions"))

assert item.bundles.active() is None and item.bundles.find_one() is None
refused("a deployment of nothing", 404, 28, item.deploy)
path = page(os.path.join(os.environ["HOME"], "versions.tar.gz"))
first = item.bundles.create(path)
task = first.deploy()
task.wait_for()
assert task.is_finished and task.error_code == 0, task
assert client.tasks.get(task["id"])["finished"]
refused("an absent task", 404, 141, lambda: client.tasks.get("nothing"))
with open(path, "rb") as file:
    second = item.bundles.create(file)
third = item.bundles.create(open(path, "rb").read())
assert item.bundles.active()["id"] == first["id"]
assert item.bundles.get(second["id"])["active"] is False
refused("the end of the active bundle", 400, 75, first.delete)
deployed = lambda: client.content.get(item["guid"])["last_deployed_time"]
before = deployed()
item.update(description="of versions")
assert deployed() == before
# The time has whole seconds.
until("another second", lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) > before)
third.deploy().wait_for()
assert deployed() > before
first.delete()
assert [b["id"] for b in item.bundles.find()] == [third["id"], second["id"]]
buffer = io.BytesIO()
third.download(buffer)
assert buffer.getvalue() == open(path, "rb").read()

item.update(locked=True, locked_message="shut")
assert item["locked_message"] == "shut"
item.update(locked_message="")
assert item["locked_message"] == ""
item.update(locked=False)
assert item["locked_message"] == "" and item["locked"] is False
assert not item.is_interactive and not item.is_rendered
variants = client.get(f"applications/{item['guid']}/variants").json()
assert [v["is_default"] for v in variants] == [True], variants

# Who looked at it.
client.session.get(item["content_url"]).raise_for_status()
hits = until("the visit is noted", lambda: list(client.metrics.hits.fetch(content_guid=item["guid"])))
assert hits[0]["user_guid"] == client.me["guid"] and isinstance(hits[0]["id"], int), hits
usage = client.metrics.usage.find(content_guid=item["guid"])
assert [(u.content_guid, u.user_guid, str(u.bundle_id)) for u in usage] == [(item["guid"], client.me["guid"], third["id"])], usage
assert client.metrics.usage.find_one(content_guid=item["guid"]).path == usage[0].path
assert client.metrics.usage.find(content_guid="11111111-1111-4111-8111-111111111111") == []
audit = client.get("v1/audit_logs", params={"limit": 1}).json()
assert len(audit["results"]) == 1
again = client.get("v1/audit_logs", params={"limit": 1, "next": audit["paging"]["cursors"]["next"]}).json()
assert again["results"] and again["results"] != audit["results"]
"#,
    );
}

#[test]
fn processes_and_their_jobs() {
    let app = "import os\nfrom flask import Flask\napp = Flask(__name__)\n\n@app.get('/')\ndef root():\n    return str(os.getpid()) + os.environ['CONNECT_CONTENT_JOB_KEY']\n";
    let path = directory(&SHARED, "sdk-jobs", &[("app.py", app), ("requirements.txt", "flask>=3,<4\n")]);
    rsconnect(&SHARED, &BOSS, "deploy flask", &["--new", "--title", "sdk jobs", &path]).expect_success();
    script(
        &SHARED,
        &BOSS,
        r#"
item = client.content.find_one(name="sdk_jobs")
assert item.is_interactive
shown = lambda: client.session.get(item["content_url"]).text
first = shown()
job = next(j for j in item.jobs if j["key"] in first)
assert (job["tag"], job["status"], job["content_guid"], job["app_id"]) == ("run_python_api", 0, item["guid"], item["id"]), job
assert item.jobs.find(job["key"])["key"] == job["key"]
assert item.jobs.find_by(status=0, tag="run_python_api")["key"] == job["key"]

# What they have read once is read again after a restart.
item.restart()
assert shown() != first
assert item.environment_variables.find() == []
until("the old process ends", lambda: item.jobs.find(job["key"])["status"] != 0)
refused("the end of what has ended", 409, 163, job.destroy)
running = next(j for j in item.jobs if j["key"] in shown())
running.destroy()
until("the process ends", lambda: item.jobs.find(running["key"])["status"] != 0)
assert running["key"] not in shown()

lock = item.get_lockfile()
assert lock.python_version == item["py_version"] and "flask==" in lock.text.lower(), lock.text

# A deployment has a job from its beginning.
files = {"manifest.json": json.dumps({"version": 1, "metadata": {"appmode": "python-api", "entrypoint": "app"},
         "python": {"version": item["py_version"], "package_manager": {"name": "pip", "package_file": "requirements.txt"}}}),
         "app.py": "from flask import Flask\napp = Flask(__name__)\n", "requirements.txt": "flask>=3,<4\n"}
fresh = client.content.create(name="sdk-fresh")
task = fresh.bundles.create(bundle(os.path.join(os.environ["HOME"], "fresh.tar.gz"), files)).deploy()
assert len(list(fresh.jobs)) >= 1
task.wait_for()
assert task.error_code == 0, task
"#,
    );
}
