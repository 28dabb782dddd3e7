"""What a GPU alone can show: every strategy, stops, repetition, and steps that do not wait for it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import transferkit as tk
from tests.conftest import write_digits
from transferkit.train import loop, optim, state
from transferkit.train.average import RunningAverage
from transferkit.train.loop import Examples, Plan

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]

EPOCHS = {"epochs": 2, "batch_size": 8}
OPTIMIZERS = ["sgd", "momentum", "nesterov", "adam", "adamw"]
EXAMPLES = Examples(rows=np.arange(24), labels=np.arange(24) % 2, num_classes=2)


@pytest.fixture
def data(tmp_path) -> Path:
    return write_digits(tmp_path / "digits", classes=(0, 1, 4), per_class=24)


def finetune(data: Path, name: str, **options) -> tk.Run:
    options = {"backbone": "cifar_resnet", "device": "cuda"} | options
    return tk.finetune(data, out=str(data.parent / name), cache_dir=str(data.parent / "cache"), **options)


def command(data: Path, name: str, *words: str) -> subprocess.Popen:
    """A run in a process of its own, whose GPU nobody has started yet."""
    given = ["--cache-dir", data.parent / "cache", "--device", "cuda", "--quiet", *words]
    run = ["finetune", *([] if "--resume" in words else [data]), "-o", data.parent / name, *given]
    environment = {key: value for key, value in os.environ.items() if key != "CUBLAS_WORKSPACE_CONFIG"}
    return subprocess.Popen([sys.executable, "-m", "transferkit", *map(str, run)], env=environment)


def weights_of(data: Path, name: str) -> bytes:
    return (data.parent / name / "model" / "model.safetensors").read_bytes()


def start(name: str = "adamw"):
    """A small convolutional network on the GPU, channels_last, and its optimiser."""
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)]
    network = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    network.to("cuda", memory_format=torch.channels_last)
    return network, optim.make(name, optim.groups_of(network.parameters(), lr=0.01, l2=0.01))


def loader(batches, epoch):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(24, 3, 8, 8)) + EXAMPLES.labels[:, None, None, None]).float().cuda()
    for rows in batches:
        yield x[torch.from_numpy(rows).cuda()], rows


@pytest.mark.parametrize(
    ("strategy", "options"), [("probe", {}), ("finetune", EPOCHS), ("lp-ft", EPOCHS), ("auto", EPOCHS)]
)
def test_every_strategy_learns_on_a_gpu_and_its_model_answers_there_as_on_a_cpu(data, strategy, options):
    run = finetune(data, "run", strategy=strategy, **options)
    record = json.loads((run.folder / "run.json").read_text())
    assert record["device"] == "cuda"
    assert "no fixed order" in record["repeats"]
    assert run.metrics["val"]["accuracy"] > (0.5 if strategy == "finetune" else 0.8)
    on = {device: tk.load(run.folder, device=device) for device in ("cpu", "cuda")}
    photos = sorted(data.rglob("*.png"))
    answers = {device: model.predict(photos, top=3) for device, model in on.items()}
    for one, other in zip(answers["cpu"], answers["cuda"]):
        assert dict(one.top) == pytest.approx(dict(other.top), abs=5e-3)
    scores = {device: model.evaluate(data) for device, model in on.items()}
    assert abs(scores["cpu"]["accuracy"] - scores["cuda"]["accuracy"]) <= 1 / len(photos)


def test_an_ensemble_answers_on_a_gpu_as_on_a_cpu(data):
    run = finetune(data, "run", strategy="finetune", snapshots=2, epochs=4, batch_size=8)
    photos = sorted(data.rglob("*.png"))
    answers = {device: tk.load(run.folder, device=device).predict(photos, top=3) for device in ("cpu", "cuda")}
    for one, other in zip(answers["cpu"], answers["cuda"]):
        assert dict(one.top) == pytest.approx(dict(other.top), abs=5e-3)


@pytest.mark.parametrize("strategy", ["probe", "finetune", "lp-ft"])
def test_deterministic_runs_have_the_same_bytes_twice(data, strategy):
    words = [] if strategy == "probe" else ["--epochs", "2", "--batch-size", "8"]
    for name in ("one", "two"):
        assert (
            command(data, name, "--backbone", "cifar_resnet", "--strategy", strategy, "--deterministic", *words).wait()
            == 0
        )
    assert weights_of(data, "one") == weights_of(data, "two")


@pytest.mark.parametrize("optimizer", ["adamw", "momentum"])
def test_a_deterministic_run_that_was_killed_and_resumed_has_the_bytes_of_one_that_was_not(data, optimizer):
    words = ["--backbone", "cifar_resnet", "--strategy", "finetune", "--epochs", "30", "--batch-size", "8"]
    words += ["--patience", "30", "--optimizer", optimizer, "--deterministic"]
    assert command(data, "straight", *words).wait() == 0
    killed = command(data, "killed", *words)
    until = time.monotonic() + 300
    while not (data.parent / "killed" / "checkpoints" / "epoch-0002" / state.MANIFEST).is_file():
        assert killed.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() != 0
    assert command(data, "killed", "--resume").wait() == 0
    assert weights_of(data, "straight") == weights_of(data, "killed")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_goes_on_from_what_was_written_with_every_optimiser(name, tmp_path):
    network, optimizer = start(name)
    plan = Plan(epochs=4, batch_size=4)
    epochs = loop.train_epochs(network, optimizer, loader, EXAMPLES, plan)
    records = [next(epochs), next(epochs)]
    weights, slots = state.snapshot(network), state.optimizer_snapshot(optimizer)
    state.save(
        tmp_path, state.Checkpoint(model=weights, averaged=weights, best=weights, optimizer=slots, records=records)
    )
    rest = list(epochs)
    resumed, again = start(name)
    saved = state.newest(tmp_path, again, say=pytest.fail)
    resumed.load_state_dict(saved.model)
    state.restore_optimizer(again, saved.optimizer)
    for parameter in resumed.parameters():
        for slot, value in again.state[parameter].items():
            if isinstance(value, torch.Tensor):
                fused = slot != "step" or any(group.get("fused") for group in again.param_groups)
                assert value.is_cuda == fused
                assert not value.ndim or value.stride() == parameter.stride()
    plan = Plan(epochs=4, batch_size=4, first_epoch=2)
    found = list(loop.train_epochs(resumed, again, loader, EXAMPLES, plan))
    losses = [[record["train"]["loss"] for record in each] for each in (rest, found)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_step_waits_for_the_gpu(name):
    network, optimizer = start(name)
    average = RunningAverage(network, decay=0.9)
    optimizer.register_step_post_hook(lambda *_: average.update())
    steps = []

    def watched(batches, epoch):
        """All steps but the first, which makes what stays, and the last, after which losses are brought."""
        for number, (x, rows) in enumerate(list(loader(batches, epoch))):
            torch.cuda.set_sync_debug_mode("error" if 0 < number < len(batches) - 1 else "default")
            steps.append(torch.cuda.get_sync_debug_mode())
            yield x, rows

    plan = Plan(epochs=1, batch_size=2, label_smoothing=0.1, balance="weights")
    try:
        taken = list(loop.train_steps(network, optimizer, watched, EXAMPLES, plan))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(taken) == 12 < loop.LOOK_EVERY
    assert steps == [0, *[2] * 10, 0]
