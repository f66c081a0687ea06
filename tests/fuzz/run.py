"""Runs schemathesis over a server's OpenAPI document with the keys of a viewer, a publisher and an administrator.

    TEST_SERVER=http://127.0.0.1:3939 TEST_ACCOUNTS='{"viewer": {"guid": …, "key": …}, …}' TEST_ST=…/bin/st run.py DIRECTORY

Objects are made first, so that addresses lead somewhere. Exits with 1 if anything was found. What was said of each role is
left in DIRECTORY.
"""

import base64
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
# The administrator comes last, who could lock the others.
ROLES = ["viewer", "publisher", "administrator"]
SERVER = os.environ["TEST_SERVER"]
ACCOUNTS = json.loads(os.environ["TEST_ACCOUNTS"])


def ask(role, method, path, body=None):
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {"Authorization": "Key " + ACCOUNTS[role]["key"]}
    request = urllib.request.Request(f"{SERVER}/__api__{path}", data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        text = reply.read()
    return json.loads(text) if text else None


def page():
    """A bundle of one page."""
    manifest = {"version": 1, "metadata": {"appmode": "static", "entrypoint": "index.html"}, "files": {}}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in [("manifest.json", json.dumps(manifest)), ("index.html", "<p>hello")]:
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue(), mtime=0)


def make():
    """Objects of every kind, and others of each that may be taken away."""
    bundle, publisher, admin = page(), "publisher", "administrator"
    made = [ask(publisher, "POST", "/v1/content", {"name": f"fuzzed-{number}"}) for number in range(4)]
    first = made[0]["guid"]
    item = f"/v1/content/{first}"
    bundles = [ask(publisher, "POST", item + "/bundles", bundle)["id"] for _ in range(4)]
    task = ask(publisher, "POST", item + "/deploy", {"bundle_id": bundles[0]})["task_id"]
    while not ask(publisher, "GET", f"/v1/tasks/{task}?wait=1")["finished"]:
        pass
    people = [
        ask(admin, "POST", "/v1/users", {"username": f"target{number}", "password": "long enough", "user_role": "publisher"})
        for number in range(2)
    ]
    groups = [ask(publisher, "POST", "/v1/groups", {"name": f"group{number}"}) for number in range(3)]
    ask(publisher, "POST", f"/v1/groups/{groups[0]['guid']}/members", {"user_guid": people[0]["guid"]})

    def permit(guid, kind):
        entry = {"principal_guid": guid, "principal_type": kind, "role": "viewer"}
        return ask(publisher, "POST", item + "/permissions", entry)["id"]

    permissions = [permit(ACCOUNTS["viewer"]["guid"], "user"), permit(groups[0]["guid"], "group")]
    wanted = ask("viewer", "POST", f"/v1/content/{made[1]['guid']}/permission_requests", {})
    root = ask(admin, "POST", "/v1/tags", {"name": "root"})
    tags = [ask(admin, "POST", "/v1/tags", {"name": f"tag{number}", "parent_id": root["id"]}) for number in range(3)]
    ask(publisher, "POST", item + "/tags", {"tag_id": tags[0]["id"]})
    ask(publisher, "PATCH", item + "/environment", [{"name": "SECRET", "value": "x"}])
    ask(publisher, "PUT", item + "/vanity", {"path": "/fuzzed/"})
    environments = [
        ask(admin, "POST", "/v1/environments", {"title": name, "name": name, "cluster_name": "Kubernetes"})
        for name in ["one", "two"]
    ]
    allowed = ask(admin, "POST", f"/v1/environments/{environments[0]['guid']}/permissions", {"user_guid": people[0]["guid"]})
    connect = {"template": "connect", "config": {"max_role": "Viewer"}}
    integrations = [ask(admin, "POST", "/v1/oauth/integrations", {"name": name, **connect})["guid"] for name in ["one", "two"]]
    used = [{"oauth_integration_guid": integrations[0]}]
    ask(publisher, "PUT", item + "/oauth/integrations/associations", used)
    # The smallest PNG: one pixel.
    picture = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    ask(publisher, "PUT", item + "/thumbnail", picture)
    return {
        "content": [first, made[1]["guid"]],
        "expendable_content": [made[2]["guid"], made[3]["guid"]],
        "applications": [first, str(made[0]["id"])],
        "bundles": bundles[:2],
        "expendable_bundles": bundles[2:],
        "permissions": permissions[:1],
        "expendable_permissions": permissions[1:],
        "permission_requests": [wanted["id"]],
        "expendable_permission_requests": [wanted["id"]],
        "tags": [root["id"], tags[0]["id"]],
        "expendable_tags": [tags[1]["id"], tags[2]["id"]],
        "jobs": [job["key"] for job in ask(publisher, "GET", item + "/jobs")],
        "tasks": [task],
        "users": [person["guid"] for person in people],
        "groups": [groups[0]["guid"]],
        "expendable_groups": [groups[1]["guid"], groups[2]["guid"]],
        "environments": [environments[0]["guid"]],
        "expendable_environments": [environments[1]["guid"]],
        "environment_permissions": [allowed["guid"]],
        "expendable_environment_permissions": [allowed["guid"]],
        "integrations": integrations[:1],
        "expendable_integrations": integrations[1:],
        "templates": ["connect", "custom"],
        "variants": [str(variant["id"]) for variant in ask(publisher, "GET", f"/applications/{first}/variants")],
        "app_modes": ["static", "python-fastapi"],
        "bundle_bytes": bundle.hex(),
        "picture_bytes": picture.hex(),
    }


def main(directory):
    with open(os.path.join(directory, "objects.json"), "w", encoding="utf-8") as file:
        json.dump(make(), file)
    # CI has minutes for this; whoever looks for more gives it hours.
    examples = os.environ.get("LECTERN_TEST_EXAMPLES", "3")
    found = False
    for role in os.environ.get("TEST_ROLES", " ".join(ROLES)).split():
        words = [os.environ["TEST_ST"], "--config-file", os.path.join(HERE, "schemathesis.toml"), "--no-color", "run"]
        words += [f"{SERVER}/__api__/openapi.json", "--max-examples", examples]
        words += ["--phases", os.environ.get("TEST_PHASES", "examples,coverage,fuzzing,stateful")]
        environment = dict(os.environ, TEST_KEY=ACCOUNTS[role]["key"], TEST_OWN_GUID=ACCOUNTS[role]["guid"])
        environment["SCHEMATHESIS_HOOKS"] = os.path.join(HERE, "hooks.py")
        environment["TEST_OBJECTS"] = os.path.join(directory, "objects.json")
        began = time.monotonic()
        run = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=directory, check=False)
        with open(os.path.join(directory, f"fuzzed.{role}"), "w", encoding="utf-8") as file:
            file.write(run.stdout + run.stderr)
        print(f"--- {role}, {time.monotonic() - began:.0f} s, exit status {run.returncode}")
        if run.returncode == 0:
            print(run.stdout[max(run.stdout.find("=== SUMMARY ==="), 0):])
        else:
            found = True
            print(run.stdout[-60_000:], run.stderr[-4000:])
        still = ask(role, "GET", "/v1/user")
        assert still["guid"] == ACCOUNTS[role]["guid"], "the account that asked is still there"
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
