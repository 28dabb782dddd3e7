"""Answers averaged over a photo and its mirror image, from the option to plain timm and an exported graph."""

import csv
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import transferkit as tk
from tests.conftest import write_digits
from transferkit.data import batches
from transferkit.data.decode import decode, eval_view
from transferkit.model.build import create
from transferkit.prepare import prepare
from transferkit.ship import artifact
from transferkit.ship.classifier import Classifier
from transferkit.ship.ensemble import join
from transferkit.ship.models import Artifact
from transferkit.train import mirror_trial

TINY = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "precision": "fp32"}
WAYS = {
    "probe": {"strategy": "probe", "seed": 1},
    "in cycles": {"strategy": "probe", "snapshots": 2, "epochs": 4, "lr": 0.3, "seed": 7},
    "several labels": {"strategy": "lp-ft", "freeze": "layer1", "epochs": 1, "lr": 1e-5, "views": 1, "seed": 0},
}
USED = ("probe", "in cycles")  # in the last validation is no better


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Three classes, 12 digits each to train on and 4 to test; and a table that gives each two labels or none."""
    folder = tmp_path_factory.mktemp("digits")
    for part, count in (("train", 12), ("test", 4)):
        write_digits(folder / part, classes=(0, 1, 4), per_class=count)
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "labels", "split"))
        for path in sorted(folder.rglob("*.png")):
            labels = {"0": "round|closed", "1": "", "4": "closed"}[path.parent.name[-1]]
            writer.writerow((path, labels, path.relative_to(folder).parts[0]))
    return folder


@pytest.fixture(scope="module")
def ran(digits, tmp_path_factory):
    """A run of each of the ways; each is made once."""
    place = tmp_path_factory.mktemp("runs")

    def run(way):
        data = digits / "labels.csv" if way == "several labels" else digits
        if not (place / way).exists():
            tk.finetune(data, out=place / way, tta=True, **TINY, **WAYS[way])
        return place / way

    return run


def inputs(model: Artifact, photos) -> torch.Tensor:
    views = [eval_view(decode(photo), model.preprocessing) for photo in photos]
    return batches.normalise(torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2), model.preprocessing)


@torch.no_grad()
def by_timm(folder, photos, activation, *, is_used=True) -> np.ndarray:
    """The oracle: probabilities (N, K) by plain timm, told to look twice if averaging is used."""
    loaded = artifact.load(folder)
    members = [loaded] if isinstance(loaded, Artifact) else loaded.members
    folders = [folder] if len(members) == 1 else [folder / "members" / str(m) for m in range(len(members))]
    found = []
    for place, member in zip(folders, members):
        model, x = timm.create_model(f"local-dir:{place}", pretrained=True).eval(), inputs(member, photos)
        logits = (model(x) + model(x.flip(3))) / 2 if is_used else model(x)
        found.append(activation(logits, dim=1).double())
    return torch.stack(found).mean(0).numpy()


@pytest.mark.parametrize(
    "way", ["probe", "several labels", pytest.param("in cycles", marks=pytest.mark.slow)]
)  # members that average: test_an_ensemble_averages_only_the_members_that_were_shipped_so
def test_what_is_shipped_answers_as_timm_and_is_what_was_judged(way, ran, digits):
    run = ran(way)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["tta"]["used"] is (way in USED)
    photos = sorted((digits / "test").rglob("*.png"))
    classifier = tk.load(run)
    activation = (lambda logits, dim: logits.sigmoid()) if way == "several labels" else torch.softmax
    expected = by_timm(run / "model", photos, activation, is_used=way in USED)
    for prediction, row in zip(classifier.predict(photos, top=3), expected):
        assert dict(prediction.top) == pytest.approx(dict(zip(classifier.classes, row)), abs=1e-5)
    with open(run / "predictions.csv") as file:
        judged = {row["path"]: row for row in csv.DictReader(file)}
    for photo, prediction in zip(photos, classifier.predict(photos, top=3)):
        row, said = judged[str(photo)], dict(prediction.top)
        for name in classifier.classes if way == "several labels" else [row["predicted"]]:
            assert float(row.get(name, row.get("probability"))) == pytest.approx(said[name], abs=1e-5)
    kept = "averaged" if way in USED else "plain"
    assert metrics["tta"]["loss"][kept] <= metrics["val"]["loss"] * (1 + 1e-6)  # at the temperature that suits it most
    assert isinstance(classifier.artifact, Artifact) is (way != "in cycles")


def test_card_configuration_and_report_say_it(ran):
    run = ran("probe")
    assert json.loads((run / "model" / "config.json").read_text())["transferkit"]["averages_mirror"] is True
    card, report = (run / "model" / "README.md").read_text(), (run / "report.html").read_text()
    assert "as it is and mirrored left for right" in card
    assert "`(model(x) + model(x.flip(-1))) / 2`" in card
    assert "Mirror averaging" in report
    assert "It is part of the model, and takes twice the time." in report
    note = next(note for note in json.loads((run / "metrics.json").read_text())["notes"] if "mirror" in note)
    assert note.startswith("mirror averaging is used, at twice the time an image: calibrated loss ")


def test_nothing_is_averaged_where_validation_is_no_better(ran):
    run = ran("several labels")
    metrics = json.loads((run / "metrics.json").read_text())
    assert any(note.startswith("mirror averaging is not used, it is no better") for note in metrics["notes"])
    assert "averages_mirror" not in json.loads((run / "model" / "config.json").read_text())["transferkit"]
    assert "It is not part of the model." in (run / "report.html").read_text()


def test_an_ensemble_averages_only_the_members_that_were_shipped_so(ran, digits, tmp_path):
    shipped, photos = artifact.load(ran("probe")), sorted((digits / "test").rglob("*.png"))
    alone = Artifact(**{**vars(shipped), "averages_mirror": False})
    artifact.save(tmp_path / "alone", alone)
    joined = join([ran("probe"), tmp_path / "alone", ran("probe")], tmp_path / "both")
    assert joined.passes == 3  # two of a photo and its mirror image, for both members that are so, and one
    one, other = (tk.load(path).predict(photos, top=3) for path in (ran("probe"), tmp_path / "alone"))
    for first, second, both in zip(one, other, joined.classifier.predict(photos, top=3)):
        mean = {name: (2 * p + dict(second.top)[name]) / 3 for name, p in first.top}
        assert dict(both.top) == pytest.approx(mean, abs=1e-6)


def test_each_of_several_networks_side_by_side_is_shipped_so_too(tmp_path):
    pair = create("timm:test_resnet+timm:test_efficientnet", weights="none", image_size=32, num_classes=2)
    given = {"classes": ("a", "b"), "preprocessing": pair.card.preprocessing, "record": {}, "averages_mirror": True}
    artifact.save(tmp_path / "pair", Artifact(backbone=pair, **given))
    member = tmp_path / "pair" / "members" / "1"
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    expected = by_timm(member, [Image.fromarray(photo)], torch.softmax)
    (found,) = tk.load(member).predict([photo], top=2)
    assert dict(found.top) == pytest.approx(dict(zip(("a", "b"), expected[0])), abs=1e-5)
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        both = (pair(x) + pair(x.flip(3))) / 2
        torch.testing.assert_close(artifact.load(tmp_path / "pair").network(x), both)


def test_each_layer_of_a_network_that_averages_runs_once_with_batchnorm_folded(ran):
    classifier = Classifier(artifact.load(ran("probe")), device="cpu")
    convolutions = [m for m in classifier.passes[0].network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all("folded_norm" in vars(each) for each in convolutions)


@pytest.mark.parametrize(
    ("strategy", "given", "reason"),
    [
        ("probe", {}, None),
        ("probe", {"views": 1}, "--views 1"),
        ("lp-ft", {"views": 1}, None),
        ("finetune", {"augment": "none"}, "--augment none"),
        ("finetune", {}, None),
    ],
)
def test_averages_are_tried_where_something_is_fitted_to_mirror_images(strategy, given, reason, digits):
    prepared = prepare(digits, strategy=strategy, tta=True, **TINY, **given)
    assert prepared.fits_mirrored is (reason is None)
    if reason:
        line = mirror_trial.untried(prepared.given)
        assert line == f"mirror averaging is not used: with {reason} nothing is fitted to mirror images"
