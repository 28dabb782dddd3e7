"""A server that is busy, silent, cut off or lying: no wrong file is ever used, and the reason is one line."""

import contextlib
import os
import random
import signal
import time

import pytest
import torch
from safetensors.torch import save

from tests.faults.servers import COMMIT, serving
from transferkit.data import remote
from transferkit.model import build
from transferkit.zoo import downloads, published, stops, tries
from transferkit.zoo.errors import ModelFileError, NetworkError, StoppedError, StorageError, UsageError

CONTENT = save({"weight": torch.arange(5000.0)})
NAME = "me/mine"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tries, "PAUSES", (0.02, 0.02, 0.02, 0.02))
    monkeypatch.setattr(published, "_seen", {})
    with serving(CONTENT) as (server, url):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def fetched(**options) -> bytes:
    return downloads.from_hub(NAME, "model.safetensors", **options).read_bytes()


@pytest.mark.parametrize(
    "faults",
    [
        [],
        ["HEAD 503"],
        ["HEAD 429", "HEAD 500", "GET 503"],
        ["GET 503", "GET 504"],
        pytest.param(["GET 429"], marks=pytest.mark.faults),
        ["GET cut 100"],
        pytest.param(["GET cut 0", "GET cut 20000"], marks=pytest.mark.faults),
        ["GET slow 0.2"],
    ],
    ids=str,
)
def test_what_passes_is_waited_for_and_not_told(hub, capfd, faults):
    hub.faults = faults
    assert fetched() == fetched(offline=True) == CONTENT
    assert "HTTP Error" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("HEAD 429 always", r"429 \(too many requests\); try again later"),
        ("GET 503 always", r"503 \(service unavailable\); try again later"),
        ("HEAD 403 always", r"403 \(forbidden\)"),
        ("GET 403 always", r"403 \(forbidden\)"),
        ("HEAD 404 always", r"404 \(not found\)"),
        ("GET changed always", "did not arrive as it was published"),
        pytest.param("GET long always", "model.safetensors of me/mine", marks=pytest.mark.faults),
        ("GET short always", "model.safetensors of me/mine"),
    ],
)
def test_what_does_not_pass_is_one_line_and_leaves_no_file(hub, capfd, monkeypatch, fault, said):
    monkeypatch.setattr(tries, "SILENT_SECONDS", 1.5)
    hub.faults = [fault]
    with pytest.raises(NetworkError, match=said) as refusal:
        fetched()
    assert "\n" not in str(refusal.value)
    assert "HTTP Error" not in capfd.readouterr().err
    with pytest.raises(NetworkError, match="not cached"):
        fetched(offline=True)
    hub.faults = []
    assert fetched() == CONTENT


def test_what_the_hub_does_not_have_is_no_fault_of_the_network(hub):
    hub.headers = {"X-Error-Code": "RepoNotFound"}
    hub.faults = ["HEAD 404"]
    with pytest.raises(UsageError, match="no public repository me/mine"):
        fetched()
    hub.headers = {"X-Error-Code": "EntryNotFound"}
    hub.faults = ["HEAD 404"]
    with pytest.raises(ModelFileError, match=r"has no model\.safetensors"):
        fetched()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_server_that_never_answers_is_given_up(hub, monkeypatch, method):
    monkeypatch.setattr(tries, "SILENT_SECONDS", 0.5)
    hub.faults = [f"{method} silent always"]
    started = time.monotonic()
    with pytest.raises(NetworkError, match=r"no answer for 0\.5 seconds"):
        fetched()
    assert time.monotonic() - started < 5


def test_a_slow_line_is_not_taken_for_silence(hub, monkeypatch):
    monkeypatch.setattr(tries, "SILENT_SECONDS", 0.6)
    hub.content = save({"weight": torch.arange(200_000.0)})  # several parts
    hub.etag = published.hashlib.sha256(hub.content).hexdigest()
    hub.faults = ["GET drops 0.15"]
    assert fetched() == hub.content


def test_the_server_says_how_long_to_wait_but_not_for_ever(hub):
    hub.headers, hub.faults = {"Retry-After": "0.4"}, ["HEAD 429"]
    started = time.monotonic()
    assert fetched() == CONTENT
    assert time.monotonic() - started >= 0.4
    hub.headers, hub.faults = {"Retry-After": "3600"}, ["HEAD 503 always"]
    started = time.monotonic()
    with pytest.raises(NetworkError, match=r"503 \(service unavailable\), and asks to wait 3600 seconds"):
        downloads.from_hub(NAME, "other.safetensors")
    assert time.monotonic() - started < 5


def test_a_cached_file_that_changed_is_fetched_again_and_refused_without_a_network(hub, monkeypatch):
    monkeypatch.setattr(published, "MARGIN_NS", 0)
    path = downloads.from_hub(NAME, "model.safetensors")
    time.sleep(0.02)
    assert fetched() == CONTENT  # its hash is remembered from now on
    generator = random.Random(7)
    for _ in range(5):
        changed = bytearray(CONTENT)
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        path.resolve().write_bytes(changed)
        time.sleep(0.02)
        with pytest.raises(ModelFileError, match="is damaged"):
            fetched(offline=True)
        assert fetched() == CONTENT


def test_a_hash_once_computed_is_remembered(hub, monkeypatch):
    monkeypatch.setattr(published, "MARGIN_NS", 0)
    fetched()
    time.sleep(0.02)
    fetched()
    monkeypatch.setattr(published.files, "sha256", None)
    published._seen.clear()  # a later process
    assert fetched(offline=True) == CONTENT


def test_a_small_file_has_the_hash_of_git(hub):
    hub.etag = published.hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    assert fetched() == CONTENT
    downloads.from_hub(NAME, "model.safetensors").resolve().write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ModelFileError, match="is damaged"):
        fetched(offline=True)


def test_a_hub_cache_that_cannot_be_written_is_no_fault_of_the_network(hub, tmp_path):
    (tmp_path / "hub").write_text("a file in its place")
    with pytest.raises(StorageError, match="cannot keep what is downloaded"):
        fetched()
    names = ("resnet10t.c3_in1k", "cifar_resnet")
    model, reason = build.open_backbone(names, weights=None, image_size=None, offline=False)
    assert model.card.name == "cifar_resnet"
    assert reason.startswith("cannot keep what is downloaded")


def test_a_hash_that_is_none_of_these_is_not_compared(hub):
    hub.etag = "of-a-mirror"
    assert fetched() == fetched(offline=True) == CONTENT
    assert COMMIT in str(downloads.from_hub(NAME, "model.safetensors"))


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_stop_ends_a_download(hub, monkeypatch, method):
    hub.faults = [f"{method} silent always"]

    def check():
        if hub.asked.count(method):
            raise StoppedError("stopped by SIGTERM")

    monkeypatch.setattr(stops, "check", check)
    with pytest.raises(StoppedError):
        fetched()


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (["GET 503", "GET 429"], ""),
        (["GET cut 100"], ""),
        (["GET 503 always"], "503"),
        (["GET silent always"], "no answer; try again"),
    ],
    ids=str,
)
def test_photos_behind_a_url_are_asked_for_again_and_not_for_ever(monkeypatch, faults, said):
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(remote, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.02)
    with serving(CONTENT) as (server, url):
        server.faults = faults
        started = time.monotonic()
        with pytest.raises(NetworkError, match=said) if said else contextlib.nullcontext():
            assert remote.read(f"{url}/photos.tar", 0, len(CONTENT)) == CONTENT
        assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("fault", "number", "code"),
    [
        ("GET silent always", signal.SIGTERM, 75),
        pytest.param("HEAD silent always", signal.SIGTERM, 75, marks=pytest.mark.faults),
        pytest.param("GET silent always", signal.SIGINT, 130, marks=pytest.mark.faults),
        pytest.param("HEAD 429 always", signal.SIGTERM, 75, marks=pytest.mark.faults),
    ],
)
def test_a_signal_while_a_network_is_downloaded_ends_the_run(begin, photos, tmp_path, fault, number, code):
    with serving(CONTENT) as (server, url):
        server.faults, server.headers = [fault], {"Retry-After": "20"}
        changes = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "TRANSFERKIT_CACHE": str(tmp_path / "cache")}
        words = ["-o", tmp_path / "run", "--backbone", "timm:resnet10t", "--quiet"]
        process = begin("finetune", photos, *words, **changes)
        until = time.monotonic() + 60
        while fault.split()[0] not in server.asked and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert len(err.decode().splitlines()) == 1


@pytest.mark.faults
@pytest.mark.parametrize(
    ("fault", "header", "code", "said"),
    [
        ("HEAD 404 always", "RepoNotFound", 2, "no public repository"),
        ("HEAD 404 always", "", 6, "404 (not found)"),
        ("HEAD 429 always", "", 6, "429 (too many requests)"),
        ("GET 503 always", "", 6, "503 (service unavailable)"),
        ("GET changed always", "", 6, "another hash"),
        ("HEAD silent always", "", 6, "no answer"),
    ],
)
def test_the_command_says_in_one_line_why_there_is_no_network(command, photos, tmp_path, fault, header, code, said):
    with serving(CONTENT) as (server, url):
        server.faults, server.headers = [fault], {"X-Error-Code": header} if header else {}
        changes = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "TRANSFERKIT_CACHE": str(tmp_path / "cache")}
        started = time.monotonic()
        words = ["finetune", photos, "-o", tmp_path / "run", "--backbone", "timm:resnet10t", "--quiet"]
        ended = command(*words, **changes)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (code, 1)
    assert said in ended.stderr
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("seed", [int(os.environ.get("TRANSFERKIT_SEED", 1))])
@pytest.mark.faults
def test_whatever_a_server_does_the_right_file_or_none_is_there(hub, monkeypatch, figure, seed):
    monkeypatch.setattr(tries, "SILENT_SECONDS", 2)
    generator, right, none = random.Random(seed), 0, 0
    kinds = ["503", "429", "500", "404", "cut {}", "changed", "long", "short", "slow 0.1"]
    for number in range(60):
        chosen = [generator.choice(kinds).format(generator.randrange(len(CONTENT))) for _ in range(3)]
        hub.faults = [f"{generator.choice(['HEAD', 'GET', 'GET'])} {fault}" for fault in chosen]
        try:
            assert downloads.from_hub(NAME, f"{number}.safetensors").read_bytes() == CONTENT
            right += 1
        except NetworkError as error:
            none += "\n" not in str(error)
    assert right + none == 60
    figure(f"a server that fails, seed {seed}: {right} right files, {none} refusals of 60, no wrong file")
