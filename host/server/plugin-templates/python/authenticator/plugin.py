"""Lets one machine in: it sends a token that the host keeps as a secret."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.auth import Outcome_Abstain, Outcome_Authenticated, Outcome_Rejected
from wit_world.imports import config, directory, request, secrets
from wit_world.imports.types import Failure_Misconfigured

TOKEN = "token"
"""The secret's name. `plugin.toml` asks for it."""


class Lifecycle(exports.Lifecycle):
    def check(self):
        """Called once when a configuration is loaded: what the schema cannot say is refused here."""
        json.loads(config.document())


class Auth(exports.Auth):
    def authenticate(self):
        settings = json.loads(config.document())
        sent = request.header(settings.get("header", "x-machine-token"))
        # No token: another plugin may know this visitor.
        if not sent:
            return Outcome_Abstain()
        # The host compares; the plugin never sees the secret.
        matches = secrets.matches(TOKEN, sent[0])
        if matches is None:
            raise Err(Failure_Misconfigured(f"the secret {TOKEN} is not set"))
        if not matches:
            return Outcome_Rejected("a wrong token")
        user = settings["user"]
        identity = directory.find_user(user)
        if identity is None:
            return Outcome_Rejected(f"nobody is called {user}, or the account is locked")
        return Outcome_Authenticated(identity)
