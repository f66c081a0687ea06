"""An ASGI app without a framework that takes its time: `/block` keeps the whole process busy, `/wait` only the request."""

import asyncio
import json
import os
import time
from urllib.parse import parse_qs


async def app(scope, receive, send):
    """Answers with the name of the process's run, after `s` seconds."""
    if scope["type"] != "http":
        return
    seconds = float(parse_qs(scope["query_string"].decode()).get("s", ["0"])[0])
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    print(f"{path} begun", flush=True)
    if path == "/block":
        time.sleep(seconds)
    elif path == "/wait":
        await asyncio.sleep(seconds)
    elif path == "/die":
        os._exit(3)
    body = json.dumps({"job": os.environ["CONNECT_CONTENT_JOB_KEY"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
