"""The bytes of a photo: of a file, or of a member of a tar, which lies here or behind a URL; nothing is ever unpacked.

A member has a path as a file has, and it says where in the tar it is: `photos-000.tar:1536+48211/cat/1.jpg` are the
48211 bytes from byte 1536 on. So whatever takes the path of a photo takes this, and nobody has to search a tar.
Source: Kaldi's script files name parts of archives so, https://kaldi-asr.org/doc/io.html
"""

import os
import re
import stat
import tarfile
from pathlib import Path
from typing import NamedTuple

from transferkit.data import remote
from transferkit.zoo.errors import DataError
from transferkit.zoo.text import printable

MAX_FILE_BYTES = 1 << 30  # more than an uncompressed image at Pillow's bomb limit of 179 megapixels
MEMBER = re.compile(r"(.+\.tar):(\d{1,18})\+(\d{1,18})/(.+)", re.DOTALL | re.IGNORECASE)


class DecodeError(DataError):
    """A source that holds no usable image; the message is the reason in a few words, without the source's name."""


class Member(NamedTuple):
    """A file in a tar: the path or URL of the tar, where the content begins, how long it is, its name there."""

    shard: str
    offset: int
    bytes: int
    name: str

    @classmethod
    def of(cls, path: Path | str) -> "Member | None":
        """The member that a path means; None if it is the path of a file.

        >>> Member.of("s3:/photos/000.tar:1536+48211/cat/1.jpg")
        Member(shard='s3://photos/000.tar', offset=1536, bytes=48211, name='cat/1.jpg')
        """
        found = MEMBER.fullmatch(os.fspath(path))
        return cls(remote.url(found[1]), int(found[2]), int(found[3]), found[4]) if found else None

    @property
    def path(self) -> str:
        """What `of` reads."""
        return f"{self.shard}:{self.offset}+{self.bytes}/{self.name}"


class Status(NamedTuple):
    """Which file it is, what changes when it is written to, when that was, and its size."""

    file: str
    state: str
    changed_ns: int
    bytes: int


def read_file(path: Path | str) -> bytes:
    """The bytes of a regular file, or of a member of a tar.

    Raises: DecodeError if it is missing, may not be read, is over 1 GB, or is a folder, pipe or socket; NetworkError.
    """
    member = Member.of(path)
    try:
        return _content(path) if member is None else _member_content(member)
    except FileNotFoundError as error:
        raise DecodeError(_nowhere(member.shard if member else path)) from error
    except OSError as error:
        raise DecodeError((error.strerror or "cannot be read").lower()) from error


def status(path: Path | str) -> Status | None:
    """The status of a regular file, or of a member of a tar, which changes with the tar; None if there is none."""
    member = Member.of(path)
    if member and remote.is_remote(member.shard):
        version = remote.version(member.shard)
        place = f"{member.shard}:{member.offset}+{member.bytes}"
        return Status(place, version, 0, member.bytes) if version else None
    try:
        found = os.stat(member.shard if member else path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    place = f":{member.offset}+{member.bytes}" if member else ""
    return Status(
        file=f"{found.st_dev}:{found.st_ino}{place}",
        state=f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}",
        changed_ns=max(found.st_mtime_ns, found.st_ctime_ns),
        bytes=member.bytes if member else found.st_size,
    )


def absolute(path: Path | str) -> str:
    """The path from the root, which means the same in every folder; a URL is one already."""
    member = Member.of(path)
    if member is None:
        return os.path.abspath(path)
    return member.path if remote.is_remote(member.shard) else member._replace(shard=os.path.abspath(member.shard)).path


def join(folder: Path, path: str) -> str:
    """The path that counts from `folder`, unless it is absolute; ~ is the user's home."""
    path = os.path.expanduser(path)
    is_absolute = MEMBER.fullmatch(path) and remote.is_remote(path)
    return path if is_absolute else os.path.join(folder, path)


def _nowhere(path: Path | str) -> str:
    """Why there is no file at a path: where it was looked for, or that a link leads to nothing."""
    if os.path.islink(path):
        return f"a link to {printable(os.readlink(path))}, which is not there"
    folder = os.path.dirname(os.path.abspath(path))
    return f"no such file in {printable(folder)}" + ("" if os.path.isdir(folder) else ", which is no folder")


def _content(path: Path | str) -> bytes:
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        os.scandir(path).close()  # says why, where it cannot be read
        raise DecodeError("a folder")
    if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
        raise DecodeError("not a regular file")
    if found.st_size > MAX_FILE_BYTES:
        raise DecodeError(f"larger than {MAX_FILE_BYTES >> 20} MB")
    with open(path, "rb") as file:
        return file.read()


def _member_content(member: Member) -> bytes:
    if member.bytes > MAX_FILE_BYTES:
        raise DecodeError(f"larger than {MAX_FILE_BYTES >> 20} MB")
    start, end = member.offset - tarfile.BLOCKSIZE, member.offset + member.bytes
    data = remote.read(member.shard, start, end) if remote.is_remote(member.shard) else _part(member.shard, start, end)
    header, content = data[: tarfile.BLOCKSIZE], data[tarfile.BLOCKSIZE :]
    try:
        is_here = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size == len(content) == member.bytes
    except tarfile.HeaderError:
        is_here = False
    if not is_here:
        raise DecodeError("not at its place in the tar, which was changed or cut off")
    return content


def _part(path: str, start: int, end: int) -> bytes:
    if start < 0:
        return b""
    with open(path, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DecodeError("not a regular file")
        file.seek(start)
        return file.read(end - start)
