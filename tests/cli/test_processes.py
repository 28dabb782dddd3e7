"""The command in several processes, as a user starts it: the same run, one voice, one end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

import transferkit as tk
from tests.conftest import write_digits

# a network without BatchNorm and dropout, as it is without weights
NETWORK = {"backbone": "timm:test_vit", "weights": "none", "image_size": 32, "augment": "none", "optimizer": "sgd"}
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SECONDS = 30  # in which a dead process must have ended the run

pytestmark = pytest.mark.skipif(
    (os.cpu_count() or 1) < 2 or not Path("/proc").is_dir(), reason="needs two cores, and /proc to find the processes"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    write_digits(folder / "train", classes=(0, 1, 4), per_class=14)
    write_digits(folder / "test", classes=(0, 1, 4), per_class=4)
    (folder / "train" / "digit 4" / "013.png").write_bytes(b"\x89PNG, and no more of it")
    return folder


def options(**more) -> list[str]:
    given = NETWORK | {"strategy": "finetune", "batch_size": 8} | more
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def scratch(tmp_path):
    """Where what is started keeps its temporary files."""
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def start(scratch):
    """Starts `transferkit WORDS`, or that by another module of Python; nothing started outlives the test."""
    started = []

    def start(*words: object, module: tuple[str, ...] = ()) -> subprocess.Popen:
        command = [sys.executable, *(("-m", *module) if module else ()), "-m", "transferkit", *map(str, words)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        )
        return started[-1]

    yield start
    for launcher in started:
        launcher.terminate()
        launcher.communicate()


def errors(told: str) -> list[str]:
    return [line for line in told.splitlines() if line.startswith("error:")]


def worker(launcher: subprocess.Popen, number: int) -> int:
    """The process id of a rank."""
    for status in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = status.read_bytes().split(b"\0")
            parent = (status.parent / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended, or is not ours
            continue
        if int(parent) == launcher.pid and f"RANK={number}".encode() in variables:
            return int(status.parent.name)
    raise LookupError(f"rank {number} is not there")


def wait_for_epochs(run: Path, count: int, launcher: subprocess.Popen) -> None:
    until = time.monotonic() + 90
    while not (run / "metrics.jsonl").is_file() or len((run / "metrics.jsonl").read_text().splitlines()) < count:
        assert launcher.poll() is None, launcher.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def weights(run: Path) -> dict:
    return load_file(run / "model" / "model.safetensors")


@pytest.mark.slow  # that two train as one does is shown by tests/test_ranks.py
def test_two_processes_make_the_run_that_one_makes(start, data, tmp_path, scratch):
    launcher = start("finetune", data, *options(strategy="lp-ft", epochs=1, precision="fp32"), "-o", tmp_path / "two",
                     "--processes", 2, "--json")  # fmt: skip
    out, err = launcher.communicate()
    assert launcher.returncode == 0, err
    same = {"strategy": "lp-ft", "epochs": 1, "batch_size": 8, "precision": "fp32"}
    one = tk.finetune(data, out=str(tmp_path / "one"), **same, **NETWORK)
    for name in ("manifest.csv", "quarantine.csv"):
        assert (tmp_path / "two" / name).read_bytes() == (one.folder / name).read_bytes()
    expected = weights(one.folder)
    assert {name: value.shape for name, value in weights(tmp_path / "two").items()} == {
        name: value.shape for name, value in expected.items()
    }
    for name, value in weights(tmp_path / "two").items():
        assert value == pytest.approx(expected[name], abs=1e-4)
    told = json.loads(out)  # one object: the first process alone prints
    assert told["test"]["n"] == 12
    assert told["test"]["loss"] == pytest.approx(one.metrics["test"]["loss"], abs=1e-3)
    assert err.count("left out:") == 1
    assert "reading, features: 54 images" in err
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2
    assert [*scratch.iterdir()] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_process_ends_the_run_with_one_line(start, number, data, tmp_path):
    run = tmp_path / "r"
    launcher = start("finetune", data, *options(epochs=200, patience=200), "-o", run, "--processes", 2)
    wait_for_epochs(run, 2, launcher)
    os.kill(worker(launcher, number), signal.SIGKILL)
    killed = time.monotonic()
    _, err = launcher.communicate(timeout=120)
    assert time.monotonic() - killed < SECONDS
    assert launcher.returncode == 11
    assert errors(err) == err.splitlines()[-1:]
    assert "one of the 2 processes of this run is gone" in err
    assert f"resume with: transferkit finetune --resume -o {run}" in err


@pytest.mark.slow
def test_a_file_that_vanishes_ends_both_processes_with_one_line(start, tmp_path):
    data, run = write_digits(tmp_path / "data", classes=(0, 1), per_class=12), tmp_path / "r"
    launcher = start("finetune", data, *options(epochs=200, patience=200), "-o", run, "--processes", 2)
    wait_for_epochs(run, 1, launcher)
    (data / "digit 0" / "003.png").unlink()
    _, err = launcher.communicate(timeout=120)
    assert launcher.returncode == 3
    assert len(errors(err)) == 1
    assert "003.png changed while training" in err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_stopped_run_says_so_once_and_resumes(start, sent, code, data, tmp_path):
    run = tmp_path / "r"
    launcher = start("finetune", data, *options(epochs=8), "-o", run, "--processes", 2)
    wait_for_epochs(run, 2, launcher)
    launcher.send_signal(sent)
    _, err = launcher.communicate(timeout=120)
    assert launcher.returncode == code
    assert len(errors(err)) == 1
    assert f"resume with: transferkit finetune --resume -o {run}" in err
    assert any((run / "checkpoints").glob("epoch-*/MANIFEST.json"))


@pytest.mark.slow
def test_a_run_that_torchrun_starts_again_is_that_of_an_undisturbed_one(start, data, tmp_path):
    given = options(epochs=8, patience=8)
    straight = start("finetune", data, *given, "-o", tmp_path / "straight", "--quiet", module=tuple(TORCHRUN))
    straight.communicate(timeout=300)
    assert straight.returncode == 0
    run = tmp_path / "r"
    launcher = start("finetune", data, *given, "-o", run, module=(*TORCHRUN, "--max-restarts", "1"))
    wait_for_epochs(run, 4, launcher)
    os.kill(worker(launcher, 1), signal.SIGKILL)
    _, err = launcher.communicate(timeout=300)
    assert launcher.returncode == 0, err
    assert (run / "model" / "model.safetensors").read_bytes() == (
        tmp_path / "straight" / "model" / "model.safetensors"
    ).read_bytes()
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] == list(range(8))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "restarts", "said"),
    [
        (["predict", "RUN", "DATA"], "0", "transferkit predict runs in one process; start it without torchrun"),
        (["finetune", "DATA", "--processes", "3"], "0", "torchrun has started 2 processes; drop --processes 3"),
        (["finetune", "DATA", *options()], "1", "name the run's folder with -o: after a restart it must be found"),
        (["finetune", "nowhere"], "0", "no such folder or CSV file: nowhere"),
    ],
)
def test_what_all_processes_refuse_is_told_once(start, words, restarts, said, data):
    real = [str(data) if word == "DATA" else word for word in words]
    launcher = start(*real, module=(*TORCHRUN, "--max-restarts", restarts))
    _, err = launcher.communicate(timeout=300)
    assert launcher.returncode == 1  # torchrun's own
    told = errors(err)
    assert len(told) == 1 + int(restarts)
    assert all(said in line for line in told)
