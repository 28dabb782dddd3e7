"""Batches hold the same whatever the number of threads; a bad file is a fault, never a crash or a substitute."""

import hashlib
import os
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from transferkit.data.batches import batches, normalise
from transferkit.data.decode import eval_view
from transferkit.data.folder import PathTable
from transferkit.data.photos import Decoding, Photos
from transferkit.zoo.card import Preprocessing

PREPROCESSING = Preprocessing(size_px=(16, 24))


def view(image, row):
    return eval_view(image, PREPROCESSING)


@pytest.fixture
def paths(tmp_path):
    """Twenty images, of which 3 is no image, 7 is gone, and 8 to 11 are empty."""
    for i in range(20):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20 + i, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_text("<html>")
    (tmp_path / "7.png").unlink()
    for i in range(8, 12):
        (tmp_path / f"{i}.png").write_bytes(b"")
    return PathTable.from_paths(tmp_path / f"{i}.png" for i in range(20))


def cut(rows, size: int) -> list[np.ndarray]:
    return [np.array(rows[i : i + size]) for i in range(0, len(rows), size)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_are_the_rows_asked_for_in_their_order(paths, workers):
    order = [5, 0, 3, 19, 7, 8, 9, 10, 11, 2, 2]
    found = list(batches(paths, cut(order, 4), view, photos=Photos(Decoding(64), workers=workers)))
    assert [batch.rows.tolist() for batch in found] == [[5, 0, 19], [], [2, 2]]
    assert [[row for row, _ in batch.faults] for batch in found] == [[3], [7, 8, 9, 10], [11]]
    gone = f"no such file in {paths[7].parent}"
    assert dict(found[1].faults) == {7: gone, 8: "empty file", 9: "empty file", 10: "empty file"}
    for batch in found:
        assert batch.pixels.dtype == torch.uint8
        assert len(batch.pixels) == len(batch.rows) == len(batch.sha256) == len(batch.bytes)
        for row, pixels, digest, size in zip(batch.rows, batch.pixels, batch.sha256, batch.bytes):
            data = paths[row].read_bytes()
            assert (digest, size) == (hashlib.sha256(data).hexdigest(), len(data))
            with Image.open(paths[row]) as image:
                assert np.array_equal(pixels.permute(1, 2, 0).numpy(), eval_view(image, PREPROCESSING))
    assert found[0].pixels.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="a superuser may read everything")
def test_a_file_without_permission_is_a_fault(paths):
    paths[0].chmod(0)
    assert next(batches(paths, [np.array([0])], view, photos=Photos(Decoding(64), workers=1))).faults == [
        (0, "permission denied")
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_early_stop_or_an_error_of_the_view_ends_the_threads(paths, workers):
    rows = cut([0, 1, 2, 4] * 50, 4)
    started = set()

    def slow(image, row):
        started.add(threading.current_thread())
        if len(started_rows := [*calls, row]) > 120:
            raise ValueError(f"too many: {len(started_rows)}")
        calls.append(row)
        return view(image, row)

    calls: list[int] = []
    stream = batches(paths, rows, slow, photos=Photos(Decoding(64), workers=workers))
    next(stream)
    stream.close()
    assert len(calls) <= 14  # what was taken and two batches ahead, with those in flight
    with pytest.raises(ValueError, match="too many"):
        list(batches(paths, rows, slow, photos=Photos(Decoding(64), workers=workers)))
    assert not any(thread.is_alive() for thread in started - {threading.main_thread()})


def test_no_rows_give_no_batches(paths):
    assert list(batches(paths, [], view, photos=Photos(Decoding(64), workers=2))) == []


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("shape", [(3, 3, 10, 12), (1, 3, 1, 1), (2, 3, 5, 1), (1, 3, 1, 4)])
def test_normalising_is_torchvisions_bit_for_bit(shape, memory_format):
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8).contiguous(memory_format=memory_format)
    before = pixels.clone()
    x = normalise(pixels, PREPROCESSING)
    arrays = [image.permute(1, 2, 0).numpy() for image in pixels]
    scaled = torch.stack([transforms.ToTensor()(array) for array in arrays])
    assert torch.equal(x, transforms.Normalize(PREPROCESSING.mean, PREPROCESSING.std)(scaled))
    assert torch.equal(pixels, before)
    assert x.is_contiguous(memory_format=torch.channels_last)
