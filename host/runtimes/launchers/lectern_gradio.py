"""Runs one Gradio application with uvicorn on a Unix socket, behind Lectern's bridge.

    lectern_gradio.py SOCKET MODULE[:OBJECT] GRACE_SECONDS KEEP_ALIVE_SECONDS

The module is run as `python module.py` would, so that what it gives to `launch()` counts (theme, allowed paths, sign-in),
below `if __name__ == "__main__"` too; `launch()` itself opens no port here, it only says what is to be served.
"""

import inspect
import os
import runpy
import sys

HOME = os.environ.get("TMPDIR", "/tmp")

# Names that are looked for when nothing was launched, in this order.
USUAL = ("demo", "app", "iface", "interface", "blocks")

# Gradio writes beside the script where nobody says otherwise, and the bundle is read-only.
PLACES = {"GRADIO_TEMP_DIR": "gradio", "GRADIO_EXAMPLES_CACHE": "gradio-examples"}
FLAGGED = "gradio-flagged"
SETTINGS = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SSR_MODE": "False"}


class Launched:
    """What a module asked to be served."""

    def __init__(self):
        # Blocks with the arguments of their launch, and ASGI applications that were given to uvicorn.
        self.blocks, self.asgi = [], []

    def listen(self):
        """Takes the place of what would open a port."""
        import gradio
        import uvicorn

        signature = inspect.signature(gradio.Blocks.launch)

        def launch(blocks, *args, **kwargs):
            arguments = dict(signature.bind(blocks, *args, **kwargs).arguments)
            arguments.pop("self", None)
            self.blocks.append((blocks, arguments))
            return None, "", ""

        interface = gradio.Interface.__init__

        def __init__(self, *args, **kwargs):
            interface(self, *args, **{"flagging_dir": os.path.join(HOME, FLAGGED), **kwargs})

        gradio.Interface.__init__ = __init__
        gradio.Blocks.launch = launch
        uvicorn.run = lambda app, *args, **kwargs: self.asgi.append(app)

    def arguments_of(self, blocks):
        """What the last launch of `blocks` was given."""
        return next((arguments for one, arguments in reversed(self.blocks) if one is blocks), {})


def find(module, wanted, launched):
    """The blocks, or the ASGI application, that are to be served; `None` when there are none."""
    import gradio

    def is_one(found):
        return isinstance(found, gradio.Blocks) or inspect.iscoroutinefunction(getattr(type(found), "__call__", None))

    if wanted:
        found = module.get(wanted)
        return found if is_one(found) else None
    if launched.blocks:
        return launched.blocks[-1][0]
    if launched.asgi:
        return launched.asgi[-1]
    named = [module[name] for name in USUAL if is_one(module.get(name))]
    others = [found for found in module.values() if isinstance(found, gradio.Blocks)]
    return next(iter(named or others), None)


def serve(found, arguments):
    """The ASGI application for `found`."""
    import fastapi
    import gradio

    if not isinstance(found, gradio.Blocks):
        return found
    known = inspect.signature(gradio.mount_gradio_app).parameters
    # What an older Gradio takes at another place is left out, and so is what belongs to a port of its own.
    ours = ("app", "blocks", "path", "root_path", "server_name", "server_port", "ssr_mode")
    options = {name: value for name, value in arguments.items() if name in known and name not in ours}
    return gradio.mount_gradio_app(fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None), found, "/", **options)


def without_forwarded_host(app):
    """ASGI middleware: Gradio takes that header for the whole address, without the mount; the rest of a request has both."""

    async def call(scope, receive, send):
        if "headers" in scope:
            kept = [pair for pair in scope["headers"] if pair[0] != b"x-forwarded-host"]
            scope = {**scope, "headers": kept}
        await app(scope, receive, send)

    return call


def load(entrypoint):
    """Runs the module and makes its application, before there is an event loop, as on a laptop."""
    import lectern_entrypoint

    module_name, _, wanted = entrypoint.partition(":")
    launched = Launched()
    try:
        launched.listen()
        module = runpy.run_module(module_name, run_name="__main__", alter_sys=True)
        found = find(module, wanted, launched)
        if found is not None:
            app = without_forwarded_host(serve(found, launched.arguments_of(found)))
            return lambda: app
    except BaseException as error:
        lectern_entrypoint.give_up(entrypoint, error)
    what = f"no object {wanted!r} that Gradio can serve" if wanted else "nothing that Gradio can serve"
    lectern_entrypoint.fail(f"module {module_name!r} has {what}; make a gradio.Blocks or gradio.Interface named demo")


def main():
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    for name, place in PLACES.items():
        os.environ.setdefault(name, os.path.join(HOME, place))
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import lectern_asgi

    lectern_asgi.main(load)


if __name__ == "__main__":
    main()
