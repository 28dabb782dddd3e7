from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from torch import nn

from transferkit import metrics
from transferkit.messages import Reporter
from transferkit.tasks import SINGLE_LABEL
from transferkit.train import descent, ensemble, optim, outputs
from transferkit.train.context import FitContext
from transferkit.train.loop import Examples, Plan
from transferkit.train.schedule import Schedule
from transferkit.trust import calibration
from transferkit.zoo.errors import StoppedError

CYCLES = Plan(epochs=6, batch_size=4, phase="head", schedule=Schedule(name="snapshot", epochs=6, cycles=3))


def unheard(plan, *, append=None, patience=None, checkpoint=None):
    """A fit that nobody is told of but `append`."""
    reporter = Reporter(append=append)
    return FitContext(plan=plan, patience=patience or plan.epochs, reporter=reporter, checkpoint=checkpoint)


@pytest.fixture
def points():
    """Three overlapping clouds: (x, loader, training part, validation part)."""
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, 2], 20)
    x = torch.from_numpy((rng.normal(size=(60, 4)) + np.eye(4)[labels] * 1.5).astype(np.float32))

    def loader(batches, epoch):
        for rows in batches:
            yield x[torch.from_numpy(rows)], rows

    parts = (Examples(rows=np.arange(40), labels=labels, num_classes=3),
             Examples(rows=np.arange(40, 60), labels=labels, num_classes=3))  # fmt: skip
    return x, loader, parts


def start(lr=0.02):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    return network, optim.make("adam", optim.groups_of(network.parameters(), lr=lr, l2=0.0))


def test_the_mean_of_softmax_outputs_is_scipys():
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(5, 3)) * 4 for _ in range(4)]
    expected = logsumexp([member - logsumexp(member, axis=1, keepdims=True) for member in logits], axis=0) - np.log(4)
    assert SINGLE_LABEL.mean(logits) == pytest.approx(expected)


def test_an_ensemble_is_kept_only_if_it_has_a_lower_loss_than_the_last_snapshot_and_no_more_mistakes():
    labels = np.array([0, 0, 1])
    right, wrong = (np.eye(2)[labels] * scale for scale in (4.0, -4.0))
    assert ensemble.compare([wrong, right], labels)["chosen"] == "single"
    assert ensemble.compare([right, wrong], labels)["chosen"] == "ensemble"
    assert ensemble.compare([right, right], labels)["chosen"] == "single"
    sure, unsure = np.array([[9.0, 0], [9, 0], [9, 0]]), np.array([[0.1, 0], [0.1, 0], [0, 0.1]])
    scores = ensemble.compare([sure, sure, unsure], np.array([0, 0, 1]))
    assert (scores["ensemble"], scores["chosen"]) == (2 / 3, "single")


def test_an_ensemble_is_not_kept_for_being_less_sure():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50)
    said = np.where(rng.random(100) < 0.8, labels, 1 - labels)
    sure, noise = 12.0 * np.eye(2)[said], rng.normal(size=(100, 2))
    single, both = (SINGLE_LABEL.scores(each, labels) for each in (sure, SINGLE_LABEL.mean([noise, sure])))
    assert both["loss"] < single["loss"]
    assert both["accuracy"] >= single["accuracy"]
    assert ensemble.compare([noise, sure], labels)["chosen"] == "single"


def test_every_cycle_leaves_the_member_that_its_last_epoch_validated(points):
    x, loader, parts = points
    network, optimizer = start(lr=1)  # so high that a member is much worse than three together
    lines = []
    context = unheard(CYCLES, append=lines.append)
    found = descent.descend(network, optimizer, loader, parts, context)
    assert [line["epoch"] for line in lines if "snapshot" in line] == [1, 3, 5]
    assert found.snapshots["members"] == 3
    assert found.snapshots["chosen"] == "ensemble"
    probabilities, val = [], parts[1]
    for member, line in zip(found.members, [line for line in lines if "snapshot" in line]):
        network.load_state_dict(member)
        with torch.no_grad():
            logits = network.eval()(x[40:]).double().numpy()
        log_loss = -np.log(softmax(logits, axis=1))[np.arange(20), val.labels[val.rows]].mean()
        assert log_loss == pytest.approx(line["val"]["loss"], abs=1e-5)
        probabilities.append(softmax(logits, axis=1))
    assert softmax(found.logits, axis=1) == pytest.approx(np.mean(probabilities, axis=0), abs=1e-5)


def test_the_learning_rate_falls_to_nearly_zero_in_a_cycle_and_starts_again(points):
    _, loader, parts = points
    network, optimizer = start()
    lines = []
    descent.descend(network, optimizer, loader, parts, unheard(CYCLES, append=lines.append))
    ends = [line["lr"] for line in lines if "snapshot" in line]
    starts = [line["lrs"][0] for line in lines if line["epoch"] in (2, 4)]
    assert max(ends) < 0.001
    assert min(starts) > 0.015


def test_the_loss_that_decides_is_what_is_left_of_it_at_the_temperature_that_the_images_ask_for(points):
    x, loader, parts = points
    network, optimizer = start(lr=1)
    lines, held = [], []
    judged = descent.judged_network
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descent, "judged_network", lambda *given: held.append(judged(*given)) or held[-1])
        context = unheard(Plan(epochs=4, batch_size=4), append=lambda line: lines.append((line, logits(held[0], x))))
        descent.descend(network, optimizer, loader, parts, context)
    labels = parts[1].labels[40:]
    for line, found in lines:
        temperature = calibration.temperature([found], labels, SINGLE_LABEL, spread=calibration.SPREAD_TO_COMPARE)
        assert line["val"]["loss"] == pytest.approx(metrics.log_losses(found, labels).mean(), abs=1e-5)
        loss = metrics.log_losses(found / temperature, labels).mean()
        assert line["val"]["calibrated_loss"] == pytest.approx(loss, abs=1e-5)
    assert any(line["val"]["calibrated_loss"] < line["val"]["loss"] - 0.01 for line, _ in lines)


def logits(network, x):
    with torch.no_grad():
        return network.eval()(x[40:]).numpy()


def test_a_descent_with_snapshots_resumed_after_a_stop_has_the_bits_of_one_that_was_not(points, tmp_path):
    _, loader, parts = points
    network, optimizer = start()
    straight = descent.descend(network, optimizer, loader, parts, unheard(CYCLES))

    def stop(record):
        if record["epoch"] == 4:
            raise StoppedError("stopped")

    context = unheard(CYCLES, append=stop, checkpoint=tmp_path / "last")
    network, optimizer = start()
    with pytest.raises(StoppedError):
        descent.descend(network, optimizer, loader, parts, context)
    network, optimizer = start()
    context = replace(context, reporter=Reporter(), resume=True)
    resumed = descent.descend(network, optimizer, loader, parts, context)
    assert resumed.snapshots == straight.snapshots
    assert np.array_equal(resumed.logits, straight.logits)
    assert len(resumed.members) == len(straight.members)
    for one, other in zip(resumed.members, straight.members):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_patience_does_not_end_a_run_of_cycles(points):
    _, loader, parts = points
    counts = []
    for schedule in (CYCLES.schedule, Schedule(name="constant", epochs=6)):
        network, optimizer = start(lr=1)  # so high that the loss rises again after an epoch or two
        lines = []
        plan = replace(CYCLES, schedule=schedule)
        descent.descend(network, optimizer, loader, parts, unheard(plan, append=lines.append, patience=1))
        counts.append(len(lines))
        said = [line["stopped"] for line in lines if "stopped" in line]
    assert counts[0] == 6 > counts[1]
    assert said == [f"epoch {counts[1] - 1} is still the best"]


@pytest.mark.parametrize(
    ("losses", "accuracies", "best"),
    [((0.5, 0.4, 0.6), (0.9, 0.8, 0.9), 1), ((0.4, 0.4, 0.4), (0.8, 0.9, 0.9), 1), ((0.4, 0.4), (0.9, 0.9), 0)],
)
def test_the_best_epoch_has_the_lowest_calibrated_loss_then_the_highest_accuracy_then_is_first(
    losses, accuracies, best
):
    records = [
        {"epoch": epoch, "val": {"loss": 9 - epoch, "calibrated_loss": loss, "accuracy": accuracy}}
        for epoch, (loss, accuracy) in enumerate(zip(losses, accuracies))
    ]
    assert metrics.best_line(records) == best
    del records[0]["val"]["calibrated_loss"]  # by an earlier version, which began the run
    assert metrics.best_line(records) == len(records) - 1


def test_what_goes_to_the_end_keeps_the_last_epoch_whichever_validates_best_and_knows_no_patience(points):
    _, loader, parts = points
    network, optimizer = start(lr=1)  # so high that the loss rises again after an epoch or two
    lines = []
    context = unheard(Plan(epochs=6, batch_size=4), append=lines.append, patience=1)
    found = descent.descend(network, optimizer, loader, parts, replace(context, to_the_end=True))
    assert (found.epochs, len(lines), lines[-1]["best"]) == (6, 6, 5)
    assert metrics.best_line(lines) < 5
    val = parts[1]
    again = outputs.logits_of(network, loader, val.rows, num_classes=val.num_classes)
    assert np.allclose(again, found.logits)
    assert metrics.log_losses(again, val.labels[val.rows]).mean() == pytest.approx(lines[-1]["val"]["loss"], rel=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_epochs_are_compared_in_the_precision_of_training_and_the_best_is_scored_in_single_precision(points, precision):
    x, loader, parts = points
    network, optimizer = start()
    lines = []
    context = unheard(Plan(epochs=3, batch_size=4, precision=precision), append=lines.append)
    found = descent.descend(network, optimizer, loader, parts, context)
    with torch.no_grad():
        assert np.array_equal(found.logits, network.eval()(x[40:]).numpy())
    log_loss = metrics.log_losses(found.logits, parts[1].labels[40:]).mean()
    difference = abs(log_loss - lines[metrics.best_line(lines)]["val"]["loss"])
    assert difference < 0.02
    assert (difference > 1e-5) == (precision == "bf16")
