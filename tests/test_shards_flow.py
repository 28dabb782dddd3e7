"""A run on shards is the run on the folder they were made from, to the last bit."""

import csv
import json
import os
import re
import time
from pathlib import Path

import fsspec
import pytest
import webdataset
from click.testing import CliRunner

import transferkit as tk
from tests.conftest import write_digits
from transferkit.cli import main
from transferkit.data import folder
from transferkit.data.source import read_file
from transferkit.ship import runs

FAST = {
    "backbone": "timm:test_resnet",
    "weights": "none",
    "image_size": 32,
    "batch_size": 8,
    "strategy": "lp-ft",
    "epochs": 1,
    "precision": "fp32",
}
MODEL = "model/model.safetensors"


def write_shards(source: Path, pattern: str) -> None:
    """Three tars of the images of a folder, in its order."""
    listing = folder.read(source)
    rows = range(len(listing.paths))
    for shard in range(3):
        path = pattern.format(shard)
        with webdataset.TarWriter(path, encoder=False) as writer:
            for row in rows[shard * len(rows) // 3 : (shard + 1) * len(rows) // 3]:
                name = listing.classes[listing.labels[row]].encode()
                writer.write({"__key__": f"{row:04d}", "png": listing.paths[row].read_bytes(), "cls": name})
        os.utime(path, (time.time() - 3600,) * 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of three classes, its images in shards, one of which cannot be decoded in either."""
    root = tmp_path_factory.mktemp("shards")
    digits = write_digits(
        root / "digits", classes=(0, 1, 4), per_class=16
    )  # no near copies, which are not looked for far away
    (digits / "digit 1" / "005.png").write_bytes(b"no image")
    write_shards(digits, f"{root}/digits-{{}}.tar")
    return digits, f"{root}/digits-{{0..2}}.tar"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return tk.finetune(data[1], out=str(tmp_path_factory.mktemp("run") / "r"), **FAST)


def test_shards_and_the_folder_they_were_made_from_give_the_same_bytes(run, data, tmp_path):
    other = tk.finetune(data[0], out=str(tmp_path / "r"), **FAST)
    assert (run.folder / MODEL).read_bytes() == (other.folder / MODEL).read_bytes()
    named = {"seconds": None, "audit": None}  # which names the data
    assert {**run.metrics, **named} == {**other.metrics, **named}


def test_what_cannot_be_decoded_is_quarantined_by_its_name_in_the_shard(run):
    with open(run.folder / "quarantine.csv", newline="") as file:
        assert list(csv.reader(file))[1:] == [["digits-1.tar/0021.png", "not an image"]]


@pytest.mark.slow  # the same of a folder: tests/test_flow.py; the manifest: the last but two below
def test_its_config_repeats_a_run_and_its_manifest_names_each_image(run, tmp_path):
    again = tk.finetune(config_file=run.folder / "run.json", out=str(tmp_path / "r"))
    assert (again.folder / MODEL).read_bytes() == (run.folder / MODEL).read_bytes()
    with open(run.folder / "manifest.csv", newline="") as file:
        assert [read_file(row["path"])[:4] for row in csv.DictReader(file)] == [b"\x89PNG"] * 47
    assert json.loads((run.folder / "run.json").read_text())["data"]["source"].endswith("digits-{0..2}.tar")


def test_shards_behind_a_url_give_the_same_bytes_and_their_manifest_names_the_url(run, data, tmp_path):
    files = fsspec.filesystem("memory")
    for number in range(3):
        files.pipe(f"/far/digits-{number}.tar", Path(data[1].replace("{0..2}", str(number))).read_bytes())
    far = tk.finetune("memory://far/digits-{0..2}.tar", out=str(tmp_path / "r"), **FAST)
    assert (far.folder / MODEL).read_bytes() == (run.folder / MODEL).read_bytes()
    assert run.classifier.evaluate(far.folder / "manifest.csv", part="all")["n"] == 47
    with open(far.folder / "manifest.csv", newline="") as file:
        assert all(row["path"].startswith("memory://far/digits-") for row in csv.DictReader(file))


def test_evaluate_and_predict_take_shards_and_what_a_manifest_names(run, data):
    scores = run.classifier.evaluate(data[1])
    assert scores["n"] == 47
    assert scores["refused"] == [["digits-1.tar/0021.png", "not an image"]]
    with open(run.folder / "manifest.csv", newline="") as file:
        path = next(csv.DictReader(file))["path"]
    result = CliRunner().invoke(main.cli, ["predict", str(run.folder), path])
    assert result.exit_code == 0
    assert re.match(rf"{re.escape(path)}  (not sure \(|unlike anything seen \()?digit ", result.output)


def test_a_missing_shard_ends_the_command_with_exit_code_2_and_one_line(data, capfd):
    assert main.run(["finetune", data[1].replace("2}", "3}")]) == 2
    line = capfd.readouterr().err.strip()
    assert "no such shard" in line
    assert "\n" not in line


@pytest.mark.parametrize("data", ["photos-{000..099}.tar", "s3://bucket/photos.{0..9}.tar", "{0..9}/photos.tar"])
def test_a_run_is_named_after_its_shards_less_their_numbers(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs.default_path(data) == Path("runs/photos-1")
