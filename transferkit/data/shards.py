"""Tars of samples, as webdataset writes them, to a listing: each image is a place in a tar, and is read from there."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from transferkit import ranks
from transferkit.data import remote, shard_index, shard_scan
from transferkit.data.listing import PARTS, Listing, PathTable
from transferkit.data.shard_index import Shard
from transferkit.data.shard_scan import Scan
from transferkit.data.source import Member
from transferkit.progress import Progress
from transferkit.zoo import cache_folder
from transferkit.zoo.errors import DataError, StorageError, UsageError

SUFFIXES = (".tar", ".tar.gz", ".tgz")  # compressed ones are refused with a reason
PART_NAME = re.compile(rf"({'|'.join(PARTS)})(?![a-z])", re.IGNORECASE)
TOGETHER = 8  # shards behind a URL that are scanned at the same time
LOCAL_URL = re.compile(r"(file|local)://")


def is_shards(data: str) -> bool:
    """Whether DATA names tars: `photos-{000..099}.tar`, one tar, or URLs of them."""
    return data.lower().endswith(SUFFIXES) or remote.is_remote(data)


def read(data: str, *, cache: Path | None = None, progress: Progress | None = None) -> Listing:
    """The images in the shards that DATA names, in the order of the shards and of the samples in them.

    What is known of a shard is kept in `shards.json` beside it, or in the folder `cache`. Of several processes, one
    scans the shards and all wait for it. A shard named train-, val- or test- belongs to that part.

    Raises: UsageError if a shard is missing, DataError if one is no tar or none holds a labelled image, StorageError,
    NetworkError.
    """
    remote.forget()
    shards = [_found(path, data) for path in _expanded(data)]
    where = cache or cache_folder.opened()
    if ranks.is_first():
        scans = _scans(shards, where, progress or Progress())
    ranks.gather(None)
    if not ranks.is_first():  # finds what the first has kept, if both see the same folder
        scans = _scans(shards, where, Progress())
    return _listing(data, shards, scans)


def _expanded(data: str) -> list[str]:
    """The paths or URLs that DATA stands for, each once."""
    data = remote.url(LOCAL_URL.sub("", data))
    try:
        import braceexpand
    except ImportError as error:
        raise UsageError(f"to read the shards {data}: pip install 'transferkit[shards]'") from error
    try:
        found = [data] if os.path.isfile(data) else braceexpand.braceexpand(data, escape=False)
        paths = list(dict.fromkeys(found))
    except ValueError as error:
        raise UsageError(f"{data} is no pattern such as photos-{{000..099}}.tar: {error}") from error
    for path in paths:
        if not path.lower().endswith(SUFFIXES):
            raise UsageError(f"{path} is no tar; of files behind a URL, only shards (.tar) can be DATA")
        if not path.lower().endswith(".tar"):
            raise DataError(f"{path} is compressed, so no image in it can be found without the rest; decompress it")
    return paths


def _found(path: str, data: str) -> Shard:
    """Raises: UsageError if there is none, StorageError, NetworkError."""
    try:
        return Shard.of(path)
    except FileNotFoundError:
        raise UsageError(f"no such shard: {path}" + (f", one of {data}" if path != data else "")) from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error


def _scans(shards: list[Shard], cache: Path, progress: Progress) -> list[Scan]:
    """What is in each shard; those of which nothing is known are scanned."""
    known = shard_index.read(shards, cache=cache)
    missing = [shard for shard in shards if shard not in known]
    new: dict[Shard, Scan] = {}
    try:
        for shard, scan in _scanned(missing, progress):
            new[shard] = scan
    finally:  # what is known so far stays known after Ctrl-C
        shard_index.write(new, cache=cache, progress=progress)
    return [(known | new)[shard] for shard in shards]


def _scanned(shards: list[Shard], progress: Progress) -> Iterator[tuple[Shard, Scan]]:
    """Each shard with what is in it; those behind URLs several at a time, since there one waits and does not count."""
    is_remote = bool(shards) and remote.is_remote(shards[0].path)
    pool = ThreadPoolExecutor(TOGETHER if is_remote else 1, thread_name_prefix="scan")
    try:
        for number, (shard, scan) in enumerate(zip(shards, pool.map(_scan, shards))):
            if number == 0:  # how many images there are is guessed from the first
                progress.start("finding images", round(len(scan.names) * sum(s.bytes for s in shards) / shard.bytes))
            progress.advance(len(scan.names))
            yield shard, scan
    finally:
        pool.shutdown(cancel_futures=True)
        progress.finish()


def _scan(shard: Shard) -> Scan:
    """Raises: DataError, StorageError, UsageError, NetworkError."""

    def opened_and_scanned() -> Scan:
        with remote.open_file(shard.path) if remote.is_remote(shard.path) else open(shard.path, "rb") as file:
            return shard_scan.scan(file)

    try:
        return remote.tried(shard.path, opened_and_scanned) if remote.is_remote(shard.path) else opened_and_scanned()
    except DataError as error:
        raise DataError(f"{shard.path} {error}") from error
    except OSError as error:
        raise StorageError(f"cannot read {shard.path}: {error.strerror}") from error


def _listing(data: str, shards: list[Shard], scans: list[Scan]) -> Listing:
    """Raises: DataError if there is no image."""
    refused = [
        (f"{os.path.basename(shard.path)}/{name}".rstrip("/"), reason)
        for shard, scan in zip(shards, scans)
        for name, reason in scan.refused
    ]
    if not any(scan.names for scan in scans):
        first = "; ".join(f"{path}: {reason}" for path, reason in refused[:1])
        raise DataError(f"{data} has no image with a class ({first or 'it is empty'})")
    classes = sorted({scan.classes[label] for scan in scans for label in np.unique(scan.labels)})
    number = {name: index for index, name in enumerate(classes)}
    labels = [np.array([number.get(name, -1) for name in scan.classes], np.int64)[scan.labels] for scan in scans]
    paths = (
        Member(shard.path, offset, size, name).path
        for shard, scan in zip(shards, scans)
        for (offset, size), name in zip(scan.places.tolist(), scan.names)
    )
    return Listing(
        source=data,
        paths=PathTable.from_paths(paths),
        labels=np.concatenate(labels),
        parts=np.repeat([_part(shard) for shard in shards], [len(scan.names) for scan in scans]).astype("<U5"),
        classes=tuple(classes),
        refused=tuple(refused),
    )


def _part(shard: Shard) -> str:
    found = PART_NAME.match(os.path.basename(shard.path))
    return PARTS[found[1].casefold()] if found else ""
