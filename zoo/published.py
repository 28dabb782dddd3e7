"""Whether a file is what was published: by its hash, which is computed once while the file stays the same.

The hub names a file after its hash: the SHA-256 of a large one, the hash that git gives a small one. Of a file that was
made from a pickle, we keep the SHA-256 beside it.
"""

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transferkit.zoo import cache_folder, files
from transferkit.zoo.disk_cache import DiskCache

SHA256, GIT = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")
MARGIN_NS = 3_000_000_000  # a file changed so lately might change again without a trace in its times

_seen: dict[str, str] = {}  # digest to the state of the file that has it


def is_whole(path: Path, published: str | None = None) -> bool:
    """Whether a file in the hub's cache has the hash it is named after, else `published`; yes where that is no hash."""
    digest = path.readlink().name if path.is_symlink() else (published or "")
    return _has(path, digest) if SHA256.fullmatch(digest) or GIT.fullmatch(digest) else True


def drop(path: Path) -> None:
    """Remove a file that is not whole from the hub's cache, and what it is a link to there."""
    with suppress(OSError):
        if path.is_symlink() and path.readlink().parent.name == "blobs":
            (path.parent / path.readlink()).unlink()  # itself a link, perhaps, to what other programs share
        path.unlink()


def keep(path: Path) -> None:
    """Note the hash of a file that we keep in the cache, if that can be written."""
    DiskCache(path.parents[1], "weights").write(_note(path), cache_folder.write, {"sha256": files.sha256(path)})


@contextmanager
def kept(path: Path) -> Iterator[Path]:
    """Yield a name for the block to fill; what is there replaces `path`, in the cache, and its hash is noted.

    Raises: StorageError naming `path`.
    """
    cache_folder.mark(path.parents[1])
    with files.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, ignore_cleanup_errors=True) as scratch:
            made = Path(scratch) / path.name
            yield made
            os.replace(made, path)
    keep(path)


def is_kept(path: Path) -> bool:
    """Whether a file of ours is there and as it was noted; one of an earlier version, without a note, gets one."""
    if not os.path.isfile(path):
        return False
    if not os.path.lexists(_note(path)):
        keep(path)
        return True
    note = cache_folder.read(_note(path))
    return note is not None and _has(path, note["sha256"])


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _has(path: Path, digest: str) -> bool:
    """Whether the file has that hash; what was found is remembered while it stays the file it is."""
    state = _state(path)
    kept = DiskCache(cache_folder.find(), "known")
    note = kept.folder / f"{hashlib.sha256(digest.encode()).hexdigest()}.json"
    known = _seen.get(digest) or (cache_folder.read(note) or {}).get("state")
    if state and known == state:
        _seen[digest] = state
        return True
    if digest != (files.sha256(path) if SHA256.fullmatch(digest) else _git_hash(path)):
        return False
    if state and state == _state(path):
        _seen[digest] = state
        kept.write(note, cache_folder.write, {"state": state})
    return True


def _state(path: Path) -> str | None:
    """What changes when the file is written to; None if it was written to a moment ago."""
    status = os.stat(path)
    changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
    if changed_ns > time.time_ns() - MARGIN_NS:
        return None
    return f"{os.path.realpath(path)}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _git_hash(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
