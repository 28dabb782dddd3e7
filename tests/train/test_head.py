import numpy as np
import pytest
import torch

from transferkit.config import FinetuneConfig
from transferkit.model.features import Features
from transferkit.model.head import linear_head
from transferkit.prepare import plan_of
from transferkit.train import descent, head, loop, optim, probe
from transferkit.train.descent import Work
from transferkit.train.loop import Examples, Plan
from transferkit.train.schedule import Schedule


@pytest.fixture
def features():
    """Two overlapping clouds in five dimensions of very different scale, each point seen twice with noise."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    plain = (rng.normal(size=(80, 5)) + 1.2 * labels[:, None]) * [1, 10, 0.1, 5, 2] + [0, 100, 3, 0, -7]
    mirrored = plain + rng.normal(size=plain.shape) * 0.05
    return Features(plain=plain.astype(np.float32), mirrored=mirrored.astype(np.float32)), labels


def test_a_head_on_standardised_features_is_the_same_head_on_raw_ones(features):
    features, _ = features
    scaled = head.standardise(features, np.arange(60))
    layer = linear_head(5, 2, seed=3)
    expected = layer(scaled.plain)
    assert torch.allclose(scaled.for_raw(layer).logits(torch.from_numpy(features.plain)), expected, atol=1e-4)


def test_features_have_mean_0_and_deviation_1_over_both_views_of_the_training_images(features):
    features, _ = features
    scaled = head.standardise(features, np.arange(60))
    both = torch.cat([scaled.plain[:60], scaled.mirrored[:60]]).numpy()
    assert both.mean(0) == pytest.approx(0, abs=1e-4)
    assert both.std(0) == pytest.approx(1, abs=1e-4)


def test_even_epochs_see_the_images_odd_ones_their_mirror_images_and_validation_the_images(features):
    features, _ = features
    scaled = head.standardise(features, np.arange(80))
    rows = np.array([3, 5])
    views = {epoch: next(iter(scaled.supply([rows], epoch)))[0] for epoch in (0, 1, 2, None)}
    assert torch.equal(views[1], scaled.mirrored[rows])
    assert all(torch.equal(views[epoch], scaled.plain[rows]) for epoch in (0, 2, None))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_head_of_many_features_under_strong_l2_comes_to_the_minimum_of_loss_and_l2(optimizer):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    plain = (rng.normal(size=(120, 300)) + 0.6 * labels[:, None]).astype(np.float32)
    features, rows, l2 = Features(plain=plain, mirrored=plain), np.arange(120), 0.1
    exact = probe.fit(features.plain_rows(rows), torch.from_numpy(labels), l2)
    scaled = head.standardise(features, rows)
    layer = linear_head(300, 2)
    config = FinetuneConfig(data="", strategy="probe", optimizer=optimizer, l2=l2, epochs=100).resolved(images=120)
    made = optim.make(optimizer, optim.groups_of(layer.parameters(), lr=config.lr, l2=l2))
    list(
        loop.train_epochs(
            layer, made, scaled.supply, Examples(rows=rows, labels=labels, num_classes=2), plan_of(config)
        )
    )
    found = scaled.for_raw(layer)
    deviation = torch.from_numpy(plain).std(0, correction=0)
    size, expected = ((each.weight * deviation).square().sum().item() for each in (found, exact))
    assert size == pytest.approx(expected, rel=0.05)  # clipped at norm 1, sums of squares were a third smaller


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov", "adam"])
def test_mini_batches_come_to_the_minimum_that_l_bfgs_finds(features, optimizer):
    features, labels = features
    rows, l2 = np.arange(80), 0.02
    exact = probe.fit(features.views(rows), torch.from_numpy(np.tile(labels, 2)), l2)
    scaled = head.standardise(features, rows)
    layer = linear_head(5, 2)
    made = optim.make(optimizer, optim.groups_of(layer.parameters(), lr=0.05, l2=l2))
    plan = Plan(epochs=200, batch_size=16, schedule=Schedule(name="cosine", epochs=200))
    examples = Examples(rows=rows, labels=labels, num_classes=2)
    list(loop.train_epochs(layer, made, scaled.supply, examples, plan))
    difference = scaled.for_raw(layer).logits(features.plain_rows(rows)) - exact.logits(features.plain_rows(rows))
    margins = difference[:, 1] - difference[:, 0]
    assert margins.abs().max() < 0.05  # of margins that reach from -5 to 5


def test_a_given_l2_is_the_one_used_and_no_other_is_tried(features):
    features, labels = features
    lines = []
    parts = (Examples(rows=np.arange(0, 80, 2), labels=labels, num_classes=2),
             Examples(rows=np.arange(1, 80, 2), labels=labels, num_classes=2))  # fmt: skip
    work = Work.unheard(Plan(epochs=1, batch_size=4))
    work = descent.dataclasses.replace(work, on_record=lines.append)
    found = head.fit_probe(features, parts, l2=0.3, groups=None, work=work)
    assert found.l2 == 0.3
    assert [line["l2"] for line in lines] == [0.3]
