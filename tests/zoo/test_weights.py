"""Weights files: what is converted, what is refused, and in which words."""

import io
import pickle
import socket
import urllib.request
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from transferkit import zoo
from transferkit.zoo import weights
from transferkit.zoo.errors import ModelFileError, NetworkError, UsageError
from transferkit.zoo.files import sha256

STATE = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


def test_a_checkpoint_becomes_the_tensors_inside_it(tmp_path):
    source, target = tmp_path / "checkpoint.pth", tmp_path / "weights.safetensors"
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}}, source)
    weights.import_pickle(source, target)
    found = load_file(target)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_ema", "ema", "net"])
def test_weights_are_found_where_training_scripts_put_them(wrapper):
    assert weights.find_tensors(STATE).keys() == STATE.keys()
    assert weights.find_tensors({wrapper: STATE, "epoch": 3}).keys() == STATE.keys()


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    source, witness = tmp_path / "attack.pth", tmp_path / "witness"
    torch.save({"state_dict": STATE, "extra": Attack(witness)}, source)
    with pytest.raises(ModelFileError, match=r"attack\.pth is refused"):
        weights.import_pickle(source, tmp_path / "out.safetensors")
    assert not witness.exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}, {}])
def test_a_checkpoint_without_tensors_is_refused(content):
    with pytest.raises(ModelFileError, match="dictionary of tensors"):
        weights.find_tensors(content)


def test_a_damaged_pickle_is_refused_in_one_line(tmp_path):
    source = tmp_path / "damaged.pth"
    source.write_bytes(pickle.dumps(STATE)[:50])
    with pytest.raises(ModelFileError, match=r"damaged\.pth is refused") as refusal:
        weights.import_pickle(source, tmp_path / "out.safetensors")
    assert "\n" not in str(refusal.value)


def test_a_missing_pickle_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"no such file: .*absent\.pth"):
        weights.import_pickle(tmp_path / "absent.pth", tmp_path / "out.safetensors")


def test_a_pickle_is_never_opened_where_safetensors_are_asked(tmp_path):
    source = tmp_path / "weights.pth"
    torch.save(STATE, source)
    assert zipfile.is_zipfile(source)
    with pytest.raises(ModelFileError, match="transferkit import"):
        zoo.create("test_convnext", weights=source)


def test_a_file_that_does_not_fit_is_described_in_one_line(tmp_path):
    backbone = zoo.create("test_convnext", weights="none", num_classes=10)
    state = backbone.model.state_dict()
    small = zoo.create("test_convnext", weights="none", num_classes=7).model
    with pytest.raises(ModelFileError, match="file has 10 classes, 7 asked"):
        weights.load_state(small, state, source=tmp_path)
    with pytest.raises(ModelFileError, match=r"1 of \d+ tensors are missing \(first stem\.0\.weight\)"):
        weights.load_state(backbone.model, {k: v for k, v in state.items() if k != "stem.0.weight"}, source=tmp_path)
    with pytest.raises(ModelFileError, match=r"1 are unknown to it \(first extra\)"):
        weights.load_state(backbone.model, state | {"extra": torch.ones(1)}, source=tmp_path)
    with pytest.raises(ModelFileError, match=r"another shape \(first stem\.0\.weight: \(1,\), not"):
        weights.load_state(backbone.model, state | {"stem.0.weight": torch.ones(1)}, source=tmp_path)


def test_a_foreign_file_for_a_timm_network_is_described_in_one_line(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file(STATE, path)
    with pytest.raises(ModelFileError, match=r"foreign\.safetensors does not fit test_convnext: \d+ of") as refusal:
        zoo.create("test_convnext", weights=path)
    assert "\n" not in str(refusal.value)


class Answer(io.BytesIO):
    """A server's answer: bytes that are read once."""


def test_a_file_on_a_server_is_downloaded_checked_and_converted_once(tmp_path, monkeypatch):
    source = tmp_path / "net.pth"
    torch.save(STATE, source)
    url = f"https://example.org/net-{sha256(source)[:8]}.pth"
    asked = []

    def answer(address, timeout):
        asked.append(address)
        return Answer(source.read_bytes())

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    first = weights.from_url(url)
    assert load_file(first).keys() == STATE.keys()
    assert weights.from_url(url, offline=True) == first
    assert asked == [url]
    with pytest.raises(NetworkError, match="did not arrive whole"):
        weights.from_url("https://example.org/net-00000000.pth")
    assert [file.name for file in first.parent.iterdir()] == [first.name]


def test_without_a_network_the_error_says_what_is_not_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    with pytest.raises(NetworkError, match=r"model\.safetensors of timm/resnet10t\.c3_in1k is not cached"):
        zoo.create("resnet10t.c3_in1k", offline=True)
    with pytest.raises(NetworkError, match=r"resnet18-f37072fd\.pth is not cached"):
        zoo.create("torchvision:resnet18", offline=True)


def test_a_server_that_cannot_be_reached_is_named_within_seconds():
    with socket.socket() as taken:  # a port on this machine that nobody listens on
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(NetworkError, match=r"no connection to 127\.0\.0\.1"):
            weights.check_reachable(f"http://127.0.0.1:{port}/x")
