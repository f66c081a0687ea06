"""An ASGI app without a framework that shows what reached it and misbehaves on request."""

import asyncio
import json
import os
import sys

VERSION = "1"


async def app(scope, receive, send):
    """Answers by path; see the tests for what each is for."""
    if scope["type"] != "http":
        return
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    headers = [(b"content-type", b"application/json")]

    async def answer(value, status=200, more=()):
        body = json.dumps(value).encode()
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *more]})
        await send({"type": "http.response.body", "body": body})

    if path == "/":
        # Every process is number 2 of a namespace of its own: the job's key tells them apart.
        await answer({"version": VERSION, "pid": os.environ["CONNECT_CONTENT_JOB_KEY"]})
    elif path == "/echo":
        await answer(
            {
                "method": scope["method"],
                "path": scope["path"],
                "root_path": scope.get("root_path", ""),
                "query": scope["query_string"].decode(),
                "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
            }
        )
    elif path == "/environment":
        await answer({"variables": dict(os.environ), "uid": os.getuid(), "directory": os.getcwd(), "home": os.listdir(os.path.expanduser("~"))})
    elif path == "/write":
        tried = {}
        for place in (os.getcwd(), sys.prefix, os.path.expanduser("~"), os.environ.get("TMPDIR", "/tmp")):
            try:
                with open(os.path.join(place, "written"), "w") as file:
                    file.write("x")
                tried[place] = True
            except OSError:
                tried[place] = False
        await answer({"cwd": tried[os.getcwd()], "environment": tried[sys.prefix], "home": tried[os.path.expanduser("~")]})
    elif path == "/status":
        with open("/proc/self/status") as file:
            await answer(dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line))
    elif path == "/count":
        total, last = 0, False
        while not last:
            message = await receive()
            total += len(message.get("body", b""))
            last = not message.get("more_body", False)
        await answer({"received": total})
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for number in range(5):
            await send({"type": "http.response.body", "body": f"{number}\n".encode(), "more_body": True})
            await asyncio.sleep(0.3)
        await send({"type": "http.response.body", "body": b""})
    elif path == "/slow":
        print("slow begun", flush=True)
        await asyncio.sleep(3)
        await answer({"slow": True})
    elif path == "/cookies":
        cookies = [b"plain=1", b"rooted=2; Path=/; HttpOnly", b"deep=3; Path=/inner"]
        await answer({}, more=[(b"set-cookie", cookie) for cookie in cookies])
    elif path == "/redirect":
        await answer({}, 302, [(b"location", (scope.get("root_path", "") + "/").encode())])
    elif path == "/die":
        print("about to die", file=sys.stderr, flush=True)
        os._exit(3)
    elif path == "/die-midway":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.sleep(0.2)
        os._exit(3)
    else:
        await answer({"error": "no such path", "path": path}, 404)
