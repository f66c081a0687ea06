"""The demo from the build on: starts Lectern without a configuration file, publishes two examples with the real
`rsconnect` command line, asks each for a result, and stays up until Ctrl-C.

Started by scripts/demo. Uses nothing but Python's standard library. What it keeps for the next run (API key, password,
which content item belongs to which example) is in `<data directory>/demo`, readable by its owner only.
"""

import base64
import contextlib
import ctypes
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = pathlib.Path(os.environ["LECTERN_TOOLS"])
TARGET = pathlib.Path(os.environ["CARGO_TARGET_DIR"])
STARTED = float(os.environ.get("DEMO_STARTED", time.time()))
STEPS = 9
PORT = 3939
READY_SECONDS = 180  # a first start makes a database cluster and compiles the plugins
STOP_SECONDS = 60  # the server's own limits for requests, workers and database are shorter


class Unfollowed(urllib.request.HTTPRedirectHandler):
    """Shows a redirect as the answer it is: a sign-in page is not the content that was asked for."""

    def redirect_request(self, *_):
        return None


# No proxy: the server is on this machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), Unfollowed)


class Failed(Exception):
    """The demo cannot go on; the text says why and what to do."""


class Stopped(Exception):
    """Somebody asked the demo to end."""


@contextlib.contextmanager
def step(number, name):
    """Prints a step and how long it took."""
    print(f"[{number}/{STEPS}] {name}", flush=True)
    start = time.time()
    yield
    print(f"      done in {time.time() - start:.1f} s", flush=True)


def note(text):
    """Prints a line that belongs to the current step."""
    print(f"      {text}", flush=True)


def closed_parent(path):
    """The first directory on the way to `path` that other accounts may not pass; None when they may pass all."""
    for parent in [*reversed(path.parents), path]:
        if parent.exists() and not parent.stat().st_mode & 0o001:
            return parent
    return None


def data_directory():
    """Where the demo's data goes: beside the clone when the accounts that content runs as can get there."""
    beside = ROOT / "lectern-data"
    if os.geteuid() != 0:
        return beside
    closed = closed_parent(ROOT)
    if closed is None:
        return beside
    elsewhere = pathlib.Path("/var/lib/lectern-demo")
    note(f"data goes to {elsewhere}: content runs under accounts of its own, and they cannot pass {closed}")
    return elsewhere


def free_port():
    """The usual port, or the next one that is free."""
    for port in range(PORT, PORT + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port != PORT:
            note(f"port {PORT} is taken; using {port}")
        return port
    raise Failed(f"no free port between {PORT} and {PORT + 99}")


def processes():
    """All processes, as a dictionary from pid to (start time, parent, command line and directory in one text)."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z":
                continue
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            with contextlib.suppress(OSError):
                words += " " + os.readlink(entry / "cwd")
            found[int(entry.name)] = (fields[19], int(fields[1]), words)
    return found


class Server:
    """The running `lectern serve`."""

    def __init__(self, data, log):
        self.data, self.log, self.child, self.url = data, log, None, None
        self.binary = TARGET / "release" / "lectern"
        self.secret = base64.b64encode(secrets.token_bytes(32)).decode()

    def start(self):
        """Starts it and waits for the line `ready`."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        # uv is found on the PATH. CONNECT_BOOTSTRAP_SECRETKEY lets `rsconnect bootstrap` make the first administrator.
        env = os.environ | {
            "PATH": f"{os.environ['PATH']}:{TOOLS / 'bin'}",
            "CONNECT_BOOTSTRAP_SECRETKEY": self.secret,
        }
        note(f"lectern serve --data-dir {self.data} --listen 127.0.0.1:{port}   (log: {self.log})")
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                [self.binary, "serve", "--data-dir", self.data, "--listen", f"127.0.0.1:{port}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,  # Ctrl-C reaches the demo, which then stops the server in order
                preexec_fn=end_with_parent,
            )
        deadline = time.time() + READY_SECONDS
        while not any(line.strip() == "ready" for line in self.lines()):
            if self.child.poll() is not None:
                raise Failed(f"the server ended with status {self.child.returncode}:\n" + self.tail())
            if time.time() > deadline:
                raise Failed(f"the server is not ready after {READY_SECONDS} s:\n" + self.tail())
            time.sleep(0.05)

    def lines(self):
        """What the server has printed."""
        return self.log.read_text(errors="replace").splitlines()

    def tail(self):
        """The end of it."""
        return "\n".join("        " + line for line in self.lines()[-20:])

    def ask(self, path, key=None):
        """GETs a path or an address; returns status and body."""
        request = urllib.request.Request(path if path.startswith("http") else self.url + path)
        if key:
            request.add_header("Authorization", f"Key {key}")
        try:
            with OPENER.open(request, timeout=120) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def command(self, *words, given=None):
        """Runs a `lectern` verb on the running server; returns what it printed."""
        done = subprocess.run(
            [self.binary, *words, "--data-dir", self.data], input=given, text=True, capture_output=True, check=False
        )
        if done.returncode != 0:
            raise Failed(f"lectern {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def rsconnect(self, *words, raw=False, **env):
        """Runs `rsconnect`; returns what it printed, or (`raw`) only its standard output."""
        done = subprocess.run(
            [TOOLS / "bin" / "rsconnect", *words],
            env=os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | env,
            stdin=subprocess.DEVNULL,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise Failed(f"rsconnect {words[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.strip() if raw else done.stdout + done.stderr

    def stop(self):
        """Stops it, in order, and sees to it that nothing of it is left. Returns whether it ended by itself."""
        if self.child is None:
            return True
        mine = {self.child.pid}
        before = processes()
        grown = True
        while grown:
            more = {pid for pid, (_, parent, _) in before.items() if parent in mine} - mine
            mine, grown = mine | more, bool(more)
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                note(f"the server did not stop within {STOP_SECONDS} s: killing it")
                self.child.kill()
                self.child.wait()
        after = processes()
        # The same pid with the same start time is the same process. Orphans are known by what they run on; whoever
        # else looks at the data directory (a shell, a pager) has a parent and is left alone.
        left = {pid for pid in mine if pid in after and pid in before and after[pid][0] == before[pid][0]}
        left |= {pid for pid, (_, parent, words) in after.items() if parent == 1 and f"{self.data}/" in words + "/"}
        for pid in left:
            note(f"still there, killed: {pid} {after[pid][2][:100]}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left and self.child.returncode == 0


def end_with_parent():
    """Asks the kernel for SIGTERM when the parent ends, even by kill -9."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Notes:
    """What the demo remembers, in a file readable by its owner only."""

    def __init__(self, path):
        self.path = path
        self.values = json.loads(path.read_text()) if path.exists() else {}

    def __getitem__(self, name):
        return self.values.get(name)

    def __setitem__(self, name, value):
        self.values[name] = value
        new = self.path.with_suffix(".new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self.values, file, indent=2)
        os.replace(new, self.path)


def administrator(server, notes):
    """Makes the first administrator, or finds the one of the last run again. Returns the name."""
    key = notes["key"]
    if key and server.ask("/__api__/v1/user", key)[0] == 200:
        note("reusing the administrator of the last run")
    else:
        note("rsconnect bootstrap --raw")
        key = server.rsconnect("bootstrap", "--raw", "-s", server.url, raw=True, CONNECT_BOOTSTRAP_SECRETKEY=server.secret)
        if not key:
            # There are accounts, but this demo has no key of theirs: make one on the machine itself.
            users = json.loads(server.command("user", "list", "--json"))
            names = [user["username"] for user in users if user["role"] == "administrator"]
            if not names:
                raise Failed("rsconnect bootstrap made no administrator, and there is none:\n" + server.tail())
            note(f"there is an administrator already: making a key for {names[0]}")
            key = server.command("key", "create", "--user", names[0], "--name", "demo")
        notes["key"] = key
    status, body = server.ask("/__api__/v1/user", key)
    if status != 200:
        raise Failed(f"the administrator's key is refused: {status} {body}")
    name = json.loads(body)["username"]
    if not notes["password"]:
        password = secrets.token_urlsafe(12)
        server.command("user", "set-password", name, "--password-stdin", given=password)
        notes["password"] = password
    return name


def publish(server, notes, example, title, *words):
    """Publishes an example: a new content item the first time, a new version of it from then on. Returns its address."""
    key, known = notes["key"], notes[f"{example}.guid"]
    if known and server.ask(f"/__api__/v1/content/{known}", key)[0] == 200:
        where = ["--app-id", known]
    else:
        where = ["--new", "--title", title]
    # A copy, so that rsconnect's own notes do not end up in the clone.
    copy = server.data / "demo" / "published" / example
    shutil.copytree(ROOT / "examples" / example, copy, dirs_exist_ok=True)
    shown = [*words[:-1], f"examples/{words[-1]}"]
    note(f"rsconnect deploy {' '.join(shown)} {' '.join(where[:1])} …")
    path = copy.parent / words[-1]
    output = server.rsconnect("deploy", *words[:-1], "-s", server.url, "-k", key, *where, path)
    if not known or where[0] == "--new":
        listed = json.loads(server.ask("/__api__/v1/content", key)[1])
        known = next((item["guid"] for item in listed if item["guid"] in output), None)
        if known is None:
            raise Failed(f"rsconnect names no content item of this server:\n{output}")
        notes[f"{example}.guid"] = known
    item = json.loads(server.ask(f"/__api__/v1/content/{known}", key)[1])
    return item["content_url"]


def result(server, notes, address, path, judge):
    """Asks published content for something and checks the answer."""
    start = time.time()
    status, body = server.ask(address + path, notes["key"])
    try:
        right = status == 200 and judge(json.loads(body))
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise Failed(f"GET {address}{path}: {status} {body[:500]}")
    note(f"GET …/{path} → {body.strip()}   ({1000 * (time.time() - start):.0f} ms)")
    if server.ask(address + path)[0] == 200:
        raise Failed(f"{address} answered somebody without an account")


def build():
    """Builds the server, with the plugins it ships."""
    command = ["cargo", "build", "--release", "--locked", "-p", "lectern-server", "--bin", "lectern"]
    note(" ".join(command) + f"   (into {TARGET}; some minutes the first time)")
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise Failed("the build failed")


def demo(check):
    """All steps. Returns when the demo is over."""
    with step(4, "Building"):
        build()
    server = None
    try:
        with step(5, "Starting the server, with no configuration file"):
            data = data_directory()
            # 0711: accounts of content may pass, to what they are given; this directory's own names stay private.
            data.mkdir(mode=0o711, parents=True, exist_ok=True)
            (data / "demo").mkdir(mode=0o700, exist_ok=True)
            notes = Notes(data / "demo" / "notes.json")
            server = Server(data, data / "demo" / "server.log")
            server.start()
        with step(6, "The first administrator"):
            user = administrator(server, notes)
        with step(7, "Publishing examples/fastapi"):
            fastapi = publish(server, notes, "fastapi", "Forecast", "fastapi", "fastapi")
        with step(8, "Publishing examples/plumber"):
            plumber = publish(server, notes, "plumber", "Fuel use", "manifest", "plumber/manifest.json")
        with step(9, "Asking each for a result"):
            forecast, mpg = "forecast?values=10,12,14,16&steps=2", "predict?weight=3&horsepower=110"
            result(server, notes, fastapi, forecast, lambda answer: answer["forecast"] == [18, 20])
            result(server, notes, plumber, mpg, lambda answer: abs(answer["mpg"] - 22.1) < 0.01)
        print(f"\nLectern runs; this took {time.time() - STARTED:.0f} s.\n")
        print(f"  dashboard        {server.url}/connect/")
        print(f"  sign in as       {user}   password  {notes['password']}")
        print(f"  API key          {notes['key']}")
        print(f"  FastAPI app      {fastapi}")
        print(f"  Plumber API      {plumber}\n")
        print("Try next:")
        print(f"  curl -H 'Authorization: Key {notes['key']}' '{fastapi}{forecast}'")
        print(f"  curl -H 'Authorization: Key {notes['key']}' '{plumber}{mpg}'")
        print(f"  {TOOLS / 'bin' / 'rsconnect'} deploy flask -s {server.url} -k {notes['key']} examples/flask")
        print(f"  {server.binary} user add ada --role publisher --data-dir {data}")
        print("  docs/publishing.md, docs/operating.md\n", flush=True)
        if not check:
            print("Ctrl-C stops it.", flush=True)
            status = server.child.wait()
            raise Failed(f"the server ended by itself with status {status}:\n" + server.tail())
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # one is enough: the stop is bounded
        start = time.time()
        clean = server is None or server.stop()
        if server and clean:
            print(f"stopped in {time.time() - start:.1f} s; no process is left", flush=True)
    if not clean:
        raise Failed("the server did not stop cleanly")


def main():
    """Runs the demo; the exit status says how it went."""

    def stop(_number, _frame):
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    end_with_parent()
    check = "--check" in sys.argv[1:]
    try:
        demo(check)
    except Stopped:
        # Stopped before it had shown everything is a failed check.
        return 1 if check else 0
    except Failed as why:
        print(f"\nerror: {why}", file=sys.stderr)
        return 1
    if check:
        print(f"check passed in {time.time() - STARTED:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
