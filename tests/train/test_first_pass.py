import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import transferkit as tk
from transferkit import ranks
from transferkit.data import folder
from transferkit.data.known import Known
from transferkit.data.photos import Decoding, Photos
from transferkit.model.feature_cache import FeatureCache, key_of, weights_hash
from transferkit.model.features import Extractor
from transferkit.progress import Progress
from transferkit.train import first_pass, head
from transferkit.train.first_pass import Reader, read_images
from transferkit.zoo.errors import DataError

PROBE = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "strategy": "probe", "l2": 0.01}


class Counted(Photos):
    """Photos that counts what is read, and takes files for old, as those of users are."""

    def read(self, path):
        self.count = getattr(self, "count", 0) + 1
        return super().read(path)


@pytest.fixture
def images(digit_folder, tmp_path):
    """The digits as files that are settled: an index trusts none that changed in the last seconds."""
    shutil.copytree(digit_folder, tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def model():
    return tk.zoo.create("timm:test_resnet", weights="none", num_classes=3, image_size=32)


@pytest.fixture(autouse=True)
def _settled(monkeypatch):
    monkeypatch.setattr("transferkit.data.known.MARGIN_NS", -(10**18))


def passed_over(images, model, cache):
    photos = Counted(Decoding(384), workers=0, index=Known(cache / "known.sqlite"))
    photos.count = 0
    extractor = Extractor(
        model=model, cache=FeatureCache(cache, key_of(model, weights=weights_hash(model), pixels={}, device="cpu"))
    )
    reader = Reader(photos=photos, preprocessing=model.card.preprocessing, device="cpu", extractor=extractor)
    return read_images(folder.read(images), reader, progress=Progress()), photos.count


def same(one, other):
    return (
        np.array_equal(one.features.plain, other.features.plain)
        and np.array_equal(one.features.views[1], other.features.views[1])
        and one.sha256 == other.sha256
        and one.bytes == other.bytes
    )


def test_a_second_run_reads_no_image_and_has_every_bit_of_the_first(images, model, tmp_path):
    first, read = passed_over(images, model, tmp_path / "cache")
    again, read_again = passed_over(images, model, tmp_path / "cache")
    assert (read, read_again) == (72, 0)
    assert same(first, again)


def test_only_new_and_changed_images_are_read_and_all_have_the_bits_of_a_fresh_run(images, model, tmp_path):
    passed_over(images, model, tmp_path / "cache")
    changed = images / "digit 0" / "003.png"
    Image.open(changed).rotate(90).save(changed)
    shutil.copy(changed, images / "digit 1" / "another.png")
    found, read = passed_over(images, model, tmp_path / "cache")
    fresh, _ = passed_over(images, model, tmp_path / "other cache")
    assert read == 2
    assert same(found, fresh)


def test_other_weights_find_nothing_kept(images, model, tmp_path):
    passed_over(images, model, tmp_path / "cache")
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    assert passed_over(images, model, tmp_path / "cache")[1] == 72


def test_images_that_cannot_be_read_are_refused_each_time(images, model, tmp_path):
    (images / "digit 0" / "broken.png").write_bytes(b"no image")
    for _ in range(2):
        found, _ = passed_over(images, model, tmp_path / "cache")
        assert [path for path, _ in found.quarantine] == ["digit 0/broken.png"]


def test_without_a_network_every_image_is_decoded_and_no_view_of_it_made(images, model, monkeypatch):
    monkeypatch.setattr("transferkit.train.first_pass.eval_view", None)
    (images / "digit 0" / "broken.png").write_bytes(b"no image")
    photos = Photos(Decoding(384), workers=2)
    reader = Reader(photos=photos, preprocessing=model.card.preprocessing, device="cpu", extractor=None)
    taken = read_images(folder.read(images), reader, progress=Progress())
    assert len(taken.sha256) == 72
    assert [path for path, _ in taken.quarantine] == ["digit 0/broken.png"]


@pytest.mark.slow  # and more than the model: tests/test_warm.py
def test_a_repeated_run_writes_the_same_model(images, tmp_path):
    def run(name):
        found = tk.finetune(images, out=tmp_path / name, cache_dir=tmp_path / "cache", **PROBE)
        return (found.folder / "model" / "model.safetensors").read_bytes()

    assert run("first") == run("again")
    assert os.listdir(tmp_path / "cache" / "features")


@pytest.mark.parametrize("views", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_head_is_fitted_to_as_many_views_as_asked_for(views, images, tmp_path, monkeypatch):
    seen = []
    fit = head.fit_probe

    def fit_probe(problem, **given):
        seen.append(problem.features)
        return fit(problem, **given)

    monkeypatch.setattr(head, "fit_probe", fit_probe)
    run = tk.finetune(images, out=tmp_path / "run", augment="light", views=views, **PROBE)
    (features,) = seen
    assert len(features.views) == views
    assert not any(np.isnan(view).any() for view in features.views)
    assert len({view.tobytes() for view in features.views}) == views
    assert json.loads((run.folder / "run.json").read_text())["config"]["views"] == views


@pytest.mark.parametrize(("digests", "other"), [("aab", 2), ("aba", 1), ("abb", 1)])
def test_the_first_process_that_sees_other_images_is_named(digests, other, images, monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 3)
    monkeypatch.setattr(ranks, "gather", lambda digest: [*digests])
    with pytest.raises(DataError, match=f"process {other} does not see the same images as process 0"):
        first_pass._check_same(folder.read(images))
