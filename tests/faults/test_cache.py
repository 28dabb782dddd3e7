"""What lies in and beside a cache: no file of a user is gone, nothing that was damaged is trusted."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transferkit import runtime
from transferkit.cli.main import run
from transferkit.data import known, shard_index
from transferkit.data.known import Known
from transferkit.data.shard_index import Shard
from transferkit.data.shard_scan import Scan
from transferkit.data.store import Store
from transferkit.model import feature_cache, network_cache
from transferkit.progress import Progress
from transferkit.zoo import cache_folder, files, published
from transferkit.zoo.cache_folder import KINDS
from transferkit.zoo.disk_cache import DiskCache
from transferkit.zoo.errors import StorageError


def told(folder: Path) -> dict[str, str]:
    """Every file and link of a folder, with what is in it."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_no_file_of_a_user_is_gone_after_training_eviction_and_clearing(photos, tmp_path, monkeypatch, figure):
    for kind in KINDS:  # full from the first entry on
        monkeypatch.setitem(KINDS, kind, KINDS[kind]._replace(limit_bytes=0))
    for kind in KINDS:
        (tmp_path / kind / "ab").mkdir(parents=True)
        for number in range(16):
            path = tmp_path / kind / "ab" / f"{number}.safetensors"
            path.write_bytes(bytes([number]) * 1000)
            os.utime(path, (1e9, 1e9))
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pixels" / "ab" / "1.safetensors")
    (tmp_path / "pixels" / "folder").symlink_to(photos)
    before = told(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ["finetune", str(photos), "--backbone", "cifar_resnet", "--strategy", "probe", "--l2", "0.01", "--quiet"]
    assert run([*words, "-o", "run", "--cache-dir", "."]) == 0
    assert (tmp_path / "transferkit" / "known" / "files.sqlite").is_file()
    assert run(["cache", "clear", "--yes", "--cache-dir", "."]) == 0
    after = told(tmp_path)
    assert not (tmp_path / "transferkit" / "known").exists()
    figure(
        f"user's files in a cache folder: {sum(after.get(n) == before[n] for n in before)} of {len(before)} are there"
    )
    assert {name: after.get(name) for name in before} == before


def one_file(folder: Path, kind: str) -> Path:
    (path,) = all_files(folder / kind)
    return path


def all_files(folder: Path) -> list[Path]:
    return sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names)


def kept_pixels(folder: Path) -> tuple[Path, Any]:
    pixels = np.random.default_rng(3).integers(0, 256, (9, 11, 3), np.uint8)

    def read():
        found = Store(folder, side=16, progress=Progress()).get("ab" * 32)
        return None if found is None else found.tolist()

    Store(folder, side=16, progress=Progress()).put("ab" * 32, pixels)
    return one_file(folder, "pixels"), read


def kept_hashes(folder: Path) -> tuple[Path, Any]:
    paths = []
    for number in range(20):
        paths.append(folder.parent / "photos" / f"{number}.jpg")
        if not paths[-1].exists():
            files.write_bytes(paths[-1], bytes(number))
    time.sleep(0.01)

    def read():
        return [found and found.sha256 for found in Known(folder / "known" / "files.sqlite").contents(paths)]

    Known(folder / "known" / "files.sqlite").add([(known.identity(path), f"{n:064x}") for n, path in enumerate(paths)])
    return folder / "known" / "files.sqlite", read


def kept_shards(folder: Path) -> tuple[Path, Any]:
    shard = Shard("s3://photos/a.tar", 100, "100:1")
    places = np.arange(12, dtype=np.int64).reshape(4, 3)
    names = ["1", "2", "3", "4"]
    scan = Scan(classes=("a", "b"), labels=np.array([0, 1, 1, 0]), places=places, names=names, refused=[("x", "y")])

    def read():
        found = shard_index.read([shard], cache=folder).get(shard)
        return found and [found.classes, found.labels.tolist(), found.places.tolist(), found.names, found.refused]

    shard_index.write({shard: scan}, cache=folder, progress=Progress())
    return all_files(folder / "shards"), read


def kept_features(folder: Path) -> tuple[Path, Any]:
    features = np.random.default_rng(3).normal(size=(3, 7)).astype(np.float32)
    hashes = [f"{number:064x}" for number in range(3)]

    def read():
        found = feature_cache.FeatureCache(folder, {"a": 1}).get("plain-fp32", hashes, width=7)
        return None if np.isnan(found).all() else found.tolist()

    feature_cache.FeatureCache(folder, {"a": 1}).add("plain-fp32", hashes, features)
    return one_file(folder, "features"), read


def kept_network(folder: Path) -> tuple[Path, Any]:
    cache = network_cache.NetworkCache(folder, "cifar_resnet", weights=None, image_size=None)
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2), "b.bias": torch.zeros(2)}
    content = json.dumps({"sources": [], "network": {}})

    def read():
        found, held = cache._kept.read(cache._path, network_cache._content) or ({}, {})
        return [found, {name: (str(each.dtype), each.tolist()) for name, each in held.items()}] if found else None

    check = network_cache._check(content, tensors)
    files.write_safetensors(cache._path, tensors, {"content": content, "check": check})
    return cache._path, read


def kept_timing(folder: Path) -> tuple[Path, Any]:
    path = folder / "timings" / "a.json"
    cache_folder.write(path, {"key": {"phase": "features"}, "found": {"fp32": 3.25, "bf16": 1.5e-9}})
    return path, lambda: cache_folder.read(path)


def kept_names(folder: Path) -> tuple[Path, Any]:
    path = folder / "names" / "a.json"
    cache_folder.write(path, {"names": ["resnet18", "vit_tiny"]})
    return path, lambda: cache_folder.read(path)


def kept_weights(folder: Path) -> tuple[Path, Any]:
    path = folder / "weights" / "net-0123abcd.safetensors"
    files.write_safetensors(path, {"a": torch.arange(9.0)})
    published.keep(path)
    return [path, path.with_suffix(".json")], lambda: ["as it was"] if published.is_kept(path) else None


@contextlib.contextmanager
def unreadable(folder: Path):
    """A folder that this process may not look into; a superuser is somebody else meanwhile."""
    mode = folder.stat().st_mode
    is_root = os.geteuid() == 0
    folder.chmod(0)
    try:
        if is_root:
            os.seteuid(65534)
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(mode)


KEPT = [kept_pixels, kept_hashes, kept_shards, kept_features, kept_network, kept_timing, kept_names, kept_weights]
STORING = (kept_network, kept_timing, kept_names, kept_weights)  # tell of it, and those that call them do not


@pytest.mark.skipif(os.name == "nt", reason="needs modes of folders")
@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("way", ["unreadable", "a file", "a folder"])
def test_a_cache_that_cannot_be_read_or_written_knows_nothing_and_stops_nothing(tmp_path, monkeypatch, kept, way):
    monkeypatch.setattr(known, "MARGIN_NS", 0)
    monkeypatch.setattr(published, "_seen", {})
    versions = runtime.versions()
    monkeypatch.setattr(runtime, "versions", lambda: versions)
    folder = tmp_path / "cache"
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(folder))
    paths, read = kept(folder)
    assert read()
    for path in paths if isinstance(paths, list) else [paths]:
        if way == "a folder":
            path.unlink()
            path.mkdir()
    if way == "a file":
        shutil.rmtree(folder)
        folder.touch()
    with unreadable(folder) if way == "unreadable" else contextlib.nullcontext():
        assert not any(read() or [])
        with contextlib.suppress(*([StorageError] if kept in STORING else [])):
            kept_again(kept, folder)
        assert cache_folder.opened(folder) == folder
        for kind in KINDS:
            assert isinstance(DiskCache(folder, kind).entries(), list)


def kept_again(kept, folder: Path) -> None:
    with contextlib.suppress(ValueError, *([OSError, StorageError] if kept is kept_hashes else [])):  # has photos there
        kept(folder)


def test_an_index_with_a_flipped_bit_is_mended_or_begun_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "MARGIN_NS", 0)
    path, read = kept_hashes(tmp_path)
    content, right, generator = path.read_bytes(), read(), random.Random(5)
    for _ in range(12):
        damaged = bytearray(content)
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        for _ in range(2):  # the first may still meet the damage
            read()
            kept_hashes(tmp_path)
        assert read() == right


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.faults)])
@pytest.mark.parametrize("kept", KEPT)
def test_no_file_of_a_cache_with_a_flipped_bit_is_trusted(tmp_path, monkeypatch, figure, kept, count):
    monkeypatch.setattr(known, "MARGIN_NS", 0)
    monkeypatch.setattr(published, "_seen", {})
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "own"))
    paths, read = kept(tmp_path)
    paths = paths if isinstance(paths, list) else [paths]
    contents = [path.read_bytes() for path in paths]
    right = read()
    assert right
    assert None not in right
    seed = int(os.environ.get("TRANSFERKIT_SEED", 1))
    generator, trusted = random.Random(seed), []
    for _ in range(count):
        which = generator.randrange(len(paths))
        damaged = bytearray(contents[which])
        at, bit = generator.randrange(len(damaged)), generator.randrange(8)
        damaged[at] ^= 1 << bit
        for path, content in zip(paths, contents):
            path.write_bytes(content)
        paths[which].write_bytes(damaged)
        found = read()
        if isinstance(right, list) and kept is kept_hashes:  # each row by itself
            wrong = any(each not in (None, other) for each, other in zip(found, right))
        else:
            wrong = found is not None and found != right
        trusted += [(paths[which].name, at, bit)] if wrong else []
    figure(f"bits flipped in {kept.__name__.replace('_', ' ')}, seed {seed}: {len(trusted)} of {count} trusted")
    assert not trusted
