import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import transferkit as tk
from transferkit.model import feature_cache
from transferkit.model.feature_cache import FeatureCache, key_of, weights_hash
from transferkit.zoo.cache_folder import KINDS

HASHES = [hashlib.sha256(bytes([n])).hexdigest() for n in range(6)]
FEATURES = np.arange(24, dtype=np.float32).reshape(6, 4)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path, {"network": "a"})


def test_what_was_added_is_found_by_hash_in_whatever_order(cache):
    cache.add("plain", HASHES[:4], FEATURES[:4])
    cache.add("plain", HASHES[4:], FEATURES[4:])
    order = [5, 0, 3]
    assert np.array_equal(cache.get("plain", [HASHES[n] for n in order], width=4), FEATURES[order])


def test_files_unknown_and_views_not_added_are_missing(cache):
    cache.add("plain", HASHES[:2], FEATURES[:2])
    found = cache.get("plain", ["", HASHES[1], HASHES[5]], width=4)
    assert np.isnan(found).all(1).tolist() == [True, False, True]
    assert np.isnan(cache.get("mirrored", HASHES, width=4)).all()


def test_another_key_finds_nothing(cache, tmp_path):
    cache.add("plain", HASHES, FEATURES)
    assert FeatureCache(tmp_path, {"network": "b"}).is_empty
    assert not FeatureCache(tmp_path, {"network": "a"}).is_empty


def test_features_lie_where_earlier_versions_kept_them(cache, tmp_path):
    path = cache.add("plain", HASHES[:1], FEATURES[:1])
    folder = hashlib.sha256(b'{"network": "a"}').hexdigest()
    name = hashlib.sha256(HASHES[0].encode()).hexdigest()[:16]
    assert path == tmp_path / "features" / folder / f"plain.{name}.safetensors"


def test_a_file_with_a_flipped_bit_or_cut_short_is_not_used(cache, tmp_path):
    for damage in (lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], lambda data: data[:-7]):
        cache.add("plain", HASHES, FEATURES)
        (file,) = tmp_path.glob("features/*/*")
        file.write_bytes(damage(file.read_bytes()))
        assert np.isnan(cache.get("plain", HASHES, width=4)).all()
        cache.add("plain", HASHES, FEATURES)
        assert np.array_equal(cache.get("plain", HASHES, width=4), FEATURES)


def test_the_network_not_used_for_longest_goes_first(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "features", KINDS["features"]._replace(limit_bytes=2000))  # of two files
    caches = {name: FeatureCache(tmp_path, {"network": name}) for name in "abc"}
    for age, name in ((30, "b"), (20, "a")):
        caches[name].add("plain", HASHES, FEATURES)
        os.utime(caches[name]._folder, (1e9 - age, 1e9 - age))
    caches["c"].add("plain", HASHES, FEATURES)
    assert {name for name, each in caches.items() if not each.is_empty} == {"a", "c"}


FULL_DISK = """
import resource, signal, sys
from pathlib import Path

import numpy as np

from transferkit.model.feature_cache import FeatureCache

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
cache = FeatureCache(Path(sys.argv[1]), {})
cache.add("plain", ["0" * 64], np.ones((1, 400)))
assert np.isnan(cache.get("plain", ["0" * 64], width=400)).all()
"""


def test_a_full_disk_costs_the_entry_and_no_more(tmp_path):
    subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], check=True)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_the_key_tells_weights_preprocessing_and_our_own_code_apart_but_not_the_head(monkeypatch):
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    first = key_of(model, weights=weights_hash(model), pixels={"rule": 1}, device="cpu")
    tk.reset_head(model, 5)
    assert key_of(model, weights=weights_hash(model), pixels={"rule": 1}, device="cpu") == first
    assert key_of(model, weights=weights_hash(model), pixels={"rule": 2}, device="cpu") != first
    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "FORMAT", feature_cache.FORMAT + 1)
        assert key_of(model, weights=weights_hash(model), pixels={"rule": 1}, device="cpu") != first
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-6
    assert key_of(model, weights=weights_hash(model), pixels={"rule": 1}, device="cpu") != first


def test_features_of_another_width_are_not_used(cache):
    cache.add("plain", HASHES, FEATURES)
    assert np.isnan(cache.get("plain", HASHES, width=5)).all()
    assert cache.get("plain", HASHES, width=5).shape == (6, 5)
