"""A loss that is no number ends a run with exit code 8, and what was good before is kept."""

import json

import numpy as np
import pytest
import torch

import transferkit as tk
from tests.conftest import write_digits
from tests.train.test_state import EXAMPLES, loader, start
from transferkit import evaluate
from transferkit.messages import Reporter
from transferkit.train import descent, lbfgs, loop
from transferkit.train.context import FitContext
from transferkit.train.loop import Examples, Plan
from transferkit.zoo.errors import DivergedError

FAST = {
    "backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "augment": "none", "batch_size": 8,
    "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("divergence") / "digits", classes=(0, 1), per_class=10)


@pytest.fixture
def poisoned(monkeypatch):
    """From the third epoch on that any training does, a step leaves weights that are no numbers."""

    def poison(*, epoch=2, calls=None):
        steps = loop.train_steps

        def train_steps(network, optimizer, loader, examples, plan):
            yield from steps(network, optimizer, loader, examples, plan)
            done.append(plan.first_epoch)
            if plan.first_epoch == at and (calls is None or len(done) > calls):
                with torch.no_grad():
                    for parameter in network.parameters():
                        parameter.fill_(float("nan"))
                    for group in optimizer.param_groups:
                        group["lr"] = 0.0
                    optimizer.step()

        at, done = epoch, []
        monkeypatch.setattr(loop, "train_steps", train_steps)

    return poison


def test_a_run_whose_answers_are_no_numbers_ends_as_diverged_and_keeps_the_model_of_its_best_epoch(
    data, tmp_path, poisoned
):
    poisoned(epoch=2)
    with pytest.raises(DivergedError, match=r"after epoch 3; .* best before, is in .*model$") as caught:
        tk.finetune(data, out=str(tmp_path / "r"), strategy="finetune", epochs=4, **FAST)
    assert caught.value.exit_code == 8
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1]
    best = min(lines, key=lambda line: line["val"]["loss"])
    assert f"the model of epoch {best['epoch'] + 1}," in str(caught.value)
    kept = tk.load(tmp_path / "r" / "model")
    (prediction,) = kept.predict(next(data.rglob("*.png")))
    assert np.isfinite(prediction.probability)


def test_a_last_fit_to_all_images_that_diverges_leaves_the_fit_before(data, tmp_path, poisoned, monkeypatch):
    fitted, judge = [], evaluate.judge
    monkeypatch.setattr(
        evaluate, "judge", lambda found, *args, **about: fitted.append(found) or judge(found, *args, **about)
    )
    tk.finetune(data, out=str(tmp_path / "whole"), strategy="finetune", epochs=1, **FAST)
    poisoned(epoch=0, calls=2)
    run = tk.finetune(data, out=str(tmp_path / "r"), strategy="finetune", epochs=2, **FAST)
    assert [each.is_refitted for each in fitted] == [True, False]
    assert any(note.startswith("not fitted to train and validation together: ") for note in run.metrics["notes"])
    plain = tk.load(run.folder).evaluate(run.folder / "manifest.csv", part="val")
    assert plain["loss"] == pytest.approx(run.metrics["val"]["loss"], abs=1e-5)


def test_no_checkpoint_holds_weights_that_are_no_numbers(tmp_path, poisoned):
    poisoned(epoch=1)
    network, optimizer = start()
    val = Examples(rows=EXAMPLES.rows, labels=EXAMPLES.labels, num_classes=2)
    context = FitContext(plan=Plan(epochs=4, batch_size=4), patience=4, reporter=Reporter(), checkpoint=tmp_path)
    with pytest.raises(DivergedError, match="after epoch 2") as caught:
        descent.descend(network, optimizer, loader, (EXAMPLES, val), context)
    assert caught.value.epoch == 1
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001"]
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


def test_features_that_are_no_numbers_are_no_problem_that_a_head_is_fitted_to():
    with pytest.raises(DivergedError, match="features that are no numbers"):
        lbfgs.minimise(lambda point: (float("nan"), point), torch.ones(2))


def test_auto_keeps_the_probe_where_fine_tuning_diverges(data, tmp_path, poisoned):
    poisoned(epoch=0)
    run = tk.finetune(data, out=str(tmp_path / "r"), strategy="auto", epochs=2, **FAST)
    assert run.metrics["chosen"] == "probe"
    assert any(note.startswith("the probe is kept: fine-tuning diverged, ") for note in run.metrics["notes"])


def test_a_last_step_of_the_fit_to_all_images_that_leaves_no_numbers_is_found(poisoned):
    poisoned(epoch=0)
    network, optimizer = start()
    context = FitContext(plan=Plan(epochs=1, batch_size=4), patience=1, reporter=Reporter())
    with pytest.raises(DivergedError, match="no longer finite"):
        descent.repeat(network, optimizer, loader, EXAMPLES, context)
