"""Waits with a framework imported, and becomes a worker in each child that it is asked to fork.

    lectern_zygote.py LAUNCHER

LAUNCHER is a module beside this one, with a function `main` that reads `sys.argv`, and `PRELOAD`, the names of what to
import before the first fork: frameworks, never a publisher's code. What is not installed is passed over. Its function
`warm`, if it has one, uses them once, so that what they make with their first use is made here. It must start no thread. The
first fork does not wait for it: somebody waits for that worker, and would have started no slower without a zygote.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import sys

OURS = os.path.dirname(os.path.abspath(__file__))


def preload(names):
    """Imports what is there. A framework that fails to import says so again in the worker, to its publisher."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def warm(module):
    """Uses what was imported, and settles it for good."""
    with contextlib.suppress(Exception):
        getattr(module, "warm", lambda: None)()
    # What is here now stays for ever: the collector must not write into pages that children share.
    gc.collect()
    gc.freeze()


def variables():
    """The environment as the C library has it; `os.environ` is a copy of it from the interpreter's start."""
    listed = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    index, found = 0, {}
    while listed and listed[index] is not None:
        name, _, value = listed[index].partition(b"=")
        found[os.fsdecode(name)] = os.fsdecode(value)
        index += 1
    return found


def forget_shadowed(preloaded):
    """Forgets modules that the bundle has its own version of, as if they had not been imported before it was there."""
    here = set()
    for entry in os.listdir("."):
        here.add(entry.split(".", 1)[0])
    for name in preloaded:
        if name.split(".", 1)[0] in here:
            sys.modules.pop(name, None)


def main():
    # Keeps the lock of the interpreter during its calls, as a fork must.
    fork = ctypes.PyDLL(os.path.join(OURS, "lectern_fork.so"))
    launcher = sys.argv[1]
    sys.path.insert(0, OURS)
    module = importlib.import_module(launcher)
    before = set(sys.modules)
    # As late as a worker's own start has them: what a bundle shadows of these is told apart from what it cannot.
    preload(module.PRELOAD)
    sys.path.remove(OURS)
    python = ctypes.pythonapi
    if fork.lectern_zygote_begin() != 0:
        sys.exit(1)
    is_warm = False
    while fork.lectern_zygote_next() == 1:
        preloaded = [name for name in sys.modules if name not in before]
        python.PyOS_BeforeFork()
        if fork.lectern_zygote_fork() == 1:
            python.PyOS_AfterFork_Child()
            break
        python.PyOS_AfterFork_Parent()
        if not is_warm:
            warm(module)
            is_warm = True
    else:
        return
    given = variables()
    arguments = given.pop("LECTERN_ARGUMENTS").split("\x1f")
    os.environ.clear()
    os.environ.update(given)
    forget_shadowed(preloaded)
    # As a start of its own would have it: the interpreter's name is no argument.
    sys.argv = arguments[1:]
    sys.path.insert(0, OURS)
    module.main()


if __name__ == "__main__":
    main()
