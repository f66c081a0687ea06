//! posit-sdk, the Python library that publishers' scripts use, over content and what belongs to it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use lectern_tests::client::{directory, python_sdk, rsconnect};
use lectern_tests::server::{Account, Server};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADMIN: LazyLock<Account> = LazyLock::new(|| SERVER.account("root", "administrator"));

/// Runs a script with a client as `client`, packed bundles made by `bundle(files)`, and the account's name in `name`.
fn script(code: &str) {
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
"#;
    python_sdk(&SERVER, &ADMIN, &format!("{prelude}\n{code}")).expect_success();
}

#[test]
fn content_and_what_belongs_to_it() {
    script(
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
