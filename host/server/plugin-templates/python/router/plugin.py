"""Gives content items short addresses: the first segment of the path names one."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.routing import Decision_Forward, Decision_Next, Decision_Respond, Forward, Rewrite_StripSegments
from wit_world.imports import config, request
from wit_world.imports.types import Failure_Misconfigured, Reply


def names():
    """Names and GUIDs of content items. They have passed `config.schema.json`."""
    return json.loads(config.document()).get("names", {})


class Lifecycle(exports.Lifecycle):
    def check(self):
        """Called once when a configuration is loaded: what the schema cannot say is refused here."""
        named = {}
        for name, guid in names().items():
            if guid in named:
                raise Err(Failure_Misconfigured(f"names: {named[guid]} and {name} are the same content item"))
            named[guid] = name


class Routing(exports.Routing):
    def route(self):
        # The narrowest question first: requests that it answers need not be asked about again.
        first = request.path_prefix(1)
        guid = names().get(first[1:])
        if guid is None:
            return Decision_Next()
        # `/sales` has one segment, `/sales/` two, of which the second is empty.
        if request.path_prefix(2) == first:
            query = request.query()
            location = f"{first}/" if query is None else f"{first}/?{query}"
            return Decision_Respond(Reply(status=308, headers=[("location", location.encode())], body=b""))
        return Decision_Forward(Forward(
            target=f"content:{guid}",
            rewrite=Rewrite_StripSegments(1),
            set_headers=[],
            remove_headers=[],
            sticky_key=None,
            hints=[],
        ))
