import math

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from transferkit.choices import SCHEDULES
from transferkit.train import schedule
from transferkit.train.schedule import Schedule
from transferkit.zoo.errors import UsageError


def rates_of(make, count):
    """The first `count` rates of one of torch's schedulers over a base rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < count:
            scheduler.step()
    return rates


def test_warmup_cosine_is_torchs_linear_and_cosine_in_a_row():
    steps, warmup = 20, 5
    rise = rates_of(lambda o: lr_scheduler.LinearLR(o, 1 / warmup, 1.0, total_iters=warmup - 1), warmup)
    fall = rates_of(lambda o: lr_scheduler.CosineAnnealingLR(o, steps - warmup), steps - warmup)
    found = [schedule.warmup_cosine(step, steps=steps, warmup=warmup) for step in range(steps)]
    assert found == pytest.approx(rise + fall)


def test_the_rate_is_never_zero_or_negative_before_the_end():
    for name in SCHEDULES:
        rates = Schedule(name=name, epochs=6, cycles=2)
        assert all(rates.factor(step, steps_per_epoch=7) > 0 for step in range(42)), name


def test_constant_is_one():
    assert {Schedule(name="constant", epochs=3).factor(step, steps_per_epoch=2) for step in range(6)} == {1}


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100])
def test_onecycle_is_torchs(steps):
    expected = rates_of(lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=steps, cycle_momentum=False), steps)
    assert [schedule.onecycle(step, steps=steps) for step in range(steps)] == pytest.approx(expected)


def test_cosine_is_torchs():
    expected = rates_of(lambda o: lr_scheduler.CosineAnnealingLR(o, 11), 11)
    assert [schedule.cosine(step, steps=11) for step in range(11)] == pytest.approx(expected)


def test_steps_are_torchs_and_fall_at_the_first_step_of_an_epoch():
    expected = rates_of(lambda o: lr_scheduler.StepLR(o, 3, gamma=0.4), 10)
    rates = Schedule(name="step", epochs=10, decay=0.4, step_epochs=3)
    found = [rates.factor(step, steps_per_epoch=7) for step in range(70)]
    assert found == pytest.approx(np.repeat(expected, 7).tolist())


def test_the_exponential_is_torchs_at_whole_epochs_and_the_formula_between():
    k = 0.3
    expected = rates_of(lambda o: lr_scheduler.ExponentialLR(o, math.exp(-k)), 8)
    rates = Schedule(name="exponential", epochs=8, decay=k)
    assert [rates.factor(4 * epoch, steps_per_epoch=4) for epoch in range(8)] == pytest.approx(expected)
    assert rates.factor(5, steps_per_epoch=4) == pytest.approx(math.exp(-k * 1.25))


def test_the_inverse_is_the_formula():
    rates = Schedule(name="inverse", epochs=8, decay=0.3)
    assert rates.factor(10, steps_per_epoch=4) == pytest.approx(1 / (1 + 0.3 * 2.5))


def test_compounding_is_the_lectures_recursion_run_literally():
    k, exponential, inverse = 0.3, 1.0, 1.0
    for i in range(12):
        assert schedule.exponential(i, k=k, compounding=True) == pytest.approx(exponential)
        rates = Schedule(name="exponential", epochs=8, decay=k, compounding=True)
        assert rates.factor(i * 3, steps_per_epoch=3) == pytest.approx(exponential)
        assert schedule.inverse(i + 0.9, k=k, compounding=True) == pytest.approx(inverse)  # it changes once an epoch
        exponential, inverse = exponential * math.exp(-k * i), inverse / (1 + k * i)


def test_snapshot_is_equation_2_of_the_paper():
    steps, cycles = 60, 4
    length = math.ceil(steps / cycles)
    rates = Schedule(name="snapshot", epochs=12, cycles=cycles)
    for t in range(1, steps + 1):  # the paper's steps count from 1
        expected = (math.cos(math.pi * ((t - 1) % length) / length) + 1) / 2
        assert rates.factor(t - 1, steps_per_epoch=5) == pytest.approx(expected)
    assert rates.snapshot_epochs() == (2, 5, 8, 11)


@pytest.mark.parametrize(("epochs", "cycles"), [(7, 3), (10, 4), (5, 5), (5, 2), (9, 1), (23, 16)])
def test_each_cycle_falls_from_one_over_whole_epochs_and_the_last_ends_with_the_last_epoch(epochs, cycles):
    rates = Schedule(name="snapshot", epochs=epochs, cycles=cycles)
    ends = rates.snapshot_epochs()
    assert len(ends) == cycles
    assert ends[-1] == epochs - 1
    lengths = np.diff([-1, *ends])
    assert lengths.max() - lengths.min() <= 1
    factors = np.array([rates.factor(step, steps_per_epoch=6) for step in range(6 * epochs)])
    starts = np.flatnonzero(factors == 1)
    assert starts.tolist() == [0, *(6 * (end + 1) for end in ends[:-1])]
    assert (np.delete(np.diff(factors), starts[1:] - 1) < 0).all()


@pytest.mark.parametrize("name", ["exponential", "inverse"])
def test_a_decay_not_given_ends_at_five_percent(name):
    assert Schedule(name=name, epochs=7).factor(7 * 3, steps_per_epoch=3) == pytest.approx(0.05)


def test_steps_not_given_halve_the_rate_every_quarter():
    rates = Schedule(name="step", epochs=12)
    assert [rates.factor(epoch, steps_per_epoch=1) for epoch in range(0, 12, 3)] == [1, 0.5, 0.25, 0.125]
    assert Schedule(name="step", epochs=1).factor(1, steps_per_epoch=2) == 1


def test_fine_tunings_cosine_warms_up_over_a_tenth_of_all_steps():
    rates = Schedule(name="cosine", epochs=4)
    expected = [schedule.warmup_cosine(step, steps=40, warmup=4) for step in range(40)]
    assert [rates.factor(step, steps_per_epoch=10) for step in range(40)] == expected


def test_only_the_snapshot_schedule_has_snapshots():
    assert not any(Schedule(name=name, epochs=4).snapshot_epochs() for name in SCHEDULES if name != "snapshot")


def test_unknown_names_and_more_cycles_than_epochs_are_refused():
    with pytest.raises(UsageError, match=r"'cosin' is unknown; allowed: constant, .*snapshot"):
        Schedule(name="cosin", epochs=3)
    with pytest.raises(UsageError, match="3 epochs hold 1 to 3 cycles, not 4"):
        Schedule(name="snapshot", epochs=3, cycles=4)
