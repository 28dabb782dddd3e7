"""What the fault tests share: the command as a user starts it, and figures that stand at the end of the run."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import write_digits


@pytest.fixture
def figure(record_property) -> Callable[[str], None]:
    """Prints a line such as "SIGKILL: 20 of 20 byte-equal" after the tests, from every worker."""
    return lambda line: record_property("figure", line)


def environment(**changes: str) -> dict[str, str]:
    """That of a command: one thread, plain output, nothing of this test run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"} | changes


@pytest.fixture
def begin(tmp_path):
    """Starts `transferkit WORDS` in a process group of its own; nothing started outlives the test."""
    started: list[subprocess.Popen] = []

    def begin(*words: object, cwd: Path = tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **changes: str):
        command = [sys.executable, "-m", "transferkit", *map(str, words)]
        started.append(
            subprocess.Popen(
                command, cwd=cwd, stdout=stdout, stderr=stderr, env=environment(**changes), start_new_session=True
            )
        )
        return started[-1]

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def command(begin):
    """Runs `transferkit WORDS` to its end; the completed process, its output as text."""

    def command(*words: object, seconds: float = 120, **given) -> subprocess.CompletedProcess:
        process = begin(*words, **given)
        out, err = process.communicate(timeout=seconds)
        text = [None if part is None else part.decode("utf-8", "replace") for part in (out, err)]
        return subprocess.CompletedProcess(process.args, process.returncode, *text)

    return command


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Two classes of 20 digits each: 40 images."""
    return write_digits(tmp_path_factory.mktemp("faults") / "photos", classes=(0, 1), per_class=20)
