"""A batch too large for a GPU is computed in micro-batches that add up to it; a loss in fp16 is scaled."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from tests.train.test_steps import Waits
from transferkit.messages import Reporter
from transferkit.runtime import FP16
from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.train import descent, loop, optim, state
from transferkit.train.average import RunningAverage
from transferkit.train.context import FitContext
from transferkit.train.loop import Examples
from transferkit.train.mixing import Mixing
from transferkit.train.plan import Plan
from transferkit.train.schedule import Schedule
from transferkit.train.step import MicroBatches
from transferkit.zoo.errors import DivergedError, StoppedError

X = torch.from_numpy(np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32))
EXAMPLES = Examples(rows=np.arange(24), labels=np.arange(24) ** 2 % 3, num_classes=3)
LABELS = np.random.default_rng(1).integers(0, 2, (24, 3)).astype(bool)


class Limited(nn.Sequential):
    """A network that runs out of the memory of a GPU at its end, above a number of images."""

    def __init__(self, *layers: nn.Module, most: int, error: type[Exception] = torch.OutOfMemoryError):
        super().__init__(*layers)
        self.most, self.error, self.seen = most, error, []

    def forward(self, x):
        answers = super().forward(x)
        self.seen.append(len(x))
        if len(x) > self.most:
            raise self.error("out of memory")
        return answers


def start(*, most=100, plain=True, name="sgd", lr=0.1, error=torch.OutOfMemoryError):
    torch.manual_seed(0)
    middle = [nn.ReLU()] if plain else [nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5)]
    network = Limited(nn.Linear(4, 6), *middle, nn.Linear(6, 3), most=most, error=error)
    return network, optim.make(name, optim.groups_of(network.parameters(), lr=lr, l2=0.0))


def loader(batches, epoch):
    for rows in batches:
        yield X[torch.from_numpy(rows)], rows


def train(started, plan, *, examples=EXAMPLES, inputs=loader):
    network, optimizer = started
    return list(loop.train_epochs(network, optimizer, inputs, examples, plan))


def same(one, other):
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize(
    "options", [{}, {"balance": "weights", "label_smoothing": 0.1}, {"balance": "weights", "mixing": Mixing(mixup=1.0)}]
)
@pytest.mark.parametrize(("task", "labels"), [(SINGLE_LABEL, EXAMPLES.labels), (MultiLabel(), LABELS)])
def test_micro_batches_take_the_step_of_the_whole_batch(task, labels, options):
    examples = Examples(rows=np.arange(24), labels=labels, num_classes=3, task=task)
    whole, parts = start(), start(most=5)
    expected = train(whole, Plan(epochs=2, batch_size=12, **options), examples=examples)
    found = train(parts, Plan(epochs=2, batch_size=12, **options), examples=examples)
    for name, tensor in whole[0].state_dict().items():
        assert torch.allclose(parts[0].state_dict()[name], tensor, atol=1e-6), name
    for one, other in zip(found, expected):
        assert one["train"]["loss"] == pytest.approx(other["train"]["loss"], rel=1e-5)
        assert one["train"]["accuracy"] == other["train"]["accuracy"]


def test_micro_batches_are_halved_until_they_fit_and_stay_for_the_rest_of_the_run():
    lines, started = [], start(most=3)
    plan = Plan(epochs=2, batch_size=12, micro_batches=MicroBatches(say=lines.append))
    records = train(started, plan)
    assert started[0].seen == [12, 6, *[3] * 16]
    assert lines == [
        "out of memory: batches of 12 are computed in 2 micro-batches of 6",
        "out of memory: batches of 12 are computed in 4 micro-batches of 3",
    ]
    assert [record["micro_batches"] for record in records] == [4, 4]
    assert "micro_batches" not in train(start(), Plan(epochs=1, batch_size=12))[0]


def test_what_was_too_large_leaves_no_trace():
    late, early = start(most=6, plain=False, name="adamw"), start(plain=False, name="adamw")
    train(late, Plan(epochs=2, batch_size=12))
    train(early, Plan(epochs=2, batch_size=12, micro_batches=MicroBatches(2)))
    assert late[0].seen[0] == 12
    assert same(late[0], early[0])


@pytest.mark.parametrize(("batch", "sizes"), [(12, [12, 6, 3, 2]), (4, [4, 2]), (2, [2])])
def test_a_part_is_never_of_one_image(batch, sizes):
    started = start(most=1)
    with pytest.raises(torch.OutOfMemoryError):
        train(started, Plan(epochs=1, batch_size=batch))
    assert [size for number, size in enumerate(started[0].seen) if size not in started[0].seen[:number]] == sizes


def test_without_a_gpu_memory_that_runs_out_is_an_error():
    lines, started = [], start(most=3, error=RuntimeError)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(started, Plan(epochs=1, batch_size=12, micro_batches=MicroBatches(say=lines.append)))
    assert started[0].seen == [12]
    assert lines == []


def test_a_network_of_several_inputs_is_divided_like_any():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, _ = start()
            self.most = 100

        def forward(self, values):
            if len(values[0]) > self.most:
                raise torch.OutOfMemoryError("out of memory")
            return self.inner(values[0] + values[1])

    def pairs(batches, epoch):
        for x, rows in loader(batches, epoch):
            yield (x, 0.5 * x), rows

    one, other = Sum(), Sum()
    other.most = 4
    for network in (one, other):
        optimizer = optim.make("sgd", optim.groups_of(network.parameters(), lr=0.1, l2=0.0))
        train((network, optimizer), Plan(epochs=1, batch_size=8), inputs=pairs)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one.parameters(), other.parameters()))


def fp16(*, epochs=3, name="adamw", **options):
    network, optimizer = start(name=name, lr=0.01)
    return (network, optim.scaled(optimizer)), Plan(epochs=epochs, batch_size=6, precision=FP16, **options)


def overflowing(batches, epoch):
    """The second batch has gradients that are too large for fp16, though its loss is finite."""
    for number, (x, rows) in enumerate(loader(batches, epoch)):
        yield x * (3e3 if number == 1 else 1), rows


def test_training_in_fp16_learns_what_single_precision_learns():
    (scaled, optimizer), plan = fp16()
    expected, plain = start(name="adamw", lr=0.01)
    found = train((scaled, optimizer), plan)
    train((expected, plain), Plan(epochs=3, batch_size=6))
    assert math.isfinite(found[-1]["train"]["loss"])
    assert all(torch.allclose(a, b, atol=2e-3) for a, b in zip(scaled.parameters(), expected.parameters()))


def test_a_step_that_the_scaler_leaves_out_is_no_divergence_and_changes_no_weight():
    (network, optimizer), plan = fp16(epochs=1)
    before, seen = [], []
    optimizer.register_step_pre_hook(lambda *_: before.append(copy.deepcopy(network.state_dict())))
    optimizer.register_step_post_hook(lambda *_: seen.append(copy.deepcopy(network.state_dict())))
    (record,) = train((network, optimizer), plan, inputs=overflowing)
    moved = [any(not torch.equal(b[name], a[name]) for name in b) for b, a in zip(before, seen)]
    assert moved == [True, False, True, True]
    assert math.isfinite(record["train"]["loss"])
    assert optimizer.state_dict()["scaler"]["scale"] == 2**15
    assert loop.is_finite(network)


def test_gradients_are_clipped_as_if_the_loss_were_not_scaled():
    moved = []
    for scale in (2.0**4, 2.0**10):
        (network, optimizer), plan = fp16(epochs=1, name="sgd", max_gradient_norm=0.01)
        optim.scaler_of(optimizer).load_state_dict({**optimizer.state_dict()["scaler"], "scale": scale})
        seen = [weights_of(network)]
        optimizer.register_step_post_hook(lambda *_, seen=seen, network=network: seen.append(weights_of(network)))
        train((network, optimizer), Plan(**vars(plan) | {"schedule": Schedule(name="constant", epochs=1)}))
        moved += [float((after - before).norm()) for before, after in pairwise(seen)]
    assert moved == pytest.approx([0.01 * 0.01] * 8, rel=1e-2)


def weights_of(network):
    return nn.utils.parameters_to_vector(network.parameters()).detach().clone()


def test_no_step_in_fp16_waits_for_the_device():
    (network, optimizer), plan = fp16()
    judged = RunningAverage(network, decay=0.9)
    optimizer.register_step_post_hook(lambda *_: judged.update())
    with Waits() as waits:
        list(loop.train_steps(network, optimizer, loader, EXAMPLES, plan))
    assert waits.count == 1  # the scale, where the losses are brought


def test_gradients_that_are_infinite_at_any_scale_are_a_divergence():
    def infinite(batches, epoch):
        for x, rows in loader(batches, epoch):
            yield x * 1e4, rows

    (network, optimizer), plan = fp16(epochs=20)
    optim.scaler_of(optimizer).load_state_dict({**optimizer.state_dict()["scaler"], "scale": 2.0})
    network.register_full_backward_pre_hook(lambda module, gradients: tuple(each * torch.inf for each in gradients))
    with pytest.raises(DivergedError, match="--precision fp32"):
        train((network, optimizer), plan, inputs=infinite)


def test_a_loss_that_fp16_cannot_hold_says_so():
    def endless(batches, epoch):
        for x, rows in loader(batches, epoch):
            yield x * 1e6, rows

    started, plan = fp16()
    with pytest.raises(DivergedError, match="at step 1 of epoch 1; use --precision fp32, or a lower --lr"):
        train(started, plan, inputs=endless)


def test_a_stopped_training_in_fp16_goes_on_with_its_scale(tmp_path):
    (straight, unstopped), plan = fp16()
    train((straight, unstopped), plan, inputs=overflowing)

    (network, optimizer), plan = fp16()
    record = next(loop.train_epochs(network, optimizer, overflowing, EXAMPLES, plan))
    weights, slots = state.snapshot(network), state.optimizer_snapshot(optimizer)
    state.save(
        tmp_path,
        state.Checkpoint(model=weights, averaged=weights, best=weights, optimizer=slots, records=[record]),
    )

    (resumed, again), plan = fp16(first_epoch=1)
    saved = state.newest(tmp_path, again, say=pytest.fail)
    resumed.load_state_dict(saved.model)
    state.restore_optimizer(again, saved.optimizer)
    assert again.state_dict()["scaler"]["scale"] == 2**15
    train((resumed, again), plan, inputs=overflowing)
    assert same(resumed, straight)
    assert again.state_dict()["scaler"] == unstopped.state_dict()["scaler"]


def descended(plan, *, most, checkpoint=None, append=None, resume=False):
    """A descent through a network that is divided above `most`, and what it leaves."""
    started = start(most=most, plain=False, name="adamw", lr=0.01)
    context = FitContext(plan=plan, patience=9, reporter=Reporter(append=append), checkpoint=checkpoint, resume=resume)
    descent.descend(*started, loader, (EXAMPLES, EXAMPLES), context)
    return started[0]


def test_a_resumed_run_goes_on_in_as_many_micro_batches(tmp_path):
    def stop(record):
        if record["epoch"] == 2:
            raise StoppedError("stopped")

    straight = descended(Plan(epochs=4, batch_size=12), most=24)
    parts = descended(Plan(epochs=4, batch_size=12, micro_batches=MicroBatches(2)), most=24)
    with pytest.raises(StoppedError):
        descended(
            Plan(epochs=4, batch_size=12, micro_batches=MicroBatches(2)), most=24, checkpoint=tmp_path, append=stop
        )
    resumed = descended(Plan(epochs=4, batch_size=12), most=24, checkpoint=tmp_path, resume=True)
    assert same(resumed, parts)
    assert not same(resumed, straight)
