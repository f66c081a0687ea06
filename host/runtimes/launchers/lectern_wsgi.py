"""Runs one WSGI application with waitress on a Unix socket, behind Lectern's bridge.

    lectern_wsgi.py SOCKET MODULE[:OBJECT] THREADS KEEP_ALIVE_SECONDS

The bridge sends paths without the place the content is mounted at, and always overwrites the X-Forwarded headers: they
can be trusted. One worker is reached by several mounts (its GUID, a vanity path), so the mount is taken per request.
"""

import os
import signal
import sys
import threading
from urllib.parse import unquote_to_bytes

# What a zygote imports before it forks: this program's own, and what applications are made with.
PRELOAD = (
    "lectern_entrypoint",
    "waitress",
    "waitress.adjustments",
    "werkzeug",
    "werkzeug.serving",
    "flask",
    "flask.json.provider",
    "flask.templating",
    "jinja2",
    "encodings.idna",
    "bottle",
    "falcon",
)


def warm():
    """Has Flask answer once."""
    import flask

    app = flask.Flask("warm", static_folder=None)
    app.add_url_rule("/", "index", lambda: {"a": 1})
    app.test_client().get("/")


def bridged(app):
    """WSGI middleware: mount, client and scheme of each request as the bridge says."""

    def call(environ, start_response):
        mount = environ.get("HTTP_X_FORWARDED_PREFIX", "").rstrip("/")
        if mount:
            environ["SCRIPT_NAME"] = unquote_to_bytes(mount.encode("latin-1")).decode("latin-1")
        client = environ.get("HTTP_X_FORWARDED_FOR", "").split(",", 1)[0].strip()
        if client:
            environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = client
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").split(",", 1)[0].strip().lower()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        return app(environ, start_response)

    return call


def stop(_signal, _frame):
    """SIGTERM: waitress takes SystemExit as the order to stop, and lets its threads finish what they do."""
    raise SystemExit(0)


def grow(dispatcher, threads):
    """Brings the number of threads to what is wanted, one by one: in between, requests are taken."""
    for count in range(2, threads + 1):
        dispatcher.set_thread_count(count)


def main(wsgi_of=lambda found: found):
    """`wsgi_of` makes the WSGI application of what the entry point names."""
    path, entrypoint, threads, keep_alive = sys.argv[1:5]
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import lectern_entrypoint
    import waitress
    import waitress.adjustments

    lectern_entrypoint.use_bundle()
    app = bridged(wsgi_of(lectern_entrypoint.load(entrypoint)))
    wanted = {
        "unix_socket": path,
        "unix_socket_perms": "600",
        # Each start of a thread waits for the thread: the others come while the first one serves.
        "threads": 1,
        "channel_timeout": int(keep_alive),
        # More than the bridge ever opens: its idle connections must not keep new ones waiting.
        "connection_limit": 1000,
        "asyncore_use_poll": True,
        "clear_untrusted_proxy_headers": False,
        "ident": None,
    }
    # A publisher may have pinned an old waitress: what it does not know is left out.
    known = vars(waitress.adjustments.Adjustments)
    server = waitress.create_server(app, **{name: value for name, value in wanted.items() if name in known})
    signal.signal(signal.SIGTERM, stop)
    print(f"Waitress serves {entrypoint} with {threads} threads", file=sys.stderr, flush=True)
    # It has bound and listens since it was made.
    lectern_entrypoint.listening()
    threading.Thread(target=grow, args=(server.task_dispatcher, int(threads)), daemon=True).start()
    server.run()


if __name__ == "__main__":
    main()
