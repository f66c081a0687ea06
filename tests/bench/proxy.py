"""`just bench proxy`: what a request through Lectern costs, against nginx before the same upstream.

Contenders, all on loopback, all before `upstream` (tests/bench/upstream.rs: 100 bytes from a Unix socket):
  nginx                a plain reverse proxy with keep-alive to the upstream
  nginx auth_request   the same, asking an upstream of the same kind about each request first
  lectern              the gate on: routing and authentication by components, an API key with each request,
                       authorization, worker bookkeeping, bridge
  lectern anonymous    the same for content that anybody may open, without a key
The upstream is reached through Lectern as published content is: a bundle whose Python module replaces itself by the
upstream program. Nothing in Lectern knows of the benchmark. Lectern runs content as batch processes; nginx's upstreams are started so
too, so that the kernel treats both alike.

With `--contents N --keys M` the traffic is varied instead of one request repeated: 20,000 different requests for N content
items by M keys, with long random paths and queries behind them, the same for every contender. Each content item is a process of
its own; nginx has as many upstreams, found by their paths.

The figure is requests per CPU-second of the proxy's processes (user and system time of the tree, the upstream not
counted), because wrk and the upstream share the cores with it. Runs are interleaved, so that what else the machine does
falls on all alike; the median of the rounds is printed. Each run is bounded in time and connections.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import string
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

TARGET = pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / "release"
TOOLS = pathlib.Path(os.environ["LECTERN_TOOLS"])
TICKS = os.sysconf("SC_CLK_TCK")

# The content's module: finds the socket it was started with on its command line, and becomes the upstream.
MODULE = """
import os, shutil, stat
words = [os.fsdecode(word) for word in open("/proc/self/cmdline", "rb").read().split(b"\\0")]
path = next(word for word in words if word.startswith("/") and stat.S_ISSOCK(os.stat(word).st_mode))
program = os.path.join(os.path.dirname(path), "upstream")
shutil.copyfile(os.path.join(os.path.dirname(os.path.abspath(__file__)), "upstream"), program)
os.chmod(program, 0o700)
os.unlink(path)
os.execv(program, [program, path])
"""

NGINX = """
worker_processes {cores};
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    keepalive_requests 1000000;
    upstream content {{ server unix:{socket}; keepalive 64; keepalive_requests 1000000; }}
    upstream judge {{ server unix:{judge}; keepalive 64; keepalive_requests 1000000; }}
    {upstreams}
    server {{
        listen 127.0.0.1:{plain} reuseport;
        {plain_locations}
        location / {{ proxy_pass http://content; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
    server {{
        listen 127.0.0.1:{auth} reuseport;
        {auth_locations}
        location / {{ auth_request /judge; proxy_pass http://content; proxy_http_version 1.1; proxy_set_header Connection ""; }}
        location = /judge {{
            internal; proxy_pass http://judge; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_pass_request_body off; proxy_set_header Content-Length "";
        }}
    }}
}}
"""


def free_port():
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(what, test, seconds=120):
    """Waits until `test` answers something true."""
    end = time.time() + seconds
    while time.time() < end:
        with contextlib.suppress(OSError):
            found = test()
            if found:
                return found
        time.sleep(0.05)
    raise SystemExit(f"not within {seconds} s: {what}")


def children():
    """A dictionary from parent to children, of all processes."""
    tree = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                parent = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                tree.setdefault(parent, []).append(int(entry))
    return tree


def cpu_seconds(root, except_program):
    """User and system time of a process tree so far, without the processes that run `except_program`."""
    tree, waiting, ticks = children(), [root], 0
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):
            if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == except_program:
                continue
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        waiting.extend(tree.get(pid, []))
    return ticks / TICKS


def wrk(url, connections, seconds, key, script=None):
    """Runs wrk; returns the requests answered. Errors end the benchmark: a wrong answer is no throughput."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", url]
    if key:
        words[1:1] = ["-H", f"Authorization: Key {key}"]
    if script:
        words[1:1] = ["-s", script]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{url}: {said}")
    return int(re.search(r"(\d+) requests in", said)[1])


# Formats all requests once, before the clock runs, and sends them in turn.
VARIED = """
local requests, at = {{}}, 0
init = function()
    for line in io.lines("{list}") do
        local path, key = line:match("^(%S+) (%S+)$")
        requests[#requests + 1] = wrk.format("GET", path, {{["Authorization"] = "Key " .. key}})
    end
end
request = function()
    at = at % #requests + 1
    return requests[at]
end
"""


def varied(stack, paths, keys, count=20_000):
    """A script for wrk with `count` different requests: paths and keys at random, long tails behind them."""
    home = tempfile.mkdtemp(prefix="lectern-bench-", dir="/tmp")
    stack.callback(shutil.rmtree, home, ignore_errors=True)
    chance = random.Random(1)
    tail = lambda size: "".join(chance.choices(string.ascii_lowercase + string.digits, k=size))
    lines = (
        f"{chance.choice(paths)}{tail(12)}/{tail(20)}/{tail(8)}?q={tail(24)}&page={tail(4)} {chance.choice(keys)}" for _ in range(count)
    )
    (pathlib.Path(home) / "requests").write_text("\n".join(lines) + "\n")
    script = pathlib.Path(home) / "varied.lua"
    script.write_text(VARIED.format(list=pathlib.Path(home) / "requests"))
    return script


class Lectern:
    """A Lectern with the upstream published on it."""

    def __init__(self, stack):
        home = tempfile.mkdtemp(prefix="lectern-bench-", dir="/tmp")
        os.chmod(home, 0o711)
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        self.data = pathlib.Path(home) / "data"
        log = open(pathlib.Path(home) / "log", "wb")
        output = pathlib.Path(home) / "stdout"
        self.child = subprocess.Popen(
            [TARGET / "lectern", "serve", "--data-dir", self.data, "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=open(output, "wb"), stderr=log,
            env=os.environ | {"PATH": f"{os.environ['PATH']}:{TOOLS / 'bin'}", "LECTERN_LOG__LEVEL": "warn"},
        )
        stack.callback(self.stop)
        wait("lectern", lambda: "\nready" in "\n" + output.read_text() or self.child.poll() is not None)
        if self.child.poll() is not None:
            raise SystemExit((pathlib.Path(home) / "log").read_text())
        self.url = "http://127.0.0.1:" + re.search(r"127\.0\.0\.1:(\d+)", output.read_text())[1]
        self.verb("user", "add", "bench", "--role", "publisher")
        self.key = json.loads(self.verb("key", "create", "--user", "bench", "--json"))["key"]
        self.private = self.publish("bench-acl", None)
        self.open = self.publish("bench-all", "all")

    def verb(self, *words):
        """Runs a verb of the command line."""
        return subprocess.run(
            [TARGET / "lectern", *words, "--data-dir", self.data], capture_output=True, text=True, check=True
        ).stdout

    def api(self, method, path, body=None):
        """Asks the API."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method)
        request.add_header("Authorization", f"Key {self.key}")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as reply:
            return json.loads(reply.read() or b"null")

    def many(self, contents, keys):
        """Publishes the upstream `contents` times and makes `keys` keys; returns paths and keys."""
        made = [json.loads(self.verb("key", "create", "--user", "bench", "--name", f"k{n}", "--json"))["key"] for n in range(keys)]
        paths = []
        for number in range(contents):
            paths.append(self.publish(f"bench-{number}", None).removeprefix(self.url))
            print(f"\rpublished {number + 1} of {contents}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return paths, made

    def publish(self, name, access):
        """Publishes the upstream; returns its address."""
        guid = self.api("POST", "/__api__/v1/content", {"name": name})["guid"]
        # One process, kept, that takes all connections: the figure is the proxy's, not that of starting processes or of waiting.
        settings = {"max_processes": 1, "max_conns_per_process": 1000, "idle_timeout": 0} | ({"access_type": access} if access else {})
        self.api("PATCH", f"/__api__/v1/content/{guid}", settings)
        bundle = self.api("POST", f"/__api__/v1/content/{guid}/bundles", upstream_bundle())["id"]
        task = self.api("POST", f"/__api__/v1/content/{guid}/deploy", {"bundle_id": bundle})["task_id"]
        done = wait("the deployment", lambda: (seen := self.api("GET", f"/__api__/v1/tasks/{task}"))["finished"] and seen)
        if done["code"] != 0:
            raise SystemExit("\n".join(done["output"]))
        return f"{self.url}/content/{guid}/"

    def stop(self):
        """Stops the server."""
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(90)


def upstream_bundle():
    """The upstream as a bundle of Python content."""
    version = subprocess.check_output(["/usr/bin/python3", "-c", "import platform; print(platform.python_version())"], text=True).strip()
    program = (TARGET / "upstream").read_bytes()
    files = {"app.py": MODULE.encode(), "requirements.txt": b"uvicorn>=0.29,<1\n", "upstream": program}
    manifest = {
        "version": 1,
        "metadata": {"appmode": "python-fastapi", "entrypoint": "app"},
        "python": {"version": version, "package_manager": {"name": "pip", "package_file": "requirements.txt"}},
        "files": {name: {"checksum": ""} for name in files},
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, contents in {"manifest.json": json.dumps(manifest).encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(contents), 0o644
            archive.addfile(member, io.BytesIO(contents))
    return out.getvalue()


def start_nginx(stack, paths=()):
    """Starts nginx with its two upstreams, and one more for each of `paths`; returns its pid and the addresses of both servers."""
    home = tempfile.mkdtemp(prefix="lectern-bench-", dir="/tmp")
    # As root nginx's workers would become another account, which must reach the sockets.
    os.chmod(home, 0o777)
    stack.callback(shutil.rmtree, home, ignore_errors=True)
    for name in ("content", "judge", *(f"content{number}" for number in range(len(paths)))):
        upstream = subprocess.Popen(
            ["chrt", "--batch", "0", TARGET / "upstream", f"{home}/{name}.sock"], stdin=subprocess.DEVNULL
        )
        stack.callback(upstream.kill)
        wait("the upstream", lambda name=name: os.path.exists(f"{home}/{name}.sock"))
        os.chmod(f"{home}/{name}.sock", 0o777)
    # An upstream process for each path, as Lectern has one for each content item.
    upstreams = "\n    ".join(
        f"upstream content{number} {{ server unix:{home}/content{number}.sock; keepalive 64; keepalive_requests 1000000; }}"
        for number in range(len(paths))
    )
    keep = 'proxy_http_version 1.1; proxy_set_header Connection "";'
    locations = [
        "\n        ".join(
            f"location {path} {{ {ask}proxy_pass http://content{number}; {keep} }}" for number, path in enumerate(paths)
        )
        for ask in ("", "auth_request /judge; ")
    ]
    ports = free_port(), free_port()
    config = pathlib.Path(home) / "nginx.conf"
    config.write_text(NGINX.format(
        dir=home, socket=f"{home}/content.sock", judge=f"{home}/judge.sock",
        plain=ports[0], auth=ports[1], cores=os.cpu_count(),
        upstreams=upstreams, plain_locations=locations[0], auth_locations=locations[1],
    ))
    program = next(p for p in ("/usr/sbin/nginx", str(TOOLS / "nginx/usr/sbin/nginx")) if os.access(p, os.X_OK))
    child = subprocess.Popen([program, "-p", home, "-c", config, "-g", "daemon off;"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(child.wait, 30)
    stack.callback(child.terminate)
    for port in ports:
        wait("nginx", lambda port=port: socket.create_connection(("127.0.0.1", port)).close() or True)
    version = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr.strip().rpartition("/")[2]
    return child.pid, version, *(f"http://127.0.0.1:{port}/" for port in ports)


def main():
    """Measures and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--contents", type=int, default=0, help="content items of varied traffic; 0: one request repeated")
    parser.add_argument("--keys", type=int, default=200, help="API keys of varied traffic")
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 256])
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        lectern = Lectern(stack)
        paths, keys = lectern.many(args.contents, args.keys) if args.contents else ([], [])
        nginx, version, plain, auth = start_nginx(stack, paths)
        contenders = {
            "nginx": (nginx, plain, None),
            "nginx auth_request": (nginx, auth, None),
            "lectern": (lectern.child.pid, lectern.private, lectern.key),
            "lectern anonymous": (lectern.child.pid, lectern.open, None),
        }
        script = None
        if args.contents:
            script = varied(stack, paths, keys)
            contenders = {
                "nginx": (nginx, plain, None),
                "nginx auth_request": (nginx, auth, None),
                "lectern": (lectern.child.pid, lectern.url, None),
            }
            print(f"varied: {args.contents} content items, {args.keys} keys, 20,000 different requests")
        print(f"nginx {version}, {os.cpu_count()} cores, {args.rounds} rounds of {args.seconds} s, wrk with one thread\n")
        for connections in args.connections:
            measured = {name: [] for name in contenders}
            # Varied traffic sees each of its requests before the clock runs.
            warm = 5 if script else 1
            for number in range(args.rounds + 1):
                for name, (pid, url, key) in contenders.items():
                    before = cpu_seconds(pid, "upstream")
                    start = time.time()
                    requests = wrk(url, connections, args.seconds if number else warm, key, script)
                    took, used = time.time() - start, cpu_seconds(pid, "upstream") - before
                    if number:  # the first round warms up: connections, caches, learned decisions
                        measured[name].append((requests / used, requests / took))
            middle = {name: statistics.median(run[0] for run in runs) for name, runs in measured.items()}
            print(f"| {connections} connections | requests per CPU-second | spread | CPU per request | requests/s | × nginx | × auth_request |")
            print("|---|---|---|---|---|---|---|")
            for name, runs in measured.items():
                rates = [run[0] for run in runs]
                print(
                    f"| {name} | {middle[name]:,.0f} | {min(rates):,.0f}–{max(rates):,.0f} | {1e6 / middle[name]:.1f} µs "
                    f"| {statistics.median(run[1] for run in runs):,.0f} | {middle[name] / middle['nginx']:.2f} "
                    f"| {middle[name] / middle['nginx auth_request']:.2f} |"
                )
            print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
