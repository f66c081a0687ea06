"""`just bench ramp`: a Plumber API under a ramp from 1 to 200 clients, each with one request of a second at a time.

Prints, every two seconds, how many clients ask, how many workers there are, what they have in hand, who waits, and what
became of the requests; then how the pool falls back to its minimum. A client that is told to come back later does so.
Everything is bounded: clients, each request, and the whole run (`--up`, `--hold`, and two minutes to fall back).
"""

import argparse
import asyncio
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
EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples/plumber/manifest.json"
# A second in which the process answers nobody else, as a model or a query in R would take it.
CODE = b"#* @get /slow\n#* @serializer unboxedJSON\nfunction() { Sys.sleep(1); list(pid = Sys.getpid()) }\n"
ROUND = 2


class Lectern:
    """A Lectern with the slow API published on it."""

    def __init__(self, stack, args):
        home = tempfile.mkdtemp(prefix="lectern-bench-", dir="/tmp")
        os.chmod(home, 0o711)
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        self.program, self.data = args.bin, pathlib.Path(home) / "data"
        output = pathlib.Path(home) / "stdout"
        self.child = subprocess.Popen(
            [self.program, "serve", "--data-dir", self.data, "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=open(output, "wb"), stderr=open(pathlib.Path(home) / "log", "wb"),
            env=os.environ | {
                "PATH": f"{os.environ['PATH']}:{TOOLS / 'bin'}",
                "LECTERN_LOG__LEVEL": "warn",
                "LECTERN_CONTENT__MAX_WAITING": str(args.queue),
            },
        )
        stack.callback(self.stop)
        end = time.time() + 180
        while "\nready" not in "\n" + output.read_text():
            if self.child.poll() is not None or time.time() > end:
                raise SystemExit((pathlib.Path(home) / "log").read_text())
            time.sleep(0.05)
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", output.read_text())[1])
        self.key = self.account("bench", "publisher")
        self.admin = self.account("watch", "administrator")
        self.guid = self.publish(args)

    def account(self, name, role):
        """Adds an account; returns a key of it."""
        self.verb("user", "add", name, "--role", role)
        return json.loads(self.verb("key", "create", "--user", name, "--json"))["key"]

    def verb(self, *words):
        """Runs a verb of the command line."""
        words = [self.program, *words, "--data-dir", self.data]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def ask(self, method, path, body=None, key=None):
        """Asks the server; returns the bytes of its answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method=method)
        request.add_header("Authorization", f"Key {key or self.key}")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as reply:
            return reply.read()

    def api(self, method, path, body=None):
        """Asks the API."""
        return json.loads(self.ask(method, f"/__api__/v1{path}", body) or b"null")

    def publish(self, args):
        """Publishes the API; returns its GUID."""
        guid = self.api("POST", "/content", {"name": "ramp"})["guid"]
        self.api("PATCH", f"/content/{guid}", {
            "access_type": "all", "min_processes": args.min, "max_processes": args.max,
            "max_conns_per_process": args.conns, "idle_timeout": args.idle,
        })
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, contents in {"manifest.json": EXAMPLE.read_bytes(), "plumber.R": CODE}.items():
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

    def figures(self):
        """What the server's metrics say of the pool: a dictionary."""
        found = {"busy": 0, "idle": 0, "starting": 0, "draining": 0}
        for line in self.ask("GET", "/__lectern__/v1/metrics", key=self.admin).decode().splitlines():
            if f'content="{self.guid}"' not in line:
                continue
            name, value = line.split("{")[0], int(float(line.rsplit(" ", 1)[1]))
            if name == "lectern_content_workers":
                found[re.search(r'state="(\w+)"', line)[1]] += value
            else:
                found[name] = found.get(name, 0) + value
        return found

    def stop(self):
        """Stops the server."""
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(90)


class Tally:
    """What became of the requests."""

    def __init__(self):
        self.clients = self.answered = self.refused = self.failed = 0
        self.waits, self.told = [], []


async def client(server, tally, stop):
    """Asks again and again, each time on a connection of its own, until told to stop."""
    head = f"GET /content/{server.guid}/slow HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
    while not stop.is_set():
        began, pause = time.monotonic(), 0
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(head)
            reply = await asyncio.wait_for(reader.read(-1), 120)
            writer.close()
            status = int(reply.split(b" ", 2)[1])
        except (OSError, asyncio.TimeoutError, IndexError, ValueError):
            status = 0
        if status == 200:
            tally.answered += 1
            tally.waits.append(time.monotonic() - began)
        elif status == 503:
            tally.refused += 1
            pause = int(re.search(rb"(?i)\r\nretry-after: (\d+)", reply)[1])
            tally.told.append(pause)
        else:
            tally.failed += 1
            pause = 1
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), pause or 0.001)


async def run(server, args):
    """Ramps up, holds, lets go, and prints the table."""
    tally, stop, clients, began = Tally(), asyncio.Event(), [], time.monotonic()
    print("| s | clients | workers | busy | starting | in flight | waiting | answered | refused | failed |")
    print("|---|---|---|---|---|---|---|---|---|---|")

    async def row():
        seen = await asyncio.to_thread(server.figures)
        print(
            f"| {time.monotonic() - began:.0f} | {len(clients) if not stop.is_set() else 0} | {seen['busy'] + seen['idle']} "
            f"| {seen['busy']} | {seen['starting']} | {seen.get('lectern_content_in_flight', 0)} "
            f"| {seen.get('lectern_content_waiting', 0)} | {tally.answered} | {tally.refused} | {tally.failed} |", flush=True,
        )
        return seen

    while (passed := time.monotonic() - began) < args.up + args.hold:
        wanted = min(args.clients, 1 + int((args.clients - 1) * passed / args.up))
        clients += [asyncio.create_task(client(server, tally, stop)) for _ in range(wanted - len(clients))]
        await row()
        await asyncio.sleep(ROUND - (time.monotonic() - began) % ROUND)
    stop.set()
    await row()
    await asyncio.wait(clients, timeout=120)
    end = time.monotonic() + 120
    while (seen := await row())["busy"] + seen["idle"] > args.min or seen["draining"]:
        if time.monotonic() > end:
            raise SystemExit("the pool does not fall back to its minimum")
        await asyncio.sleep(ROUND)
    waits = sorted(tally.waits) or [0]
    told = f", told to come back after {min(tally.told)} to {max(tally.told)} s" if tally.told else ""
    print(
        f"\nanswered {tally.answered}: median {waits[len(waits) // 2]:.1f} s, slowest {waits[-1]:.1f} s; "
        f"refused {tally.refused}{told}; failed {tally.failed}"
    )


def main():
    """Starts the server and runs the ramp."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--up", type=int, default=60, help="seconds from 1 client to all of them")
    parser.add_argument("--hold", type=int, default=20, help="seconds with all of them")
    parser.add_argument("--min", type=int, default=1)
    parser.add_argument("--max", type=int, default=8)
    parser.add_argument("--conns", type=int, default=8, help="max_conns_per_process")
    parser.add_argument("--idle", type=int, default=10, help="idle_timeout in seconds")
    parser.add_argument("--queue", type=int, default=120, help="content.max_waiting")
    parser.add_argument("--bin", type=pathlib.Path, default=target / "release/lectern")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        server = Lectern(stack, args)
        print(
            f"{os.cpu_count()} cores; min {args.min}, max {args.max}, {args.conns} connections per process, "
            f"load factor 0.5, idle time-out {args.idle} s, {args.queue} may wait\n"
        )
        asyncio.run(run(server, args))


if __name__ == "__main__":
    sys.exit(main())
