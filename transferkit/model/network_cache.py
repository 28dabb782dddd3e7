"""Networks kept as they were built, for runs that find all features kept: those need no code of timm or torchvision.

What is kept is the state of a network; a lazy network around it is built after all when something has to be computed.
"""

import json
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from transferkit import __version__, ranks, runtime
from transferkit.data.known import identity
from transferkit.model import build
from transferkit.model.build import Backbone
from transferkit.zoo import cache_folder, files
from transferkit.zoo.disk_cache import DiskCache
from transferkit.zoo.errors import ModelFileError, NetworkError, StorageError, UsageError

FORMAT = 2  # to be raised with every change that builds another network from the same files
SLOW_FAMILIES = ("timm", "torchvision")  # those that are embedded are built in a moment
HUB_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")  # where the hub's files are looked for

Sources = list[list[str]]  # path and `known.Identity` of each file


class NetworkCache:
    """The network of one name, weights and image size, never used where a file it came from or a version differs."""

    def __init__(self, root: Path, name: str, *, weights: str | None, image_size: int | None):
        self._name, self._weights = name, weights
        key = {
            "format": FORMAT,
            "name": name,
            "folder": str(build.model_folder(Path(name))) if Path(name).exists() else None,
            "weights": weights,
            "beside": [str(path) for path in build.files_beside(Path(weights))] if weights else [],
            "image_size": image_size,
            "versions": runtime.versions() | {"transferkit": __version__},
            "hub": [os.environ.get(variable) for variable in HUB_VARIABLES],
        }
        self._kept = DiskCache(root, "networks")
        self._path = self._kept.folder / f"{cache_folder.digest(key)}.safetensors"

    def get(self, build_again: Callable[[], Backbone]) -> Backbone | None:
        """The network, lazy, with the head it came with; None if it is not kept.

        Args: build_again, what builds it if it has to compute something after all.
        """
        content, tensors = self._kept.read(self._path, _content) or ({}, {})
        if not content or content["sources"] != _identities([Path(path) for path, *_ in content["sources"]]):
            return None
        self._kept.use(self._path)
        return build.assemble(content["network"], tensors, build=lambda: build_again().model)

    def keep_from(self, build_anew: Callable[[], Backbone], *, card_name: str | None = None) -> Backbone:
        """The network that is built; it is kept if its files are on this machine and stayed what they were.

        Args: card_name, of the one that is meant, where another may have taken its place.
        """
        before = self._sources()
        backbone = build_anew()
        is_wanted = backbone.spec["family"] in SLOW_FAMILIES and ranks.is_first()
        is_wanted &= card_name in (None, backbone.card.name)
        if is_wanted and before and before == self._sources():
            self._add(backbone, before)
        return backbone

    def _sources(self) -> Sources | None:
        with suppress(NetworkError, UsageError, ModelFileError, StorageError, OSError):  # or refused when it is built
            return _identities(build.files_of(self._name, weights=self._weights))
        return None  # to be downloaded

    def _add(self, backbone: Backbone, sources: Sources) -> None:
        content = json.dumps({"sources": sources, "network": build.describe(backbone)})
        tensors = backbone.model.state_dict()
        if sum(tensor.nbytes for tensor in tensors.values()) <= self._kept.kind.limit_bytes:
            metadata = {"content": content, "check": _check(content, tensors)}
            self._kept.write(self._path, files.write_safetensors, tensors, metadata)


def _content(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What is kept in a file; None if it does not fit its checksum."""
    tensors = files.read_safetensors(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    content = metadata["content"]
    return (json.loads(content), tensors) if metadata["check"] == _check(content, tensors) else None


def _identities(paths: list[Path]) -> Sources | None:
    """What tells whether files are as they were; None if one is gone or was changed a moment ago."""
    found = [identity(path) for path in paths]
    known = [[str(path), *each] for path, each in zip(paths, found) if each]
    return known if len(known) == len(found) else None


def _check(content: str, tensors: dict[str, Tensor]) -> str:
    check = zlib.crc32(content.encode())
    for name, tensor in sorted(tensors.items()):
        check = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), check)
        check = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).numpy().data, check)
    return str(check)
