"""Two runs on the same images: what is compared is what each has said, and nothing that either has been fitted to."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom

import transferkit as tk
from tests.conftest import write_digits
from transferkit.cli.main import run as cli
from transferkit.ship import compare as comparing
from transferkit.zoo.errors import DataError, UsageError

FAST = {"weights": "none", "image_size": 32, "strategy": "probe", "l2": 0.01, "augment": "none", "precision": "fp32"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Digits in a CSV: images 16 and up of each class are tested, in groups of three."""
    folder = tmp_path_factory.mktemp("data")
    write_digits(folder / "digits", classes=(3, 8, 9), per_class=34)
    rows = []
    for path in sorted((folder / "digits").rglob("*.png")):
        number = int(path.stem)
        group = f"{path.parent.name} {number // 3}" if number >= 16 else ""
        rows.append((path.relative_to(folder), path.parent.name, "test" if number >= 16 else "", group))
    with open(folder / "digits.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "group"), *rows])
    return folder / "digits.csv"


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, backbone in (("one", "timm:test_resnet"), ("two", "timm:test_efficientnet")):
        tk.finetune(data, out=str(folder / name), backbone=backbone, **FAST)
    return [folder / "one", folder / "two"]


def said(run):
    with open(run / "predictions.csv", newline="") as file:
        return {row["path"]: row["label"] == row["predicted"] for row in csv.DictReader(file)}


def test_what_both_runs_said_of_their_test_images_is_compared_image_by_image(runs):
    found = tk.compare(*runs)
    one, two = map(said, runs)
    only = [sum(one[path] > two[path] for path in one), sum(one[path] < two[path] for path in one)]
    assert found.names == tuple(map(str, runs))
    assert (found.n, found.groups, found.part, found.only) == (54, 18 + 3, "test", tuple(only))
    assert found.accuracies == pytest.approx((np.mean([*one.values()]), np.mean([*two.values()])))
    assert found.difference == pytest.approx((only[0] - only[1]) / 54)
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.losses is found.loss_difference is found.loss_interval is None


def test_evaluated_on_data_they_compare_as_they_did_and_by_log_loss_too(runs, data):
    found, known = tk.compare(*runs, data), tk.compare(*runs)
    for name in ("n", "groups", "only", "p", "interval", "images_needed"):
        assert getattr(found, name) == getattr(known, name)
    scores = [tk.load(run).evaluate(data) for run in runs]
    assert found.losses == pytest.approx([each["loss"] for each in scores])
    assert found.loss_difference == pytest.approx(scores[0]["loss"] - scores[1]["loss"])
    low, high = found.loss_interval
    assert low < found.loss_difference < high


def test_where_two_columns_could_be_the_label_the_named_one_is(runs, data):
    lines = data.read_text().splitlines()
    both = [f"{lines[0]},class", *(f"{line},{'odd' if n % 2 else 'even'}" for n, line in enumerate(lines[1:]))]
    twice = data.with_name("twice.csv")
    twice.write_text("\n".join(both))
    with pytest.raises(DataError, match="choose with --label-column"):
        tk.compare(*runs, twice)
    assert tk.compare(*runs, twice, label_column="label").accuracies == tk.compare(*runs, data).accuracies
    with pytest.raises(DataError, match="class 'even' is unknown"):
        tk.compare(*runs, twice, label_column="class")


def test_the_other_way_round_all_signs_change(runs, data):
    found, other = tk.compare(*runs, data), tk.compare(*runs[::-1], data)
    assert (other.p, other.only, other.better) == (found.p, found.only[::-1], found.better)
    assert other.interval == pytest.approx((-found.interval[1], -found.interval[0]))
    assert other.loss_interval == pytest.approx((-found.loss_interval[1], -found.loss_interval[0]))


def test_without_groups_p_is_that_of_mcnemar(runs, data, tmp_path):
    lines = [line.rpartition(",")[0] for line in data.read_text().splitlines()]
    alone = data.with_name("alone.csv")
    alone.write_text("\n".join(lines))
    found = tk.compare(*runs, alone)
    assert found.groups is None
    few, coin = min(found.only), binom(sum(found.only), 0.5)
    assert found.p == pytest.approx(2 * coin.cdf(few) - coin.pmf(few))


def test_what_either_was_fitted_to_is_left_out(runs, data, tmp_path):
    found = tk.compare(*runs, data, part="all")
    assert (found.n, found.notes) == (54, ("48 of 102 images are left out: one of the two was fitted to them",))
    fitted = data.with_name("fitted.csv")
    fitted.write_text("\n".join(line for line in data.read_text().splitlines() if ",test," not in line))
    with pytest.raises(DataError, match="0 images that neither was fitted to, too few to compare; give DATA with more"):
        tk.compare(*runs, fitted)
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    manifest = (other / "manifest.csv").read_text().splitlines()
    tested = [number for number, line in enumerate(manifest) if ",test," in line]
    for number in tested[:20]:
        manifest[number] = manifest[number].replace(",test,", ",train,")
    (other / "manifest.csv").write_text("\n".join(manifest))
    for order in ((runs[0], other), (other, runs[0])):
        assert tk.compare(*order).n == tk.compare(*order, data).n == 34


def test_runs_that_do_not_answer_the_same_question_are_refused(runs, digit_folder, tmp_path):
    other = tmp_path / "other"
    tk.finetune(digit_folder, out=str(other), backbone="timm:test_resnet", **FAST)
    for given in ((runs[0], other), (other, runs[0]), (runs[0], other, digit_folder)):
        with pytest.raises(DataError, match=r"the classes differ: .* alone knows digit"):
            tk.compare(*given)
    with pytest.raises(UsageError, match="other has judged no test images; give DATA to compare on"):
        tk.compare(other, other)
    with pytest.raises(UsageError, match="part and labels are those of DATA"):
        tk.compare(*runs, part="val")
    with pytest.raises(UsageError, match="part and labels are those of DATA"):
        tk.compare(*runs, label_from="a")
    scores = json.loads((other / "metrics.json").read_text())
    scores |= {"task": "multi-label"}
    for part in ("val",):
        scores[part] = {"accuracy": 1, "n": 1, "interval": [0, 1], "mAP": 1, "micro_f1": 1, "macro_f1": 1}
        one = {"threshold": 0.5, "images": 1, "named": 1, "ap": 1, "precision": 1, "recall": 1, "f1": 1}
        scores[part]["per_class"] = [one] * 3
    (other / "metrics.json").write_text(json.dumps(scores))
    with pytest.raises(DataError, match=r"one is single-label, .*other is multi-label"):
        tk.compare(runs[0], other)


def test_runs_with_few_test_images_in_common_say_so(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    lines = (other / "predictions.csv").read_text().splitlines()
    (other / "predictions.csv").write_text("\n".join(lines[:31]))
    found = tk.compare(runs[0], other)
    assert (found.n, found.notes) == (30, ("54 and 30 images were judged, 30 of them by both",))
    (other / "predictions.csv").write_text("\n".join(lines[:6]))
    with pytest.raises(DataError, match="have 5 images in common, too few to compare; give DATA"):
        tk.compare(runs[0], other)
    moved = [line.replace(",digit 3,", ",digit 8,", 1) for line in lines]  # other labels than the other run's
    (other / "predictions.csv").write_text("\n".join(moved))
    assert tk.compare(runs[0], other).n == 36


def comparison(**about):
    known = {"names": ("a", "b"), "part": "test", "n": 400, "groups": None, "accuracies": (0.9, 0.85)}
    known |= {"only": (30, 10), "difference": 0.05, "interval": (0.02, 0.08), "p": 0.0021, "losses": None}
    known |= {"loss_difference": None, "loss_interval": None, "images_needed": 2000}
    return comparing.Comparison(**known | about)


def test_the_verdict_is_a_sentence():
    assert comparison().verdict == "a is better: 5.0 points (95 % interval 2.0 to 8.0), p = .002"
    other = comparison(difference=-0.052, interval=(-0.08, -0.02), p=1e-5)
    assert other.verdict == "b is better: 5.2 points (95 % interval 2.0 to 8.0), p < .001"
    unclear = comparison(difference=-0.005, interval=(-0.021, 0.013), p=0.61)
    assert unclear.verdict == (
        "they do not differ measurably on 400 images: -0.5 points (95 % interval -2.1 to 1.3), p = .610; "
        "to see 2 points you would need about 2,000 images"
    )
    assert unclear.better is None
    assert comparison(p=1.0, images_needed=400).verdict.endswith(
        "p = 1.000; a difference of 2 points would most likely have been seen"
    )


def test_the_command_prints_the_verdict_and_all_of_it_as_json(runs, data, capsys):
    found = tk.compare(*runs, data)
    assert cli(["compare", *map(str, runs), str(data), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(found.as_json()))
    assert printed["verdict"] == found.verdict
    assert cli(["compare", *map(str, runs), str(data)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(found.verdict)
    assert "54 test images in 21 groups" in out
    assert f"log loss of the first minus that of the second: {found.loss_difference:.4f}" in out
    assert cli(["compare", *map(str, runs)]) == 0
    assert "log loss" not in capsys.readouterr().out
    assert cli(["compare", str(runs[0]), "nothing here"]) == 2


@pytest.mark.slow  # what is right of several labels: tests/tasks/test_multi_label.py
def test_images_of_several_labels_are_right_where_all_of_them_are(tmp_path, capsys):
    rng, rows = np.random.default_rng(0), []
    for number in range(60):
        there = rng.random(2) < 0.5
        pixels = rng.integers(0, 120, (16, 16, 3), np.uint8)
        pixels[:8, :, 0] += np.uint8(130 * there[0])
        pixels[8:, :, 2] += np.uint8(130 * there[1])
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        labels = "|".join(np.array(["red", "blue"])[there])
        rows.append((f"{number}.png", labels, "test" if number % 2 else ""))
    with open(tmp_path / "data.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "labels", "split"), *rows])
    made = [
        tk.finetune(tmp_path / "data.csv", out=str(tmp_path / name), backbone=name, **FAST)
        for name in ("timm:test_resnet", "timm:test_efficientnet")
    ]
    found = tk.compare(*(run.folder for run in made))
    assert found.accuracies == tuple(run.metrics["test"]["accuracy"] for run in made)
    again = tk.compare(*(run.folder for run in made), tmp_path / "data.csv")
    assert (again.only, again.p) == (found.only, found.p)
    assert again.losses == pytest.approx([run.metrics["test"]["loss"] for run in made], abs=1e-4)
