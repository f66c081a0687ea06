"""Stands in for the host in native tests. Import it before the plugin.

In a component `wit_world` and `componentize_py_types` are made from `wit/`. Here they are made up: names in upper case are
records and variants, which hold what they are given; all others are functions of the host, answered from `answers`.
"""

import sys
import types
from urllib.parse import parse_qsl

INTERFACES = [
    "accounts", "clock", "config", "connection", "content", "directory", "key_value", "limiter", "logging", "outbound",
    "random", "request", "secret_values", "secrets", "target", "tokens", "types", "visitor",
]

answers = {}
"""What the host answers: `{"config.document": "{}", "directory.find_user": lambda name: None}`."""

asked = []
"""The functions that were called, in order."""


class Value:
    """A record, or one case of a variant."""

    def __init__(self, value=None, **fields):
        self.value = value
        self.__dict__.update(fields)

    def __eq__(self, other):
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __repr__(self):
        return f"{type(self).__name__}({self.__dict__})"


class Err(Exception):
    """How a failure is raised."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value


class Module(types.ModuleType):
    """A module of the bindings."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        function = f"{self.__name__.split('.')[-1]}.{name}"
        made = type(name, (Value,), {}) if name[0].isupper() else lambda *given: answer(function, given)
        setattr(self, name, made)
        return made


def answer(function, given):
    asked.append(function)
    if function not in answers:
        raise AssertionError(f"the test does not say what {function} answers")
    known = answers[function]
    return known(*given) if callable(known) else known


def module(name):
    made = Module(name)
    made.__path__ = []
    sys.modules[name] = made
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, made)


def request(target, method="GET", headers=None):
    """Begins a test: a request, and nothing else that the host knows."""
    answers.clear()
    asked.clear()
    path, _, query = target.partition("?")
    fields = [(name.lower(), value.encode()) for name, value in (headers or {}).items()]

    def path_prefix(segments):
        return "/".join(path.split("/")[: segments + 1])

    answers.update({
        "request.method": method,
        "request.path": path,
        "request.path_prefix": path_prefix,
        "request.path_has_prefix": path.startswith,
        "request.query": query if "?" in target else None,
        "request.query_param": lambda name: dict(reversed(parse_qsl(query))).get(name),
        "request.header": lambda name: [value for field, value in fields if field == name.lower()],
        "request.headers": fields,
        "request.client_ip": "192.0.2.7",
        "request.host": "lectern.example",
        "logging.log": None,
    })


for name in ["componentize_py_types", "wit_world", "wit_world.imports", "wit_world.exports"]:
    module(name)
for interface in INTERFACES:
    module(f"wit_world.imports.{interface}")
for interface in ["auth", "lifecycle", "pages", "routing"]:
    module(f"wit_world.exports.{interface}")
sys.modules["componentize_py_types"].Err = Err
