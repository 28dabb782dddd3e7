"""The signals that ask for the end, SIGTERM and Ctrl-C: raised where the work is, and never lost on the way.

What a handler raises can be swallowed: by a callback of C, by `__del__`, by a library that catches everything. So the
handler also leaves a mark, and whatever repeats itself, such as the steps of training, looks for it with `check`.
Imports nothing but what Python has loaded anyway: the command installs this before torch, which takes seconds.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from transferkit.zoo.errors import EndedElsewhereError, RankLostError, StoppedError

INTERRUPTED = 130  # as a shell reports Ctrl-C
LAUNCH = "TRANSFERKIT_LAUNCH"  # the folder of a launch, in which its processes agree on who tells of the end
IMPORTING, WORKING, ENDING = "importing", "working", "ending"

_phase: str | None = None  # of the command; None where this is a library
_asked: int | None = None  # the signal that came first
_listens = False  # whether what a handler raises is awaited
_told = False


def take() -> None:
    """Make this process the command: until `working`, a signal ends it at once, with one line."""
    global _phase
    if _phase is None and threading.current_thread() is threading.main_thread():
        _phase = IMPORTING
        _install({})
        sys.unraisablehook = _unraisable


@contextmanager
def working() -> Iterator[None]:
    """The block in which the command, or a library that is called, raises StoppedError when a signal asks for the end.

    Ctrl-C raises StoppedError in the command, where a second one ends the process at once, and KeyboardInterrupt in a
    library. There handlers are set only in the main thread, over those of Python alone, and put back afterwards.
    """
    global _phase, _listens, _asked
    if _listens or (_phase is None and threading.current_thread() is not threading.main_thread()):
        yield
        return
    before: dict = {}
    try:
        if _phase:
            _phase = WORKING
        else:
            _install(before)
        _listens = True
        with unmasked():
            yield
            check()
    finally:
        _listens = False
        if _phase:
            _phase = ENDING
        else:
            _asked = None
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raise again what a signal has raised before, if somebody swallowed it."""
    if _asked is not None and _listens:
        raise _stop(_asked)


@contextmanager
def unmasked() -> Iterator[None]:
    """Raise the stop again in place of an error that somebody made of it: Python itself does while a class is made.

    That is `__set_name__`, up to Python 3.11. What says that another process has ended stays as it is.
    """
    try:
        yield
    except (EndedElsewhereError, RankLostError):
        raise
    except Exception as error:
        if _asked is not None and _listens:
            raise _stop(_asked) from error
        raise


def sleep(seconds: float) -> None:
    """Wait, unless a signal asks for the end. Raises: StoppedError."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check()
        time.sleep(min(left, 0.1))
    check()


def claim() -> bool:
    """Whether this process is to say how it ends: once, and only the first of those that share a launch."""
    global _told
    if _phase is None:
        return True
    if not _told:
        _told = True
        return _is_first_of_launch()
    return False


def _install(before: dict) -> None:
    """Set our handlers where nobody has set any; `before` gets what was there, one by one."""
    defaults = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}  # not what somebody has set
    for number, handler in defaults.items():
        if signal.getsignal(number) is handler:
            before[number] = handler
            signal.signal(number, _handle)


def _handle(number, frame) -> None:
    global _asked
    is_first = _asked is None
    if is_first and _phase == ENDING:
        return  # the work is done, and a moment later the process has ended
    _asked = number if is_first else _asked
    if _phase == IMPORTING or (_phase and number == signal.SIGINT and not is_first):
        _end()
    if is_first or _phase is None:
        raise _stop(number)


def _stop(number: int) -> BaseException:
    if number == signal.SIGTERM:
        return StoppedError("stopped by SIGTERM")
    if _phase is None:
        return KeyboardInterrupt()
    stop = StoppedError("interrupted")
    stop.exit_code = INTERRUPTED
    return stop


def _code(number: int | None) -> int:
    return INTERRUPTED if number == signal.SIGINT else StoppedError.exit_code


def _end() -> None:
    """End this process now: from within a handler, where nothing that has locks may be called."""
    try:
        if claim():
            line = b"error: interrupted\n" if _asked == signal.SIGINT else b"error: stopped by SIGTERM\n"
            os.write(2, (b"\x1b[?25h\r\x1b[K" if os.isatty(2) else b"") + line)  # the cursor, which a live line hides
    finally:
        os._exit(_code(_asked))


def _is_first_of_launch() -> bool:
    folder = os.environ.get(LAUNCH)
    if not folder:
        return True
    try:
        os.close(os.open(os.path.join(folder, "told"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    except OSError:  # no disk to agree on
        return True
    return True


def _unraisable(unraisable) -> None:
    """Say nothing of a stop that could not be raised: it is marked, and raised again where it can be."""
    if _asked is None or not isinstance(unraisable.exc_value, StoppedError):
        sys.__unraisablehook__(unraisable)
