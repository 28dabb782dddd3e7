"""Training through torch.compile, with the real compiler."""

import shutil

import pytest
import torch
from torch._inductor import config as inductor

import transferkit as tk
from tests.conftest import write_digits
from transferkit.zoo.errors import UsageError

WHOLE = {"strategy": "finetune", "epochs": 1, "batch_size": 8, "augment": "light", "precision": "fp32", "lr": 1e-3}
NETWORK = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "optimizer": "sgd"}


@pytest.fixture
def data(tmp_path):
    return write_digits(tmp_path / "digits", classes=(0, 1), per_class=16)


def finetune(data, name, **options):
    return tk.finetune(
        data, out=str(data.parent / name), cache_dir=data.parent / "cache", **WHOLE, **NETWORK, **options
    )


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_network_learns_what_the_network_learns(data):
    plain, compiled = (finetune(data, f"compile {value}", compile=value).classifier for value in (False, True))
    for (name, found), expected in zip(compiled.model.state_dict().items(), plain.model.state_dict().values()):
        assert torch.allclose(found, expected, atol=1e-4), name


def test_without_a_compiler_one_line_says_what_to_drop(data):
    line = r"^torch.compile cannot compile the network: .+; drop --compile$"
    broken = {"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}
    with inductor.patch(broken), pytest.raises(UsageError, match=line):
        finetune(data, "run", compile=True)


def test_a_head_alone_has_nothing_to_compile(data):
    with pytest.raises(UsageError, match="drop one"):
        tk.finetune(data, strategy="probe", compile=True)
