"""A flipped bit in a model folder of ours: no reader uses what is not what was saved."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from transferkit.model.build import Backbone, create, files_of
from transferkit.ship import artifact
from transferkit.zoo import catalog
from transferkit.zoo.errors import ModelFileError

FILES = ("model.safetensors", "config.json", "MANIFEST.json", "README.md")
USED = FILES[:2]  # what answers are made of; the manifest also lists the README, which anybody may edit
READERS: dict[str, Callable[[Path], Backbone]] = {
    "predict": lambda folder: artifact.load(folder).backbone,
    "--backbone": lambda folder: create(folder),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A saved cifar_resnet of three classes."""
    backbone = create("cifar_resnet", num_classes=3)
    path = tmp_path_factory.mktemp("flips") / "model"
    given = {"classes": ("ant", "bee", "wasp"), "preprocessing": backbone.card.preprocessing, "record": {}}
    artifact.save(path, artifact.Artifact(backbone=backbone, **given))
    return path


def answers(backbone: Backbone) -> torch.Tensor:
    with torch.no_grad():
        return backbone(torch.ones(1, 3, *backbone.card.preprocessing.size_px))


def trusted(folder: Path, name: str, reader: str, *, bits: list[int]) -> list[int]:
    """The bits of a file of which a flip changed what a reader hands out, or was not refused where it had to be."""
    path, read = folder / name, READERS[reader]
    original, expected = path.read_bytes(), answers(read(folder))
    found = []
    for bit in bits:
        content = bytearray(original)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            backbone = read(folder)
        except ModelFileError:
            continue
        if name in USED or not torch.equal(answers(backbone), expected):
            found.append(bit)
    path.write_bytes(original)
    return found


def drawn(path: Path, count: int, *, seed: int) -> list[int]:
    return [random.Random(seed).randrange(8 * path.stat().st_size) for _ in range(count)]


@pytest.mark.parametrize("reader", READERS)
def test_a_flipped_bit_is_trusted_by_no_reader(folder, tmp_path, reader):
    copy = shutil.copytree(folder, tmp_path / "model")
    assert [trusted(copy, name, reader, bits=drawn(copy / name, 8, seed=1)) for name in FILES] == [[]] * len(FILES)


@pytest.mark.faults
@pytest.mark.parametrize("reader", READERS)
def test_of_200_flipped_bits_in_every_file_none_is_trusted(folder, tmp_path, reader, figure):
    seed = random.randrange(2**32)
    copy = shutil.copytree(folder, tmp_path / "model")
    found = {name: trusted(copy, name, reader, bits=drawn(copy / name, 200, seed=seed)) for name in FILES}
    figure(f"flips in a model folder, {reader}: {sum(map(len, found.values()))} of {200 * len(FILES)} trusted, {seed=}")
    assert not any(found.values()), found


def test_weights_taken_out_of_a_folder_of_ours_are_checked_too(folder, tmp_path):
    weights = shutil.copytree(folder, tmp_path / "model") / "model.safetensors"
    create("cifar_resnet", num_classes=3, weights=weights)
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelFileError, match="not the file that was saved"):
        create("cifar_resnet", num_classes=3, weights=weights)


@pytest.mark.parametrize("reader", READERS)
def test_a_folder_of_ours_without_its_manifest_is_refused(folder, tmp_path, reader):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "MANIFEST.json").unlink()
    with pytest.raises(ModelFileError, match=r"MANIFEST\.json is missing"):
        READERS[reader](copy)
    with pytest.raises(ModelFileError, match=r"MANIFEST\.json is missing"):
        catalog.describe(str(copy))


def test_the_manifest_decides_what_is_built_so_a_kept_network_depends_on_it(folder):
    assert folder / "MANIFEST.json" in files_of(str(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_others_that_are_no_numbers_are_no_backbone(tmp_path, value):
    import timm
    from safetensors.torch import save_file

    network = timm.create_model("resnet10t", num_classes=5)
    next(network.parameters()).data.view(-1)[0] = value
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "num_classes": 5}))
    with pytest.raises(ModelFileError, match="not finite"):
        create(tmp_path)
