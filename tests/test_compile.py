"""Training through torch.compile, with the real compiler."""

import os
import shutil
import signal
import time
from functools import partial

import pytest
import torch

import transferkit as tk
from tests.conftest import write_digits
from transferkit.progress import Progress
from transferkit.train import loop
from transferkit.zoo import files
from transferkit.zoo.errors import StoppedError, UsageError

WHOLE = {"strategy": "finetune", "epochs": 1, "batch_size": 8, "augment": "light", "precision": "fp32", "lr": 1e-3}
NETWORK = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "optimizer": "sgd"}


class Told(Progress):
    """What is said, in the order in which it is."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


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
    folders = [finetune(data, f"compile {value}", compile=value).folder for value in (False, True)]
    plain, compiled = (files.read_safetensors(folder / "model" / "model.safetensors") for folder in folders)
    assert all(torch.allclose(compiled[name], plain[name], atol=1e-4) for name in plain)


def test_where_the_compiler_fails_one_line_says_what_to_drop(data, monkeypatch):
    def broken(graph, inputs):
        raise OSError("no compiler")

    monkeypatch.setattr(loop.torch, "compile", partial(torch.compile, backend=broken))
    with pytest.raises(UsageError, match=r"^torch.compile cannot compile the network: .+; drop --compile$"):
        finetune(data, "run", compile=True)


def test_a_head_alone_has_nothing_to_compile(data):
    with pytest.raises(UsageError, match="drop one"):
        tk.finetune(data, strategy="probe", compile=True)


@pytest.mark.parametrize(
    ("number", "stop", "is_swallowed"),
    [
        (signal.SIGTERM, StoppedError, False),
        pytest.param(signal.SIGINT, KeyboardInterrupt, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, StoppedError, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, KeyboardInterrupt, False, marks=pytest.mark.slow),
    ],
)
def test_a_stop_while_the_compiler_works_is_a_stop_and_no_error_of_the_compiler(
    data, monkeypatch, number, stop, is_swallowed
):
    def stopped(graph, inputs):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        except BaseException as error:
            if is_swallowed:  # as where the compiler's own processes are ended by the same Ctrl-C
                raise RuntimeError("a process of the compiler is gone") from error
            raise

    monkeypatch.setattr(loop.torch, "compile", partial(torch.compile, backend=stopped))
    told = Told()
    with pytest.raises(stop):
        finetune(data, "run", compile=True, progress=told)
    assert told.lines[-1] == "compiling the network: the first epoch takes minutes longer"
