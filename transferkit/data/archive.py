"""DATA as one file: a ZIP or a compressed tar, unpacked into the cache once for each content, and nowhere else.

The table at the end of a ZIP and the headers of a tar are claims of a stranger: names that lead out of the folder,
links and devices are refused before a file is written, and no more bytes are than is believable.
"""

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from transferkit import ranks
from transferkit.data import entries
from transferkit.data.listing import PARTS
from transferkit.progress import Progress
from transferkit.zoo import cache_folder, files
from transferkit.zoo.errors import DataError, TransferkitError
from transferkit.zoo.text import printable

OPENERS = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".xz": lzma.open,
    ".txz": lzma.open,
    ".bz2": bz2.open,
    ".tbz2": bz2.open,
}
SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
KIND, FOLDER, COMPLETE = "archives", "files", "complete.json"
MOST_FILES = 10_000_000
BELIEVABLE = 1 << 30  # bytes that any archive may hold; more only if photos, which do not shrink, could be so large
SHRINKS = 30  # times: drawings and scans do, photos hardly
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
)


class Packed(NamedTuple):
    """A file in an archive: its name, its size in bytes as the archive says it, and the content."""

    name: str
    size: int
    file: IO[bytes]


def is_archive(data: str) -> bool:
    """Whether DATA is one."""
    return data.lower().endswith(SUFFIXES) and os.path.isfile(data)


def unpacked(path: Path, *, cache: Path, progress: Progress) -> Path:
    """The folder in the cache with the files of an archive; a folder that alone lies in it is stepped into.

    What is unpacked already is found again, as long as the archive has not changed and nothing is missing.

    Raises: DataError if the archive is damaged, locked, larger than believable, or has a name that leads elsewhere;
    StorageError.
    """
    status = path.stat()
    key = {"path": str(path.resolve()), "bytes": status.st_size, "mtime": status.st_mtime_ns}

    def write(folder: Path) -> int:
        names = _checked(path)
        progress.start(f"unpacking {path.name}", len(names))
        written = _write(path, folder, most=believable(status.st_size), progress=progress)
        progress.finish()
        return written

    return _inner(kept(key, write, cache=cache))


@contextmanager
def called(source: Path, inside: Path) -> Iterator[None]:
    """Errors of the block name DATA, for nobody knows the folder in the cache."""
    try:
        yield
    except TransferkitError as error:
        raise type(error)(str(error).replace(str(inside), str(source))) from error


def believable(packed_bytes: int) -> int:
    """How many bytes of photos may lie in so many."""
    return max(BELIEVABLE, SHRINKS * packed_bytes)


def kept(key: dict[str, Any], write: Callable[[Path], int], *, cache: Path) -> Path:
    """The folder in the cache that `write` has filled for that key, and told how many files are in it; now or before.

    Raises: what `write` does, StorageError.
    """
    target = cache / KIND / cache_folder.digest(key)
    if ranks.is_first() and not _is_whole(target):
        cache_folder.mark(cache)
        with files.new_folder(target) as scratch:
            (scratch / FOLDER).mkdir()
            cache_folder.write(scratch / COMPLETE, {"files": write(scratch / FOLDER)})
    ranks.gather(None)
    return target / FOLDER


def _is_whole(target: Path) -> bool:
    """Whether all files are there that were unpacked; a cache may have been cleared in part."""
    record = cache_folder.read(target / COMPLETE)
    found = sum(len(names) for _, _, names in os.walk(target / FOLDER))
    return record is not None and record.get("files") == found


def _inner(folder: Path) -> Path:
    """The folder, or while it holds nothing but one other folder that is no part and holds folders or a table, that."""
    while True:
        inside = os.listdir(folder)
        if len(inside) != 1 or inside[0].casefold() in PARTS or not (folder / inside[0]).is_dir():
            return folder
        if not entries.folder_names(folder, inside[0]) and not entries.tables(folder / inside[0]):
            return folder
        folder /= inside[0]


def _checked(path: Path) -> list[str]:
    """The names of the files in an archive, all of which are safe to write. Raises: DataError."""
    found = []
    with _errors(path):
        for name, reason in _names(path):
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0] or "\0" in name:
                reason = "a name that leads out of it"
            if reason:
                raise DataError(f"{path} holds {printable(name)}, {reason}; nothing was unpacked")
            found.append(name)
            if len(found) > MOST_FILES:
                raise DataError(f"{path} holds more than {MOST_FILES:,} files; unpack it, and name the folder")
    return found


def _names(path: Path) -> Iterator[tuple[str, str]]:
    """Of each file its name, and why it cannot be taken; ""."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if not entry.is_dir():
                    is_locked = entry.flag_bits & 1
                    is_odd = kind not in (0, stat.S_IFREG)
                    yield entry.filename, "locked by a password" if is_locked else "a link" if is_odd else ""
        return
    with _tar(path) as archive:
        for entry in archive:
            if not entry.isdir():
                yield entry.name, "" if entry.isreg() else "a link or device"


@contextmanager
def _tar(path: Path) -> Iterator[tarfile.TarFile]:
    """A compressed tar, whose stream tells where it is cut off; tarfile would take that for its end."""
    with OPENERS[path.suffix.lower()](path, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        yield archive


def _write(path: Path, folder: Path, *, most: int, progress: Progress) -> int:
    """Write the files of an archive below `folder`, hidden ones left out; how many there are. Raises: DataError."""
    total = count = 0
    with _errors(path):
        for packed in _packed(path):
            parts = PurePosixPath(packed.name.replace("\\", "/")).parts
            progress.advance(1)
            if any(map(entries.is_hidden, parts)):
                continue
            total += packed.size
            if total > most:
                raise DataError(f"{path} would be over {most >> 20:,} MB unpacked: are these photos? Nothing is kept")
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(target, "xb") as file:
                    shutil.copyfileobj(packed.file, file)  # no more than the archive has said: that is an error there
            except FileExistsError:
                raise DataError(f"{path} holds {printable(packed.name)} twice; nothing is kept") from None
            count += 1
    return count


def _packed(path: Path) -> Iterator[Packed]:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    with archive.open(entry) as file:
                        yield Packed(entry.filename, entry.file_size, file)
        return
    with _tar(path) as archive:
        for entry in archive:
            if entry.isreg() and (file := archive.extractfile(entry)):
                yield Packed(entry.name, entry.size, file)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # of the disk; decompressors have no number
            raise
        raise DataError(f"{path} is damaged or cut off: {error}") from error
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is damaged or cut off: {reason}") from error
