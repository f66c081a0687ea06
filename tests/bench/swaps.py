"""`just bench swaps`: swaps of a plugin on the running demo, while its two apps are asked all the time.

Starts the demo's server in a directory of its own, publishes examples/fastapi and examples/plumber with `rsconnect` as the demo
does, and swaps the release of `content-router` between two configurations, one command after another, while wrk asks both apps.
Each swap is checked: a host that only one of the two knows must lead to the app, or must not, at once after the command.

Prints requests, failures, resident memory before and after, the time from a command to its answer (the release is live then) and
the time until the last request of the old release ended. The exit status is 1 when a request failed or a swap was not live.
Bounded: it ends after `--swaps` swaps, or after `--seconds` at the latest.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
demo = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(demo)

FORECAST = "forecast?values=10,12,14,16&steps=2"
PREDICT = "predict?weight=3&horsepower=110"
# After so many swaps, all that is kept from one to the next is there.
SETTLED = 50


def resident(pid):
    """Resident memory of a process, in KiB."""
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def swap(server, key, config, number):
    """Swaps the router's release; returns the seconds until the answer."""
    body = json.dumps({"release": {"config": config}, "reason": f"swap {number}"}).encode()
    request = urllib.request.Request(f"{server.url}/__lectern__/v1/bindings/content-router/swap", data=body, method="POST")
    request.add_header("Authorization", f"Key {key}")
    request.add_header("Content-Type", "application/json")
    start = time.perf_counter()
    with demo.OPENER.open(request, timeout=60) as reply:
        reply.read()
    return time.perf_counter() - start


def shows(server, key, host):
    """Whether this host leads to the FastAPI app."""
    request = urllib.request.Request(f"{server.url}/{FORECAST}")
    request.add_header("Authorization", f"Key {key}")
    request.add_header("Host", host)
    try:
        with demo.OPENER.open(request, timeout=60) as reply:
            return json.loads(reply.read()).get("forecast") == [18, 20]
    except (urllib.error.HTTPError, ValueError):
        return False


def load(url, key, connections, seconds):
    """Starts wrk on an address."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency"]
    return subprocess.Popen([*words, "-H", f"Authorization: Key {key}", url], stdout=subprocess.PIPE, text=True)


def part(values, share):
    """A percentile."""
    return sorted(values)[min(len(values) - 1, len(values) * share // 100)]


def measure(args, home):
    """Runs it all; returns the exit status."""
    data = home / "data"
    data.mkdir(mode=0o711)
    (data / "demo").mkdir(mode=0o700)
    notes = demo.Notes(data / "demo" / "notes.json")
    server = demo.Server(data, data / "demo" / "server.log")
    try:
        server.start()
        demo.administrator(server, notes)
        key = notes["key"]
        fastapi = demo.publish(server, notes, "fastapi", "Forecast", "fastapi", "fastapi")
        plumber = demo.publish(server, notes, "plumber", "Fuel use", "manifest", "plumber/manifest.json")
        server.ask(fastapi + FORECAST, key), server.ask(plumber + PREDICT, key)
        host, guid = f"{secrets.token_hex(4)}.example", notes["fastapi.guid"]
        pid = server.child.pid
        wrks = [load(fastapi + FORECAST, key, 16, args.seconds), load(plumber + PREDICT, key, 2, args.seconds)]
        took, wrong, before, settled, start = [], 0, resident(pid), None, time.time()
        for number in range(1, args.swaps + 1):
            known = number % 2 == 1
            took.append(swap(server, key, {"hosts": {host: guid} if known else {}}, number))
            wrong += shows(server, key, host) != known
            settled = settled or (resident(pid) if number >= SETTLED else None)
            if time.time() - start > args.seconds - 5:
                break
        seconds, swaps = time.time() - start, len(took)
        after = resident(pid)
        said = [wrk.communicate(timeout=args.seconds + 60)[0] for wrk in wrks]
        log = server.log.read_text(errors="replace")
        # The log may be coloured.
        drained = [int(us) / 1000 for us in re.findall(r"drained_micros\D*?=\D*?(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", log))]
    finally:
        server.stop()
    print(f"swaps                 {swaps} in {seconds:.1f} s, {wrong} not live when they were answered")
    failed = 0
    for name, text in zip(["FastAPI", "Plumber"], said, strict=True):
        rate = re.search(r"Requests/sec:\s+([\d.]+)", text)[1]
        count = re.search(r"(\d+) requests in", text)[1]
        latency = dict(re.findall(r"(50|99)%\s+(\S+)", text))
        bad = [int(number) for number in re.findall(r"(?:Non-2xx or 3xx responses: |connect |read |write |timeout )(\d+)", text)]
        failed += sum(bad)
        print(f"requests to {name:<9} {count}, {rate} a second, {sum(bad)} failed; p50 {latency.get('50')}, p99 {latency.get('99')}")
    ms = [1000 * one for one in took]
    print(f"command to live       p50 {statistics.median(ms):.1f} ms, p99 {part(ms, 99):.1f} ms")
    if drained:
        print(f"drain of old chains   p50 {statistics.median(drained):.1f} ms, p99 {part(drained, 99):.1f} ms, of {len(drained)}")
    print(f"resident memory       {before} KiB before, {settled} KiB after {SETTLED}, {after} KiB after {swaps}")
    return 1 if failed or wrong or swaps < args.swaps else 0


def main():
    """Reads the arguments and makes a directory that content's accounts can pass."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--swaps", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=90)
    args = parser.parse_args()
    os.umask(0o022)
    home = pathlib.Path(tempfile.mkdtemp(prefix="lectern-bench-", dir="/tmp"))
    home.chmod(0o711)
    try:
        return measure(args, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
