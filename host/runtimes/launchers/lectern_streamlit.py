"""Runs one Streamlit script on a Unix socket, behind Lectern's bridge.

    lectern_streamlit.py SOCKET SCRIPT GRACE_SECONDS KEEP_ALIVE_SECONDS

The bridge sends paths without the place the content is mounted at; Streamlit's pages find everything relative to their own
address, so several mounts (its GUID, a vanity path) serve. WebSockets are accepted from pages of the same host.
"""

import os
import socket
import sys
from urllib.parse import urlsplit

# Here the publisher's `.streamlit/config.toml` does not count: these say where and how the server runs.
OPTIONS = {
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.runOnSave": False,
    "server.baseUrlPath": "",
    "server.enableXsrfProtection": True,
    "server.enableCORS": True,
    "global.developmentMode": False,
    "browser.gatherUsageStats": False,
}


def address():
    """Where browsers find the server: Streamlit would ask a server on the internet what this machine's address is."""
    server = urlsplit(os.environ.get("CONNECT_SERVER", ""))
    port = server.port or (443 if server.scheme == "https" else 80)
    return {"browser.serverAddress": server.hostname or "localhost", "browser.serverPort": port}


def listen(path, grace, keep_alive):
    """Has uvicorn, which newer versions of Streamlit are served by, listen on the socket; Streamlit itself asks for ports only."""
    import uvicorn
    from streamlit.web.server.starlette import starlette_server

    def bind(_address, _port, _backlog):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        listener.bind(path)
        os.umask(before)
        return listener

    starlette_server._bind_socket = bind
    usual = uvicorn.Config.__init__

    def __init__(self, *args, **kwargs):
        # Idle connections: five seconds unless told, and the bridge would send requests into closing ones.
        ours = {"timeout_keep_alive": keep_alive, "timeout_graceful_shutdown": grace}
        usual(self, *args, **{**ours, **kwargs})

    uvicorn.Config.__init__ = __init__


def main():
    path, script, grace, keep_alive = sys.argv[1:5]
    ours = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if place != ours]
    sys.argv = [script]
    from streamlit.web import bootstrap
    from streamlit.web.server import server

    options = {name.replace(".", "_"): value for name, value in {**OPTIONS, **address()}.items()}
    if hasattr(server, "start_listening_unix_socket"):
        # Served by Tornado, which keeps idle connections for an hour and makes the socket private.
        options["server_address"] = f"unix://{path}"
    else:
        listen(path, int(grace), int(keep_alive))
    bootstrap.load_config_options(flag_options=options)
    print(f"Streamlit serves {script}", file=sys.stderr, flush=True)
    bootstrap.run(os.path.abspath(script), False, [], options)


if __name__ == "__main__":
    main()
