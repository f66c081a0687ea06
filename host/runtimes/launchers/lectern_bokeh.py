"""Runs one Bokeh or Panel application on a Unix socket, behind Lectern's bridge.

    lectern_bokeh.py SOCKET FILE_OR_DIRECTORY GRACE_SECONDS KEEP_ALIVE_SECONDS

The bridge sends paths without the place the content is mounted at. One worker is reached by several mounts (its GUID, a vanity
path), so pages refer to scripts and styles relative to their own address, and the application is at the root instead of below
its file's name. WebSockets are accepted from pages of the same host, or from where BOKEH_ALLOW_WS_ORIGIN says.
"""

import argparse
import os
import sys
from urllib.parse import urlsplit

# What makes a directory with a main.py more than a script (Bokeh: "Directory format").
PARTS = ("templates", "theme.yaml", "theme.yml", "app_hooks.py", "request_handler.py", "server_lifecycle.py", "static")


def application_of(entry):
    """What Bokeh is asked to serve: the file, or the directory when the file is a part of one."""
    directory = os.path.dirname(entry) or "."
    if os.path.basename(entry) in ("main.py", "main.ipynb"):
        if any(os.path.exists(os.path.join(directory, part)) for part in PARTS):
            return directory
    return entry


def serve_command():
    """The `serve` command of Panel where it is installed, and else of Bokeh: Panel's objects need Panel's server."""
    try:
        from panel.command.serve import Serve
    except ImportError:
        from bokeh.command.subcommands.serve import Serve
    return Serve


def listen(path):
    """Bokeh before 3.0 asks for ports only."""
    import bokeh.server.server
    from tornado.netutil import bind_unix_socket

    bokeh.server.server.bind_sockets = lambda _address, _port: ([bind_unix_socket(path)], 0)


def accept_own_pages():
    """Bokeh knows hosts by configuration; here they are those that requests come for."""
    from bokeh.server.views.ws import WSHandler

    usual = WSHandler.check_origin

    def check_origin(self, origin):
        host = self.request.headers.get("Host", "").lower()
        return urlsplit(origin).netloc.lower() == host or usual(self, origin)

    WSHandler.check_origin = check_origin


def refer_relatively():
    """Scripts and styles are addressed relative to the page, unless an absolute address is asked for."""
    from bokeh.server.tornado import BokehTornado

    usual = BokehTornado.resources

    def resources(self, absolute_url=None):
        found = usual(self, absolute_url)
        if not absolute_url and found.mode.startswith("server"):
            found = type(found)(mode=found.mode, root_url="./", path_versioner=found.path_versioner)
        return found

    BokehTornado.resources = resources


def main():
    path, entry = sys.argv[1:3]
    ours = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if place != ours]
    sys.path.insert(0, os.getcwd())
    application = application_of(entry)
    sys.argv = [application]
    accept_own_pages()
    serve = serve_command()

    class Served(serve):
        """The command, with a single file at the root."""

        def customize_applications(self, args, applications):
            applications = super().customize_applications(args, applications)
            # Bokeh serves a directory's own files below its name; the root leads there. The bundle's is made up by the server.
            if application == ".":
                return {"/app": next(iter(applications.values()))}
            if not os.path.isdir(application):
                return {"/": next(iter(applications.values()))}
            return applications

    if serve.__module__.startswith("bokeh."):
        # Panel does so itself.
        refer_relatively()
    parser = argparse.ArgumentParser()
    command = Served(parser)
    words = [application, "--use-xheaders", "--log-level", "warning"]
    if "--unix-socket" in parser.format_help():
        words += ["--unix-socket", path]
    else:
        listen(path)
    args = parser.parse_args(words)
    print(f"{serve.__module__.split('.')[0].capitalize()} serves {application}", file=sys.stderr, flush=True)
    command.invoke(args)


if __name__ == "__main__":
    main()
