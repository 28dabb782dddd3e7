"""What a fit tells while it goes on: as many images as were announced go through."""

import numpy as np
import pytest
import torch
from torch import nn

import transferkit as tk
from transferkit.messages import Reporter
from transferkit.progress import Progress
from transferkit.train import descent, optim
from transferkit.train.context import FitContext
from transferkit.train.loop import Examples, Plan

LABELS = np.tile([0, 1, 1], 10)
X = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32))
PARTS = tuple(Examples(rows=rows, labels=LABELS, num_classes=2) for rows in (np.arange(21), np.arange(21, 30)))


class Told(Progress):
    def __init__(self):
        self.phases, self.lines, self.notes = [], [], []

    def start(self, what, total):
        self.phases.append([what, total, 0])

    def advance(self, count):
        self.phases[-1][2] += count

    def say(self, line):
        self.lines.append(line)

    def note(self, line):
        self.notes.append(line)


def loader(batches, epoch):
    for rows in batches:
        yield X[torch.from_numpy(rows)], rows


def start():
    torch.manual_seed(0)
    network = nn.Linear(4, 2)
    return network, optim.make("adam", optim.groups_of(network.parameters(), lr=0.01, l2=0.0))


@pytest.mark.parametrize("what", ["fine-tuning", "refitting"])
def test_as_many_images_go_through_as_were_announced(what):
    told = Told()
    context = FitContext(plan=Plan(epochs=5, batch_size=4), patience=5, reporter=Reporter(told))
    if what == "refitting":
        descent.repeat(*start(), loader, PARTS[0], context)
    else:
        descent.descend(*start(), loader, PARTS, context)
    assert told.phases == [[what, 5 * 21, 5 * 21]]


def test_a_fit_begins_with_the_first_epoch_and_says_nothing_unless_it_is_to_go_on(tmp_path):
    for resume, said, epochs in (({}, [], 5), ({"resume": True}, ["going on after epoch 4 of 5"], 1)):
        told = Told()
        context = FitContext(
            plan=Plan(epochs=5, batch_size=4),
            patience=5,
            reporter=Reporter(told),
            checkpoint=tmp_path / "last",
            **resume,
        )
        descent.descend(*start(), loader, PARTS, context)
        assert [line for line in told.lines if line.startswith(("going on", "no epoch"))] == said
        assert told.phases == [["fine-tuning", epochs * 21, epochs * 21]]


@pytest.mark.parametrize(("most", "again"), [(72, True), (71, False)])
def test_of_few_images_those_that_train_and_validate_are_fitted_to_together(
    most, again, digit_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("transferkit.train.problem.REFIT_IMAGES", most)
    told, small = Told(), {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32}
    tk.finetune(
        digit_folder,
        out=tmp_path / "run",
        strategy="probe",
        optimizer="adam",
        epochs=2,
        progress=told,
        l2=0.01,
        **small,
    )
    assert ("refitting" in [name for name, *_ in told.phases]) == again


def test_of_networks_side_by_side_the_one_that_a_figure_is_of_is_named():
    told, lines = Told(), []
    reporter = Reporter(told, append=lines.append)
    line = {"phase": "probe", "l2": 0.1, "val": {"loss": 0.5}}
    for each in (reporter, reporter.of("small")):
        each.record(line)
    assert told.notes == ["probe, L2 0.1: val loss 0.500", "probe of small, L2 0.1: val loss 0.500"]
    assert lines == [line, line | {"network": "small"}]


@pytest.mark.parametrize(
    ("seconds", "has_budget", "is_told"), [(40.0, False, True), (30.0, False, False), (40.0, True, False)]
)
def test_who_may_wait_long_is_told_after_the_first_epoch_how_to_limit_a_run(seconds, has_budget, is_told):
    told = Told()
    reporter = Reporter(told, epochs=11, has_budget=has_budget)
    scores = {"train": {"loss": 1.0}, "val": {"loss": 1.0}}
    for epoch in range(3):
        reporter.record({"phase": "finetune", "epoch": epoch, "seconds": seconds} | scores)
    expected = [
        "an epoch takes 40 s, up to 10 more and further fits may follow; "
        "a run with --budget 10m is planned to end in 10 minutes"
    ]
    assert told.lines == (expected if is_told else [])
