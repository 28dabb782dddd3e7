"""What is timed, for how long, and what is made of the times."""

import json
import time

import pytest
import torch

from transferkit.model import build, precision, timings
from transferkit.model.precision import Precision, Timing
from transferkit.zoo import cache_folder


@pytest.fixture
def model():
    return build.create("cifar_resnet", image_size=32)


def test_work_takes_as_long_as_it_sleeps():
    assert 0.1 <= timings.seconds(lambda: time.sleep(0.1), device="cpu") < 5


def busy(seconds):
    """Compute that long on this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))


def test_what_a_thread_waits_for_is_no_computing():
    def work():
        time.sleep(0.1)  # as it waits where other processes have the processor
        busy(0.03)

    assert 0.03 <= timings.computing(work, device="cpu") < 0.09


def test_short_work_is_done_until_its_time_can_be_read():
    done = []
    found = timings.computing(lambda: done.append(busy(0.004)), device="cpu")
    assert 2 <= len(done) <= 5
    assert 0.004 <= found < 0.02


def test_one_thread_computes_and_afterwards_as_many_as_before():
    before, during = torch.get_num_threads(), []
    torch.set_num_threads(3)
    try:
        timings.computing(lambda: during.append(torch.get_num_threads()) or busy(0.03), device="cpu")
        assert (during, torch.get_num_threads()) == ([1], 3)
        with pytest.raises(RuntimeError, match="too large"):
            timings.computing(lambda: (_ for _ in ()).throw(RuntimeError("too large")), device="cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_what_is_timed_for_a_choice_is_alike_for_any_number_of_threads(model, tmp_path):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found = timings.looked_up(model, {}, lambda: {"by": threads}, device="cpu", cache=tmp_path)  # noqa: B023
    finally:
        torch.set_num_threads(before)
    assert found == {"by": 1}


def test_noise_is_the_same_normal_batch_at_every_call(model):
    torch.manual_seed(1)
    x = timings.noise(model, device="cpu")
    torch.manual_seed(2)
    assert torch.equal(timings.noise(model, device="cpu"), x)
    assert x.shape == (timings.IMAGES, 3, 32, 32)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert (x.mean().item(), x.std().item()) == pytest.approx((0, 1), abs=0.05)


@pytest.mark.parametrize(("bf16", "choice"), [(2.0, "fp32"), (0.88, "fp32"), (0.86, "bf16"), (0.2, "bf16")])
def test_bfloat16_is_taken_from_15_percent_faster_on(bf16, choice):
    assert Timing(fp32=1.0, bf16=bf16).choice == choice


@pytest.mark.parametrize(
    ("seconds", "rounds"),
    [
        ([1.0, 0.5, 0.8, 0.9], 1),
        ([1.0, 2.0, 0.8, 0.9], 1),
        ([1.0, 0.56, 0.8, 0.6], 1),
        ([1.0, 0.6, 0.8, 0.7], 2),
        ([1.0, 0.9, 1.1, 0.8], 2),
    ],
)
def test_a_second_round_is_for_where_the_first_leaves_a_doubt_and_the_faster_counts(
    seconds, rounds, model, monkeypatch
):
    left = list(seconds)
    monkeypatch.setattr(timings, "computing", lambda work, *, device: left.pop(0))
    found = precision._time(model, precision.WORK["features"], device="cpu")
    taken = seconds[: 2 * rounds]
    assert found == {"fp32": min(taken[::2]), "bf16": min(taken[1::2])}
    assert len(left) == 4 - 2 * rounds


@pytest.mark.parametrize(("error", "said"), [(0.019, None), (0.021, "2 %"), (0.3, "30 %"), (5.0, "500 %")])
def test_features_may_change_by_two_percent(error, said, model, tmp_path, monkeypatch):
    monkeypatch.setattr("transferkit.runtime.computes_bf16", lambda kind: True)
    precision.choose(model, "auto", device="cpu", cache=tmp_path, phases=["features"])
    for file in (tmp_path / "timings").iterdir():
        key = json.loads(file.read_text())["key"]
        found = {"error": error} if key["phase"] == "error" else {"fp32": 3.0, "bf16": 2.0}
        cache_folder.write(file, {"key": key, "found": found})
    chosen, (line,) = precision.choose(model, "auto", device="cpu", cache=tmp_path, phases=["features"])
    if said is None:
        assert chosen == Precision(features="bf16", training="bf16")
        assert line == "precision of features: bf16; bf16 is 1.5 times as fast"
    else:
        assert chosen == Precision()
        assert line == f"precision: fp32; bf16 changes features by {said}"
