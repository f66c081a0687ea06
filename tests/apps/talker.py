"""An ASGI app without a framework that talks: each path writes something to its log, or ends the process."""

import json
import os
import sys
import threading
import time
from urllib.parse import parse_qs


def flood(n):
    """Writes n MiB of lines, in writes that a pipe does not take at once."""
    block = (b"x" * 127 + b"\n") * 8192
    for _ in range(n):
        left = memoryview(block)
        while left:
            left = left[os.write(1, left) :]
    print("the flood is over", flush=True)


async def app(scope, receive, send):
    """Answers with the name of the process's run, after it has done what the path says, `n` times."""
    if scope["type"] != "http":
        return
    query = parse_qs(scope["query_string"].decode())
    n = int(query.get("n", ["1"])[0])
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if path == "/say":
        for number in range(n):
            print(f"{query['text'][0]} {number}", flush=True)
    elif path == "/flood":
        threading.Thread(target=flood, args=(n,), daemon=True).start()
    elif path == "/binary":
        sys.stderr.flush()
        os.write(2, bytes(range(11, 256)) * 40 + b"\n")
    elif path == "/long":
        os.write(1, b"y" * (n << 20) + b"\n")
    elif path == "/burn":
        end = time.process_time() + n
        block = bytearray(64 << 20)
        while time.process_time() < end:
            block[0] ^= 1
    elif path == "/exit":
        print("going", flush=True)
        os._exit(n)
    body = json.dumps({"job": os.environ["CONNECT_CONTENT_JOB_KEY"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
