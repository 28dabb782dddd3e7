"""Backbones are ranked by what a run says of them itself, without the test images, and nothing is computed twice."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

import transferkit as tk
from tests.conftest import write_digits
from transferkit import flow, metrics, ranking
from transferkit.candidates import Candidates
from transferkit.cli.main import run
from transferkit.data import known
from transferkit.model.features import Features
from transferkit.prepare import found
from transferkit.progress import Progress
from transferkit.train.logme import logme
from transferkit.zoo.errors import UsageError

NAMES = ["cifar_mlp", "cifar_resnet"]


class Told(Progress):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Digits to train on, and test images that have the wrong labels."""
    data = tmp_path_factory.mktemp("ranking")
    write_digits(data / "train", classes=(0, 1, 4), per_class=12)
    write_digits(data / "test", classes=(0, 1, 4), per_class=4)
    for name in ("digit 0", "digit 1"):
        (data / "test" / name).rename(data / "test" / f"{name}-")
    (data / "test" / "digit 0-").rename(data / "test" / "digit 1")
    (data / "test" / "digit 1-").rename(data / "test" / "digit 0")
    return data


@pytest.fixture(scope="module")
def ranking_seen(folder):
    """What is told of each backbone, and what pairs are then made of."""
    seen, pair = [], ranking._best_pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_best_pair", lambda tried, progress: seen.extend(tried) or pair(tried, progress))
        return flow.rank(folder, NAMES, device="cpu", precision="fp32"), seen


@pytest.fixture(scope="module")
def ranked(ranking_seen):
    return ranking_seen[0]


def test_the_figures_are_those_of_a_probe_that_is_cross_validated(folder, ranked, tmp_path):
    for each in ranked[:1]:
        val = tk.finetune(
            folder, backbone=each.backbone, strategy="probe", out=tmp_path / each.backbone, precision="fp32"
        ).metrics["val"]
        assert (each.accuracy, list(each.interval)) == (val["accuracy"], val["interval"])
        assert val["loss"] <= each.loss * (1 + 1e-6)  # at another temperature
        assert val["n"] == 36
    assert [each.loss for each in ranked] == sorted(each.loss for each in ranked)
    assert {each.backbone for each in ranked} == {*NAMES}


@pytest.mark.slow  # of features the next test, of the best tests/test_candidates.py
def test_a_run_that_follows_computes_no_features_again_and_best_is_the_first(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr(ranking, "chosen", lambda *_: Candidates(names=tuple(NAMES)))
    monkeypatch.setattr(known, "MARGIN_NS", -(10**18))  # files count as old, as those of users are
    first, _ = flow.rank(folder / "train", NAMES, cache_dir=cache, precision="fp32")  # else timed
    told = Told()
    options = {"strategy": "probe", "precision": "fp32", "cache_dir": cache}
    run = tk.finetune(folder / "train", backbone="best", out=tmp_path / "run", progress=told, **options)
    assert run.metrics["backbone"] == first.backbone
    assert any(line.startswith(f"backbone {first.backbone}: the lowest log loss") for line in told.lines)
    assert told.lines.count("features of 36 images are kept from earlier runs") == 3
    given = json.loads((run.folder / "run.json").read_text())["given"]
    assert given["backbone"] == first.backbone  # which is what is gone on with


def test_features_of_an_earlier_stage_are_proposed_where_they_clearly_help_and_no_network_lies_beside_itself(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(known, "MARGIN_NS", -(10**18))  # files count as old, as those of users are
    data = write_digits(tmp_path / "data", classes=(1, 7, 9), per_class=8)
    told = Told()
    same = {"cache_dir": tmp_path / "cache", "progress": told, "image_size": 96, "precision": "fp32"}  # auto is timed
    first, second = flow.rank(data, ["efficientnet_lite0"], **same)
    assert [first.backbone, second.backbone] == ["efficientnet_lite0@blocks.4@blocks.6", "efficientnet_lite0"]
    assert first.loss < second.loss
    assert not [line for line in told.lines if line.startswith("side by side")]
    val = tk.finetune(data, backbone=first.backbone, strategy="probe", out=tmp_path / "run", **same).metrics["val"]
    assert val["accuracy"] == first.accuracy
    assert val["loss"] <= first.loss * (1 + 1e-6)  # at another temperature
    assert "features of 24 images are kept from earlier runs" in told.lines


def test_of_many_images_each_class_has_its_share(folder, monkeypatch):
    seen = []
    judged = ranking._judged
    monkeypatch.setattr(
        ranking, "_judged", lambda prepared, progress: seen.append(prepared.listing) or judged(prepared, progress)
    )
    flow.rank(folder, ["cifar_mlp"], most=18)
    assert np.bincount(seen[0].labels).tolist() == [6, 6, 6]
    assert "test" not in seen[0].parts


def test_a_rare_class_has_some_images_first_those_to_train_on(folder, monkeypatch):
    listing = found(folder / "train", progress=Progress())[1]
    labels, parts = np.repeat([0, 1, 2], [20, 10, 6]), np.full(36, "train", "<U5")
    parts[[30, 31, 35]] = "val"
    few = ranking._some(replace(listing, labels=labels, parts=parts), 6)
    assert np.bincount(few.labels).tolist() == [6, 5, 5]
    assert (few.parts[few.labels == 2] == "train").sum() == 3


def test_best_is_not_chosen_for_weights_that_are_given(folder):
    for weights in ("none", "file.safetensors"):
        with pytest.raises(UsageError, match="--backbone best chooses by the weights"):
            tk.finetune(folder, backbone="best", weights=weights)


def test_a_star_is_for_those_that_none_as_fast_beats(ranked):
    figures = [(0.1, 9), (0.2, 5), (0.3, 7), (0.4, 1)]
    found = [replace(ranked[0], loss=loss, milliseconds=ms) for loss, ms in figures]
    assert [ranking._is_ahead(each, found) for each in found] == [True, True, False, True]
    assert ranking._is_ahead(found[0], [found[0], replace(found[0], backbone="another name of it")])


def test_no_name_and_one_that_nobody_knows_are_refused(folder):
    with pytest.raises(UsageError, match="no backbones are named"):
        flow.rank(folder, [])
    with pytest.raises(UsageError, match="did you mean cifar_resnet"):
        flow.rank(folder, ["cifar_resnett"])


def test_the_command_prints_a_table_or_json(folder, capsys):
    assert run(["rank", str(folder), "--backbones", "cifar_mlp", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["backbone", "right", "95", "%", "log", "loss", "LogME", "ms", "MB", "licence"]
    assert len(lines) == 4
    assert lines[-1] == f"transferkit finetune {folder} --backbone {lines[1].split()[0]}"
    assert run(["rank", str(folder), "--backbones", "cifar_mlp", "--json", "--quiet"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["backbone"] == "cifar_mlp"
    assert found["is_ahead"]
    assert found["milliseconds"] > 0


def test_milliseconds_are_those_with_as_many_threads_as_there_are(folder, tmp_path):
    before, times = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            times += [each.milliseconds for each in flow.rank(folder, ["cifar_mlp"], cache_dir=str(tmp_path))]
    finally:
        torch.set_num_threads(before)
    assert times[0] == times[2] != times[1]


@pytest.mark.parametrize("shape", [(40, 5), (20, 60)])
def test_logme_is_the_largest_evidence_that_any_precisions_give(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    y = (x[:, :2] + rng.normal(size=(shape[0], 2)) > 0).astype(float)

    def lost(logs, target):
        alpha, beta = np.exp(logs)
        covariance = np.eye(len(x)) / beta + x @ x.T / alpha
        return -multivariate_normal(np.zeros(len(x)), covariance).logpdf(target) / len(x)

    best = [-minimize(lost, [0.0, 0.0], args=(target,), method="Nelder-Mead").fun for target in y.T]
    assert logme(x, y) == pytest.approx(np.mean(best), abs=2e-3)


@pytest.fixture(scope="module")
def tried(ranking_seen):
    """Two backbones as they were tried; of three classes the first knows one, the second another."""
    _, seen = ranking_seen
    noise = np.random.default_rng(0)
    about = {"license": "MIT", "megabytes": 1.0}

    def knowing(k, name, milliseconds, by=6):
        labels = seen[0].problem.train.labels
        features = noise.normal(size=(2, len(labels), 4)) + by * (labels == k)[:, None]
        views = tuple(features.astype(np.float32))
        problem = replace(seen[0].problem, features=Features(views=views))
        return ranking._probed(problem, about | {"backbone": name, "milliseconds": milliseconds}, Progress())

    return knowing(0, "one", 1.0), knowing(1, "two", 2.0), knowing(1, "slow", 9.0, by=12), knowing(0, "same", 0.1)


def test_the_pair_that_gains_most_for_its_milliseconds_is_listed(tried):
    one, two, slow, same = tried
    pair = ranking._best_pair([one, slow, two, same], Progress())
    assert (pair.backbone, pair.milliseconds, pair.megabytes, pair.license) == ("one+two", 3.0, 2.0, "MIT")
    assert pair.accuracy > max(one.found.accuracy, two.found.accuracy)
    assert ranking._best_pair([one, slow], Progress()).loss < pair.loss < one.found.loss / 2


def test_no_pair_is_listed_where_none_clearly_names_more_images_right(tried, monkeypatch):
    one, *_, same = tried
    assert ranking._best_pair([one, same], Progress()) is None
    assert ranking._best_pair([one], Progress()) is None
    known = replace(one, found=replace(one.found, accuracy=1.0))
    assert ranking._best_pair([known, tried[1]], Progress()) is None
    monkeypatch.setattr(metrics, "is_better", lambda *losses: False)
    assert ranking._best_pair([one, tried[1]], Progress()) is None
