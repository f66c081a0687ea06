"""Runs one Dash application with waitress on a Unix socket, behind Lectern's bridge.

    lectern_dash.py SOCKET MODULE[:OBJECT] THREADS KEEP_ALIVE_SECONDS

Dash writes its addresses into pages and layouts with a prefix of its configuration, one for the whole process. One worker is
reached by several mounts (its GUID, a vanity path), so here the prefix is that of the request being answered; where there is
no request, while the application is being loaded, it is the mount that the GUID gives.
"""

import contextvars
import inspect
import os
import sys
from urllib.parse import urlsplit

KEY = "requests_pathname_prefix"


def first_mount():
    """The path of the content's own address."""
    server = urlsplit(os.environ.get("CONNECT_SERVER", "")).path.rstrip("/")
    return f"{server}/content/{os.environ.get('CONNECT_CONTENT_GUID', '')}"


mount = contextvars.ContextVar("mount", default=first_mount())


def follow_the_mount():
    """Has Dash ask for its prefix each time. The configuration has been this class since Dash 0.41."""
    from dash._utils import AttributeDict

    def item(self, key):
        if key == KEY and "routes_pathname_prefix" in self:
            return mount.get() + (dict.__getitem__(self, "routes_pathname_prefix") or "/")
        return dict.__getitem__(self, key)

    AttributeDict.__getitem__ = item


def mounted(app):
    """WSGI middleware: the mount of each request, for Dash."""

    def call(environ, start_response):
        token = mount.set(environ.get("HTTP_X_FORWARDED_PREFIX", "").rstrip("/"))
        try:
            return app(environ, start_response)
        finally:
            mount.reset(token)

    return call


def server_of(found):
    """The WSGI application in what an entry point names: a Dash object, or its server."""
    server = getattr(found, "server", found)
    call = getattr(type(server), "__call__", None)
    if not callable(server) or inspect.iscoroutinefunction(call):
        print(
            f"lectern: the entry point is a {type(found).__name__} with the server {type(server).__name__}, "
            "which is not a WSGI application: use Dash with its usual server, Flask",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(1)
    return mounted(server)


def main():
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import lectern_wsgi

    follow_the_mount()
    lectern_wsgi.main(server_of)


if __name__ == "__main__":
    main()
