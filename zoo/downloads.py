"""Files from the Hugging Face hub and from torchvision's server: whole, as they were published, or not at all.

Source: a file of the hub is named after its hash, https://huggingface.co/docs/huggingface_hub/guides/manage-cache: the
SHA-256 of a large one, the hash that git gives a small one.
"""

import hashlib
import inspect
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from transferkit.zoo import cache_folder, published, stops
from transferkit.zoo.errors import ModelFileError, NetworkError, StorageError, UsageError
from transferkit.zoo.files import sha256
from transferkit.zoo.tries import tried
from transferkit.zoo.weights import import_pickle

TIMEOUT_SECONDS = 10  # without an answer; a transfer that goes on may take as long as it needs


def from_hub(repository: str, filename: str, *, offline: bool = False) -> Path:
    """The local copy of a file on the Hugging Face hub, downloaded if not cached; `repository` may end in `@REVISION`.

    A cached file is used if its hash is the one it is named after; the hub is not asked whether there is a newer one.

    Raises: UsageError if there is no such repository, ModelFileError if it has no such file or, offline, if the cached
    one is damaged; NetworkError, StorageError.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub import errors as hub

    name, _, revision = repository.partition("@")
    offline = offline or constants.HF_HUB_OFFLINE
    try:
        cached = try_to_load_from_cache(name, filename, revision=revision or None)
    except hub.HFValidationError as error:
        raise UsageError(f"{name!r} is no repository name; write hf-hub:ORGANISATION/NAME") from error
    is_cached = isinstance(cached, str)
    try:
        if is_cached and published.is_whole(Path(cached)):
            return Path(cached)
    except OSError as error:
        raise StorageError(f"cannot read {cached}: {error.strerror or error}") from error
    if offline and is_cached:
        raise ModelFileError(f"{cached} is damaged: its hash is not the hub's; remove it to download it again")
    if offline:
        raise NetworkError(f"{filename} of {name} is not cached and the network may not be used")
    return _downloaded(name, filename, revision=revision or None, force=is_cached)


def cached_repositories(organisation: str, filename: str) -> list[str]:
    """The names of those repositories of an organisation on the hub that have a file of that name in the cache."""
    from huggingface_hub import constants, try_to_load_from_cache

    start = f"models--{organisation}--"
    try:
        names = [name.removeprefix(start) for name in os.listdir(constants.HF_HUB_CACHE) if name.startswith(start)]
    except OSError:  # there is no cache
        return []
    return sorted(name for name in names if isinstance(try_to_load_from_cache(f"{organisation}/{name}", filename), str))


def _downloaded(name: str, filename: str, *, revision: str | None, force: bool) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub import errors as hub

    where: dict[str, Any] = {"revision": revision, "endpoint": constants.ENDPOINT}

    def ask(told: Callable[[], None]) -> str | None:
        return get_hf_file_metadata(hf_hub_url(name, filename, **where), timeout=TIMEOUT_SECONDS).etag

    def download(told: Callable[[], None]) -> Path:
        bar = _progress(told) if is_told else {}
        with _small_parts():
            return Path(
                hf_hub_download(name, filename, etag_timeout=TIMEOUT_SECONDS, force_download=force, **where, **bar)
            )

    is_told = "tqdm_class" in inspect.signature(hf_hub_download).parameters  # not in old versions of the client

    try:
        check_reachable(constants.ENDPOINT)
        etag = tried(ask)  # of what may go wrong, this call tells more
        with _alone(f"{name} {filename} {revision}"):
            path = tried(download, is_told=is_told)
    except NetworkError as error:
        raise NetworkError(f"{filename} of {name} is not cached and cannot be downloaded: {error}") from error
    except hub.RepositoryNotFoundError as error:
        raise UsageError(f"the hub has no public repository {name}") from error
    except hub.RevisionNotFoundError as error:
        raise UsageError(f"{name} on the hub has no revision {revision}") from error
    except hub.EntryNotFoundError as error:
        raise ModelFileError(f"{name} on the hub has no {filename}; only safetensors files are read") from error
    if not published.is_whole(path, etag):
        published.drop(path)
        raise NetworkError(f"{filename} of {name} did not arrive as it was published: the hub tells another hash")
    return path


@contextmanager
def _alone(what: str) -> Iterator[None]:
    """Wait while another process of ours downloads the same; in the hub's client that would look like silence."""
    from filelock import FileLock, Timeout
    from huggingface_hub import constants

    digest = hashlib.sha256(what.encode()).hexdigest()[:16]
    path = Path(constants.HF_HUB_CACHE) / ".locks" / f"transferkit-{digest}.lock"
    with ExitStack() as held:
        with suppress(OSError):  # where there is no room for a lock, the download says so
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            while not lock.is_locked:
                stops.check()
                with suppress(Timeout):
                    held.enter_context(lock.acquire(timeout=0.2))
        yield


def _progress(told: Callable[[], None]) -> dict[str, Any]:
    """The option of the hub's client that lets us hear of every part that arrives."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        received = most = 0

        def update(self, n: float | None = 1) -> bool | None:
            self.received += n or 0
            if self.received > self.most:  # the same again, after a failure, is no progress
                self.most = self.received
                told()
            return super().update(n)

    return {"tqdm_class": Bar}


@contextmanager
def _small_parts() -> Iterator[None]:
    """Let the hub's client tell of every 64 kB: of 10 MB, as it does, a slow line would hear nothing for a minute."""
    from huggingface_hub import constants

    before = constants.DOWNLOAD_CHUNK_SIZE
    constants.DOWNLOAD_CHUNK_SIZE = min(before, 1 << 16)
    try:
        yield
    finally:
        constants.DOWNLOAD_CHUNK_SIZE = before


def check_reachable(url: str) -> None:
    """Find out within seconds whether a server can be reached; the hub's client would try for half a minute.

    Behind a proxy nothing is checked: only the proxy can tell.

    Raises: NetworkError.
    """
    if urllib.request.getproxies():
        return
    server = urllib.parse.urlsplit(url)
    port = server.port or (80 if server.scheme == "http" else 443)
    try:
        socket.create_connection((server.hostname, port), timeout=TIMEOUT_SECONDS).close()
    except OSError as error:
        raise NetworkError(f"no connection to {server.hostname}") from error


def from_url(url: str, *, offline: bool = False) -> Path:
    """The safetensors form of a pickle on a web server, downloaded and imported once.

    A name that ends in `-HASH.pth` must have a SHA-256 that starts with it.

    Raises: NetworkError, ModelFileError, StorageError.
    """
    filename = url.rpartition("/")[2]
    target = cache_folder.find() / "weights" / Path(filename).with_suffix(".safetensors").name
    if published.is_kept(target):
        return target
    if offline:
        raise NetworkError(f"{filename} is not cached in {target.parent} and the network may not be used")
    with published.kept(target) as made:  # what is there is not as it was published
        pickle = made.with_name(filename)
        try:
            check_reachable(url)
            tried(lambda told: _fetch(url, pickle, told))
        except NetworkError as error:
            raise NetworkError(f"cannot download {url}: {error}") from error
        import_pickle(pickle, made)
    return target


def _fetch(url: str, target: Path, told: Callable[[], None]) -> None:
    try:
        opened = urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise
    with opened as answer, open(target, "wb") as file:
        length = answer.headers.get("Content-Length")
        while block := answer.read(1 << 16):
            told()
            file.write(block)
    if length and target.stat().st_size < int(length):
        raise ConnectionError(f"it did not arrive whole: {target.stat().st_size:,} of {int(length):,} bytes")
    expected = target.stem.rpartition("-")[2]
    if not sha256(target).startswith(expected):
        raise NetworkError(f"it did not arrive as it was published: its SHA-256 does not start with {expected}")
