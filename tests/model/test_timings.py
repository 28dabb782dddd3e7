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
    monkeypatch.setattr(timings, "seconds", lambda work, *, device: left.pop(0))
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
