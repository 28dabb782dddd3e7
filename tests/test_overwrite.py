"""A finished run that is to be replaced is there, whole, until the new one is."""

import json
import shutil
from pathlib import Path

import pytest

import transferkit as tk
from tests.conftest import write_digits
from transferkit.progress import Progress
from transferkit.ship.classifier import load
from transferkit.zoo.errors import DataError, StoppedError

FAST = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "augment": "none", "batch_size": 8}
FAST |= {"l2": 0.01}  # not searched for
FINETUNE = {"strategy": "finetune", "epochs": 3, **FAST}


class Stopping(Progress):
    """Stops at the first line that begins with `at`, and keeps what was said."""

    def __init__(self, at: str = "never"):
        self.at = at
        self.said: list[str] = []

    def say(self, line):
        self.said.append(line)

    def note(self, figures):
        if figures.startswith(self.at):
            raise StoppedError("stopped by SIGTERM")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("overwrite") / "data", classes=(0, 1), per_class=8)


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """A finished run, copied before it is replaced."""
    return tk.finetune(data, out=str(tmp_path_factory.mktemp("made") / "r"), strategy="probe", **FAST).folder


@pytest.fixture
def old(made, tmp_path):
    shutil.copytree(made, tmp_path / "r")
    (tmp_path / "r" / "mine.txt").write_text("mine")
    return tmp_path / "r"


def test_bad_photos_given_with_overwrite_leave_the_run_as_it_was(old, tmp_path):
    before = contents(old)
    write_digits(tmp_path / "bad", classes=(0, 1), per_class=2)
    for path in (tmp_path / "bad" / "digit 1").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no readable image"):
        tk.finetune(tmp_path / "bad", out=str(old), overwrite=True, **FINETUNE)
    assert contents(old) == before


def test_a_stopped_replacement_leaves_the_run_usable_and_resume_goes_on_with_it(old, data, tmp_path):
    before = contents(old)
    with pytest.raises(StoppedError) as caught:
        tk.finetune(data, out=str(old), overwrite=True, progress=Stopping("epoch 3/"), **FINETUNE)
    assert caught.value.run_folder == old
    assert {name: data for name, data in contents(old).items() if not name.startswith(".replacement")} == before
    assert load(old).predict(next(data.rglob("*.png")))[0].label
    progress = Stopping()
    tk.finetune(resume=True, out=str(old), progress=progress)
    assert any(str(old) in line and "replace" in line for line in progress.said)
    plain = tk.finetune(data, out=str(tmp_path / "plain"), **FINETUNE)
    after = contents(old)
    assert after.keys() == contents(plain.folder).keys() | {"mine.txt"}
    assert after["model/model.safetensors"] == (plain.folder / "model" / "model.safetensors").read_bytes()
    for name, data in after.items():
        assert b".replacement" not in data, name
    assert json.loads(after["metrics.json"])["strategy"] == "finetune"


def test_a_replacement_can_be_begun_anew(old, data):
    with pytest.raises(StoppedError):
        tk.finetune(data, out=str(old), overwrite=True, progress=Stopping("epoch 2/"), **FINETUNE)
    run = tk.finetune(data, out=str(old), overwrite=True, strategy="probe", seed=1, **FAST)
    assert json.loads((old / "run.json").read_text())["seed"] == 1
    assert run.metrics["strategy"] == "probe"
    assert not (old / ".replacement").exists()
