"""Weights of unknown origin: headers that lie, networks far larger than the file, files that cannot be read."""

import json
import os
import resource
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transferkit.model.build import create
from transferkit.ship import artifact
from transferkit.zoo import catalog, hashes, header
from transferkit.zoo.errors import ModelFileError, StorageError, TransferkitError
from transferkit.zoo.files import read_safetensors, write_safetensors

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def write(path: Path, entries: object, data: bytes = b"") -> Path:
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def tensor(dtype: object = "F32", shape: object = (2,), place: object = (0, 8)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


@pytest.mark.parametrize(
    "entries",
    [
        {"a": tensor(shape=[3])},
        {"a": tensor(shape=[2**40, 2**40])},
        {"a": tensor(shape=[-2])},
        {"a": tensor(shape=[True, 2])},
        {"a": tensor(shape=[1] * 9 + [2])},
        {"a": tensor(dtype="F31")},
        {"a": tensor(dtype=["F32"])},
        {"a": tensor(place=[0, 9])},
        {"a": tensor(place=[8, 0])},
        {"a": tensor(), "b": tensor()},
        {"a": tensor(shape=[1], place=[0, 4])},
        {"a": 5},
        {"a": tensor() | {"more": 1}},
        b'{"a": {}, "a": {}}',
        b"{" * 100_000,
        [1],
    ],
    ids=lambda entries: str(entries)[:60],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(tmp_path, entries):
    with pytest.raises(ModelFileError):
        header.read(write(tmp_path / "x.safetensors", entries, bytes(8)))


def test_a_true_header_is_read(tmp_path):
    import torch

    write_safetensors(
        tmp_path / "x.safetensors", {"a": torch.zeros(2, 3), "b": torch.zeros(()), "c": torch.zeros(0, 4)}
    )
    assert header.read(tmp_path / "x.safetensors") == {"a": (2, 3), "b": (), "c": (0, 4)}


VALUES = st.integers(-1, 9) | st.sampled_from([2**63, None, True, "F32", "BF16", "I64", 1.5]) | st.just([])
ENTRY = st.fixed_dictionaries(
    {"dtype": VALUES | st.sampled_from(["F32", "U8", "F64"])},
    optional={"shape": VALUES | st.lists(VALUES, max_size=3), "data_offsets": VALUES | st.lists(VALUES, max_size=3)},
)


def campaign(folder: Path, *, examples: int) -> int:
    """Read files with headers at random; how many were refused."""
    refused = []

    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIET, database=None)
    @given(st.dictionaries(st.text(max_size=3), ENTRY | VALUES, max_size=3), st.binary(max_size=16))
    def check(entries, data):
        try:
            read_safetensors(write(folder / "x.safetensors", entries, data))
        except ModelFileError as error:
            if "\n" in str(error):
                raise
            refused.append(error)

    check()
    return len(refused)


def test_headers_at_random_are_refused_or_read(tmp_path):
    assert campaign(tmp_path, examples=100) > 60


@pytest.mark.faults
def test_two_thousand_headers_at_random_are_refused_or_read(tmp_path, figure):
    refused = campaign(tmp_path, examples=2000)
    assert refused > 1200
    figure(f"safetensors headers: {refused:,} of 2,000 refused, none called a bug")


GIANTS = [
    {"architecture": "vit_giant_patch14_224"},
    {"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 1_000_000}},
    {"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 90_000}},
    {"architecture": "vit_tiny_patch16_224", "model_args": {"embed_dim": 99_999}},
    {"architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 99_999}},
    {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"input_size": [3, 20000, 20000]}},
    {"architecture": "resnet18", "num_classes": 1_000_000},
    {"architecture": "resnet18", "num_classes": 10**9},
    {"architecture": "resnet18", "model_args": {"layers": [99_999, 1, 1, 1]}},
]


@pytest.fixture
def small(tmp_path) -> Path:
    """Weights of a few numbers."""
    import torch

    write_safetensors(tmp_path / "model.safetensors", {"fc.weight": torch.zeros(2, 4)})
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB there")
@pytest.mark.parametrize("config", GIANTS, ids=str)
def test_a_giant_beside_small_weights_is_refused_at_once(small, config):
    (small / "config.json").write_text(json.dumps(config))
    catalog.create("timm:test_vit", weights="none")  # what every run loads
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for read in (create, artifact.load, lambda folder: catalog.describe(str(folder))):
        with pytest.raises(ModelFileError):
            read(small)
    assert time.process_time() - started < 6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_a_giant_in_a_folder_of_ours_is_refused_at_once(small):
    preprocessing = {"size_px": [224, 224]}
    own = {"format_version": 1, "preprocessing": preprocessing, "classes": ["a", "b"], "record": {}}
    own["backbone"] = {"name": "x", "license": "x", "source": "x"}
    for architecture, args in (("vit_giant_patch14_224", {}), ("vit_tiny_patch16_224", {"depth": 90_000})):
        own["spec"] = {"family": "timm", "architecture": architecture, "model_args": args}
        (small / "config.json").write_text(json.dumps({"transferkit": own}))
        hashes.write(small, ["config.json", "model.safetensors"])
        started = time.process_time()
        for read in (create, artifact.load):
            with pytest.raises(ModelFileError):
                read(small)
        assert time.process_time() - started < 4


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["folder", "fifo", "loop", "damaged disk"])
def test_what_is_no_file_or_cannot_be_read_is_said(small, name, kind):
    (small / "config.json").write_text(json.dumps({"architecture": "test_resnet", "num_classes": 2}))
    path = small / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no FIFO")
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif not Path("/proc/self/mem").exists():
        pytest.skip("this system has no /proc")
    else:
        path.symlink_to("/proc/self/mem")  # reading its first byte is an I/O error
    for read in (create, artifact.load):
        with pytest.raises(TransferkitError) as caught:
            read(small)
        assert 2 <= caught.value.exit_code <= 5
        if kind == "damaged disk":
            assert caught.type is StorageError


def test_a_name_longer_than_any_path_is_no_bug():
    for read in (create, artifact.load, catalog.describe):
        with pytest.raises(TransferkitError) as caught:
            read("x" * 5000)
        assert caught.value.exit_code in (2, 5)
