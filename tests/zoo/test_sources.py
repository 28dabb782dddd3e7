"""Sources of backbones: a line in the table is all that the zoo, the command line and saved models need of one."""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from transferkit import zoo
from transferkit.model.build import files_of, rebuild
from transferkit.ship import artifact
from transferkit.zoo import from_torchvision, sizes, sources
from transferkit.zoo.backbone import Backbone
from transferkit.zoo.card import ModelCard, Preprocessing
from transferkit.zoo.disk_cache import DiskCache
from transferkit.zoo.errors import ModelFileError, UsageError
from transferkit.zoo.sources.source import Source

SIZE = Preprocessing(size_px=(8, 8))


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A layer between pixels and classes, in a file."""

    folder: Path
    name: str

    def resized(self, size_px):
        return self

    def card(self):
        return ModelCard(name=f"toy:{self.name}", architecture=self.name, preprocessing=SIZE, classes=("a", "b"))

    def pretrained(self, *, offline):
        return self.folder / f"{self.name}.safetensors"

    def build(self, *, num_classes=None, weights=None):
        if self.name == "broken":
            raise RuntimeError("no such layer")
        model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, num_classes or 2))
        if weights:
            model.load_state_dict(load_file(weights))
        card = replace(self.card(), parameters=sum(parameter.numel() for parameter in model.parameters()))
        spec = {"family": "toy", "architecture": self.name, "model_args": {}}
        return Backbone(model, from_torchvision.dissect(model), card=card, spec=spec)


class Toys(Source):
    """`toy:NAME`, or `toy:FOLDER/NAME`: what a stranger keeps in a folder."""

    help = "toy:NAME"
    family = "toy"
    is_foreign = True

    def __init__(self, folder: Path):
        self.folder = folder
        self.asked = 0

    def find(self, name):
        return name if name.startswith("toy:") else None

    def open(self, name, *, offline):
        if name.removeprefix("toy:") not in ("small", "in/side", "broken"):
            raise UsageError(f"no toy {name}")
        return Toy(folder=self.folder, name=name.rpartition("/")[2].removeprefix("toy:"))

    def names(self):
        self.asked += 1
        return ["toy:small", "toy:in/side"]

    def files(self, name):
        return [self.folder / "made-of.txt"]

    def by_spec(self, spec):
        return Toy(folder=self.folder, name=spec["architecture"]) if spec["architecture"] == "small" else None


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """One more line in the table, before timm, which takes every name."""
    made = Toys(tmp_path)
    monkeypatch.setattr(sources, "SOURCES", (*sources.SOURCES[:-1], made, sources.SOURCES[-1]))
    linear = nn.Linear(12, 2)
    save_file({f"2.{name}": value for name, value in linear.state_dict().items()}, tmp_path / "small.safetensors")
    return made


def test_a_line_in_the_table_is_all_that_opening_a_network_needs(toys):
    backbone = zoo.create("toy:small")
    assert backbone(torch.zeros(3, 3, 8, 8)).shape == (3, 2)
    assert zoo.describe("toy:small").parameters == 26
    assert zoo.create("toy:in/side", weights="none").card.name == "toy:side"  # no folder, though it has a separator
    assert files_of("toy:small") == [toys.folder / "small.safetensors", toys.folder / "made-of.txt"]
    assert zoo.create("resnet18", weights="none").spec["family"] == "timm"


def test_names_of_a_source_are_searched_and_suggested(toys):
    assert zoo.search("toy:*") == ["toy:small", "toy:in/side"]
    assert zoo.suggest("toy:smal")[0] == "toy:small"
    with pytest.raises(UsageError, match=r"^no toy toy:smal; did you mean toy:small"):
        zoo.create("toy:smal")


def test_files_of_a_foreign_source_are_compared_with_its_network_before_it_is_built(toys, tmp_path):
    save_file({"2.weight": torch.zeros(2, 3 * sizes.SLACK), "2.bias": torch.zeros(2)}, tmp_path / "small.safetensors")
    for read in (zoo.create, zoo.describe):
        with pytest.raises(
            ModelFileError, match=r"small\.safetensors has .* numbers, its network 26: one is not of the other"
        ):
            read("toy:small")
    with pytest.raises(ModelFileError, match="the network of toy:broken cannot be built: no such layer"):
        zoo.create("toy:broken", weights="none")


def test_a_network_of_a_source_is_saved_and_built_again_by_its_family(toys, tmp_path):
    backbone = zoo.create("toy:small")
    artifact.save(
        tmp_path / "m", artifact.Artifact(backbone=backbone, classes=("a", "b"), preprocessing=SIZE, record={})
    )
    for again in (artifact.load(tmp_path / "m").backbone, zoo.create(tmp_path / "m")):
        assert torch.equal(again.model[2].weight, backbone.model[2].weight)
    with pytest.raises(ModelFileError, match="this version cannot build toy:large"):
        rebuild({"family": "toy", "architecture": "large"}, num_classes=2)
    hand_made = zoo.wrap(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)))
    with pytest.raises(UsageError, match=r"only networks of .*\btoy\b.* can be saved"):
        artifact.save(
            tmp_path / "n", artifact.Artifact(backbone=hand_made, classes=("a", "b"), preprocessing=SIZE, record={})
        )


def test_a_network_that_travels_has_its_card_at_hand(toys, monkeypatch):
    card = ModelCard(name="toy:carried", architecture="carried", measured={"ours": "all of it"})
    monkeypatch.setattr(Toys, "travels", ("toy:carried",))
    monkeypatch.setattr(Toys, "card", lambda self, name: card)
    assert zoo.describe("toy:carried") is card
    assert zoo.cards()[-1] is card


def test_names_that_depend_on_a_library_are_kept_in_a_file_of_ours(toys, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Toys, "libraries", ("click",))
    monkeypatch.setattr(sources, "SOURCES", (toys,))
    assert zoo.search("*") == zoo.search("*") == ["toy:small", "toy:in/side"]
    assert toys.asked == 1
    (kept,) = DiskCache(tmp_path / "cache", "names").entries()
    assert Path(kept.path).name.startswith("click-")


def test_a_source_comes_before_those_behind_it_in_the_table(toys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert [type(sources.find(name)[0]).__name__ for name in ("toy:small", "cifar_mlp", "timm:x", "torchvision:x")] == [
        "Toys", "Embedded", "Timm", "Torchvision",
    ]  # fmt: skip
    backbone = zoo.create("cifar_resnet", num_classes=2)
    size = backbone.card.preprocessing
    model = artifact.Artifact(backbone=backbone, classes=("a", "b"), preprocessing=size, record={})
    artifact.save(tmp_path / "cifar_mlp", model)
    assert type(sources.find("cifar_mlp")[0]).__name__ == "ModelFolder"
    assert zoo.describe("cifar_mlp") == zoo.create("cifar_mlp").card
    assert zoo.describe("cifar_mlp").classes == ("a", "b")
    assert sources.find("./nothing") is None


def test_the_command_line_tells_of_every_source_without_importing_a_library():
    code = """
import sys
from transferkit.zoo import sources
from transferkit.zoo.sources.source import Source
class Toys(Source):
    help = "toy:NAME"
sources.SOURCES = (Toys(), *sources.SOURCES)
from transferkit.cli.main import run
run(["finetune", "--help"])
run(["zoo", "list"])
assert not {"torch", "timm", "torchvision", "huggingface_hub"} & sys.modules.keys()
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    told = " ".join(ended.stdout.split())
    helps = [source.help for source in sources.SOURCES if source.help]
    assert f"Toy:NAME, {', '.join(helps[:-1])}, or any timm name." in told
    (besides,) = (line for line in ended.stdout.splitlines() if line.startswith("Besides: "))
    assert besides.startswith("Besides: toy:NAME, the path of a model folder, torchvision:NAME, ")
    assert besides.endswith(", any timm name;")
