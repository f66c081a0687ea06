"""An ASGI app that runs the Python code it is sent, in a process of its own or in itself."""

import subprocess
import sys


async def app(scope, receive, send):
    """POST /try runs the body in a child process and answers what it printed; POST /here runs it in this process."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if path == "/here":
        exec(body.decode(), {})
        answer = "done"
    else:
        run = subprocess.run([sys.executable, "-c", body.decode()], capture_output=True, text=True, timeout=120)
        answer = (run.stdout + run.stderr).strip().splitlines()[-1:] or [f"status {run.returncode}"]
        answer = answer[0]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": answer.encode()})
