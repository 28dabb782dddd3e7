"""Processes of Python that this one starts: they find what it finds, and nothing in the folder it happens to be in."""

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import transferkit

ROOT = str(Path(transferkit.__file__).resolve().parents[1])  # of a checkout, or the folder it is installed in
KILLED = 9  # SIGKILL, which Windows does not name
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
SECONDS = 0.5  # between two looks at the parent


def command(module: str, *arguments: str, ends_with_this: bool = False) -> list[str]:
    """The words that start `python -m MODULE ARGUMENTS` without the current folder on its path.

    `python -m` would put the current folder first, and whoever left a `torch.py` there would be run. `-P` is not in
    Python 3.10; `-I` would lose the packages of the user and PYTHONPATH. So the child is given this process's path.

    Args: ends_with_this, whether the child is killed when this process dies, however that comes.
    """
    watch = f"from transferkit.zoo import children; children.end_with({os.getpid()}); " if ends_with_this else ""
    code = (
        f"import sys; sys.path[:] = {search_path()!a}; {watch}"
        f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, *arguments]


def search_path() -> list[str]:
    """Where this process looks for modules, less the current folder unless PYTHONPATH names it, and this package last.

    In a checkout that is not installed the current folder may be where the package lies; being last, it hides nothing.
    """
    here = os.path.realpath(os.getcwd())
    named = {os.path.realpath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
    kept = [entry for entry in sys.path if entry and (os.path.realpath(entry) != here or here in named)]
    return kept if ROOT in kept else [*kept, ROOT]


def end_with(parent: int) -> None:
    """Kill this process when its parent, the process `parent`, dies; if it is dead already, now.

    Linux does it by itself. Elsewhere a thread looks; Windows does not tell that a parent is gone.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, KILLED, 0, 0, 0)
        if os.getppid() != parent:  # it died before the system was asked
            os._exit(1)
    elif os.name == "posix":
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


def is_alive(number: int) -> bool:
    """Whether there is a process of that number on this machine."""
    try:
        os.kill(number, 0)
    except (OverflowError, ProcessLookupError):
        return False
    except OSError:  # somebody else's
        return True
    return True


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os._exit(1)
