import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from transferkit.tasks import SINGLE_LABEL, split
from transferkit.train import feature_blocks, probe, selection
from transferkit.train.feature_blocks import Rows, Scale
from transferkit.train.objective import Objective


def seen(*views, labels, of=None):
    of = np.arange(len(labels)) if of is None else of
    return Rows(views=views, rows=of, labels=labels[of])


@pytest.fixture(scope="module")
def wine():
    x, y = load_wine(return_X_y=True)
    x = x.astype(np.float32)
    return SimpleNamespace(x=x, y=y, rows=seen(x, labels=y), even=torch.ones(3))


def probabilities(found, x):
    return found.logits(torch.from_numpy(x)).softmax(1).numpy()


def scaled(x):
    return StandardScaler().fit_transform(x.astype(np.float64))


def oracle(l2, count, **options):
    return LogisticRegression(C=1 / (2 * l2 * count), tol=1e-10, max_iter=5000, **options)


@pytest.mark.parametrize("l2", [1.0, 0.01, 1e-4])
def test_the_probe_is_scikit_learns_logistic_regression(wine, l2):
    found = probe.fit(wine.rows, l2, class_weights=wine.even)
    x = scaled(wine.x)
    expected = oracle(l2, len(x)).fit(x, wine.y).predict_proba(x)
    assert np.abs(probabilities(found, wine.x) - expected).max() < 2e-3


def test_parts_that_lie_side_by_side_weigh_the_same_however_narrow(wine):
    parts = replace(wine.rows, widths=(10, 3))
    x = scaled(wine.x) * np.repeat([1, np.sqrt(10 / 3)], [10, 3])  # variances that sum up to the same
    found = probe.fit(parts, 0.01, class_weights=wine.even)
    expected = oracle(0.01, len(x)).fit(x, wine.y).predict_proba(x)
    assert np.abs(probabilities(found, wine.x) - expected).max() < 5e-3
    folds = np.arange(len(x)) % 5
    chosen = selection.choose_by_folds(parts, folds, class_weights=wine.even, path=(0.01,), on_value=lambda line: None)
    for fold in range(5):
        others = replace(parts, rows=np.flatnonzero(folds != fold), labels=wine.y[folds != fold])
        alone = probe.fit(others, 0.01, class_weights=wine.even).predict(wine.x, np.flatnonzero(folds == fold))
        assert np.abs(chosen.logits[folds == fold] - alone).max() < 2e-2


def test_a_probe_is_scored_by_its_mean_log_loss_and_accuracy(wine):
    found = probe.linear(torch.randn(3, 14), Scale.of(wine.rows.blocks(3)))
    p = probabilities(found, wine.x).astype(np.float64)
    score = probe.score(wine.rows.blocks(3), found)
    assert score["loss"] == pytest.approx(log_loss(wine.y, p / p.sum(1, keepdims=True)), rel=1e-5)
    assert score["accuracy"] == (p.argmax(1) == wine.y).mean()


def test_a_weighted_probe_is_scikit_learns_balanced_one(wine):
    chosen = np.concatenate([np.flatnonzero(wine.y == 0), np.flatnonzero(wine.y == 1)[:10]])
    y = wine.y[chosen]
    weights = len(y) / (2 * torch.bincount(torch.from_numpy(y)).float())
    found = probe.fit(seen(wine.x, labels=wine.y, of=chosen), 0.1, class_weights=weights)
    x = scaled(wine.x[chosen])
    # two columns share one difference of weights, whose square is twice the sum of theirs
    expected = oracle(0.05, len(y), class_weight="balanced").fit(x, y).predict_proba(x)
    assert np.abs(probabilities(found, wine.x[chosen]) - expected).max() < 2e-3


def test_a_hundred_classes_have_scikit_learns_solution():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(100), 5)
    x = (rng.normal(size=(100, 30))[y] + 0.7 * rng.normal(size=(500, 30))).astype(np.float32)
    found = probe.fit(seen(x, labels=y), 0.001, class_weights=torch.ones(100))
    expected = oracle(0.001, 500).fit(scaled(x), y).predict_proba(scaled(x))
    assert np.abs(probabilities(found, x) - expected).max() < 5e-3


def test_views_count_like_rows_of_one_array(wine):
    other = wine.x + np.float32(0.3) * np.random.default_rng(0).normal(size=wine.x.shape).astype(np.float32)
    both = probe.fit(seen(wine.x, other, labels=wine.y), 0.1, class_weights=wine.even)
    joint = seen(np.concatenate([wine.x, other]), labels=np.tile(wine.y, 2))
    expected = probe.fit(joint, 0.1, class_weights=wine.even)
    assert np.abs(probabilities(both, wine.x) - probabilities(expected, wine.x)).max() < 1e-5


def test_a_constant_feature_changes_nothing(wine):
    wider = np.concatenate([wine.x, np.full((len(wine.x), 1), 7, np.float32)], 1)
    found = probe.fit(seen(wider, labels=wine.y), 0.1, class_weights=wine.even)
    expected = probe.fit(wine.rows, 0.1, class_weights=wine.even)
    assert np.abs(probabilities(found, wider) - probabilities(expected, wine.x)).max() < 1e-3


def test_a_scale_is_numpys_mean_and_deviation_also_far_from_zero(monkeypatch):
    monkeypatch.setattr(feature_blocks, "BLOCK_BYTES", 1000)
    x = (np.random.default_rng(0).normal(size=(300, 3)) * [1, 0.1, 5] + [0, 1000, -7]).astype(np.float32)
    scale = Scale.of(seen(x, labels=np.zeros(300, np.int64)).blocks(2))
    assert scale.mean.numpy() == pytest.approx(x.mean(0, dtype=np.float64), rel=1e-6)
    assert scale.deviation.numpy() == pytest.approx(x.std(0, dtype=np.float64), rel=1e-5)


def test_value_and_gradient_are_autograds_however_the_rows_are_cut_into_blocks(wine, monkeypatch):
    weights, l2 = torch.tensor([1.0, 0.5, 2.0]), 0.03
    point = torch.randn(3, 14, generator=torch.Generator().manual_seed(0))
    x, y = torch.from_numpy(scaled(wine.x)), torch.from_numpy(wine.y)
    leaf = point.double().requires_grad_()
    logits = x @ leaf[:, :-1].T + leaf[:, -1]
    value = torch.nn.functional.cross_entropy(logits, y, weight=weights.double()) + l2 * leaf[:, :-1].square().sum()
    value.backward()
    for size in (2**20, 500):  # bytes: one block, a block for every five rows
        monkeypatch.setattr(feature_blocks, "BLOCK_BYTES", size)
        blocks = tuple(wine.rows.blocks(3))
        assert len(blocks) == {2**20: 1, 500: 36}[size]
        shares = SINGLE_LABEL.shares(wine.y, weights, views=1)
        objective = Objective(blocks=blocks, scale=Scale.of(blocks), shares=shares, l2=l2)
        found, gradient = objective(point)
        assert found == pytest.approx(value.item(), rel=1e-5)
        assert (gradient - leaf.grad).abs().max() < 1e-5


def test_a_probe_of_streamed_blocks_is_the_probe_of_features_held(wine, monkeypatch):
    held = probe.fit(wine.rows, 0.01, class_weights=wine.even)
    monkeypatch.setattr(feature_blocks, "BLOCK_BYTES", 2000)
    monkeypatch.setattr(feature_blocks, "HELD_BYTES", 0)
    streamed = probe.fit(wine.rows, 0.01, class_weights=wine.even)
    assert np.abs(probabilities(streamed, wine.x) - probabilities(held, wine.x)).max() < 1e-4


def test_a_thinned_set_has_each_class_as_its_share():
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [700, 200, 100]))
    few = seen(np.zeros((1000, 1), np.float32), labels=y).thinned(100)
    assert np.abs(np.bincount(few.labels) - [70, 20, 10]).max() <= 1
    assert (few.labels == y[few.rows]).all()
    assert len(set(few.rows)) == 100


def losses_of(lines):
    return {line["l2"]: line["val"]["loss"] for line in lines}


def test_the_chosen_l2_has_the_least_held_out_loss_of_the_path(wine):
    lines = []
    folds = split.folds(wine.y, 5, seed=0)
    tried = selection.choose_by_folds(wine.rows, folds, class_weights=wine.even, on_value=lines.append)
    losses = losses_of(lines)
    assert tried.l2 == min(losses, key=losses.get)
    assert all(line["phase"] == "probe" and line["lr"] is None for line in lines)
    assert [line["epoch"] for line in lines] == [*range(len(lines))]
    assert (tried.logits.argmax(1) == wine.y).mean() > 0.95


def test_held_out_logits_come_from_a_fit_without_the_image_in_any_view(wine):
    mirrored = wine.x * np.float32(1.1)
    both = seen(wine.x, mirrored, labels=wine.y)
    folds = split.folds(wine.y, 5, seed=0)
    tried = selection.choose_by_folds(both, folds, class_weights=wine.even, path=(0.1,), on_value=lambda line: None)
    for fold in range(5):
        others = np.flatnonzero(folds != fold)
        x = np.concatenate([wine.x[others], mirrored[others]])
        expected = oracle(0.1, len(x)).fit(scaled(x), np.tile(wine.y[others], 2))
        held_out = (wine.x[folds == fold] - x.mean(0, dtype=np.float64)) / x.std(0, dtype=np.float64)
        found = torch.from_numpy(tried.logits[folds == fold]).softmax(1).numpy()
        assert np.abs(found - expected.predict_proba(held_out)).max() < 2e-3


@pytest.fixture
def clouds():
    """Two overlapping clouds in 60 dimensions: the more of them are fitted, the less L2 is best."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    x = (rng.normal(size=(3000, 60)) + 0.25 * (2 * y[:, None] - 1)).astype(np.float32)
    return seen(x, labels=y, of=np.arange(2000)), seen(x, labels=y, of=np.arange(2000, 3000))


def test_on_one_part_a_sample_walks_the_path_first_and_all_images_go_on_from_its_best(clouds, monkeypatch):
    monkeypatch.setattr(selection, "SAMPLE_LEAST", 100)
    train, held_out = clouds
    lines = []
    tried = selection.choose_on_part(train, held_out, class_weights=torch.ones(2), on_value=lines.append)
    sample, everyone = ([line for line in lines if line["images"] == images] for images in (200, 2000))
    assert [line["epoch"] for line in lines] == list(range(len(sample) + len(everyone)))
    best_of_sample = min(losses_of(sample), key=losses_of(sample).get)
    assert everyone[0]["l2"] == best_of_sample < 1
    assert tried.l2 == min(losses_of(everyone), key=losses_of(everyone).get)
    x = train.views[0][train.rows]
    expected = oracle(tried.l2 / 2, len(x)).fit(scaled(x), train.labels).predict_proba(scaled(x))
    assert np.abs(probabilities(tried.found, x) - expected).max() < 5e-3


def test_on_one_part_few_images_walk_the_path_once(clouds):
    train, held_out = clouds
    lines = []
    few = replace(train, rows=train.rows[:500], labels=train.labels[:500])
    selection.choose_on_part(few, held_out, class_weights=torch.ones(2), path=(1.0, 0.1), on_value=lines.append)
    assert [(line["l2"], line["images"]) for line in lines] == [(1.0, 500), (0.1, 500)]


BOUNDED = """
import resource, sys
import numpy as np, torch
from transferkit.train import feature_blocks as sizes, probe
from transferkit.train.feature_blocks import Rows

path, count, width, megabytes = sys.argv[1], *map(int, sys.argv[2:])
sizes.BLOCK_BYTES, sizes.HELD_BYTES = megabytes * 2**16, megabytes * 2**18
torch.set_num_threads(1)
few = Rows(views=(np.ones((9, 2), np.float32),), rows=np.arange(9), labels=np.arange(9))
probe.fit(few, 1.0, class_weights=torch.ones(9))  # whatever is loaded late is loaded now
view = np.memmap(path, np.float32, "r", shape=(count, width))
rows = Rows(views=(view, view), rows=np.arange(count), labels=np.arange(count) % 3)
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + megabytes * 2**20,) * 2)
try:
    np.array(view)
except MemoryError:
    print("one copy is too much")
found = probe.fit(rows, 0.1, class_weights=torch.ones(3))
print((found.predict(view, np.arange(3000)).argmax(1) == np.arange(3000) % 3).mean())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process by what it writes to")
@pytest.mark.parametrize(
    ("count", "width", "megabytes"),
    [(60_000, 128, 24), pytest.param(1_000_000, 2048, 512, marks=pytest.mark.slow)],
)
def test_features_larger_than_the_memory_allowed_are_fitted(tmp_path, count, width, megabytes):
    file = tmp_path / "features"
    rng = np.random.default_rng(0)
    block = rng.normal(size=(9_999, width)).astype(np.float32)  # a multiple of three, so that classes stay in step
    block += rng.normal(size=(3, width)).astype(np.float32)[np.arange(len(block)) % 3]
    with open(file, "wb") as out:
        for start in range(0, count, len(block)):
            out.write(block[: count - start].tobytes())
    given = [sys.executable, "-c", BOUNDED, file, count, width, megabytes]
    done = subprocess.run([str(each) for each in given], capture_output=True, text=True, check=False)
    file.unlink()
    assert done.returncode == 0, done.stderr
    message, right = done.stdout.splitlines()
    assert message == "one copy is too much"
    assert float(right) > 0.99


def test_where_no_l2_is_better_than_another_the_strongest_is_taken_and_no_weaker_one_tried():
    labels, lines = np.tile([0, 1], 20), []
    same = Rows(views=(np.ones((40, 3), np.float32),), rows=np.arange(40), labels=labels)
    found = selection.choose_by_folds(
        same, np.arange(40) // 2 % 5, class_weights=torch.ones(2), on_value=lines.append, path=(1.0, 0.1, 0.01)
    )
    assert found.l2 == 1.0
    assert [line["l2"] for line in lines] == [1.0, 0.1]
    assert lines[0]["val"]["loss"] == lines[1]["val"]["loss"]
