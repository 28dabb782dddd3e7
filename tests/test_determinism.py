"""--deterministic: torch's switches through a run and no longer, one line for what cannot repeat, the same bytes."""

import json
import os

import pytest
import torch

import transferkit as tk
from tests.conftest import write_digits
from transferkit import determinism
from transferkit.ship.begun import Begun
from transferkit.zoo.errors import UsageError

RUN = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "strategy": "finetune", "epochs": 1}


@pytest.fixture
def data(tmp_path):
    return write_digits(tmp_path / "digits", classes=(0, 1), per_class=10)


def finetune(data, name, **options):
    run = tk.finetune(
        data,
        out=str(data.parent / name),
        cache_dir=data.parent / "cache",
        precision="fp32",
        device="cpu",
        **RUN,
        **options,
    )
    weights = (run.folder / "model" / "model.safetensors").read_bytes()
    return weights, json.loads((run.folder / "run.json").read_text())


def switches() -> tuple:
    filling, cudnn = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        filling,
        cudnn.benchmark,
        cudnn.deterministic,
    )


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    monkeypatch.setenv(determinism.WORKSPACE, "")  # so that what is set is put back after the test
    monkeypatch.delenv(determinism.WORKSPACE)


def test_through_the_block_alone_torch_uses_deterministic_kernels():
    before = switches()
    with determinism.switched(False):
        assert switches() == before
        assert determinism.WORKSPACE not in os.environ
    with determinism.switched(True):
        assert switches() == (True, False, False, False, True)
        assert os.environ[determinism.WORKSPACE] == ":4096:8"
    assert switches() == before


def test_switches_are_put_back_as_they_were_found():
    before = switches()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    found = switches()
    try:
        with pytest.raises(ZeroDivisionError), determinism.switched(True):
            raise ZeroDivisionError
        assert switches() == found
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[3]


def test_a_workspace_that_repeats_is_left_as_it_is_and_another_is_not(monkeypatch):
    for given, expected in ((":16:8", ":16:8"), (":4096:2:16:8", ":4096:8")):
        monkeypatch.setenv(determinism.WORKSPACE, given)
        with determinism.switched(True):
            assert os.environ[determinism.WORKSPACE] == expected


def test_a_gpu_that_was_started_without_the_workspace_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    late = pytest.raises(UsageError, match="set CUBLAS_WORKSPACE_CONFIG=:4096:8 before Python starts")
    with late, determinism.switched(True):
        pass
    monkeypatch.setenv(determinism.WORKSPACE, ":4096:8")
    with determinism.switched(True):
        assert torch.are_deterministic_algorithms_enabled()


def test_an_operator_without_a_deterministic_kernel_is_one_line():
    told = pytest.raises(UsageError, match=r"^put_ has no deterministic kernel on this device; drop --deterministic.+$")
    with told, determinism.switched(True):
        torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))
    with pytest.raises(RuntimeError, match="shape"), determinism.switched(True):
        torch.zeros(3) @ torch.zeros(4, 4)


def test_on_a_cpu_a_run_has_the_same_bytes_with_it_and_says_that_it_repeats(data):
    before, seen = switches(), []
    make = torch.optim.AdamW.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "__init__", lambda *a, **k: seen.append(switches()[0]) or make(*a, **k))
        (plain, record), (weights, asked) = finetune(data, "plain"), finetune(data, "asked", deterministic=True)
    assert plain == weights
    assert seen == [False] * (len(seen) // 2) + [True] * (len(seen) // 2)
    assert switches() == before
    assert (record["config"]["deterministic"], asked["config"]["deterministic"]) == (False, True)
    with pytest.raises(UsageError, match="drop --deterministic"):
        tk.finetune(out=str(data.parent / "plain"), resume=True, deterministic=True)
    assert record["repeats"] == asked["repeats"] == determinism.ON
    assert determinism.words("cuda", deterministic=True) == determinism.ON
    assert determinism.words("mps", deterministic=True) == determinism.OFF  # which has no such kernels
    assert "--deterministic repeats them" in determinism.words("cuda:1", deterministic=False)


def test_a_deterministic_run_that_goes_on_sets_the_workspace_before_it_looks_for_its_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv(determinism.WORKSPACE, "")
    seen = []
    monkeypatch.setattr("transferkit.runtime.pick_device", lambda kind: seen.append(os.environ[determinism.WORKSPACE]))
    for deterministic in (False, True):
        record = {"config": {"deterministic": deterministic}, "device": "cuda:1"}
        assert Begun(path=tmp_path, record=record).options["device"] == "cuda"
    assert seen == ["", ":4096:8"]
