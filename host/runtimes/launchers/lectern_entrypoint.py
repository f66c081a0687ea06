"""Finds the application that an entry point names.

Shared by the ASGI and the WSGI launcher, which also say by it that the application listens. A failure is told to the publisher, who reads it in the job's log: the
traceback of their own code, without this module's frames, and exit status 1.
"""

import contextlib
import importlib
import inspect
import os
import sys
import time
import traceback

_ready = None

# What a module without a named object is searched for, in this order; the last two are called.
DEFAULT_OBJECTS = ("app", "application", "create_app", "make_app")

# Where the launchers are: no place for modules of the bundle, nor for the publisher to look.
OURS = os.path.dirname(os.path.abspath(__file__))


def use_bundle():
    """Makes the bundle, which is the working directory, the first place modules come from, as on a laptop."""
    sys.path[:] = [place for place in sys.path if place != OURS]
    sys.path.insert(0, os.getcwd())
    sys.argv = sys.argv[:1]
    time.tzset()
    global _ready
    number = os.environ.pop("LECTERN_READY_FD", None)
    if number is not None:
        _ready = int(number)
        os.set_inheritable(_ready, False)


def listening():
    """Says that the application accepts connections, for whoever waits to send the first."""
    global _ready
    if _ready is not None:
        with contextlib.suppress(OSError):
            os.write(_ready, b"R")
        os.close(_ready)
        _ready = None


def load(entrypoint):
    """Imports `module[:object]` and returns the application; ends the process with status 1 when it cannot."""
    module_name, _, wanted = entrypoint.partition(":")
    try:
        module = importlib.import_module(module_name)
        return _application(module, wanted)
    except _NotFound as missing:
        fail(str(missing))
    except BaseException as error:
        give_up(entrypoint, error)


def give_up(entrypoint, error):
    """Reports what the publisher's own code raised while it was being loaded, and ends the process with status 1."""
    _report(error)
    if isinstance(error, SystemExit):
        module = entrypoint.partition(":")[0]
        fail(f"module {module!r} ended the process (status {error.code!r}) while it was being loaded")
    fail(f"entry point {entrypoint!r} could not be loaded; the traceback above says why")


class _NotFound(Exception):
    """The module has no such object."""


def _application(module, wanted):
    if not wanted:
        for name in DEFAULT_OBJECTS:
            if hasattr(module, name):
                return _called(getattr(module, name))
        tried = ", ".join(DEFAULT_OBJECTS)
        raise _NotFound(f"module {module.__name__!r} has none of the objects {tried}; {_hint(module)}")
    found = module
    call = wanted.endswith("()")
    for name in (wanted[:-2] if call else wanted).split("."):
        if not hasattr(found, name):
            raise _NotFound(f"module {module.__name__!r} has no object {wanted!r}; {_hint(module)}")
        found = getattr(found, name)
    return found() if call else _called(found)


def _called(found):
    """Calls a factory: a plain function that can be called with nothing. An application always needs arguments."""
    if not inspect.isfunction(found) and not inspect.ismethod(found):
        return found
    for parameter in inspect.signature(found).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL or parameter.default is parameter.empty:
            return found
    return found()


def _hint(module):
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and not inspect.isclass(value)
        and not inspect.isroutine(value)
        and getattr(type(value), "__module__", "") not in ("typing", "builtins", "functools")
    ]
    if not names:
        return "no object in it looks like an application"
    return f"name one of its objects in the entry point: {module.__name__}:{names[0]}" + (
        f" (others: {', '.join(names[1:8])})" if len(names) > 1 else ""
    )


def _report(error):
    frame = error.__traceback__
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        loaders = ("<frozen importlib", "<frozen runpy")
        if file not in (__file__, importlib.__file__) and os.path.dirname(file) != OURS and not file.startswith(loaders):
            break
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame)


def fail(message):
    """Says why there is no application, and ends the process with status 1."""
    print(f"lectern: {message}", file=sys.stderr, flush=True)
    sys.exit(1)
