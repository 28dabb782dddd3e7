"""L-BFGS through a network, on all images at once."""

import contextlib
import json
import os
import signal
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import transferkit as tk
from tests.conftest import write_digits
from tests.test_resume import Stopping
from tests.train.test_told import Told
from transferkit.messages import Reporter
from transferkit.train import descent, full_batch, state
from transferkit.train.context import FitContext
from transferkit.train.loop import Examples, Plan
from transferkit.zoo import stops
from transferkit.zoo.errors import DivergedError, StoppedError, UsageError

COUNT, CLASSES, VIEWS, L2 = 70, 3, 2, 0.01
RNG = np.random.default_rng(0)
LABELS = np.minimum(RNG.integers(0, 5, COUNT), CLASSES - 1)  # the last class is the largest
X = (RNG.normal(size=(1 + VIEWS, COUNT, 4)) + LABELS[:, None]).astype(np.float32)  # as they are, then the views
TRAIN, VAL = (Examples(rows=rows, labels=LABELS, num_classes=CLASSES) for rows in (np.arange(50), np.arange(50, 70)))
NETWORK = {"backbone": "timm:test_vit", "weights": "none", "image_size": 32, "optimizer": "lbfgs"}


def loader(batches, epoch):
    for rows in batches:
        yield torch.from_numpy(X[0 if epoch is None else 1 + epoch][rows]), rows


def context(epochs, *, progress=None, views=VIEWS, **plan):
    numbers = Plan(epochs=epochs, batch_size=32, full_batch_views=views, **plan)
    return FitContext(plan=numbers, patience=epochs, reporter=Reporter(progress))


def start(*layers, l2=L2):
    torch.manual_seed(0)
    network = nn.Sequential(*(layers or (nn.Linear(4, CLASSES),)))
    return network, full_batch.make(network.parameters(), l2=l2)


def train(network, optimizer, epochs=10, *, loader=loader, **about):
    return list(full_batch.train_epochs(network, optimizer, loader, TRAIN, context(epochs, **about)))


def deep():
    return start(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, CLASSES), l2=0.0)


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_a_linear_network_becomes_scikit_learns_logistic_regression_of_all_views(balance):
    network, optimizer = start()
    records = train(network, optimizer, balance=balance)
    x, y = np.concatenate(X[1:, TRAIN.rows]), np.tile(LABELS[TRAIN.rows], VIEWS)
    expected = LogisticRegression(
        C=1 / (2 * L2 * len(y)), class_weight="balanced" if balance == "weights" else None, tol=1e-8, max_iter=1000
    ).fit(x, y)
    assert network[0].weight.detach().numpy() == pytest.approx(expected.coef_, abs=2e-3)
    assert records[-1]["train"]["accuracy"] == pytest.approx(expected.score(x, y))


def test_labels_may_be_smoothed_as_torch_smooths_them():
    network, optimizer = start(l2=0.0)
    (record,) = train(network, optimizer, 1, label_smoothing=0.25, views=1)
    logits = network(torch.from_numpy(X[1][TRAIN.rows]))
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(LABELS[TRAIN.rows]), label_smoothing=0.25)
    assert record["train"]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_the_loss_falls_in_every_epoch_and_no_statistics_move_and_nothing_is_dropped():
    network, optimizer = deep()
    losses = [record["train"]["loss"] for record in train(network, optimizer, 6)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.5 * losses[0]
    assert network[1].running_mean.tolist() == [0] * 8
    again, other = deep()
    again[3].p = 0.0
    assert [record["train"]["loss"] for record in train(again, other, 6)] == losses


def test_weights_may_lie_as_channels_last_and_what_no_output_depends_on_stays_as_it_is():
    losses = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Unflatten(1, (2, 2, 1)), nn.Conv2d(2, 8, (2, 1)), nn.Flatten(), nn.Linear(8, CLASSES)
        )
        network.unused = nn.Parameter(torch.ones(3))
        network.to(memory_format=layout)
        records = train(network, full_batch.make(network.parameters(), l2=L2), 3)
        losses.append([record["train"]["loss"] for record in records])
        assert network.unused.tolist() == [1, 1, 1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_memory_does_not_grow_with_the_images():
    sizes = []

    def watched(batches, epoch):
        sizes.extend(map(len, batches))
        return loader(batches, epoch)

    train(*start(), 1, loader=watched)
    assert max(sizes) == 32


def test_a_training_stopped_and_resumed_has_the_bits_of_one_that_was_not(tmp_path):
    def start_wide():
        return start(nn.Linear(4, 999), nn.ReLU(), nn.Linear(999, CLASSES))

    straight, unstopped = start_wide()
    train(straight, unstopped, 6)
    network, optimizer = start_wide()
    train(network, optimizer, 3)
    weights = state.snapshot(network)
    slots = state.optimizer_snapshot(optimizer)
    state.save(tmp_path, state.Checkpoint(model=weights, averaged=weights, best=weights, optimizer=slots, records=[]))
    resumed, again = start_wide()
    saved = state.newest(tmp_path, again, say=pytest.fail)
    resumed.load_state_dict(saved.model)
    state.restore_optimizer(again, saved.optimizer)
    train(resumed, again, 6, first_epoch=3)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_a_step_into_what_is_no_number_is_taken_back_whatever_the_slope_there():
    class Brittle(nn.Linear):
        def forward(self, x):
            return super().forward(x) + (self.beyond if self.weight.abs().max() > 0.6 else 0.0)

    found = []
    for beyond in ([float("nan")] * 3, [-3e38, 3e38, 3e38]):  # the loss is nan, or inf with a slope that is a number
        network, optimizer = start(Brittle(4, CLASSES), l2=0.0)
        network[0].beyond = torch.tensor(beyond)
        with torch.no_grad():
            network[0].weight.mul_(0.1)
        found.append([record["train"]["loss"] for record in train(network, optimizer, 4)])
        assert 0.3 < network[0].weight.abs().max() <= 0.6
    assert found[0] == found[1] == sorted(found[0], reverse=True)


def test_a_loss_that_is_no_number_ends_as_diverged():
    network, optimizer = start()
    with torch.no_grad():
        network[0].bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match="the loss is nan after epoch 1; use another --optimizer"):
        train(network, optimizer)


def test_each_image_is_told_of_once_an_epoch():
    for fit in (
        lambda about: descent.descend(*start(), loader, (TRAIN, VAL), about),
        lambda about: descent.repeat(*start(), loader, TRAIN, about),
    ):
        told = Told()
        fit(context(3, progress=told))
        assert [phase[1:] for phase in told.phases] == [[3 * 50, 3 * 50]]


def test_what_is_judged_and_kept_is_the_network_itself_and_no_average():
    network, optimizer = start()
    train(network, optimizer, 1)
    judged, other = start()
    found = descent.descend(judged, other, loader, (TRAIN, VAL), context(1))
    assert torch.equal(judged[0].weight, network[0].weight)
    assert found.logits == pytest.approx(network(torch.from_numpy(X[0][VAL.rows])).detach().numpy(), abs=1e-6)


def test_a_checkpoint_has_at_most_as_many_numbers_a_weight_as_are_announced():
    network, optimizer = deep()
    train(network, optimizer, 3)
    weights = sum(parameter.numel() for parameter in network.parameters())
    (slots,) = optimizer.state_dict()["state"].values()
    numbers = sum(value.numel() for value in slots.values() if isinstance(value, torch.Tensor))
    assert full_batch.SLOTS - 1 < numbers / weights < full_batch.SLOTS + 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")
def test_a_stop_that_is_swallowed_comes_with_the_next_batch():
    seen = []

    def stopping(batches, epoch):
        for x, rows in loader(batches, epoch):
            seen.append(len(rows))
            if len(seen) == 2:
                with contextlib.suppress(BaseException):
                    os.kill(os.getpid(), signal.SIGTERM)
            yield x, rows

    with pytest.raises(StoppedError), stops.working():
        train(*start(), loader=stopping)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("options", "limit", "said"),
    [
        ({}, 1000, r"up to 1,000, here are [\d,]+; freeze more"),
        ({"backbone": "timm:test_resnet"}, None, "cannot train BatchNorm without weights"),
    ],
)
def test_a_network_that_it_cannot_train_is_refused_before_an_image_is_read(
    options, limit, said, digit_folder, tmp_path, monkeypatch
):
    if limit:
        monkeypatch.setattr(full_batch, "MAX_WEIGHTS", limit)
    told = Told()
    with pytest.raises(UsageError, match=said):
        tk.finetune(digit_folder, out=tmp_path / "r", strategy="finetune", progress=told, **NETWORK | options)
    assert told.phases == []


def test_several_processes_are_refused(digit_folder, monkeypatch):
    network = tk.zoo.create("timm:test_vit", weights="none", num_classes=3, image_size=32)
    full_batch.check(network)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="drop --processes"):
        full_batch.check(network)


@pytest.mark.slow  # the same of a training: test_a_training_stopped_and_resumed_has_the_bits_of_one_that_was_not
def test_a_run_resumes_with_what_it_knows_of_curvature_and_keeps_its_best_epoch(tmp_path):
    few, lpft = (
        write_digits(tmp_path / "digits", classes=(0, 1), per_class=8),
        {"strategy": "lp-ft", **NETWORK},
    )
    with pytest.raises(StoppedError):
        tk.finetune(few, out=tmp_path / "r", progress=Stopping("epoch 2/"), epochs=3, views=1, **lpft)
    run, again = tmp_path / "r", Stopping()
    scores = tk.finetune(resume=True, out=run, progress=again).metrics
    assert "going on after epoch 1 of 3" in again.said
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["val"]["loss"] for line in lines if line["phase"] == "finetune"]
    assert len(losses) == 3
    assert scores["val"]["loss"] <= min(losses) * (1 + 1e-4)  # at another temperature
    assert scores["notes"][1] == f"best epoch: {1 + losses.index(min(losses))}"
    assert (run / "curves.png").is_file()
