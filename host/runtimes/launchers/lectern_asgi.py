"""Runs one ASGI application with uvicorn on a Unix socket, behind Lectern's bridge.

    lectern_asgi.py SOCKET MODULE[:OBJECT] GRACE_SECONDS KEEP_ALIVE_SECONDS

The bridge sends paths without the place the content is mounted at, and always overwrites the X-Forwarded headers: they
can be trusted. One worker is reached by several mounts (its GUID, a vanity path), so the mount is taken per request.
"""

import importlib.metadata
import inspect
import os
import socket
import sys
from urllib.parse import unquote

# What a zygote imports before it forks: this program's own, and what applications are made with. Some import more when they
# serve their first request than when they are imported, which is named here as well.
PRELOAD = (
    "lectern_entrypoint",
    "uvicorn",
    "uvicorn.loops.auto",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "uvicorn.lifespan.on",
    "anyio",
    "anyio._backends._asyncio",
    "starlette.applications",
    "starlette.middleware.cors",
    "starlette.staticfiles",
    "starlette.templating",
    "pydantic",
    "pydantic.main",
    "fastapi",
    "fastapi.responses",
    "fastapi.middleware.cors",
    "fastapi.telemetry._runtime",
    "encodings.idna",
    "quart",
)


def warm():
    """Has FastAPI answer once: models, routes and their dependencies are made by code that loads more code."""
    import asyncio

    import fastapi
    import pydantic

    app = fastapi.FastAPI()

    class Thing(pydantic.BaseModel):
        name: str = pydantic.Field(default="", max_length=8)
        values: list[float] = []

    @app.get("/")
    async def show(number: int = fastapi.Query(1), header: str = fastapi.Header("")) -> Thing:
        return Thing(values=[number])

    @app.post("/")
    async def take(thing: Thing) -> dict:
        return {}

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message):
        pass

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/",
        "raw_path": b"/", "query_string": b"number=2", "root_path": "", "headers": [(b"host", b"localhost")],
        "client": ("", 0), "server": ("", 0),
    }
    asyncio.run(app(scope, receive, send))


def forwarded_first(value):
    """The first of a comma-separated list: the client itself."""
    return value.split(b",", 1)[0].strip().decode("latin-1")


class Bridged:
    """ASGI middleware: mount, client and scheme of each request as the bridge says."""

    def __init__(self, app, path_has_mount):
        self.app = app
        self.path_has_mount = path_has_mount

    def __call__(self, scope, receive, send):
        if scope["type"] in ("http", "websocket"):
            self.place(scope)
        return self.app(scope, receive, send)

    def place(self, scope):
        for name, value in scope["headers"]:
            if not name.startswith(b"x-forwarded-"):
                continue
            if name == b"x-forwarded-prefix":
                mount = value.rstrip(b"/")
                scope["root_path"] = unquote(mount.decode("latin-1"))
                if self.path_has_mount:
                    scope["path"] = scope["root_path"] + scope["path"]
                    if scope.get("raw_path") is not None:
                        scope["raw_path"] = mount + scope["raw_path"]
            elif name == b"x-forwarded-for":
                scope["client"] = (forwarded_first(value), 0)
            elif name == b"x-forwarded-proto":
                secure = forwarded_first(value).lower() in ("https", "wss")
                plain = {"http": ("http", "https"), "websocket": ("ws", "wss")}[scope["type"]]
                scope["scheme"] = plain[secure]


def path_has_mount():
    """ASGI: `path` begins with `root_path`. Starlette before 0.33 finds no route then, and wants it without."""
    try:
        version = importlib.metadata.version("starlette").split(".")
        return (int(version[0]), int(version[1])) >= (0, 33)
    except (importlib.metadata.PackageNotFoundError, ValueError, IndexError):
        return True


def inside_the_loop(entrypoint):
    """Loads the application inside the event loop, as uvicorn's own command line does."""
    import lectern_entrypoint

    return lambda: lectern_entrypoint.load(entrypoint)


def main(loader=inside_the_loop):
    """`loader` gets the entry point before there is an event loop, and returns what makes the application inside it."""
    path, entrypoint, grace, keep_alive = sys.argv[1:5]
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import lectern_entrypoint
    import uvicorn

    lectern_entrypoint.use_bundle()
    make = loader(entrypoint)

    def application():
        return Bridged(make(), path_has_mount())

    wanted = {
        "factory": True,
        "interface": "asgi3",
        "lifespan": "auto",
        "access_log": False,
        "use_colors": False,
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        "timeout_keep_alive": int(keep_alive),
        "timeout_graceful_shutdown": int(grace),
    }
    # A publisher may have pinned an old uvicorn: what it does not know is left out.
    known = inspect.signature(uvicorn.Config).parameters
    config = uvicorn.Config(application, **{name: value for name, value in wanted.items() if name in known})

    # Bound here for its mode: uvicorn would open it to everybody. Nothing can connect before the application has
    # started, because uvicorn listens only then.
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    listener.bind(path)
    os.umask(before)

    class Server(uvicorn.Server):
        """Says when it listens."""

        async def startup(self, *arguments, **named):
            await super().startup(*arguments, **named)
            if self.started:
                lectern_entrypoint.listening()

    server = Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
