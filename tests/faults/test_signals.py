"""SIGTERM and Ctrl-C at any instant: one line, its exit code, a hint that is true, and no photo blamed for it."""

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import write_digits

CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}
SAID = {signal.SIGTERM: "error: stopped by SIGTERM", signal.SIGINT: "error: interrupted"}
HINT = re.compile(r"; resume with: transferkit finetune --resume -o (\S+)")
TRAINING = ["--backbone", "cifar_resnet", "--strategy", "finetune", "--epochs", "2", "--augment", "none", "--quiet"]
WAYS = [(workers, processes) for processes in (1, 2) for workers in (0, 2)]
FIRST_SECONDS = 0.05

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def listens(process: subprocess.Popen) -> bool:
    """Whether Python has started so far that the process catches SIGTERM."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return bool(int(re.search(r"^SigCgt:\t(\w+)", status, re.MULTILINE)[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.fixture
def stopped(begin, photos, tmp_path):
    """Starts a run, sends `number` after `seconds` (at once when Python has started), checks the end; whether it was
    still running then."""

    def stopped(number: int, seconds: float, *, workers: int, processes: int) -> bool:
        run, cache = tmp_path / f"run-{seconds:.4f}", str(tmp_path / "cache")
        words = ["finetune", photos, *TRAINING, "-o", run, "--workers", workers]
        words += ["--processes", processes] if processes > 1 else []
        process = begin(*words, TRANSFERKIT_CACHE=cache)
        time.sleep(seconds)
        while process.poll() is None and not listens(process):
            time.sleep(0.005)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        told = err.decode()
        if process.returncode == 0:
            return False
        assert process.returncode == CODES[number], told
        assert told.count("\n") == 1, told
        assert told.startswith(SAID[number]), told
        if hint := HINT.search(told):
            assert (run / "run.json").is_file()
            assert hint[1] == str(run)
            resumed = begin("finetune", "--resume", "-o", run, "--quiet", TRANSFERKIT_CACHE=cache)
            assert resumed.communicate(timeout=120)[1] == b""
            assert resumed.returncode == 0
        if (run / "quarantine.csv").is_file():
            assert (run / "quarantine.csv").read_text().count("\n") == 1
        return True

    return stopped


def seconds_of_a_run(begin, photos, folder: Path, *, processes: int) -> float:
    started = time.monotonic()
    words = ["finetune", photos, *TRAINING, "-o", folder / f"whole {processes}"]
    process = begin(*words, *(["--processes", processes] if processes > 1 else []), TRANSFERKIT_CACHE=str(folder / "c"))
    assert process.communicate(timeout=120)[1] == b""
    return time.monotonic() - started


@pytest.mark.parametrize(
    ("number", "seconds", "workers"),
    [(signal.SIGTERM, 0.05, 2), (signal.SIGINT, 0.05, 2), (signal.SIGINT, 0.5, 2), (signal.SIGTERM, 2.7, 0)],
)
def test_a_stop_is_one_line_whenever_it_comes(stopped, number, seconds, workers):
    stopped(number, seconds, workers=workers, processes=1)


@pytest.mark.faults
def test_a_stop_at_sixty_instants_is_one_line_with_a_true_hint(stopped, begin, photos, tmp_path, figure):
    seed = random.randrange(2**32)
    drawn, count, ways = random.Random(seed), 60, {}
    whole = {number: seconds_of_a_run(begin, photos, tmp_path, processes=number) for number in (1, 2)}
    for instant in range(count):
        workers, processes = WAYS[instant % len(WAYS)]
        number = list(CODES)[instant // len(WAYS) % 2]
        seconds = FIRST_SECONDS if instant < 2 * len(WAYS) else drawn.uniform(FIRST_SECONDS, whole[processes])
        while not stopped(number, seconds, workers=workers, processes=processes):
            seconds *= 0.7  # it had ended before
        ways[number] = ways.get(number, 0) + 1
    figure(f"SIGTERM and Ctrl-C: {sum(ways.values())} of {count} instants ended in one line, seed {seed}")


def test_a_second_ctrl_c_ends_at_once_and_says_no_more(begin, tmp_path):
    """While the first one waits: for a hundred large photos that are being decoded, in threads."""
    data = write_digits(tmp_path / "data", classes=(0, 1), per_class=4)
    process = begin("finetune", data, *TRAINING, "-o", tmp_path / "r", "--epochs", "2000")
    until = time.monotonic() + 60
    while not (tmp_path / "r" / "metrics.jsonl").is_file() or not (tmp_path / "r" / "metrics.jsonl").stat().st_size:
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.decode().count("\n") == 1
    assert err.startswith(b"error: interrupted")
