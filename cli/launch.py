"""Several processes on this machine for one run, which start and end together.

`torchrun` could do it, and does on several machines. Here it would import torch in the launcher, listen on a port of
all interfaces where it reads pickles, and take a signal for an error of its own that its code may swallow.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress

from transferkit import cores, scratch
from transferkit.zoo import children, stops
from transferkit.zoo.errors import EndedElsewhereError, RankLostError, StoppedError, UsageError

GRACE_SECONDS = 10.0  # between the end of a process, or a signal, and the end of those that do not notice it
LOOK_SECONDS = 0.02


def start(arguments: Sequence[str], *, processes: int) -> int:
    """Run `transferkit ARGUMENTS` in `processes` processes of this machine; the exit code of the first that failed.

    The cores are divided among them, unless OMP_NUM_THREADS says how many threads each is to have. When this process
    is killed, they are too.

    Raises: UsageError for more processes than cores; RankLostError if one is killed and no other says so; StoppedError,
    or EndedElsewhereError if one of them has told of the stop.
    """
    most = cores.count()
    if processes > most:
        raise UsageError(f"--processes {processes} is more than there are cores for it; allowed: 1 to {most}")
    command = children.command("transferkit", *arguments, ends_with_this=True)
    with scratch.folder("launch") as folder:
        shared = os.environ | {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        shared |= {stops.LAUNCH: str(folder), "OMP_NUM_THREADS": _threads(most // processes)}
        started: list[subprocess.Popen] = []
        try:
            for number in range(processes):
                own = shared | {"RANK": str(number), "LOCAL_RANK": str(number)}
                started.append(subprocess.Popen(command, env=own, start_new_session=True))  # Ctrl-C comes through us
            code = _first_failure(started)
        except StoppedError as stop:
            _end(started, signal.SIGINT if stop.exit_code == stops.INTERRUPTED else signal.SIGTERM)
            if (folder / "told").exists():
                raise EndedElsewhereError(stop.exit_code) from stop
            raise
        finally:
            _end(started, signal.SIGTERM)
        if code < 0 and not (folder / "told").exists():
            raise RankLostError(f"one of the {processes} processes was killed; the machine may be out of memory")
    return RankLostError.exit_code if code < 0 else code


def _threads(count: int) -> str:
    return os.environ.get("OMP_NUM_THREADS") or str(count)


def _first_failure(started: list[subprocess.Popen]) -> int:
    """Wait until all have ended, or one failed and the others had time to notice; the exit code, 0 if all went well.

    A process that was killed, which is a negative code, tells nothing; so the code of one that told comes before it.
    """
    until = None
    while True:
        stops.check()
        codes = [process.poll() for process in started]
        failed = [code for code in codes if code]
        if None not in codes or (until and time.monotonic() > until):
            return next((code for code in failed if code > 0), failed[0] if failed else 0)
        if failed and until is None:
            until = time.monotonic() + GRACE_SECONDS
        time.sleep(LOOK_SECONDS)


def _end(started: list[subprocess.Popen], number: int) -> None:
    """Send the signal to those that still run, wait for them, and kill what does not end."""
    for process in started:
        if process.poll() is None:
            with suppress(OSError):
                process.send_signal(number)
    until = time.monotonic() + GRACE_SECONDS
    for process in started:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
