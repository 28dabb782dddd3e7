"""What is asked of a device beyond torch's defaults, and what a user hears of what it cannot do."""

import platform
from contextlib import contextmanager
from importlib import metadata

import numpy as np
import pytest
import torch

import transferkit as tk
from transferkit import caches, kernels, runtime
from transferkit.config import FinetuneConfig
from transferkit.model.precision import Precision
from transferkit.ship import answers
from transferkit.train import outputs
from transferkit.zoo.errors import UsageError

MISSING = (  # of torch 2.10, on an Apple GPU
    "The operator 'aten::_fft_r2c' is not currently implemented for the MPS device. If you want this op to be "
    "considered for addition please comment on https://github.com/pytorch/pytorch/issues/141287 and mention use-case, "
    "that resulted in missing op as well as commit hash. As a temporary fix, you can set the environment variable "
    "`PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op. WARNING: this will be slower than "
    "running natively on MPS."
)


def in_tf32():
    """Whether torch computes products of matrices and of convolutions in TF32.

    The older settings, which torch.compile reads, raise where they do not fit the newer.
    """
    torch.get_float32_matmul_precision()
    newer = [torch.backends.cuda.matmul.fp32_precision == "tf32", torch.backends.cudnn.conv.fp32_precision == "tf32"]
    assert newer == [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]
    return newer


@pytest.mark.parametrize("exact", [True, False])
def test_single_precision_of_a_gpu_is_tf32_unless_all_bits_are_asked_for(exact):
    def fail():
        assert in_tf32() == [not exact, not exact]
        raise KeyError

    before = in_tf32()
    with pytest.raises(KeyError), kernels.single_precision("cuda:0", exact=exact):
        fail()
    assert in_tf32() == before


def test_elsewhere_single_precision_is_what_it_is():
    before = in_tf32()
    with kernels.single_precision("cpu", exact=False):
        assert in_tf32() == before


@pytest.mark.parametrize(
    ("kind", "steps", "searches"), [("cuda", 1000, True), ("cuda", 999, False), ("cpu", 5000, False)]
)
def test_cudnn_searches_where_a_gpu_trains_for_long(kind, steps, searches):
    with kernels.convolution_search(torch.device(kind), steps=steps):
        assert torch.backends.cudnn.benchmark == searches
    assert not torch.backends.cudnn.benchmark


def test_cudnn_does_not_search_where_results_must_repeat():
    torch.use_deterministic_algorithms(True)
    try:
        with kernels.convolution_search(torch.device("cuda"), steps=5000):
            assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)


def test_an_operator_that_a_mac_has_not_is_one_line_that_says_what_helps():
    with pytest.raises(UsageError) as caught, runtime.device_errors():
        raise NotImplementedError(MISSING)
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        "the GPU of this Mac has no aten::_fft_r2c, which the network needs; use --device cpu, or set "
        "PYTORCH_ENABLE_MPS_FALLBACK=1 and the CPU computes it"
    )


def test_other_things_that_are_not_implemented_stay_what_they_are():
    with pytest.raises(NotImplementedError, match="a method"), runtime.device_errors():
        raise NotImplementedError("a method")


def test_features_in_tf32_are_not_taken_for_those_of_all_bits(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a GPU")
    model, config = tk.zoo.create("cifar_resnet"), FinetuneConfig(data="DATA", cache_dir=str(tmp_path))

    def kept(precision):
        return caches.extractor_of(config, model, weights="", precision=Precision.read(precision), device="cuda").cache

    kept("fp32/bf16").add("plain-fp32", ["0" * 64], np.ones((1, model.num_features)))
    assert [kept(precision).is_empty for precision in ("fp32/bf16", "bf16", "fp32")] == [False, False, True]


def test_what_is_shipped_is_scored_and_answers_in_all_bits(monkeypatch, digit_folder, tmp_path):
    asked = []

    @contextmanager
    def noted(device, *, exact):
        asked.append((device, exact))
        yield

    monkeypatch.setattr(outputs, "single_precision", noted)
    options = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "strategy": "finetune", "epochs": 1}
    options |= {"device": "cpu", "precision": "fp32", "augment": "none"}
    run = tk.finetune(digit_folder, out=tmp_path / "run", **options)
    assert set(asked) == {("cpu", True)}
    asked.clear()
    monkeypatch.setattr(answers, "single_precision", noted)
    tk.load(run.folder, device="cpu").predict(next(digit_folder.rglob("*.png")))
    assert asked == [("cpu", True)]


@pytest.mark.parametrize(
    ("limit", "used"),
    [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")],
)
def test_available_memory_is_that_of_the_container(tmp_path, limit, used):
    told = tmp_path / "proc" / "meminfo"
    told.parent.mkdir()
    told.write_text("MemTotal:       25000000 kB\nMemAvailable:   20000000 kB\n")
    assert runtime.available_memory(tmp_path) == 20_000_000 << 10
    group = tmp_path / "sys" / "fs" / "cgroup"
    for name, value in ((limit, 8 << 30), (used, 3 << 30)):
        (group / name).parent.mkdir(parents=True, exist_ok=True)
        (group / name).write_text(f"{value}\n")
    assert runtime.available_memory(tmp_path) == 5 << 30
    name = "total_inactive_file" if "limit_in_bytes" in limit else "inactive_file"
    (group / limit).with_name("memory.stat").write_text(f"anon 7\n{name} {1 << 30}\n")
    assert runtime.available_memory(tmp_path) == 6 << 30
    (group / limit).write_text("max\n")
    assert runtime.available_memory(tmp_path) == 20_000_000 << 10


def test_a_library_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(runtime, "LIBRARIES", ("torch", "no-such-library"))
    assert runtime.versions() == {"python": platform.python_version(), "torch": metadata.version("torch")}
