"""A run that finds all features kept writes what a run from nothing writes, and builds no network for it."""

import json
import shutil
import subprocess
import sys

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import transferkit as tk
from tests.conftest import write_digits
from transferkit.data import known
from transferkit.model import build

IN_A_PROCESS = """
import sys
import torch
import transferkit as tk
from transferkit.data import known
from transferkit.ship import curves
torch.set_num_threads(1)  # as tests/conftest.py does: features of other threads are others
curves.WIDTH_PX //= 4  # as it does, too
known.MARGIN_NS = -10**18
images, out, cache, backbone = sys.argv[1:]
tk.finetune(images, out=out, cache_dir=cache, backbone=backbone, strategy="probe", precision="fp32", l2=0.01)
heavy = ("timm", "torchvision", "torch._dynamo", "sympy", "albumentations", "sklearn")
print([name for name in heavy if name in sys.modules])
"""

DRAWS = True  # curves, each time: tests/conftest.py


@pytest.fixture(autouse=True)
def _settled(monkeypatch):
    """Files count as old, as those of users are: one that was changed in the last seconds is not trusted."""
    monkeypatch.setattr(known, "MARGIN_NS", -(10**18))


@pytest.fixture
def images(tmp_path):
    """Digits, and a file that is no image, which every run refuses."""
    write_digits(tmp_path / "images" / "train", classes=(0, 1, 4), per_class=10)
    (tmp_path / "images" / "train" / "digit 0" / "broken.png").write_bytes(b"no image")
    return write_digits(tmp_path / "images" / "test", classes=(0, 1, 4), per_class=3).parent


def write_network(folder, *, seed):
    torch.manual_seed(seed)
    model = timm.create_model("test_resnet", num_classes=4)
    folder.mkdir(exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": "test_resnet", "num_classes": 4, "pretrained_cfg": {"input_size": [3, 32, 32]}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "network", seed=0)


@pytest.fixture
def built(monkeypatch):
    """The names of the networks that are built from now on."""
    names, open_backbone = [], build.open_backbone

    def watched(choice, **options):
        names.append(choice)
        return open_backbone(choice, **options)

    monkeypatch.setattr(build, "open_backbone", watched)
    return names


@pytest.fixture
def finetune(images, network, tmp_path):
    """Runs in folders of their own, with the cache of that name."""
    numbers = iter(range(99))

    def run(cache="cache", **options):
        fast = {"precision": "fp32", "l2": 0.01}  # else timed once a cache, and searched for
        options = {"strategy": "probe", "backbone": network} | fast | options
        out = tmp_path / f"run{next(numbers)}"
        return written(tk.finetune(images, out=out, cache_dir=tmp_path / cache, **options).folder)

    return run


def written(run):
    """What a run wrote, by file, but for when and how long it ran, where it lies and what was asked of it."""
    files = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    metrics = json.loads(files.pop("metrics.json"))
    lines = [json.loads(line) for line in files.pop("metrics.jsonl").splitlines()]
    record = json.loads(files.pop("run.json"))
    files.pop("report.html")  # tells the seconds and the command
    return {
        **files,
        "metrics.json": {name: value for name, value in metrics.items() if name != "seconds"},
        "metrics.jsonl": [{name: value for name, value in line.items() if name != "seconds"} for line in lines],
        "run.json": {name: record[name] for name in ("seed", "threads", "versions", "data")},
    }


@pytest.mark.parametrize(
    "options",
    [{"l2": None}, pytest.param({"snapshots": 2, "epochs": 2, "dropout": 0.3}, marks=pytest.mark.slow)],
    ids=["a probe", "an ensemble of heads"],
)
def test_a_repeated_run_builds_no_network_and_writes_every_byte_of_the_first(options, finetune, built):
    first = finetune(**options)
    assert len(built) == 1
    assert finetune(**options) == first
    assert b"broken.png" in first["quarantine.csv"]
    assert len(built) == 1


def test_a_repeated_run_imports_neither_timm_nor_torchvision(finetune, images, network, tmp_path):
    first = finetune()
    arguments = [images, tmp_path / "again", tmp_path / "cache", network]
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS, *arguments], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
    assert written(tmp_path / "again") == first


@pytest.mark.slow  # of features: tests/train/test_first_pass.py; that a network is built: the next test
def test_a_network_is_built_after_all_for_an_image_that_is_new(finetune, built, images):
    finetune()
    changed = images / "train" / "digit 0" / "003.png"
    Image.open(changed).rotate(90).save(changed)
    shutil.copy(changed, images / "test" / "digit 1" / "another.png")
    found = finetune()
    assert len(built) == 2
    assert found == finetune("another cache")


def test_changed_weights_are_used(finetune, built, network):
    first = finetune()
    write_network(network, seed=1)
    second = finetune()
    assert second["model/model.safetensors"] != first["model/model.safetensors"]
    assert len(built) == 2
    assert second == finetune("another cache")
