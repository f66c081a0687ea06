"""`just bench outlive`: a FastAPI app under 200 requests per second and an open WebSocket, while the server goes.

First the server is killed (SIGKILL) and another is started on the same data directory, as a service manager would; then
`lectern serve --take-over` upgrades it to another file of the program, and the supervisor with it. Prints for each: requests
sent and failed and why, how long until one was answered that was sent after the change began, the WebSocket's session, and
whether the app's processes are the same. Requests keep their pace whatever becomes of those before them; half of them come on
a connection of their own. Everything is bounded: requests in flight, each request, each change.
"""

import argparse
import asyncio
import base64
import collections
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

TOOLS = pathlib.Path(os.environ["LECTERN_TOOLS"])
CODE = b"""
import os
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


@app.get("/")
def root():
    return {"job": os.environ["CONNECT_CONTENT_JOB_KEY"]}


@app.websocket("/ws")
async def session(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            text = await socket.receive_text()
            await socket.send_text(os.environ["CONNECT_CONTENT_JOB_KEY"] + " " + text)
    except WebSocketDisconnect:
        pass
"""
MANIFEST = {
    "version": 1, "metadata": {"appmode": "python-fastapi", "entrypoint": "app:app"},
    "python": {"version": ".".join(map(str, sys.version_info[:3])), "package_manager": {"name": "pip", "package_file": "requirements.txt"}},
    "files": {"app.py": {"checksum": ""}, "requirements.txt": {"checksum": ""}},
}
REQUIREMENTS = b"fastapi>=0.110,<1\nuvicorn>=0.29,<1\nwebsockets>=12\n"
# A request takes milliseconds; one that is held up by a change of servers seconds.
PATIENCE = 30


class Lectern:
    """A Lectern with the app published on it."""

    def __init__(self, stack, args):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="lectern-bench-", dir="/tmp"))
        os.chmod(self.home, 0o711)
        stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        self.data, self.listen, self.starts = self.home / "data", "127.0.0.1:0", 0
        # Two files of one program: for Lectern two programs.
        self.programs = [self.home / "lectern-1", self.home / "lectern-2"]
        for program in self.programs:
            shutil.copyfile(args.bin, program)
            program.chmod(0o755)
        self.child = self.start(self.programs[0])
        stack.callback(self.stop)
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", self.wait_ready())[1])
        self.listen = f"127.0.0.1:{self.port}"
        self.verb("user", "add", "bench", "--role", "publisher")
        self.key = json.loads(self.verb("key", "create", "--user", "bench", "--json"))["key"]
        self.guid = self.publish(args)

    def start(self, program, *more):
        """Starts a server."""
        self.starts += 1
        self.output = self.home / f"stdout-{self.starts}"
        return subprocess.Popen(
            [program, "serve", *more, "--data-dir", self.data, "--listen", self.listen],
            stdin=subprocess.DEVNULL, stdout=open(self.output, "wb"), stderr=open(self.home / f"log-{self.starts}", "wb"),
            env=os.environ | {"PATH": f"{os.environ['PATH']}:{TOOLS / 'bin'}", "LECTERN_LOG__LEVEL": "info"},
        )

    def is_ready(self):
        return "\nready" in "\n" + self.output.read_text()

    def wait_ready(self):
        """What it printed."""
        end = time.time() + 180
        while not self.is_ready():
            if time.time() > end:
                raise SystemExit((self.home / f"log-{self.starts}").read_text())
            time.sleep(0.02)
        return self.output.read_text()

    def verb(self, *words):
        """Runs a verb of the command line."""
        words = [self.programs[0], *words, "--data-dir", self.data]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def api(self, method, path, body=None):
        """Asks the API."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/__api__/v1{path}", data=data, method=method)
        request.add_header("Authorization", f"Key {self.key}")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as reply:
            return json.loads(reply.read() or b"null")

    def publish(self, args):
        """Publishes the app; returns its GUID."""
        guid = self.api("POST", "/content", {"name": "outlive"})["guid"]
        count = {"min_processes": args.workers, "max_processes": args.workers}
        self.api("PATCH", f"/content/{guid}", {"access_type": "all", "max_conns_per_process": 50, **count})
        out = io.BytesIO()
        files = {"manifest.json": json.dumps(MANIFEST).encode(), "app.py": CODE, "requirements.txt": REQUIREMENTS}
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, contents in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(contents), 0o644
                archive.addfile(member, io.BytesIO(contents))
        bundle = self.api("POST", f"/content/{guid}/bundles", out.getvalue())["id"]
        task = self.api("POST", f"/content/{guid}/deploy", {"bundle_id": bundle})["task_id"]
        end = time.time() + 300
        while not (seen := self.api("GET", f"/tasks/{task}"))["finished"] and time.time() < end:
            time.sleep(0.1)
        if not seen["finished"] or seen["code"] != 0:
            raise SystemExit("\n".join(seen["output"]))
        return guid

    def workers(self):
        """The processes of the app: number and when each started, which together name it."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError, IndexError):
                if entry.name.isdigit() and f"{self.data}/run/w" in (entry / "cmdline").read_bytes().decode(errors="replace"):
                    found[int(entry.name)] = (entry / "stat").read_text().rsplit(") ", 1)[1].split()[19]
        return found

    def supervisor(self):
        """Its process and its program."""
        with contextlib.suppress(subprocess.CalledProcessError):
            seen = json.loads(self.verb("supervisor", "status", "--json"))
            return seen["pid"], seen.get("program")
        return None, None

    def stop(self):
        """Stops the server."""
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(120)


class Load:
    """Requests at a pace, and what became of each: when it was sent, when it ended, and how."""

    def __init__(self, server, rate):
        self.server, self.rate, self.done, self.idle = server, rate, [], []
        # As many as five seconds without an answer make.
        self.room = asyncio.Semaphore(rate * 5)
        self.head = f"GET /content/{server.guid}/ HTTP/1.1\r\nHost: bench\r\n"

    async def run(self, stop):
        began, number, tasks = time.monotonic(), 0, set()
        while not stop.is_set():
            await self.room.acquire()
            task = asyncio.create_task(self.ask(number % 2 == 0))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
            await asyncio.sleep(max(0, began + number / self.rate - time.monotonic()))
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)

    async def ask(self, alone):
        began, writer, how, kept = time.monotonic(), None, "ok", False
        try:
            async with asyncio.timeout(PATIENCE):
                if kept := not alone and bool(self.idle):
                    reader, writer = self.idle.pop()
                else:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
                writer.write((self.head + ("Connection: close\r\n\r\n" if alone else "\r\n")).encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                await reader.readexactly(int(length[1])) if length else await reader.read(-1)
                status = int(head.split(b" ", 2)[1])
                how = "ok" if status == 200 else f"status {status}"
                if not alone and length and b"connection: close" not in head.lower():
                    self.idle.append((reader, writer))
                    writer = None
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            # A client asks again by itself when a connection that it had kept open turns out to be closed (RFC 9112 §9.3.1).
            how = type(error).__name__ + (" on a connection kept open" if kept else "")
        if writer:
            writer.close()
        self.room.release()
        self.done.append((began, time.monotonic(), how))


class Session:
    """A WebSocket that says something ten times a second, and comes again when it is closed."""

    def __init__(self, server):
        self.server, self.log, self.jobs, self.last = server, [], [], time.monotonic()

    async def run(self, stop):
        while not stop.is_set():
            try:
                await self.talk(stop)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.log.append((time.monotonic(), f"{type(error).__name__}"))
            await asyncio.sleep(0.05)

    async def talk(self, stop):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /content/{self.server.guid}/ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            writer.close()
            return self.log.append((time.monotonic(), head.split(b"\r\n")[0].decode()))
        self.log.append((time.monotonic(), "open"))
        while not stop.is_set():
            text, mask = f"{time.monotonic()}".encode(), os.urandom(4)
            writer.write(bytes([0x81, 0x80 | len(text)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
            first, length = await reader.readexactly(2)
            data = await reader.readexactly(length)
            if first & 15 == 9:
                mask = os.urandom(4)
                writer.write(bytes([0x8a, 0x80 | length]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
                continue
            if first & 15 == 8:
                writer.close()
                return self.log.append((time.monotonic(), f"closed with {int.from_bytes(data[:2])}"))
            self.jobs.append((time.monotonic(), data.split()[0]))
            await asyncio.sleep(0.1)
        writer.close()


async def change(server, args, name, act):
    """Runs the load, lets `act` happen in its midst, prints what came of it."""
    load, session, stop = Load(server, args.rate), Session(server), asyncio.Event()
    tasks = [asyncio.create_task(load.run(stop)), asyncio.create_task(session.run(stop))]
    await asyncio.sleep(args.before)
    workers, supervisor = server.workers(), server.supervisor()
    at = time.monotonic()
    ready = await act()
    await asyncio.sleep(args.after)
    stop.set()
    await asyncio.wait(tasks, timeout=2 * PATIENCE)
    how = collections.Counter(how for _, _, how in load.done)
    failed = {kind: count for kind, count in how.items() if kind != "ok"}
    # Those under way when it happened, and those sent after.
    first = min((end for sent, end, how in load.done if how == "ok" and sent > at), default=float("nan"))
    lost = [how for sent, _, how in load.done if how != "ok" and sent <= at]
    gaps = [b - a for (a, _), (b, _) in zip(session.jobs, session.jobs[1:])]
    now = server.supervisor()
    print(f"\n## {name}\n")
    print(f"- requests: {len(load.done)} sent, {sum(failed.values())} failed {dict(failed) or ''}; {len(lost)} of those were under way")
    print(f"- ready again after {ready - at:.2f} s; first answer to a request sent after the change: {first - at:.2f} s")
    print(f"- slowest answer {max(end - sent for sent, end, how in load.done if how == 'ok'):.2f} s")
    print(f"- WebSocket: {', '.join(what for _, what in session.log)}; longest silence {max(gaps):.2f} s; app processes that it met: {len({job for _, job in session.jobs})}")
    print(f"- app processes: {len(workers)} before, {len(server.workers())} after, {'the same' if workers == server.workers() else 'not the same'}")
    print(f"- supervisor: process {supervisor[0]} before, {now[0]} after; {'the same program' if supervisor[1] == now[1] else 'another program'}", flush=True)
    return sum(failed.values())


async def run(server, args):
    async def kill():
        server.child.kill()
        await asyncio.to_thread(server.child.wait)
        await asyncio.sleep(args.pause)
        server.child = server.start(server.programs[0])
        await asyncio.to_thread(server.wait_ready)
        return time.monotonic()

    async def take_over():
        old = server.child
        server.child = server.start(server.programs[1], "--take-over")
        await asyncio.to_thread(server.wait_ready)
        ready = time.monotonic()
        # The old one keeps the WebSocket: it ends when the session does.
        server.old = old
        return ready

    await change(server, args, "kill -9 of the server", kill)
    failed = await change(server, args, "serve --take-over", take_over)
    await asyncio.to_thread(server.old.wait, 60)
    if failed:
        raise SystemExit(f"{failed} requests failed in an upgrade")


def main():
    """Starts the server and lets it go twice."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=200, help="requests per second")
    parser.add_argument("--workers", type=int, default=1, help="processes of the app")
    parser.add_argument("--before", type=float, default=3, help="seconds of load before each change")
    parser.add_argument("--after", type=float, default=5, help="seconds of load after it")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between the kill and the next start (systemd's RestartSec)")
    parser.add_argument("--bin", type=pathlib.Path, default=target / "release/lectern")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        server = Lectern(stack, args)
        print(f"{os.cpu_count()} cores; {args.rate} requests per second, {args.workers} process(es) of the app, {args.pause} s until the next start")
        asyncio.run(run(server, args))


if __name__ == "__main__":
    sys.exit(main())
