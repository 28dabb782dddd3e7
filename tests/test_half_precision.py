"""A whole run in fp16, as on a GPU without bfloat16; a CPU computes it too, slowly."""

import json

import pytest
import torch

import transferkit as tk
from tests.conftest import write_digits
from tests.test_resume import Stopping
from transferkit import runtime
from transferkit.zoo import files
from transferkit.zoo.errors import StoppedError

OPTIONS = {"strategy": "lp-ft", "epochs": 3, "batch_size": 8, "augment": "light", "precision": "fp32/fp16"}
NETWORK = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "computes_fp16", lambda device: True)
    return write_digits(tmp_path / "data", classes=(0, 1), per_class=16)


def test_a_run_in_fp16_that_was_stopped_ends_as_one_that_was_not(data, tmp_path):
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
