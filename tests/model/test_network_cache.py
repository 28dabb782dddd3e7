"""A network is taken from the cache only if it is what its files would give."""

import json
import os
import time

import pytest
import timm
import torch
from safetensors.torch import save_file

from transferkit import runtime
from transferkit.data import known
from transferkit.model import build, network_cache
from transferkit.model.network_cache import NetworkCache
from transferkit.zoo.cache_folder import KINDS

MARGIN_NS = known.MARGIN_NS


@pytest.fixture(autouse=True)
def _settled(monkeypatch):
    """Files count as old, as those of users are: one that was changed in the last seconds is not trusted."""
    monkeypatch.setattr(known, "MARGIN_NS", -(10**18))


@pytest.fixture
def network(tmp_path):
    """A model folder in timm's format."""
    model = timm.create_model("test_resnet", num_classes=4)
    (tmp_path / "network").mkdir()
    save_file(model.state_dict(), tmp_path / "network" / "model.safetensors")
    (tmp_path / "network" / "config.json").write_text(json.dumps({"architecture": "test_resnet", "num_classes": 4}))
    return tmp_path / "network"


def cache_of(network, root, *, weights=None, image_size=None):
    return NetworkCache(root, str(network), weights=weights, image_size=image_size)


def keep(network, root, **choice):
    return cache_of(network, root, **choice).keep_from(lambda: build.create(str(network), **choice))


def kept(network, root, **choice):
    return cache_of(network, root, **choice).get(lambda: pytest.fail("the network was built"))


def test_what_was_kept_is_the_network(network, tmp_path):
    model, found = keep(network, tmp_path), kept(network, tmp_path)
    state = model.model.state_dict()
    assert list(found.model.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.model.state_dict().items())
    assert found.card == model.card


def test_what_took_the_place_of_another_is_not_kept_under_its_name(network, tmp_path):
    for card_name, is_kept in (("convnext", False), ("network", True)):
        cache_of(network, tmp_path).keep_from(lambda: build.create(str(network)), card_name=card_name)
        assert (kept(network, tmp_path) is not None) == is_kept


def test_it_is_not_used_for_another_size_or_other_weights(network, tmp_path):
    keep(network, tmp_path)
    other = tmp_path / "other.safetensors"
    other.write_bytes((network / "model.safetensors").read_bytes())
    assert kept(network, tmp_path, image_size=64) is None
    assert kept(network, tmp_path, weights=str(other)) is None


def test_it_is_not_used_once_a_configuration_lies_beside_the_weights(network, tmp_path):
    config = network / "config.json"
    elsewhere = config.rename(tmp_path / "config.json")
    choice = {"weights": str(network / "model.safetensors")}
    keep("test_resnet", tmp_path, **choice)
    assert kept("test_resnet", tmp_path, **choice) is not None
    elsewhere.rename(config)
    assert kept("test_resnet", tmp_path, **choice) is None
    keep("test_resnet", tmp_path, **choice)
    assert kept("test_resnet", tmp_path, **choice) is not None
    config.write_text(config.read_text() + " ")
    assert kept("test_resnet", tmp_path, **choice) is None


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_it_is_not_used_once_a_file_it_came_from_was_touched_replaced_or_removed(network, tmp_path, name):
    for change in (os.utime, lambda path: path.write_bytes(path.read_bytes()), lambda path: path.unlink()):
        keep(network, tmp_path)
        change(network / name)
        assert kept(network, tmp_path) is None


def test_it_is_not_used_by_other_versions(network, tmp_path, monkeypatch):
    keep(network, tmp_path)
    versions = runtime.versions()
    for name in ("timm", "torch", "torchvision", "python"):
        monkeypatch.setattr(runtime, "versions", lambda name=name: versions | {name: "0.0"})
        assert kept(network, tmp_path) is None
    monkeypatch.setattr(runtime, "versions", lambda: versions)
    monkeypatch.setattr(network_cache, "__version__", "0.0.0")
    assert kept(network, tmp_path) is None


def test_a_name_that_has_become_a_path_is_another_network(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    choice = {"weights": str(network / "model.safetensors")}
    keep("test_resnet", tmp_path, **choice)
    assert kept("test_resnet", tmp_path, **choice) is not None
    network.rename("test_resnet")
    os.symlink("test_resnet", network)
    assert kept("test_resnet", tmp_path, **choice) is None


def test_one_with_a_flipped_bit_or_cut_short_is_not_used(network, tmp_path):
    keep(network, tmp_path)
    (file,) = (tmp_path / "networks").iterdir()
    content = file.read_bytes()
    middle = len(content) // 2
    for damaged in (
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        content.replace(b"conv1", b"conv2", 1),
        content.replace(b"fc", b"fd"),
        content[:-1],
        b"",
    ):
        file.write_bytes(damaged)
        assert kept(network, tmp_path) is None
    file.write_bytes(content)
    assert kept(network, tmp_path) is not None


def test_one_whose_files_change_while_it_is_built_or_a_moment_before_is_not_kept(network, tmp_path, monkeypatch):
    def build_slowly():
        model = build.create(str(network))
        os.utime(network / "model.safetensors")
        return model

    cache_of(network, tmp_path).keep_from(build_slowly)
    assert kept(network, tmp_path) is None
    monkeypatch.setattr(known, "MARGIN_NS", MARGIN_NS)
    keep(network, tmp_path)
    assert kept(network, tmp_path) is None


def test_networks_with_random_weights_and_embedded_ones_are_not_kept(tmp_path):
    keep("test_resnet", tmp_path, weights="none")
    keep("cifar_resnet", tmp_path)
    assert not (tmp_path / "networks").exists()


def test_those_not_used_for_longest_go_first(network, tmp_path, monkeypatch):
    for age, size in ((30, 32), (20, 64)):
        keep(network, tmp_path, image_size=size)
        (newest,) = [path for path in (tmp_path / "networks").iterdir() if path.stat().st_mtime > 1e9]
        os.utime(newest, (1e9 - age, 1e9 - age))
    kept(network, tmp_path, image_size=32)
    limit = int(2.5 * newest.stat().st_size)
    monkeypatch.setitem(KINDS, "networks", KINDS["networks"]._replace(limit_bytes=limit))
    keep(network, tmp_path, image_size=96)
    assert [kept(network, tmp_path, image_size=size) is not None for size in (32, 64, 96)] == [True, False, True]


def test_a_cache_that_cannot_be_written_costs_the_copy_and_no_more(network, tmp_path):
    (tmp_path / "networks").write_text("a file in the place of the folder")
    assert keep(network, tmp_path).num_classes == 4
    assert kept(network, tmp_path) is None


def test_a_network_of_the_hub_is_not_used_once_the_hub_cache_has_another_version(network, tmp_path, monkeypatch):
    hub = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    repository = hub / "models--me--mine"
    (repository / "refs").mkdir(parents=True)

    def publish(revision):
        snapshot = repository / "snapshots" / revision
        snapshot.mkdir(parents=True)
        for file in network.iterdir():
            (snapshot / file.name).write_bytes(file.read_bytes())
        (repository / "refs" / "main").write_text(revision)

    publish("a" * 40)
    keep("hf-hub:me/mine", tmp_path)
    assert kept("hf-hub:me/mine", tmp_path) is not None
    time.sleep(0.02)  # a tick of the file system's clock
    publish("b" * 40)
    assert kept("hf-hub:me/mine", tmp_path) is None
