"""An audit finds what was put into a folder, writes it where asked, and changes no photo."""

import csv
import hashlib
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import transferkit as tk
from transferkit import inspection
from transferkit.auditing import audit, clean
from transferkit.cli.main import run
from transferkit.model.features import Features
from transferkit.preparation import read_images
from transferkit.prepare import prepare
from transferkit.progress import Progress
from transferkit.zoo.errors import RunConflictError

TINY = {"backbone": "cifar_resnet", "device": "cpu"}
PROBE = TINY | {"strategy": "probe", "augment": "none", "l2": 0.01, "precision": "fp32"}
HOSTILE = "<img src=x onerror=alert(1)>.png"


class Told(Progress):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def hashes(folder):
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def planted(digit_folder, tmp_path_factory):
    """Digits with one of everything that can be wrong."""
    data = tmp_path_factory.mktemp("audit") / "digits"
    shutil.copytree(digit_folder, data / "train")
    (data / "train/digit 4").rename(data / "train/<b>4")
    for label in ("digit 0", "digit 1", "<b>4"):
        (data / "test" / label).mkdir(parents=True)
        for name in ("020.png", "021.png", "022.png", "023.png"):
            (data / "train" / label / name).rename(data / "test" / label / name)
    shutil.copy(data / "train/digit 0/000.png", data / "train/digit 1" / HOSTILE)  # two labels
    shutil.copy(data / "train/digit 0/001.png", data / "test/digit 0/leak.png")  # two parts
    shutil.copy(data / "train/<b>4/001.png", data / "train/<b>4/again.png")
    (data / "train/<b>4/002.png").rename(data / "train/digit 1/moved.png")  # another label
    (data / "test/digit 0/023.png").rename(data / "test/digit 1/moved.png")
    Image.new("RGB", (32, 32), "white").save(data / "train/digit 0/blank.png")
    (data / "test/digit 1/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return data


@pytest.fixture(scope="module")
def found(planted):
    before = hashes(planted)
    result = audit(planted, out=planted.parent / "audit", **TINY)
    assert hashes(planted) == before
    return result


def test_what_was_put_in_is_found(found):
    count, contents = found.contents["counts"], found.contents
    assert (count["unreadable"], contents["unreadable"][0]["path"]) == (1, "test/digit 1/broken.png")
    assert (count["copies"], count["copies_across_parts"], count["copies_across_labels"]) == (3, 1, 1)
    paths = [set(each["paths"]) for each in contents["copies"]]
    assert {"train/digit 0/001.png", "test/digit 0/leak.png"} in paths
    assert {"train/digit 0/000.png", f"train/digit 1/{HOSTILE}"} in paths
    assert contents["nearly_one_colour"] == ["train/digit 0/blank.png"]
    first = {each["path"]: each["suggestion"] for each in contents["suspected_labels"][:4]}
    assert first["train/digit 1/moved.png"] == "<b>4"
    assert first["test/digit 1/moved.png"] == "digit 0"
    assert first[f"train/digit 1/{HOSTILE}"] == "digit 0"
    assert contents["classes"] == {"<b>4": 24, "digit 0": 25, "digit 1": 27}
    assert contents["sizes"]["width"] == [32, 32, 32]


def test_the_file_is_the_json_that_is_printed_and_has_a_version(found):
    assert json.loads((found.folder / "audit.json").read_text()) == found.contents
    assert found.contents["version"] == 1


def test_each_image_in_doubt_stands_once_in_fixes_with_the_safe_action(found, planted):
    with open(found.folder / "fixes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["action"] for row in rows} == {"keep"}
    by_path = {row["path"]: row for row in rows}
    assert len(by_path) == len(rows)
    assert all((planted / path).is_file() for path in by_path)
    assert by_path["test/digit 0/leak.png"]["suggestion"] == "remove"
    assert "the same file as train/digit 0/001.png (in train)" in by_path["test/digit 0/leak.png"]["problem"]
    assert by_path[f"train/digit 1/{HOSTILE}"]["suggestion"] == "remove"
    assert by_path["train/digit 0/000.png"]["suggestion"] == "keep"
    assert by_path["train/digit 1/moved.png"]["suggestion"] == "label:<b>4"
    assert by_path["test/digit 1/broken.png"]["label"] == "digit 1"


def test_the_page_shows_names_as_text_and_asks_nothing_of_a_network(found):
    page = (found.folder / "audit.html").read_text()
    assert len(page) < 3_000_000
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<b>4" not in page
    assert "<script" not in page
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'src="([^"]*)"', page))
    assert page.count("data:image/jpeg") >= 5


@pytest.mark.parametrize("strategy", ["probe", "auto"])
def test_a_run_that_follows_has_all_features_already(found, planted, strategy):
    prepared = prepare(planted, strategy=strategy, **TINY)
    names = [path for path in prepared.listing.paths if path.name != "broken.png"]
    sha256 = np.array([hashlib.sha256(path.read_bytes()).hexdigest() for path in names])
    features = Features.empty(len(names), prepared.model, views=prepared.extractor.first_views)
    fitted = np.array(["test" not in path.parts for path in names])
    assert prepared.extractor.recall(features, sha256, fitted=fitted).all()


def test_the_cleaned_data_set_can_be_trained_on_and_has_no_copies(found, planted, tmp_path):
    edited = (found.folder / "fixes.csv").read_text().replace("label:<b>4,keep", "label:<b>4,label:<b>4")
    (tmp_path / "fixes.csv").write_text(edited.replace("remove,keep", "remove,remove"))
    cleaned = clean(planted, tmp_path / "fixes.csv", tmp_path / "clean.csv")
    assert (cleaned.images, cleaned.relabelled >= 1) == (77 - cleaned.removed, True)
    heard = Told()
    tk.finetune(tmp_path / "clean.csv", out=tmp_path / "again", progress=heard, **PROBE)
    assert not [line for line in heard.lines if "copies of" in line or "more than one label" in line]


def test_a_run_says_in_a_line_or_two_what_an_audit_would(planted, tmp_path):
    heard = Told()
    result = tk.finetune(planted, out=tmp_path / "run", progress=heard, **PROBE)
    (line,) = [line for line in heard.lines if "nearly one colour" in line]
    assert line == "1 of 76 photos looked at is nearly one colour"
    assert f"all of it: transferkit audit {planted}" in heard.lines
    assert line in result.metrics["audit"]["lines"]
    assert line in (result.folder / "report.html").read_text()
    prepared = prepare(planted, strategy="probe", **TINY)
    taken, _ = read_images(prepared, Progress())
    (failed, _) = inspection.at_a_glance(prepared, taken, np.array([1000]), np.zeros((1, 3)))
    assert failed.startswith("the images were not looked at: IndexError: ")


def test_photos_that_tell_nothing_are_passed_over_in_silence(digit_folder):
    prepared = prepare(digit_folder, strategy="probe", **TINY)
    taken, _ = read_images(prepared, Progress())
    right = 9.0 * np.eye(3)[taken.listing.labels]
    assert inspection.at_a_glance(prepared, taken, np.arange(72), right) == []
    right[5] = right[70]
    first, again = inspection.at_a_glance(prepared, taken, np.arange(72), right)
    assert first == "1 label is probably wrong, of 72; first digit 0/005.png: digit 4?"
    assert again == f"all of it: transferkit audit {digit_folder}"


def test_what_lies_in_the_folder_stays(found, planted):
    before = hashes(found.folder)
    with pytest.raises(RunConflictError, match="is not empty; name another folder with -o"):
        audit(planted, out=found.folder, **TINY)
    assert hashes(found.folder) == before


def test_the_command_prints_names_that_no_terminal_obeys_and_breaks_lines(planted, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    data = tmp_path / "odd"
    shutil.copytree(planted, data)
    for part in ("train", "test"):
        os.rename(data / part / "digit 1", data / part / "digit\a1")
    assert run(["audit", "odd", "--backbone", "cifar_resnet", "--device", "cpu", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert "\a" not in out + err
    assert r"\x07" in out
    assert "3 images that are there already" in out
    assert "audits/odd-1/audit.html" in out
    assert max(len(line) for line in out.splitlines() if "audits/" not in line) <= 60
    assert run(["audit", "odd", "--apply", "audits/odd-1/fixes.csv", "-o", "clean.csv", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr()[0]) == {"data": "clean.csv", "images": 77, "removed": 0, "relabelled": 0}
    assert run(["audit", "odd", "--apply", "audits/odd-1/fixes.csv", "--quiet"]) == 2
    assert "with -o" in capsys.readouterr()[1]


def test_of_several_labels_an_image_copies_and_suspects_are_found_and_shortcuts_left_out(digit_folder, tmp_path):
    lines = ["path,labels"]
    for path in sorted(digit_folder.rglob("*.png")):
        lines.append(f"{path},{'round' if path.parent.name == 'digit 0' else 'straight|thin'}")
    lines.append(f"{digit_folder / 'digit 0/000.png'},thin")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    contents = audit(tmp_path / "data.csv", out=tmp_path / "audit", **TINY).contents
    assert contents["counts"]["copies_across_labels"] == 1
    assert contents["suspected_labels"][0]["label"] == "thin"
    assert contents["suspected_labels"][0]["suggestion"] == "round"
    assert contents["shortcuts"] is None
    assert "shortcuts are looked for where each image has one class" in contents["notes"]


def test_too_few_images_to_judge_by_still_have_their_copies_found(tmp_path):
    for label, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / "data" / label).mkdir(parents=True)
        for name in "12":
            Image.new("RGB", (8, 8), colour).save(tmp_path / "data" / label / f"{name}.png")
    contents = audit(tmp_path / "data", out=tmp_path / "audit", **TINY).contents
    assert contents["counts"]["copies"] == 2
    assert contents["suspected_labels"] is None
    assert contents["notes"][0].startswith("no label was judged: too few images to validate on")
    assert "no label was judged" in (tmp_path / "audit" / "audit.html").read_text()
