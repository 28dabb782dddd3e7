"""Files of servers: where they are kept, and what is said where there is no network."""

import hashlib
import io
import socket

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.servers import serving
from transferkit import zoo
from transferkit.zoo import downloads, tries
from transferkit.zoo.errors import NetworkError

STATE = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


def pickled() -> bytes:
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    return buffer.getvalue()


def test_a_file_on_a_server_is_downloaded_checked_and_converted_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tries, "PAUSES", (0.02, 0.02, 0.02))
    content = pickled()
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    with serving(content) as (server, url):
        server.faults = ["GET 503", "GET cut 100"]
        first = downloads.from_url(f"{url}/{name}")
        assert load_file(first).keys() == STATE.keys()
        assert downloads.from_url(f"{url}/{name}", offline=True) == first
        assert len(server.asked) == 3
        with pytest.raises(NetworkError, match="did not arrive as it was published"):
            downloads.from_url(f"{url}/net-00000000.pth")
        server.faults = ["GET 404"]
        with pytest.raises(NetworkError, match=r"404 \(not found\)"):
            downloads.from_url(f"{url}/net-00000001.pth")
        assert {file.name for file in first.parent.iterdir()} == {first.name, first.with_suffix(".json").name}


@pytest.mark.slow  # that no damaged file is used: tests/faults/test_flips.py
def test_a_file_of_a_server_that_was_damaged_here_is_fetched_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    content = pickled()
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    with serving(content) as (_, url):
        first = downloads.from_url(f"{url}/{name}")
        first.write_bytes(first.read_bytes()[:-1] + b"!")  # damaged: fetched anew
        with pytest.raises(NetworkError, match="not cached"):
            downloads.from_url(f"{url}/{name}", offline=True)
        assert torch.equal(load_file(downloads.from_url(f"{url}/{name}"))["fc.bias"], STATE["fc.bias"])


def test_weights_of_an_earlier_version_are_used_and_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    path = tmp_path / "weights" / "net-00000000.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"as it was kept")
    for _ in range(2):
        assert downloads.from_url("https://example.org/net-00000000.pth", offline=True) == path
    path.write_bytes(b"as it Was kept")
    with pytest.raises(NetworkError, match="not cached"):
        downloads.from_url("https://example.org/net-00000000.pth", offline=True)


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
            downloads.check_reachable(f"http://127.0.0.1:{port}/x")
