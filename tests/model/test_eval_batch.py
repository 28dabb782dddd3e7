"""Batches that give features and scores: how large they are, and what is done where they are too large."""

from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from torch import nn

import transferkit as tk
from transferkit import runtime
from transferkit.model import boundary, eval_batch
from transferkit.model.feature_cache import FeatureCache, key_of
from transferkit.model.features import Extractor, Features
from transferkit.train import outputs

GB = 1 << 30


def network(**options):
    return tk.zoo.create("timm:test_resnet", weights="none", num_classes=2, **options)


@pytest.fixture
def gpu_of(monkeypatch):
    """Let the device have that much memory of its own."""
    return lambda memory: monkeypatch.setattr(runtime, "memory_bytes", lambda device: memory)


@pytest.fixture
def short(monkeypatch):
    """Let a network's layer run out of the memory of a GPU above so many images; what it was given."""

    def limit(layer: nn.Module, most: int) -> list[int]:
        seen = []

        def check(module, inputs):
            seen.append(len(inputs[0]))
            if len(inputs[0]) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")

        layer.register_forward_pre_hook(check)
        return seen

    return limit


@pytest.mark.parametrize(
    ("memory", "side", "images"),
    [(0, 224, 32), (80 * GB, 224, 256), (15 * GB, 224, 128), (8 * GB, 224, 64), (2 * GB, 224, 32), (2 * GB, 32, 256)],
)
def test_a_batch_is_what_half_of_a_gpu_takes_and_32_on_a_cpu(gpu_of, memory, side, images):
    gpu_of(memory)
    assert eval_batch.batch_of(network(image_size=side)) == images


@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_a_batch_filled_up_keeps_its_images_and_their_order_in_memory(order):
    x = torch.randn(5, 3, 4, 6).to(memory_format=order)
    whole = eval_batch.filled(x, 8)
    assert whole.is_contiguous(memory_format=order)
    assert len(whole) == 8
    assert torch.equal(whole[:5], x)
    assert not whole[5:].any()


def test_a_layer_alone_has_batches_of_32(gpu_of):
    gpu_of(80 * GB)
    assert eval_batch.batch_of(nn.Linear(2, 3)) == 32


def test_the_part_above_a_boundary_has_the_batches_of_its_network(gpu_of):
    gpu_of(80 * GB)
    model = network(image_size=32)
    model.freeze(model.stages[:1])
    assert eval_batch.batch_of(boundary.find(model).above) == 256


def test_features_have_the_same_bits_in_whatever_batch_of_a_gpu_they_come(gpu_of):
    gpu_of(GB // 5)
    model, x = network(image_size=32), torch.randn(100, 3, 32, 32)
    assert eval_batch.batch_of(model) == 64
    found = []
    for cuts in ([0, 64, 100], [0, 1, 40, 100]):
        features = Features.empty(100, model, views=1)
        inputs = [(x[start:stop], np.arange(start, stop)) for start, stop in pairwise(cuts)]
        Extractor(model=model, views=1).fill(features, inputs, fitted=np.ones(100, bool))
        found.append(features.plain)
    assert np.array_equal(*found)


def test_what_is_kept_is_kept_by_the_size_of_the_batch(gpu_of):
    model, keys = network(image_size=32), []
    for memory in (0, GB // 20, 80 * GB):
        gpu_of(memory)
        keys.append(key_of(model, weights="", pixels={}, device="cpu"))
    assert [key.get("batch") for key in keys] == [None, None, 256]


def test_what_is_too_large_is_halved_and_comes_in_order():
    seen = []

    def compute(rows):
        seen.append((rows.start, rows.stop))
        if rows.stop - rows.start > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(range(rows.start, rows.stop))

    found = eval_batch.halved(compute, 10, device=torch.device("cpu"))
    assert list(chain(*found)) == list(range(10))
    assert seen == [(0, 10), (0, 5), (0, 2), (2, 5), (5, 10), (5, 7), (7, 10)]


@pytest.mark.parametrize(
    ("error", "count"), [(torch.OutOfMemoryError("one is too large"), 1), (RuntimeError("not enough memory"), 8)]
)
def test_one_image_that_is_too_large_and_a_cpu_without_memory_are_errors(error, count):
    tried = []

    def compute(rows):
        tried.append(rows)
        raise error

    with pytest.raises(type(error), match=str(error)):
        eval_batch.halved(compute, count, device=torch.device("cpu"))
    assert tried == [slice(0, count)]


def test_features_that_were_halved_are_right_and_not_kept(short, tmp_path):
    model, x = network(image_size=32), torch.randn(40, 3, 32, 32)
    everyone, sha256 = np.ones(40, bool), np.array([f"{row:064}" for row in range(40)])
    found = []
    for most in (100, 8):
        seen = short(model.model, most)
        cache = FeatureCache(tmp_path / str(most), {"key": 1})
        extractor, features = Extractor(model=model, cache=cache), Features.empty(40, model, views=2)
        extractor.fill(features, [(x, np.arange(40))], fitted=everyone)
        found.append((features, extractor.keep(features, sha256, fitted=everyone), seen))
    (whole, kept, _), (parts, none, _) = found
    assert len(kept) == 2
    assert none == []
    assert all(np.allclose(one, other, atol=1e-5) for one, other in zip(whole.views, parts.views))


def test_logits_that_were_halved_are_those_of_the_whole(short):
    model, x = network(image_size=32).eval(), torch.randn(40, 3, 32, 32)

    def loader(batches, epoch):
        for rows in batches:
            yield x[torch.from_numpy(rows)], rows

    whole = outputs.logits_of(model, loader, np.arange(40), num_classes=2)
    seen = short(model, 8)
    assert np.allclose(outputs.logits_of(model, loader, np.arange(40), num_classes=2), whole, atol=1e-5)
    assert seen == [32, 16, 8, 8, 16, 8, 8, 8]
