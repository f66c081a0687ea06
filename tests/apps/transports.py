"""An ASGI app that speaks all that a browser can: WebSocket, events, long polls, large bodies. `transports.mjs` is its twin."""

import asyncio
import hashlib
import json

MIB = 1 << 20

watchers: set[asyncio.Queue] = set()
waiting: set[asyncio.Future] = set()
closed: list[int] = []


async def app(scope, receive, send):
    """Answers by path; see the tests for what each is for."""
    if scope["type"] == "websocket":
        await talk(receive, send)
        return
    if scope["type"] != "http":
        return
    path = scope["path"].removeprefix(scope.get("root_path", ""))

    async def begin(kind, more=()):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind), *more]})

    async def write(body, more=True):
        await send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(value):
        await begin(b"application/json")
        await write(json.dumps(value).encode(), more=False)

    if path == "/state":
        await answer({"watchers": len(watchers), "waiting": len(waiting), "closed": closed})
    elif path == "/events":
        queue = asyncio.Queue()
        watchers.add(queue)
        await begin(b"text/event-stream", [(b"cache-control", b"no-cache")])
        await write(b"data: hello\n\n")
        gone = asyncio.create_task(until_gone(receive))
        while not gone.done():
            news = asyncio.create_task(queue.get())
            await asyncio.wait({gone, news}, return_when=asyncio.FIRST_COMPLETED)
            if news.done():
                await write(f"data: {news.result()}\n\n".encode())
            else:
                news.cancel()
        watchers.discard(queue)
    elif path == "/tell":
        text = scope["query_string"].decode()
        for queue in watchers:
            queue.put_nowait(text)
        for future in waiting:
            future.set_result(text)
        waiting.clear()
        await answer(text)
    elif path == "/poll":
        future = asyncio.get_running_loop().create_future()
        waiting.add(future)
        await answer(await future)
    elif path == "/upload":
        digest, received, last = hashlib.sha256(), 0, False
        while not last:
            message = await receive()
            digest.update(message.get("body", b""))
            received += len(message.get("body", b""))
            last = not message.get("more_body", False)
        await answer({"received": received, "digest": digest.hexdigest()})
    elif path == "/download":
        blocks = int(scope["query_string"].decode())
        await begin(b"application/octet-stream", [(b"content-length", str(blocks * MIB).encode())])
        for number in range(blocks):
            await write(number.to_bytes(8, "big") + bytes([number % 251]) * (MIB - 8))
        await write(b"", more=False)
    else:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await write(b"", more=False)


async def until_gone(receive):
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def talk(receive, send):
    """Sends back what comes, and closes with the code that it is told."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            closed.append(message.get("code"))
            return
        text = message.get("text")
        if text is not None and text.startswith("close "):
            await send({"type": "websocket.close", "code": int(text[6:]), "reason": "enough"})
            return
        await send({"type": "websocket.send", "text": text} if text is not None else {"type": "websocket.send", "bytes": message["bytes"]})
