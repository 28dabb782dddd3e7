"""Whole runs as on a GPU: in fp16, which a CPU computes too, slowly, and with less memory than a batch takes."""

import json

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

import transferkit as tk
from tests.conftest import write_digits
from tests.test_resume import Stopping
from transferkit import runtime
from transferkit.model.build import Backbone
from transferkit.zoo import files
from transferkit.zoo.errors import StoppedError

OPTIONS = {"strategy": "finetune", "epochs": 3, "batch_size": 8, "augment": "light", "precision": "fp32/fp16"}
NETWORK = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32}


@pytest.fixture
def data(tmp_path):
    return write_digits(tmp_path / "data", classes=(0, 1), per_class=16)


@pytest.mark.slow  # the factor of fp16 in a checkpoint: tests/train/test_step.py
def test_a_run_in_fp16_that_was_stopped_ends_as_one_that_was_not(data, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "computes_fp16", lambda device: True)
    common = OPTIONS | NETWORK | {"cache_dir": tmp_path / "cache"}
    straight = tk.finetune(data, out=tmp_path / "straight", **common)
    with pytest.raises(StoppedError):
        tk.finetune(data, out=tmp_path / "stopped", progress=Stopping("epoch 3/3"), **common)
    held = sorted((tmp_path / "stopped" / "checkpoints").iterdir())[-1]
    assert json.loads((held / "state.json").read_text())["scaler"]["scale"] > 1
    resumed = tk.finetune(out=tmp_path / "stopped", resume=True)
    one, other = (files.read_safetensors(run.folder / "model" / "model.safetensors") for run in (straight, resumed))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert json.loads((straight.folder / "run.json").read_text())["config"]["precision"] == "fp32/fp16"


def test_a_run_whose_batches_are_too_large_says_so_once_and_ends(data, tmp_path):
    def check(module, inputs):
        if isinstance(module, Backbone) and module.training and len(inputs[0]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    progress, options = Stopping(), OPTIONS | NETWORK | {"epochs": 2, "precision": "fp32"}
    hook = register_module_forward_pre_hook(check)
    try:
        run = tk.finetune(data, out=tmp_path / "run", cache_dir=tmp_path / "cache", progress=progress, **options)
    finally:
        hook.remove()
    told = [line for line in progress.said if "memory" in line]
    assert told == ["out of memory: batches of 7 are computed in 2 micro-batches of 4"]
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["micro_batches"] for line in lines] == [2] * len(lines)


@pytest.mark.slow  # that batches are halved until they fit: tests/model/test_eval_batch.py
def test_a_run_reads_and_scores_in_batches_that_the_gpu_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "memory_bytes", lambda device: 80 << 30)
    seen = []

    def note(module, inputs):
        if isinstance(module, torch.nn.Conv2d) and module.in_channels == 3 and len(inputs[0]) > 1:
            seen.append(len(inputs[0]))

    data = write_digits(tmp_path / "data", classes=(0, 1), per_class=150)
    hook = register_module_forward_pre_hook(note)
    common = NETWORK | {"precision": "fp32", "augment": "light", "cache_dir": tmp_path / "cache"}
    try:
        tk.finetune(data, out=tmp_path / "probe", strategy="probe", views=3, l2=0.01, **common)
        probed = len(seen)
        tk.finetune(data, out=tmp_path / "whole", strategy="finetune", epochs=1, batch_size=25, **common)
        trained = len(seen)
        tk.load(tmp_path / "whole").evaluate(data, part="all")
    finally:
        hook.remove()
    assert [size for size in seen[:probed] if size > 36] == [256] * (
        2 * 3
    )  # 300 images as they are, mirrored, augmented
    # those of validation; up to 36 of each run have heat maps
    assert [size for size in seen[probed:trained] if size > 36] == [60, 256, 44]  # then all, to know what is familiar
    assert seen[trained:] == [256, 44]
