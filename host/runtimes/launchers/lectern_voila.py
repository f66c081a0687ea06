"""Runs Voila for one notebook, or for a directory of them, on a Unix socket, behind Lectern's bridge.

    lectern_voila.py SOCKET NOTEBOOK_OR_DIRECTORY GRACE_SECONDS KEEP_ALIVE_SECONDS

The bridge sends paths without the place the content is mounted at, and always overwrites the X-Forwarded headers: they can be
trusted. One worker is reached by several mounts (its GUID, a vanity path), so the base of Voila's addresses is taken per request.
"""

import inspect
import os
import sys

OPTIONS = [
    "--no-browser",
    "--Voila.base_url=/",
    # The kernel of a page that was closed without a word is ended after so many seconds.
    "--MappingKernelManager.cull_idle_timeout=300",
    "--MappingKernelManager.cull_interval=60",
    "--Voila.log_level=WARN",
]


def follow_the_mount():
    """Has Jupyter's handlers ask for the base of addresses each time."""
    from jupyter_server.base.handlers import AuthenticatedHandler

    def base_url(self):
        return self.request.headers.get("X-Forwarded-Prefix", "").rstrip("/") + "/"

    AuthenticatedHandler.base_url = property(base_url)


def end_kernels_with_their_pages():
    """A page that is closed asks for the end of its kernel, and proves with a cookie that it is one of ours: Voila checks it, but
    sets it only when something asks for its value."""
    from voila.handler import VoilaHandler

    usual = VoilaHandler.prepare

    async def prepare(self, *args, **kwargs):
        done = usual(self, *args, **kwargs)
        if inspect.isawaitable(done):
            await done
        if not self._finished:
            _ = self.xsrf_token

    VoilaHandler.prepare = prepare


def main():
    path, entry = sys.argv[1:3]
    ours = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if place != ours]
    sys.argv = [entry]
    from tornado.httpserver import HTTPServer
    from tornado.ioloop import IOLoop
    from tornado.netutil import bind_unix_socket
    from voila.app import Voila

    follow_the_mount()
    end_kernels_with_their_pages()

    class Served(Voila):
        """Voila on a Unix socket."""

        name = "voila"

        def listen(self):
            server = HTTPServer(self.app, xheaders=True)
            server.add_socket(bind_unix_socket(path, mode=0o600))
            self.ioloop = IOLoop.current()
            print(f"Voila serves {entry}", file=sys.stderr, flush=True)
            try:
                self.ioloop.start()
            finally:
                server.stop()
                self.stop()

    Served.launch_instance(argv=[entry, *OPTIONS])


if __name__ == "__main__":
    main()
