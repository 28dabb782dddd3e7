"""Where the activations above frozen stages lie, and how much room they take."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import transferkit as tk
from transferkit.model import boundary
from transferkit.model.boundary import Activations


@pytest.fixture
def found():
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=3, image_size=64)
    tk.freeze(model, "layer1")
    return boundary.find(model)


def needed(found, *, rows, views) -> int:
    """Bytes of what the lower part hands over."""
    handed = found.handed(torch.zeros(rows, 3, 64, 64), "fp32")
    return views * sum(value.nbytes for value in handed)


def test_an_image_takes_the_bytes_of_what_is_handed_over(found):
    assert found.bytes_of(1, fitted=0, views=7) == needed(found, rows=1, views=1)


def test_what_just_fits_is_in_memory_and_a_byte_more_is_in_a_file(found, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(boundary, "MEMORY_BYTES", needed(found, rows=5, views=2))
    Activations(found, 5, np.arange(5), views=1, folder=tmp_path / "file")
    monkeypatch.setattr(boundary, "MEMORY_BYTES", needed(found, rows=5, views=2) - 1)
    with pytest.raises(OSError, match="File exists"):
        Activations(found, 5, np.arange(5), views=1, folder=tmp_path / "file")


def test_a_file_takes_half_the_space_that_is_left_and_not_a_byte_more(found, tmp_path, monkeypatch):
    size = needed(found, rows=40, views=2)
    monkeypatch.setattr(boundary, "MEMORY_BYTES", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * size))
    Activations(found, 40, np.arange(40), views=1, folder=tmp_path / "new" / "folder")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * size - 1))
    with pytest.raises(OSError, match=f"{size // 1024**2} MB of activations are too many"):
        Activations(found, 40, np.arange(40), views=1, folder=tmp_path)


def test_a_file_is_no_larger_than_allowed_even_on_an_empty_disk(found, tmp_path, monkeypatch):
    size = needed(found, rows=5, views=2)
    monkeypatch.setattr(boundary, "MEMORY_BYTES", 0)
    monkeypatch.setattr(boundary, "FILE_BYTES", size)
    Activations(found, 5, np.arange(5), views=1, folder=tmp_path)
    monkeypatch.setattr(boundary, "FILE_BYTES", size - 1)
    with pytest.raises(OSError, match="too many to keep"):
        Activations(found, 5, np.arange(5), views=1, folder=tmp_path)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system takes no blocks ahead")
def test_the_blocks_of_a_file_are_taken_at_once_from_the_first_byte_to_the_last(found, tmp_path, monkeypatch):
    taken, fallocate = [], os.posix_fallocate

    def counted(descriptor, offset, length):
        taken.append((offset, length, os.fstat(descriptor).st_size))
        fallocate(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", counted)
    monkeypatch.setattr(boundary, "MEMORY_BYTES", 0)
    Activations(found, 5, np.arange(5), views=1, folder=tmp_path)
    size = needed(found, rows=5, views=1)
    assert taken == [(0, size, size)] * 2
