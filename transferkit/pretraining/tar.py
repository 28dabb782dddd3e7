"""The files of a tar, read in memory: nothing of it is written to disk, and no link in it is followed."""

import lzma
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from transferkit.data.listing import PARTS
from transferkit.zoo.errors import DataError

MAX_TAR_BYTES = 1 << 30  # unpacked; the binary version of CIFAR has 184 MB


def read(path: Path) -> dict[str, bytes]:
    """The files of a tar by name, less hidden ones and the folders that all are in.

    Raises: DataError if it is no tar, damaged, or holds links or more than 1 GB; OSError if it may not be read.
    """
    try:
        with tarfile.open(path) as tar:
            members = _members(tar, path)
    except PermissionError:  # no fault of its content
        raise
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path} is no tar, or a damaged or truncated one") from error
    shown = {name: content for name, content in members.items() if not any(part[0] == "." for part in name.parts)}
    return {name.as_posix(): content for name, content in _less_root(shown).items()}


def _members(tar: tarfile.TarFile, path: Path) -> dict[PurePosixPath, bytes]:
    members: dict[PurePosixPath, bytes] = {}
    size = 0
    for member in tar:
        if member.isdir():
            continue
        content = tar.extractfile(member) if member.isreg() else None
        if content is None:
            raise DataError(f"{path}: {member.name} is a link or a device; a tar of plain files is read")
        size += member.size
        if size > MAX_TAR_BYTES:
            raise DataError(f"{path} holds more than the {MAX_TAR_BYTES >> 20} MB that are read")
        members[PurePosixPath(member.name)] = content.read()
    tar.fileobj.seek(tar.offset)  # tarfile takes a damaged header for the end; the end is a block of zeros
    if tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("a header is damaged")
    return members


def _less_root(files: dict[PurePosixPath, bytes]) -> dict[PurePosixPath, bytes]:
    """The same without the folders that all files are in, unless that is train/, val/ or test/."""
    roots = {name.parts[0] for name in files}
    if len(roots) != 1 or {*map(str.casefold, roots)} <= PARTS.keys() or any(len(name.parts) == 1 for name in files):
        return files
    return _less_root({PurePosixPath(*name.parts[1:]): content for name, content in files.items()})
