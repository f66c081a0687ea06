"""Leads schemathesis to objects that exist, and keeps a run from ending itself.

`TEST_OBJECTS` names a file with the server's objects, as `run.py` writes it.
"""

import json
import os
import re
import zlib

import schemathesis

with open(os.environ["TEST_OBJECTS"], encoding="utf-8") as file:
    OBJECTS = json.load(file)
OWN = os.environ["TEST_OWN_GUID"]

# What a part of an address names, by what stands before it. The first that fits counts.
PLACES = [
    (r"/environments/[^/]+/permissions/\{id\}$", "environment_permissions"),
    (r"/content/\{guid\}$", "content"),
    (r"/applications/\{app\}$", "applications"),
    (r"/bundles/\{id\}$", "bundles"),
    (r"/permissions/\{id\}$", "permissions"),
    (r"/permission_requests/\{id\}$", "permission_requests"),
    (r"/tags/\{id\}$", "tags"),
    (r"/jobs/\{key\}$", "jobs"),
    (r"/tasks/\{id\}$", "tasks"),
    (r"/users/\{guid\}$", "users"),
    (r"/groups/\{guid\}$", "groups"),
    (r"/members/\{user\}$", "users"),
    (r"/environments/\{guid\}$", "environments"),
    (r"/integrations/\{guid\}$", "integrations"),
    (r"/templates/\{key\}$", "templates"),
    (r"/variants/\{id\}$", "variants"),
    (r"/subscribers/\{guid\}$", "users"),
    (r"/scheduler/\{app_mode\}$", "app_modes"),
]

GUIDS = {"content", "users", "groups", "environments", "environment_permissions", "integrations"}


def kind_of(path, name):
    """What `name` in `path` names, and whether it is the whole address."""
    until = path.split("{" + name + "}")[0] + "{" + name + "}"
    return next((kind for place, kind in PLACES if re.search(place, until)), None), path == until


def known(path, name, method):
    """Identifiers to put into `path` for `name`; those that may go, where the operation takes the object away."""
    kind, whole = kind_of(path, name)
    if kind == "users" and re.search(r"/users/\{guid\}/(keys|password|sessions)", path):
        # Only one's own; and the keys stay.
        return [OWN] if method != "delete" else []
    return OBJECTS.get(f"expendable_{kind}" if whole and method == "delete" else kind, [])


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Half of all addresses name something."""
    for path, item in raw_schema["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", []):
                values = parameter["in"] == "path" and known(path, parameter["name"], method)
                if values:
                    parameter["schema"] = {"anyOf": [{"enum": values}, parameter["schema"]]}
                    parameter["examples"] = {value: {"value": value} for value in values}


VALID = re.compile(r"[0-9A-Fa-f-]{36}|[0-9]{1,18}|[0-9A-Za-z]{16,64}")


def turn(value):
    """A number that is the same for the same value: a run is to be repeated."""
    return zlib.crc32(repr(value).encode("utf-8", "surrogatepass"))


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Three of four addresses name things that belong together, where what was generated could name anything at all."""
    if not path_parameters or turn(path_parameters) % 4 == 0:
        return path_parameters
    path, method = context.operation.path, context.operation.method.lower()
    for name, value in path_parameters.items():
        values = known(path, name, method)
        if values and VALID.fullmatch(str(value)):
            # Everything below an object belongs to the first.
            whole = path.endswith("{" + name + "}")
            path_parameters[name] = values[turn(value) % len(values)] if whole else values[0]
    return path_parameters


@schemathesis.hook
def filter_case(context, case):
    """Passes over what violates a schema and is taken, because clients send it: for an object `null`, and `[]`, which is how R
    writes the empty list; in a query an empty value, which counts as absent."""
    if case.body is None or (case.body == [] and case.media_type == "application/json"):
        return False
    if any(value in ("", [], [""]) for value in (case.query or {}).values()):
        return False
    return True


@schemathesis.hook
def before_call(context, case, kwargs):
    """Leads elsewhere what would end the run: another role for the account that asks, the end of its keys, and of the objects
    that all addresses lead to. Not every phase asks whether a case is to be passed over."""
    path, parameters = case.operation.path, case.path_parameters or {}
    own_role = path.endswith("/v1/users/{guid}") and case.method == "PUT"
    own_key = "/keys/" in path and case.method == "DELETE"
    for name, value in parameters.items():
        kind, whole = kind_of(path, name)
        ends = whole and case.method == "DELETE" and value in OBJECTS.get(kind, [])
        if ends or (value == OWN and (own_role or own_key)):
            parameters[name] = "0" if kind not in GUIDS else "00000000-0000-4000-8000-000000000000"


@schemathesis.hook
def map_body(context, body):
    """Every other upload is a bundle, or a picture."""
    kinds = {alternative.media_type for alternative in context.operation.body}
    if isinstance(body, bytes) and turn(body) % 2 == 0:
        if any("gzip" in kind for kind in kinds):
            return bytes.fromhex(OBJECTS["bundle_bytes"])
        if "image/png" in kinds:
            return bytes.fromhex(OBJECTS["picture_bytes"])
    return body


@schemathesis.serializer("application/gzip", "application/x-gzip", "image/png")
def as_bytes(context, value):
    """Bundles and pictures are sent as they are."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.deserializer("application/gzip", "application/x-gzip", "image/png")
def from_bytes(context, response):
    """And received."""
    return response.content.decode("latin-1")
