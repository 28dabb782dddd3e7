"""`transferkit cache` tells what is kept and removes it; keeping it changes nothing about a run but its time."""

import csv
import io
import json
import time

import numpy as np
import pytest
from PIL import Image

import transferkit as tk
from transferkit.cli.main import run
from transferkit.data import known
from transferkit.preparation import read_images
from transferkit.prepare import prepare
from transferkit.progress import Progress
from transferkit.zoo import cache_folder


@pytest.fixture
def cache(tmp_path):
    """A cache of two photos, an index, and a folder that is not ours."""
    for name, size in {
        f"pixels/1-2.0-256/ab/{'1' * 62}": 1000,
        f"pixels/1-2.0-256/cd/{'2' * 62}": 500,
        "known/files.sqlite": 70,
        "mine/thesis": 9,
    }.items():
        path = cache_folder.opened(tmp_path / "cache") / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(size))
    return tmp_path / "cache"


def shown(cache, capsys) -> dict:
    capsys.readouterr()
    assert run(["cache", "show", "--cache-dir", str(cache), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_show_counts_the_files_of_each_kind(cache, capsys):
    found = shown(cache, capsys)
    assert found["folder"] == str(cache)
    assert found["kinds"]["pixels"] == {"files": 2, "bytes": 1500}
    assert found["kinds"]["known"] == {"files": 1, "bytes": 70}
    assert found["kinds"]["weights"] == {"files": 0, "bytes": 0}
    assert run(["cache", "show", "--cache-dir", str(cache)]) == 0
    assert "pixels" in capsys.readouterr().out


def test_the_cache_is_where_the_environment_says(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "elsewhere"))
    assert run(["cache", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(tmp_path / "elsewhere")


@pytest.mark.parametrize(("answer", "left"), [("n\n", 1500), ("\n", 1500), ("y\n", 0)])
def test_clear_asks_and_removes_what_is_ours_alone(cache, capsys, monkeypatch, answer, left):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert run(["cache", "clear", "--cache-dir", str(cache)]) == 0
    assert shown(cache, capsys)["kinds"]["pixels"]["bytes"] == left
    assert (cache / "mine" / "thesis").is_file()


def test_clear_with_yes_removes_only_the_kinds_named(cache, capsys):
    assert run(["cache", "clear", "pixels", "--cache-dir", str(cache), "--yes"]) == 0
    kinds = shown(cache, capsys)["kinds"]
    assert (kinds["pixels"]["files"], kinds["known"]["files"]) == (0, 1)
    assert run(["cache", "clear", "mine", "--cache-dir", str(cache), "--yes"]) == 2
    assert (cache / "mine" / "thesis").is_file()


def test_there_may_be_nothing_to_clear(tmp_path, capsys):
    assert run(["cache", "clear", "--cache-dir", str(tmp_path / "none"), "--yes"]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def write_photos(folder):
    """Twelve JPEG files of two classes, a third of them for testing; all but the first are large."""
    for number in range(12):
        height, width = (780, 800 + number) if number else (50, 60)
        y, x = np.mgrid[:height, :width]
        colour = [1, 0.5, 0.2] if number % 2 else [0.2, 0.5, 1]
        waves = (120 + 100 * np.sin(x / (20 + number)) * np.cos(y / 30))[..., None] * colour
        path = folder / ("train" if number < 8 else "test") / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(waves.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return folder


class Heard(Progress):
    """Keeps the lines it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def test_a_run_takes_in_the_same_from_files_from_the_cache_and_without_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(known, "MARGIN_NS", 0)
    photos = write_photos(tmp_path / "photos")
    (tmp_path / "file").touch()
    time.sleep(0.02)  # more than a tick of the file system's clock
    common = {"backbone": "cifar_resnet", "strategy": "probe", "l2": 0.1}
    found = []
    for cache in ("cache", "cache", "file"):
        heard = Heard()
        setting = prepare(photos, cache_dir=str(tmp_path / cache), progress=heard, **common)
        found.append(read_images(setting, heard)[0])
        assert sum("no more photos are kept" in line for line in heard.lines) == (cache == "file")
    cold, *others = found
    for other in others:
        assert (other.sha256, other.bytes) == (cold.sha256, cold.bytes)
        assert np.array_equal(other.features.plain[:12], cold.features.plain[:12])
    kept = ["--cache-dir", str(tmp_path / "cache")]
    assert shown(tmp_path / "cache", capsys)["kinds"]["pixels"]["files"] == 11

    out = tmp_path / "run"
    given = [f"--{name}={value}" for name, value in common.items()]
    assert run(["finetune", str(photos), "-o", str(out), *given, *kept]) == 0
    assert json.loads((out / "run.json").read_text())["config"]["cache_dir"] == kept[1]
    classifier = tk.load(out)
    with open(out / "predictions.csv", newline="") as file:
        for row in csv.DictReader(file):
            (prediction,) = classifier.predict(row["path"])  # decodes the file
            assert prediction.probability == pytest.approx(float(row["probability"]), abs=1e-4)
