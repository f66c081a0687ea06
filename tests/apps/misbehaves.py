"""An ASGI app that does on request what an app must not be able to do to others."""

import asyncio
import json
import os
import socket
import stat


# Whether it keeps no connection open: each request then needs another.
CLOSING = []


def listeners():
    """The sockets of this process that somebody could connect to."""
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as one:
                    if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        yield number
        except OSError:
            pass


def forks(count):
    """Forks as often as it may; how often that was, and why no more."""
    children, why = [], "done"
    for _ in range(count):
        try:
            child = os.fork()
        except OSError as error:
            why = error.strerror
            break
        if child == 0:
            os.execv("/bin/sleep", ["sleep", "3600"])
        children.append(child)
    return len(children), why


def fills():
    """Writes to its home until there is no room."""
    written = 0
    try:
        with open(os.path.join(os.path.expanduser("~"), "large"), "wb", buffering=0) as file:
            while True:
                written += file.write(bytes(1 << 20))
    except OSError as error:
        return written, error.strerror


async def app(scope, receive, send):
    """Answers by path; a WebSocket gets back what it says."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": os.environ["CONNECT_CONTENT_JOB_KEY"] + " " + message["text"]})
        return
    if scope["type"] != "http":
        return
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    value = {"job": os.environ["CONNECT_CONTENT_JOB_KEY"]}
    if path == "/fork":
        value["forked"], value["why"] = forks(10_000)
    elif path == "/fill":
        value["written"], value["why"] = fills()
    elif path == "/deaf":
        CLOSING.append(True)
        for number in list(listeners()):
            os.close(number)
    elif path == "/binary":
        os.write(2, bytes(range(256)) * 4 + b"\n\xff\xfe\x00not text\xc3\n")
    elif path == "/half":
        head = [(b"content-length", b"1000"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"half of it", "more_body": True})
        await asyncio.sleep(0.2)
        os._exit(0)
    elif path == "/nonsense":
        # Past the framework: onto the connection that asked.
        for number in map(int, os.listdir("/proc/self/fd")):
            try:
                with socket.socket(fileno=os.dup(number)) as one:
                    if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and one.getsockname():
                        one.send(b"220 this is no HTTP\r\n\x00\xff\r\n\r\n")
            except OSError:
                pass
        await asyncio.sleep(5)
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json")] + [(b"connection", b"close") for _ in CLOSING]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
