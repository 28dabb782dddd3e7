"""Networks side by side are trained together and learn apart: each as it does alone; the mean of all answers counts."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import transferkit as tk
from tests.conftest import write_digits
from tests.train.test_head import HYPERPARAMETERS
from transferkit.messages import Reporter
from transferkit.model.features import Features
from transferkit.ship import artifact
from transferkit.ship.artifact import Artifact
from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.train import head, loop, optim
from transferkit.train.context import FitContext
from transferkit.train.loop import Examples
from transferkit.train.plan import Plan
from transferkit.train.problem import Problem
from transferkit.zoo import create, side_by_side

PAIR = "timm:test_resnet+timm:test_efficientnet"
LABELS = {"one": np.arange(12) % 3, "several": np.random.default_rng(0).integers(0, 2, (12, 3)).astype(bool)}
X = torch.from_numpy(np.random.default_rng(1).normal(size=(12, 3, 32, 32)).astype(np.float32))


@pytest.fixture
def pair():
    torch.manual_seed(0)
    made = create(PAIR, weights="none", num_classes=3, image_size=32)
    made.holds_statistics = True
    return made


def loader(batches, epoch):
    for rows in batches:
        yield X[torch.from_numpy(rows)], rows


def task_of(labels):
    return SINGLE_LABEL if labels.ndim == 1 else MultiLabel()


def step(network, labels, *, optimizer, balance="none"):
    """One step of training on all of `X`; what it recorded."""
    plan = Plan(epochs=1, batch_size=12, max_gradient_norm=None, balance=balance)
    made = optim.make(optimizer, optim.groups_of(network.parameters(), lr=0.01, l2=0.0))
    examples = Examples(rows=np.arange(12), labels=labels, num_classes=3, task=task_of(labels))
    (record,) = loop.train_epochs(network, made, loader, examples, plan)
    return record["train"]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("balance", ["none", "weights"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_a_step_of_several_networks_is_the_step_of_each_alone(pair, labels, balance, optimizer):
    alone = [copy.deepcopy(each) for each in side_by_side.bodies_of(pair)]
    for each in alone:
        each.holds_statistics = True
    pair.learn_apart()
    with torch.no_grad():
        right = task_of(labels).right(pair.eval()(X), torch.from_numpy(labels))  # by the mean of the answers
    together = step(pair, labels, optimizer=optimizer, balance=balance)
    assert together["accuracy"] == pytest.approx(float(right.float().mean()))
    seen = [nn.Sequential(prepare, each) for prepare, each in zip(pair.model.prepares, alone)]
    losses = [step(each, labels, optimizer=optimizer, balance=balance)["loss"] for each in seen]
    for part, each in zip(side_by_side.bodies_of(pair), alone):
        for name, tensor in each.model.state_dict().items():
            torch.testing.assert_close(part.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    assert together["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_in_training_each_answers_and_else_the_mean_of_all(pair):
    mean = pair.eval()(X)
    assert pair.train()(X).shape == (12, 3)  # whoever trains it without asking for more has one answer
    pair.learn_apart()
    each = pair(X)
    assert each.shape == (12, 2, 3)
    torch.testing.assert_close(each.mean(1), mean)
    torch.testing.assert_close(pair.eval()(X), mean)
    below, above = pair.split(pair.stages[1])
    assert not isinstance(below, nn.Identity)
    pair.train()
    torch.testing.assert_close(above(below(X)), each)


def problem_of(pair, features):
    parts = [
        Examples(rows=rows, labels=np.arange(60) % 3, num_classes=3) for rows in (np.arange(45), np.arange(45, 60))
    ]
    return Problem(
        **dict.fromkeys(("network", "loader", "groups")),
        model=pair,
        features=features,
        train=parts[0],
        val=parts[1],
        context=FitContext(plan=None, patience=1, reporter=Reporter()),
        hyperparameters=HYPERPARAMETERS,
        are_few=True,
        images=print,
    )


@pytest.mark.parametrize("limit", [2e8, 120 * 3 * 200, 0])
def test_training_goes_on_from_the_probe_of_each(pair, limit, monkeypatch):
    monkeypatch.setattr(head, "FOLDS_UP_TO", limit)  # also between what the two have, that both are judged alike
    rng, labels, widths = np.random.default_rng(0), np.arange(60) % 3, pair.widths
    views = tuple(rng.normal(labels[:, None], 4, (60, sum(widths))).astype(np.float32) for _ in range(2))
    problem = problem_of(pair, Features(views=views, widths=widths))
    found = head.solve_each(problem)
    parts = [
        problem_of(pair, Features(views=tuple(view[:, columns] for view in views)))
        for columns in (slice(0, widths[0]), slice(widths[0], None))
    ]
    alone = [head.fit_probe(part, l2=None, widest=max(widths)) for part in parts]
    np.testing.assert_allclose(found.logits, np.mean([each.logits for each in alone], 0), atol=1e-5)
    np.testing.assert_allclose(found.mirrored, np.mean([each.mirrored for each in alone], 0), atol=1e-5)
    x = torch.from_numpy(views[0])
    for fit, each in ((found.final, "final"), (found.of_train, "of_train")):
        fit.put_into(pair)
        torch.testing.assert_close(pair.classifier(x), fit.logits(x), rtol=1e-4, atol=1e-4)
        for layer, part, own in zip(pair.classifier.layers, x.split(widths, 1), alone):
            torch.testing.assert_close(layer(part), getattr(own, each).logits(part), rtol=1e-4, atol=1e-4)
    some = np.arange(0, 60, 2)
    again = head.fitted_like(found, problem, some)
    for layer, (part, own) in enumerate(zip(parts, alone)):
        expected = head.fit_to(part, some, own.l2, start=own.final)
        torch.testing.assert_close(again.biases[layer], expected.bias)


def test_a_run_trains_each_from_its_own_probe(tmp_path):
    data = write_digits(tmp_path / "data", classes=(0, 1, 4), per_class=12)
    options = {"strategy": "lp-ft", "epochs": 1, "lr": 1e-9, "augment": "none", "precision": "fp32", "device": "cpu"}
    photos = sorted(data.rglob("*.png"))
    names = [str(tmp_path / name) for name in ("first", "second")]
    for name, network in zip(names, PAIR.split("+")):
        made = create(network, weights="none", num_classes=2, image_size=32)
        about = {"classes": ("a", "b"), "preprocessing": create("cifar_resnet").card.preprocessing, "record": {}}
        artifact.save(Path(name), Artifact(backbone=made, **about))
    both, losses = tk.finetune(data, backbone="+".join(names), out=tmp_path / "both", **options), []
    for number, name in enumerate(names):
        alone = tk.finetune(data, backbone=name, out=tmp_path / str(number), **options)
        losses.append(first_loss(alone))
        logs = [
            np.log(
                [[dict(said.top)[label] for label in sorted(dict(said.top))] for said in each.predict(photos, top=3)]
            )
            for each in (tk.load(both.folder / "model" / "members" / str(number)), tk.load(alone.folder))
        ]
        one, other = (each - each.mean(1, keepdims=True) for each in logs)
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.999  # but for the temperature
    assert first_loss(both) == pytest.approx(np.mean(losses), rel=1e-3)
    of_both, *alone = (probe_lines(each) for each in (both.folder, tmp_path / "0", tmp_path / "1"))
    assert {name for name, *_ in alone[0] + alone[1]} == {None}
    for number in (1, 2):
        expected = [line[number] for line in alone[0] + alone[1]]
        np.testing.assert_allclose([line[number] for line in of_both], expected, 1e-3)
    assert [name for name, *_ in of_both] == [names[0]] * len(alone[0]) + [names[1]] * len(alone[1])


def probe_lines(run):
    """Network, L2 and validation loss of what its probes tried."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line.get("network"), line["l2"], line["val"]["loss"]) for line in lines if line["phase"] == "probe"]


def first_loss(run):
    """The training loss of its first epoch."""
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return next(line["train"]["loss"] for line in lines if line["phase"] == "finetune")
