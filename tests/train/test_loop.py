import numpy as np
import pytest
import torch
from torch import nn

from transferkit.tasks import SINGLE_LABEL
from transferkit.train import loop, optim
from transferkit.train.loop import Examples, Plan
from transferkit.zoo.errors import DivergedError


@pytest.fixture
def examples():
    return Examples(rows=np.arange(12), labels=np.array([0, 1, 1, 1] * 3), num_classes=2)


def inputs(examples):
    """Points on both sides of a line, served like images."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(12, 3)).astype(np.float32) + 2 * examples.labels[:, None]).float()

    def loader(batches, epoch):
        for rows in batches:
            yield x[torch.from_numpy(rows)], rows

    return loader


def start(lr=0.1):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.3), nn.Linear(3, 2))
    groups = [{"params": list(network.parameters()), "lr": lr, "base_lr": lr, "l2": 0.0}]
    return network, optim.make("adamw", groups)


def test_training_lowers_the_loss_and_a_repeat_gives_the_same_bits(examples):
    runs = []
    for _ in range(2):
        network, optimizer = start()
        records = list(loop.train_epochs(network, optimizer, inputs(examples), examples, Plan(epochs=8, batch_size=4)))
        runs.append(network.state_dict())
        assert records[-1]["train"]["loss"] < records[0]["train"]["loss"]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize(("images", "batch_size"), [(2, 2), (3, 2), (33, 32), (5, 4), (240, 16), (7, 100)])
def test_every_image_is_in_one_batch_and_no_batch_holds_one_image(images, batch_size):
    batches = loop.cut_batches(np.arange(images), batch_size)
    assert np.concatenate(batches).tolist() == list(range(images))
    assert min(map(len, batches)) >= 2
    assert max(map(len, batches)) <= batch_size + 1


def test_two_epochs_have_different_orders_of_the_same_rows(examples):
    first, second = (loop.epoch_order(examples, balance="none", seed=0, epoch=epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == examples.rows.tolist()
    assert first.tolist() != second.tolist()


def test_the_sampler_draws_rare_classes_as_often_as_common_ones():
    rare = Examples(rows=np.arange(1000), labels=np.repeat([0, 1], [50, 950]), num_classes=2)
    drawn = rare.labels[loop.epoch_order(rare, balance="sampler", seed=0, epoch=0)]
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)


def test_class_weights_are_scikit_learns_balanced_ones():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert SINGLE_LABEL.class_weights(labels, 3) == pytest.approx(expected)


def test_a_loss_that_is_not_finite_ends_training_with_advice(examples):
    network, optimizer = start()
    with torch.no_grad():
        network[1].weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="lower --lr"):
        list(loop.train_epochs(network, optimizer, inputs(examples), examples, Plan(epochs=1, batch_size=4)))
