"""`just bench starts`: how long a stopped app takes from a visitor's request to the first byte of its answer.

For FastAPI, Flask, Plumber and Shiny (the examples): a plain start of the same app with the same packages (`python -m uvicorn`,
`flask run`, `Rscript`); and through Lectern, confined and behind the gate: with nothing in the file cache, with a warm
environment and no zygote, with a zygote that must be started, and with one that waits. Plain starts and forks take turns, so
that both meet the same machine. Then the memory of ten workers that were forked, against one plain process of the same app.

Everything is bounded: `--rounds` of each kind, each request, and each wait.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

TOOLS = pathlib.Path(os.environ["LECTERN_TOOLS"])
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
# Longest wait for a state.
LONG = 120


class App:
    """One kind of content: how it is published, asked, and started without Lectern."""

    def __init__(self, name, mode, entry, path, plain):
        self.name, self.mode, self.entry, self.path, self.plain = name, mode, entry, path, plain
        self.source = EXAMPLES / name
        self.guid = None

    def bundle(self):
        """The example as a bundle."""
        files = {path.name: path.read_bytes() for path in self.source.iterdir() if path.name != "README.md"}
        if self.mode:
            version = "{}.{}.{}".format(*sys.version_info[:3])
            packages = {"version": version, "package_manager": {"name": "pip", "package_file": "requirements.txt"}}
            files["manifest.json"] = json.dumps({
                "version": 1, "metadata": {"appmode": self.mode, "entrypoint": self.entry}, "python": packages,
                "files": {name: {"checksum": ""} for name in files},
            }).encode()
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for name, contents in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(contents), 0o644
                archive.addfile(member, io.BytesIO(contents))
        return out.getvalue()


PLUMBER = 'plumber::pr_run(plumber::plumb("plumber.R"), port = {port}, docs = FALSE, quiet = TRUE)'
APPS = [
    App("fastapi", "python-fastapi", "app:app", "/", ["python", "-m", "uvicorn", "app:app", "--port", "{port}"]),
    App("flask", "python-api", "app:app", "/", ["python", "-m", "flask", "--app", "app", "run", "--port", "{port}"]),
    App("plumber", None, None, "/", ["Rscript", "-e", PLUMBER]),
    App("shiny", None, None, "/", ["Rscript", "-e", 'shiny::runApp(".", port = {port}, launch.browser = FALSE, quiet = TRUE)']),
]


def first_byte(port, path, end):
    """Asks until a byte of an answer comes; nobody may listen yet."""
    ask = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=LONG) as connection:
                connection.sendall(ask)
                head = connection.recv(1)
                head += connection.recv(64)
                if head:
                    return int(head.split(b" ", 2)[1])
        except ConnectionError:
            time.sleep(0.001)
    raise SystemExit(f"nobody answers on port {port}")


class Lectern:
    """A Lectern with the examples published on it; started and stopped again and again."""

    def __init__(self, stack, args):
        home = tempfile.mkdtemp(prefix="lectern-bench-", dir="/tmp")
        os.chmod(home, 0o711)
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        self.program, self.home, self.data = args.bin, pathlib.Path(home), pathlib.Path(home) / "data"
        self.child = self.key = self.port = None
        stack.callback(self.stop)

    def start(self, zygotes):
        """Starts it, with zygotes or without."""
        output = self.home / "stdout"
        self.child = subprocess.Popen(
            [self.program, "serve", "--data-dir", self.data, "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=open(output, "wb"), stderr=open(self.home / "log", "ab"),
            env=os.environ | {
                "PATH": f"{os.environ['PATH']}:{TOOLS / 'bin'}",
                "LECTERN_LOG__LEVEL": os.environ.get("LECTERN_LOG__LEVEL", "warn"),
                "LECTERN_CONTENT__ZYGOTES": "50" if zygotes else "0",
                "LECTERN_CONTENT__IDLE_TIMEOUT_SECONDS": "1",
            },
        )
        self.wait("ready", lambda: "\nready" in "\n" + output.read_text())
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", output.read_text())[1])
        if self.key is None:
            self.verb("user", "add", "bench", "--role", "administrator")
            self.key = json.loads(self.verb("key", "create", "--user", "bench", "--json"))["key"]

    def wait(self, what, holds):
        """Waits until something holds."""
        end = time.monotonic() + LONG
        while not holds():
            if self.child.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"waited for: {what}\n{(self.home / 'log').read_text()[-4000:]}")
            time.sleep(0.02)

    def verb(self, *words):
        """Runs a verb of the command line."""
        words = [self.program, *words, "--data-dir", self.data]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def api(self, method, path, body=None):
        """Asks the API."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method=method)
        request.add_header("Authorization", f"Key {self.key}")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=LONG) as reply:
            return reply.read().decode()

    def publish(self, app):
        """Publishes an app."""
        content = "/__api__/v1/content"
        app.guid = json.loads(self.api("POST", content, {"name": app.name}))["guid"]
        self.api("PATCH", f"{content}/{app.guid}", {"access_type": "all"})
        bundle = json.loads(self.api("POST", f"{content}/{app.guid}/bundles", app.bundle()))["id"]
        task = json.loads(self.api("POST", f"{content}/{app.guid}/deploy", {"bundle_id": bundle}))["task_id"]
        end = time.monotonic() + 300
        while not (seen := json.loads(self.api("GET", f"/__api__/v1/tasks/{task}")))["finished"]:
            if time.monotonic() > end:
                raise SystemExit("the deployment does not end")
            time.sleep(0.1)
        if seen["code"] != 0:
            raise SystemExit("\n".join(seen["output"]))

    def figure(self, name, *labels):
        """The sum of a figure's lines that have these labels."""
        lines = self.api("GET", "/__lectern__/v1/metrics").splitlines()
        found = (line for line in lines if line.startswith(name) and all(label in line for label in labels))
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def stopped(self, app):
        """Waits until no process of an app is left."""
        self.wait(f"{app.name} to stop", lambda: not self.figure("lectern_content_workers", app.guid))

    def measure(self, app):
        """Milliseconds from a request to a stopped app to its first byte."""
        self.stopped(app)
        began = time.perf_counter()
        status = first_byte(self.port, f"/content/{app.guid}{app.path}", time.monotonic() + LONG)
        took = time.perf_counter() - began
        if status != 200:
            raise SystemExit(f"{app.name} answers {status}: {(self.home / 'log').read_text()[-4000:]}")
        return took * 1000

    def stop(self):
        """Stops the server, its workers and its zygotes."""
        if self.child is not None:
            self.child.send_signal(signal.SIGTERM)
            self.child.wait(LONG)
            self.child = None

    def environment(self, package):
        """The restored environment that has a package."""
        found = [path for path in (self.data / "environments").glob("*/lib/python*/site-packages") if (path / package).is_dir()]
        return found[0].parents[2]


class Plain:
    """The same app without Lectern, with the environment that Lectern restored."""

    def __init__(self, server, app):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = [word.replace("{port}", str(self.port)) for word in app.plain]
        env = {"PATH": os.environ["PATH"], "HOME": str(server.home), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        if app.mode:
            words[0] = str(server.environment(app.name) / "bin/python")
        self.began = time.perf_counter()
        self.child = subprocess.Popen(
            words, cwd=app.source, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )
        status = first_byte(self.port, app.path, time.monotonic() + LONG)
        self.took = (time.perf_counter() - self.began) * 1000
        if status != 200:
            raise SystemExit(f"{app.name} without Lectern answers {status}")

    def stop(self):
        """Ends it."""
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait(LONG)


def pss(pids):
    """The share of processes in the memory they hold, in MiB (proc_pid_smaps(5))."""
    found = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            found += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) / 1024
    return found


def trees(roots):
    """Processes and all that they started."""
    children = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, rest = int(stat.parent.name), stat.read_text().rsplit(") ", 1)[1]
            children.setdefault(int(rest.split()[1]), []).append(pid)
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def memory(server, app):
    """PSS of one plain process, of ten forked workers, and of their zygote, in MiB."""
    plain = Plain(server, app)
    one = pss(trees([plain.child.pid]))
    plain.stop()
    content = f"/__api__/v1/content/{app.guid}"
    server.api("PATCH", content, {"min_processes": 10, "max_processes": 10})
    ready = lambda: sum(server.figure("lectern_content_workers", app.guid, f'state="{state}"') for state in ("busy", "idle"))
    server.wait("ten workers", lambda: ready() == 10)
    for _ in range(30):
        first_byte(server.port, f"/content/{app.guid}{app.path}", time.monotonic() + LONG)
    keepers = []

    def noted():
        """Whether the record of jobs, which is written a moment later, has all of them."""
        jobs = json.loads(server.api("GET", f"{content}/jobs"))
        keepers[:] = [int(job["pid"]) for job in jobs if job["status"] == 0 and job["pid"]]
        return len(keepers) == 10

    server.wait("ten processes in the record of jobs", noted)
    parents = {int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1]) for pid in keepers}
    if len(parents) != 1:
        raise SystemExit(f"{app.name}: ten workers of {len(parents)} parents")
    ten, zygote = pss(trees(keepers)), pss(parents)
    server.api("PATCH", content, {"min_processes": 0, "max_processes": None})
    return one, ten, zygote


def drop_caches():
    """Has the kernel forget the files it holds; whether it did."""
    os.sync()
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
        return True
    return False


def main():
    """Measures and prints two tables."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cold", type=int, default=3, help="rounds with a new server and an empty file cache")
    parser.add_argument("--apps", default="fastapi,flask,plumber,shiny")
    parser.add_argument("--bin", type=pathlib.Path, default=target / "release/lectern")
    args = parser.parse_args()
    apps = [app for app in APPS if app.name in args.apps.split(",")]
    took = {app.name: {kind: [] for kind in ("plain", "cold", "without", "started", "zygote")} for app in apps}
    with contextlib.ExitStack() as stack:
        server = Lectern(stack, args)
        server.start(zygotes=False)
        for app in apps:
            server.publish(app)
        for app in apps * args.rounds:
            took[app.name]["without"].append(server.measure(app))
        server.stop()
        dropped = True
        for app in apps * args.cold:
            server.start(zygotes=True)
            dropped &= drop_caches()
            took[app.name]["cold"].append(server.measure(app))
            server.stop()
        for app in apps * args.cold:
            server.start(zygotes=True)
            took[app.name]["started"].append(server.measure(app))
            server.stop()
        server.start(zygotes=True)
        for app in apps:
            server.measure(app)
        for app in apps * args.rounds:
            took[app.name]["zygote"].append(server.measure(app))
            plain = Plain(server, app)
            plain.stop()
            took[app.name]["plain"].append(plain.took)
        print(f"{os.cpu_count()} cores; request to first byte of a stopped app, medians of {args.rounds} in ms "
              f"(cold and started: {args.cold}); file cache {'dropped' if dropped else 'not dropped'} for cold\n")
        print("| app | plain | Lectern, cold | warm, no zygote | zygote started | zygote waits | worst | plain / zygote |")
        print("|---|---|---|---|---|---|---|---|")
        for name, kinds in took.items():
            middle = {kind: statistics.median(times) for kind, times in kinds.items()}
            print(f"| {name} | {middle['plain']:.0f} | {middle['cold']:.0f} | {middle['without']:.0f} | {middle['started']:.0f} "
                  f"| {middle['zygote']:.0f} | {max(kinds['zygote']):.0f} | {middle['plain'] / middle['zygote']:.1f} |")
        print("\n| app | one plain process, MiB | ten forked | their zygote | ten / one |\n|---|---|---|---|---|")
        for app in apps:
            one, ten, zygote = memory(server, app)
            print(f"| {app.name} | {one:.1f} | {ten:.1f} | {zygote:.1f} | {ten / one:.1f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
