"""What the command prints to goes full, is closed, or knows no UTF-8: lost results are an error, lost news is not."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import transferkit as tk
from tests.conftest import write_digits
from tests.faults.conftest import environment
from transferkit.cli import main, streams

CLASSES = ("café \x1b[31m猫", "=1+1")
TRAINING = {"backbone": "cifar_resnet", "strategy": "probe", "augment": "none"}
WORDS = [word for name, value in TRAINING.items() for word in (f"--{name}", value)]

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Classes whose names no narrow encoding has, with an escape and a formula."""
    folder = write_digits(tmp_path_factory.mktemp("pipes") / "photos", classes=(0, 1), per_class=10)
    for number, name in enumerate(CLASSES):
        (folder / f"digit {number}").rename(folder / name)
    return folder


@pytest.fixture(scope="module")
def run(data):
    return tk.finetune(data, out=str(data.parent / "run"), **TRAINING).folder


@pytest.fixture
def shell(tmp_path):
    """Runs `transferkit WORDS REDIRECTION` as a shell does; the completed process."""

    def shell(*words: object, into: str = "", **changes: str) -> subprocess.CompletedProcess:
        command = f'"$0" -m transferkit "$@" {into}'
        given = ["bash", "-c", command, sys.executable, *map(str, words)]
        return subprocess.run(given, cwd=tmp_path, env=environment(**changes), capture_output=True)

    return shell


@pytest.mark.parametrize(("into", "said"), [("> /dev/full", "cannot write to stdout: No space"), (">&-", "is closed")])
def test_results_that_cannot_be_written_are_exit_5_and_one_line(shell, into, said):
    done = shell("cache", "show", into=into)
    assert (done.returncode, done.stderr.count(b"\n")) == (5, 1)
    assert said in done.stderr.decode()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_csv_is_utf8_and_json_ascii_whatever_the_system_would_like_and_tables_lose_nothing(
    monkeypatch, run, data, encoding
):
    def printed(*words: object) -> bytes:
        raw = io.BytesIO()
        with io.TextIOWrapper(raw, encoding=encoding, errors=streams.ESCAPED) as stdout, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stdout)
            assert main.run(["predict", str(run), *map(str, words)]) == 0
            stdout.flush()
            return raw.getvalue()

    photo = str(next((data / CLASSES[0]).iterdir()))
    (row,) = csv.DictReader(printed(photo, "--format", "csv").decode("utf-8").splitlines())
    assert row["path"] == photo.replace("\x1b", "\\x1b")
    assert row["label"] in (CLASSES[0].replace("\x1b", "\\x1b"), "'=1+1")
    assert json.loads(printed(photo, "--format", "json").decode("ascii"))["label"] in CLASSES
    assert "\x1b" not in printed(photo).decode("utf-8" if encoding == "ascii" else encoding)  # click takes UTF-8 then


@pytest.mark.faults
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_the_command_prints_whatever_encoding_the_system_says(shell, run, data, form):
    photo = next((data / CLASSES[0]).iterdir())
    done = shell("predict", run, photo, "--format", form, PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stderr) == (0, b"")
    done.stdout.decode({"table": "cp1252", "csv": "utf-8", "json": "ascii"}[form])


@pytest.mark.faults
def test_no_command_prints_a_traceback_when_its_results_cannot_be_written(shell, run, data, tmp_path, figure):
    other = tk.finetune(data, out=str(tmp_path / "other"), seed=1, **TRAINING).folder
    photo = next(data.rglob("*.png"))
    commands = {
        "finetune": [data, *WORDS, "-o", "r1", "--quiet"],
        "finetune --dry-run": [data, *WORDS, "--dry-run", "--quiet"],
        "lr": [data, "--backbone", "cifar_resnet", "--steps", 8, "-o", "lr1.png", "--quiet"],
        "evaluate": [run, data],
        "predict": [run, photo],
        "predict --format csv": [run, photo],
        "predict --format json": [run, photo],
        "ensemble": [run, other, "-o", "joined"],
        "export --format safetensors": [run, "-o", "m.safetensors"],
        "zoo list": [],
        "zoo show": ["cifar_resnet"],
        "report": [run],
        "cache show": [],
        "--help": [],
    }
    for name, words in commands.items():
        for into in ("> /dev/full", ">&-"):
            done = shell(*name.split(), *words, into=into)
            assert done.returncode == 5, (name, into, done.stderr)
            last = done.stderr.decode().splitlines()[-1]
            assert last.startswith("error: "), (name, into, done.stderr)
            assert "stdout" in last
            assert b"Traceback" not in done.stderr
            for made in ("r1", "lr1.png", "joined", "m.safetensors"):  # by > /dev/full
                subprocess.run(["rm", "-rf", tmp_path / made], check=True)
    figure(f"stdout full or closed: {2 * len(commands)} of {2 * len(commands)} ended with exit 5 and a line")


@pytest.mark.faults
@pytest.mark.parametrize("into", ["2> /dev/full", "2>&-", "2> >(true)"])
def test_training_goes_on_when_nobody_takes_its_news(shell, data, tmp_path, into):
    done = shell("finetune", data, *WORDS, "-o", "r", into=into)
    assert done.returncode == 0
    assert (tmp_path / "r" / "report.html").is_file()
    assert "validation" in done.stdout.decode()


@pytest.mark.faults
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_reader_of_one_line_ends_a_large_output_quietly(shell, run, data, form):
    photos = [path for path in data.rglob("*.png") for _ in range(200)]
    done = shell("predict", run, *photos, "--format", form, into="| head -n 1")
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1
