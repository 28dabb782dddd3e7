import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import transferkit as tk
from tests.faults.servers import serving
from transferkit.cli.main import run as cli
from transferkit.ship.prediction import Prediction
from transferkit.zoo.errors import UsageError


@pytest.fixture(scope="module")
def run(digit_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "r"
    options = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "strategy": "probe", "l2": 0.01}
    return tk.finetune(digit_folder, out=str(out), **options)


@pytest.fixture(scope="module")
def classifier(run):
    return run.classifier


def test_a_path_its_bytes_its_pixels_and_its_image_get_the_same_answer(classifier, digit_folder):
    path = sorted(digit_folder.rglob("*.png"))[5]
    image = Image.open(path)
    sources = [path, str(path), path.read_bytes(), np.asarray(image), image]
    answers = {(p.label, round(p.probability, 6)) for p in classifier.predict(sources)}
    assert len(answers) == 1


def test_an_unreadable_source_is_answered_in_its_place_and_stops_nothing(classifier, digit_folder, tmp_path):
    good = sorted(digit_folder.rglob("*.png"))[0]
    predictions = classifier.predict([good, b"", tmp_path / "missing.jpg", good])
    assert [p.fault for p in predictions] == [None, "empty file", f"no such file in {tmp_path}", None]
    assert predictions[1] == Prediction(source=b"", fault="empty file")
    assert predictions[0].label == predictions[3].label


def test_a_stream_is_read_a_batch_at_a_time(classifier, digit_folder):
    path = sorted(digit_folder.rglob("*.png"))[0]
    taken = []

    def endless():
        while True:
            taken.append(path)
            yield path

    stream = classifier.stream(endless(), batch_size=4)
    assert next(stream).label in classifier.classes
    assert len(taken) == 4
    stream.close()


def test_a_single_source_needs_no_list(classifier, digit_folder):
    path = sorted(digit_folder.rglob("*.png"))[0]
    assert classifier.predict(path) == classifier.predict([path])


def test_top_lists_classes_by_probability(classifier, digit_folder):
    (prediction,) = classifier.predict(sorted(digit_folder.rglob("*.png"))[0], top=9)
    probabilities = [p for _, p in prediction.top]
    assert probabilities == sorted(probabilities, reverse=True)
    assert {label for label, _ in prediction.top} == set(classifier.classes)


def test_batches_of_any_size_give_the_same_answers(classifier, digit_folder):
    paths = sorted(digit_folder.rglob("*.png"))[:7]
    one, all_at_once = classifier.predict(paths, batch_size=1), classifier.predict(paths)
    assert [p.label for p in one] == [p.label for p in all_at_once]
    assert np.allclose([p.probability for p in one], [p.probability for p in all_at_once], atol=1e-6)


def test_whatever_holds_one_photo_is_one_photo(classifier, digit_folder):
    path = sorted(digit_folder.rglob("*.png"))[5]
    data, pixels = path.read_bytes(), np.array(Image.open(path).convert("RGB"))
    (expected,) = classifier.predict(path)
    with path.open("rb") as buffered, path.open("rb", buffering=0) as raw:
        photos = [io.BytesIO(data), buffered, raw, bytearray(data), memoryview(data), pixels, torch.from_numpy(pixels)]
        photos += [torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(pixels[..., :1]), pixels[..., 0]]
        photos += [pixels[..., :1], torch.from_numpy(pixels[..., 0])]  # the digits are grey
        for photo in photos:
            (found,) = classifier.predict(photo)
            assert (found.label, found.fault, found.source is photo) == (expected.label, None, True), photo
            assert found.probability == pytest.approx(expected.probability, abs=1e-6)


def test_a_folder_means_every_file_in_it_and_a_tilde_the_home(classifier, digit_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(digit_folder.parent))
    monkeypatch.setenv("USERPROFILE", str(digit_folder.parent))
    files = sorted(str(path) for path in digit_folder.rglob("*.png"))
    for folder in (digit_folder, str(digit_folder), f"~/{digit_folder.name}", [digit_folder]):
        assert [p.source for p in classifier.predict(folder)] == files
    (one,) = classifier.predict(files[0].replace(str(digit_folder.parent), "~"))
    assert one.fault is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (7, "an object of type int is no photo; taken are a path, a folder"),
        (None, "type NoneType is no photo"),
        ({"a.png": 1}, "type dict is no photo"),
        ([["a.png"]], "type list is no photo"),
        ([3.5], "type float is no photo"),
        (
            np.zeros((8, 8, 3)),
            "an array of float64, shape (8, 8, 3) is no image; uint8 is taken: scale it",
        ),
        (torch.zeros(3, 8, 8), "a tensor of float32, shape (3, 8, 8) is no image"),
        (np.zeros((8, 8), np.uint16), "scale it to 0..255"),
        (np.zeros((2, 8, 8, 3), np.uint8), "of a batch give a list"),
        (np.zeros((8, 8, 2), np.uint8), "taken are (H, W), (H, W, C)"),
        (io.StringIO("text"), "open it with mode 'rb'"),
        ("s3://host/cat.jpg", "s3://host/cat.jpg is no URL of the web (http, https); download the photo"),
    ],
)
def test_anything_else_is_an_error_of_use_that_names_what_is_taken(classifier, given, said):
    with pytest.raises(UsageError) as caught:
        classifier.predict(given)
    assert said in str(caught.value)
    assert isinstance(caught.value, TypeError) or "URL" in said


def test_what_the_command_takes_for_photos_python_takes(run, digit_folder, monkeypatch, capsys):
    files = sorted(map(str, digit_folder.rglob("*.png")))
    monkeypatch.chdir(digit_folder)
    with serving(Path(files[3]).read_bytes()) as (_, host):
        given = [f"{host}/a.png?size=[1]", "digit 0", "**/00*.png", files[3], "[x]", "no.png"]
        taken = [*given[:4], f"{host}/b.png"]
        assert cli(["predict", str(run.folder), *taken, "--format", "json"]) == 0
        said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        found = run.classifier.predict(given)
    assert [(p.source, p.label) for p in found[:-2]] == [(each["path"], each["label"]) for each in said[:-1]]
    assert len(found) > len(given)
    assert [p.fault for p in found[-2:]] == [f"no such file in {digit_folder}"] * 2  # a pattern that fits nothing, too
    assert {p.trained_on for p in found[:1]} == {True}  # the same file, wherever it lies


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("GET 404", "its server answers 404, "),
        ("GET cut 20", "cut off after 20 of"),
        ("", "not an image"),
    ],
)
def test_a_photo_that_cannot_be_fetched_is_a_fault_and_stops_nothing(classifier, digit_folder, fault, said):
    path = sorted(digit_folder.rglob("*.png"))[0]
    with serving(path.read_bytes() if fault else b"<html>no photo</html>") as (server, host):
        server.faults = [fault]
        bad, good = classifier.predict([f"{host}/a.png", path])
    assert said in bad.fault
    assert good.fault is None
    (gone,) = classifier.predict(f"{host}/a.png")
    assert gone.fault.startswith("cannot be fetched: ")


@pytest.mark.parametrize("wrong", [{"top": 0}, {"batch_size": 0}])
def test_how_many_is_at_least_one(classifier, wrong):
    with pytest.raises(UsageError, match="allowed are 1 and more"):
        classifier.predict([], **wrong)


def test_a_file_that_the_run_trained_or_validated_on_is_known_again_wherever_it_lies(run, tmp_path):
    with (run.folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    moved = shutil.copy(rows[0]["path"], tmp_path / "moved.png")
    assert [p.trained_on for p in run.classifier.predict([row["path"] for row in rows])] == [True] * len(rows)
    pixels = np.asarray(Image.open(moved))
    Image.fromarray(255 - pixels).save(tmp_path / "other.png")
    data = (tmp_path / "moved.png").read_bytes()
    found = run.classifier.predict([moved, data, io.BytesIO(data), tmp_path / "other.png", pixels, b"none"])
    assert [p.trained_on for p in found] == [True, True, True, False, None, None]
    shutil.copytree(run.folder / "model", tmp_path / "alone")
    assert [p.trained_on for p in tk.load(tmp_path / "alone").predict([moved])] == [None]
