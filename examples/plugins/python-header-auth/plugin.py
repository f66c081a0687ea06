"""Believes the user name that a proxy in the operator's own network sends."""

import ipaddress
import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.auth import Outcome_Abstain, Outcome_Authenticated, Outcome_Rejected
from wit_world.imports import config, connection, directory, request
from wit_world.imports.types import Failure_Misconfigured


def networks(settings):
    """The networks that are believed."""
    return [ipaddress.ip_network(text) for text in settings["proxies"]]


class Lifecycle(exports.Lifecycle):
    def check(self):
        try:
            networks(json.loads(config.document()))
        except ValueError as error:
            raise Err(Failure_Misconfigured(f"proxies: {error}"))


class Auth(exports.Auth):
    def authenticate(self):
        settings = json.loads(config.document())
        sent = request.header(settings["user_header"])
        if not sent:
            return Outcome_Abstain()
        # Who opened the connection, not whom the request says it comes from.
        peer = ipaddress.ip_address(connection.peer_ip())
        if not any(peer in network for network in networks(settings)):
            return Outcome_Rejected(f"{settings['user_header']} came from {peer}, which is no proxy")
        if len(sent) > 1:
            return Outcome_Rejected(f"{settings['user_header']} came {len(sent)} times")
        name = sent[0].decode("utf-8", "replace").strip()
        identity = directory.find_user(name)
        if identity is None:
            return Outcome_Rejected(f"nobody is called {name!r}, or the account is locked")
        groups = b",".join(request.header(settings["groups_header"])).decode("utf-8", "replace")
        identity.groups = sorted({group.strip() for group in groups.split(",") if group.strip()})
        return Outcome_Authenticated(identity)
