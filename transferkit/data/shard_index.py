"""What is known of the shards in a folder, kept in shards.json beside them, so that a tar is scanned once.

The numbers of each sample, too many for JSON, are in shards.safetensors. Both are a cache: what does not fit its
checksum, or a shard that has changed, is scanned again.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transferkit.data import known, remote
from transferkit.data.shard_scan import Scan
from transferkit.progress import Progress
from transferkit.zoo import cache_folder, files
from transferkit.zoo.errors import StorageError

INDEX = "shards.json"
NUMBERS = "shards.safetensors"
FORMAT = "transferkit shards 1"


class Shard(NamedTuple):
    """A tar by its path or URL, and what tells this version of it from another; None if that cannot be known."""

    path: str
    bytes: int
    state: str | None

    @classmethod
    def of(cls, path: str) -> "Shard":
        """The tar at a path or URL. Raises: OSError, UsageError, NetworkError."""
        if remote.is_remote(path):
            return cls(path, remote.size(path), remote.version(path))
        status = os.stat(path)
        is_settled = status.st_mtime_ns < time.time_ns() - known.MARGIN_NS  # a change now will show in its time
        return cls(path, status.st_size, f"{status.st_size}:{status.st_mtime_ns}" if is_settled else None)


class _Entry(NamedTuple):
    state: str
    scan: Scan


def read(shards: Iterable[Shard], *, cache: Path) -> dict[Shard, Scan]:
    """What is known of each shard that has not changed since."""
    found = {}
    for folder, some in _by_folder(shards):
        for place in _places(folder, cache):
            entries = _load(place)
            for shard in some:
                entry = entries.get(os.path.basename(shard.path))
                if entry and entry.state == shard.state:
                    found[shard] = entry.scan
    return found


def write(scans: Mapping[Shard, Scan], *, cache: Path, progress: Progress) -> None:
    """Keep what is in the shards, beside them if that can be written, else in `cache`; what is known of others stays.

    Nothing is kept of a shard written a moment ago, which might still change without a trace.
    """
    for folder, some in _by_folder(shard for shard in scans if shard.state):
        new = {os.path.basename(shard.path): _Entry(shard.state, scans[shard]) for shard in some if shard.state}
        for place in _places(folder, cache):
            if place == Path(folder) and _is_foreign(place):
                continue
            old = {name: entry for name, entry in _load(place).items() if _may_exist(folder, name)}
            try:
                _save(place, old | new)
            except StorageError:
                continue
            break
        else:
            progress.say(f"neither {folder or '.'} nor {cache} can be written: the shards will be scanned again")


def _by_folder(shards: Iterable[Shard]) -> Iterator[tuple[str, list[Shard]]]:
    for folder, some in groupby(sorted(shards), key=lambda shard: os.path.dirname(shard.path)):
        yield folder, list(some)


def _places(folder: str, cache: Path) -> list[Path]:
    """Where the index of a folder may lie, the better place first."""
    is_remote = remote.is_remote(folder)
    name = folder if is_remote else os.path.abspath(folder)
    kept = cache / "shards" / hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return [kept] if is_remote else [Path(folder), kept]


def _may_exist(folder: str, name: str) -> bool:
    return remote.is_remote(folder) or os.path.exists(os.path.join(folder, name))


def _save(place: Path, entries: dict[str, _Entry]) -> None:
    """Raises: StorageError."""
    from safetensors.numpy import save

    scans = [entry.scan for entry in entries.values()]
    classes = sorted({name for scan in scans for name in scan.classes})
    number = {name: index for index, name in enumerate(classes)}
    labels = [np.array([number[name] for name in scan.classes], np.int64)[scan.labels] for scan in scans]
    labels = np.concatenate(labels, dtype=np.int64)
    names = b"\0".join(os.fsencode(name) for scan in scans for name in scan.names)
    data = save({
        "labels": labels,
        "places": np.concatenate([scan.places for scan in scans]),
        "names": np.frombuffer(names, np.uint8),
    })  # fmt: skip
    index = {
        "format": FORMAT,
        "samples": len(labels),
        "classes": dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist())),
        "shards": {
            name: {"state": entry.state, "samples": len(entry.scan.names), "refused": entry.scan.refused}
            for name, entry in entries.items()
        },
        "numbers": hashlib.sha256(data).hexdigest(),
    }
    # first: by it the place is known to be ours
    files.write_json(place / INDEX, index | {"check": cache_folder.digest(index)})
    files.write_bytes(place / NUMBERS, data)


def _read_ours(path: Path) -> dict[str, Any] | None:
    """The content of an index; None if it is no index of ours."""
    try:
        index = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return index if isinstance(index, dict) and index.get("format") == FORMAT else None


def _is_foreign(place: Path) -> bool:
    """Whether somebody else's files have our names beside the shards."""
    return any(os.path.lexists(place / name) for name in (INDEX, NUMBERS)) and _read_ours(place / INDEX) is None


def _load(place: Path) -> dict[str, _Entry]:
    """Name of a shard to what is known of it; nothing where the files are missing, damaged or do not fit together."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    index = _read_ours(place / INDEX)
    if index is None:
        return {}
    try:
        data = (place / NUMBERS).read_bytes()
        if index.pop("check") != cache_folder.digest(index) or hashlib.sha256(data).hexdigest() != index["numbers"]:
            return {}
        return _entries(index, load(data))
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _entries(index: dict[str, Any], numbers: dict[str, np.ndarray]) -> dict[str, _Entry]:
    """Raises: ValueError and the like if they do not fit together."""
    labels, places = numbers["labels"], numbers["places"]
    names = os.fsdecode(numbers["names"].tobytes()).split("\0") if len(labels) else []
    classes = tuple(index["classes"])
    counts = [shard["samples"] for shard in index["shards"].values()]
    if not len(labels) == len(places) == len(names) == sum(counts):
        raise ValueError("lengths differ")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError("a label without a class")
    ends = np.cumsum([0, *counts]).tolist()
    entries = {}
    for (name, shard), start, end in zip(index["shards"].items(), ends, ends[1:]):
        scan = Scan(
            classes=classes,
            labels=labels[start:end],
            places=places[start:end],
            names=names[start:end],
            refused=[(str(entry), str(reason)) for entry, reason in shard["refused"]],
        )
        entries[name] = _Entry(shard["state"], scan)
    return entries
