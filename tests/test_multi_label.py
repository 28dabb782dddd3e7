"""A data set whose images have several labels, from the CSV to a model that others open."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageDraw

import transferkit as tk
from transferkit.cli.main import run as command
from transferkit.data import batches
from transferkit.data.decode import decode, eval_view
from transferkit.progress import Progress
from transferkit.ship import artifact
from transferkit.ship.model_card import WORDS
from transferkit.ship.report import PAGES
from transferkit.ship.run_schema import SCORES
from transferkit.tasks import TABLE
from transferkit.zoo.errors import DataError, ModelFileError, UsageError

CLASSES = ("bar", "dot", "frame")
TINY = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "offline": True}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """48 pictures with any of three things on them, a quarter to test; one has nothing."""
    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "labels", "split"))
        for number in range(48):
            there = [name for bit, name in enumerate(CLASSES) if number >> bit & 1]
            image = Image.fromarray(rng.integers(0, 60, (32, 32, 3), np.uint8))
            draw = ImageDraw.Draw(image)
            if "bar" in there:
                draw.rectangle((2, 12, 30, 18), fill="red")
            if "dot" in there:
                draw.ellipse((20, 2, 30, 12), fill="lime")
            if "frame" in there:
                draw.rectangle((0, 0, 31, 31), outline="blue", width=3)
            image.save(folder / f"{number}.png")
            writer.writerow((f"{number}.png", "|".join(there), "test" if number % 4 == 0 else "train"))
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    """A probe of the embedded network."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return tk.finetune(table, out=out, backbone="cifar_resnet", strategy="probe", augment="none", precision="fp32")


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    """A timm network trained in two cycles, with weighted classes and smoothing."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    about = {
        "strategy": "finetune",
        "epochs": 2,
        "precision": "fp32",
        "snapshots": 2,
        "balance": "weights",
        "label_smoothing": 0.1,
    }
    return tk.finetune(table, out=out, **TINY, **about)


def test_the_run_is_judged_by_map_and_keeps_thresholds_chosen_on_validation(run):
    assert run.metrics["task"] == "multi-label"
    assert run.metrics["test"]["mAP"] > 0.95
    assert run.metrics["val"]["n"] == 36  # each by a fold without it
    config = json.loads((run.folder / "model/config.json").read_text())["transferkit"]
    thresholds = [one["threshold"] for one in run.metrics["val"]["per_class"]]
    assert config["task"] == {"name": "multi-label", "thresholds": thresholds}
    assert len(set(thresholds)) > 1
    assert config["record"]["test"]["mAP"] == run.metrics["test"]["mAP"]


def test_what_is_predicted_is_each_class_above_its_threshold_be_it_none(run, table):
    classifier = run.classifier
    found = classifier.predict([table.parent / f"{number}.png" for number in range(48)], top=3)
    for prediction in found:
        p = dict(prediction.top)
        above = {name for name, t in zip(CLASSES, classifier.task.thresholds) if p[name] > t}
        assert {name for name, _ in prediction.labels} == above
        assert prediction.label is prediction.probability is None
    assert found[0].labels == ()
    assert {name for name, _ in found[7].labels} == set(CLASSES)


def test_predictions_of_the_run_are_those_of_its_model(run):
    rows = list(csv.reader((run.folder / "predictions.csv").read_text().splitlines()))
    assert rows[0] == ["path", "labels", "predicted", *CLASSES]
    for (path, _, said, *p), prediction in zip(rows[1:], run.classifier.predict([row[0] for row in rows[1:]], top=3)):
        top = dict(prediction.top)
        assert [float(value) for value in p] == pytest.approx([top[name] for name in CLASSES], abs=1e-5)
        assert set(filter(None, said.split("|"))) == {name for name, _ in prediction.labels}, path


def test_evaluate_gives_the_scores_of_the_run_and_refuses_labels_of_another_kind(run, table, digit_folder):
    scores = run.classifier.evaluate(table, part="test")
    for name in ("mAP", "accuracy", "micro_f1", "macro_f1", "loss"):
        assert scores[name] == pytest.approx(run.metrics["test"][name], abs=1e-6)
    with pytest.raises(DataError, match="are single-label, the classifier is multi-label"):
        run.classifier.evaluate(digit_folder)


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_the_command_lists_the_labels(run, table, capsys, form):
    photos = [str(table.parent / "0.png"), str(table.parent / "7.png")]
    assert command(["predict", str(run.folder), *photos, "--format", form, "--no-abstain"]) == 0
    *head, none, everything = capsys.readouterr().out.splitlines()
    if form == "table":
        assert none.endswith("  none")
        assert all(name in everything for name in CLASSES)
    elif form == "csv":
        assert head == ["path,labels,probabilities,doubt,fault"]
        assert none.endswith("0.png,,,,")
        assert sorted(everything.split(",")[1].split("|")) == sorted(CLASSES)
    else:
        assert json.loads(none)["labels"] == []
        assert {one["label"] for one in json.loads(everything)["labels"]} == set(CLASSES)


def test_evaluate_says_which_classes_no_image_has(run, table, tmp_path):
    photos, heard = [table.parent / f"{number}.png" for number in range(8)], Progress()
    rows = "".join(f"{photo},{number & 1}\n" for number, photo in enumerate(photos))
    (tmp_path / "bars.csv").write_text(f"path,bar\n{rows}")
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr(heard, "say", said.append)
        run.classifier.evaluate(tmp_path / "bars.csv", progress=heard)
    assert said[0].startswith("multi-label: 0 to 1 labels an image")
    assert said[1:] == ["no image has dot, frame: where one is named, that counts as wrong"]


def test_answers_that_are_no_numbers_are_refused(run, table):
    classifier = run.classifier
    with torch.no_grad():
        for parameter in classifier.passes[0].network.parameters():
            parameter.fill_(3e38)
    for ask in (lambda: classifier.predict(table.parent / "1.png"), lambda: classifier.evaluate(table)):
        with pytest.raises(ModelFileError, match="gives answers that are no numbers"):
            ask()


def test_scores_of_an_ensemble_have_the_map_of_each_member(run, table, tmp_path, capsys):
    folders = [str(run.folder), str(run.folder / "model")]
    assert command(["ensemble", *folders, "-o", str(tmp_path / "both"), "--data", str(table), "--quiet"]) == 0
    header, *rows = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert header.split() == ["member", "mAP", "accuracy", "log", "loss"]
    assert [row.split()[1] for row in rows] == [f"{run.metrics['test']['mAP']:.3f}"] * 3


def test_the_likeliest_are_listed_whatever_their_thresholds_where_that_is_asked_for(run, table, capsys):
    photo = str(table.parent / "0.png")  # nothing is on it
    assert command(["predict", str(run.folder), photo, "--top", "2", "--format", "csv"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head == "path,labels,probabilities,label1,probability1,label2,probability2,doubt,fault"
    _, labels, _, first, _, second, *_ = row.split(",")
    assert labels == ""
    assert [first, second] == [name for name, _ in run.classifier.predict(photo, top=2)[0].top]
    assert command(["predict", str(run.folder), photo, "--top", "2", "--no-abstain"]) == 0
    assert [word for word in capsys.readouterr().out.split() if word in CLASSES] == [first, second]


def test_evaluate_prints_a_row_a_class(run, table, capsys):
    assert command(["evaluate", str(run.folder), str(table), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "mAP 1.000" in out or "mAP 0.9" in out
    assert [line.split()[0] for line in out.split("\n\n")[1].splitlines()] == ["class", *CLASSES]


def test_a_snapshot_ensemble_or_its_last_is_plain_timm_with_a_sigmoid(trained, table):
    folder = trained.folder / "model"
    members = sorted(folder.glob("members/*")) or [folder]
    classifier, photo = trained.classifier, table.parent / "5.png"
    p = []
    for member in members:
        preprocessing = artifact.load(member).preprocessing
        pixels = torch.from_numpy(eval_view(decode(photo), preprocessing)).permute(2, 0, 1)[None]
        network = timm.create_model(f"local-dir:{member}", pretrained=True).eval()
        with torch.no_grad():
            p.append(network(batches.normalise(pixels, preprocessing)).sigmoid()[0])
    (prediction,) = classifier.predict(photo, top=3)
    top = dict(prediction.top)
    assert torch.stack(p).mean(0).tolist() == pytest.approx([top[name] for name in CLASSES], abs=1e-4)
    lines = [json.loads(line) for line in (trained.folder / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["val"]["mAP"] <= 1 for line in lines)
    assert "sigmoid" in (members[0] / "README.md").read_text()


def in_onnx(path, pixels):
    """What a graph says of pixels, and its facts."""
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    (p,) = session.run(["probabilities"], {"photos": np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))})
    return p, session.get_modelmeta().custom_metadata_map


def in_torch(path, pixels):
    """What a program of torch.export says of pixels, and its facts."""
    extra = {"transferkit.json": ""}
    p, _ = torch.export.load(path, extra_files=extra).module()(torch.from_numpy(pixels))  # and what is familiar
    return p.numpy(), json.loads(extra["transferkit.json"])


@pytest.mark.parametrize(
    ("form", "asked"),
    [("torch-export", in_torch), pytest.param("onnx", in_onnx, marks=pytest.mark.slow)],  # of one and the same graph
)
def test_a_graph_gives_the_probabilities_and_its_thresholds(run, tmp_path, form, asked):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), np.uint8)
    p, facts = asked(run.classifier.export(form, tmp_path / "model.pt2"), pixels)
    assert json.loads(facts["task"])["thresholds"] == list(run.classifier.task.thresholds)
    expected = run.classifier.predict(list(pixels.transpose(0, 2, 3, 1)), top=3)
    for row, prediction in zip(p, expected):
        assert row.tolist() == pytest.approx([dict(prediction.top)[name] for name in CLASSES], abs=1e-4)


def test_models_are_joined_with_the_mean_of_their_thresholds_but_not_with_those_of_another_task(run, trained, tmp_path):
    joined = tk.ensemble([run.folder, run.folder / "model"], tmp_path / "both").classifier
    assert joined.task.thresholds == pytest.approx(run.classifier.task.thresholds)
    with pytest.raises(UsageError, match="one task, but cifar_resnet is single-label, not multi-label"):
        tk.ensemble([run.folder, "cifar_resnet"], tmp_path / "none")


def test_the_report_shows_every_class_and_what_was_missed(run, trained):
    assert set(PAGES) == set(WORDS) == set(SCORES) == set(TABLE)  # a task has a page, a card and a schema
    for each in (run, trained):
        text = (each.folder / "report.html").read_text(encoding="utf-8")
        assert "mean average precision" in text
        assert "Average precision" in text
        assert (each.folder / "curves.png").stat().st_size > 10_000


@pytest.mark.slow  # as with one label: tests/test_flow.py
def test_auto_compares_by_the_same_loss_and_a_stopped_run_goes_on(table, tmp_path):
    about = TINY | {"epochs": 1, "precision": "fp32", "batch_size": 16}
    whole = tk.finetune(table, out=tmp_path / "whole", **about)
    (note,) = [note for note in whole.metrics["notes"] if "fine-tuning gains" in note]
    block = whole.metrics["val"]
    assert block["n"] == 36  # each image was left out once
    assert re.search(r"calibrated loss \d\.\d{3} on the 36 training and validation images; ", note)
    again = tk.finetune(out=tmp_path / "whole", resume=True)
    assert again.metrics == json.loads((tmp_path / "whole/metrics.json").read_text())


@pytest.mark.slow  # heads by batches: tests/test_lecture_flow.py; labels several: the runs above
def test_two_views_of_a_head_trained_by_batches(table, tmp_path):
    about = {"dropout": 0.2, "epochs": 10, "l2": 0.01, "precision": "fp32"}
    run = tk.finetune(table, out=tmp_path / "head", backbone="cifar_resnet", strategy="probe", **about)
    assert run.metrics["test"]["mAP"] > 0.8


def test_a_damaged_score_or_threshold_is_refused(run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run.folder, copied)
    scores = json.loads((copied / "metrics.json").read_text())
    scores["test"]["per_class"].pop()
    (copied / "metrics.json").write_text(json.dumps(scores))
    assert command(["report", str(copied)]) == 4
    scores = json.loads((run.folder / "metrics.json").read_text())
    del scores["test"]["interval"]
    (copied / "metrics.json").write_text(json.dumps(scores))
    assert command(["report", str(copied)]) == 4
