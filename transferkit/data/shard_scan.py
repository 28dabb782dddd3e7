"""One pass over a tar of samples: where each image lies in it, of what class it is, and what cannot be used and why."""

import json
import os
import re
import tarfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from transferkit.data.listing import IMAGE_SUFFIXES
from transferkit.zoo.errors import DataError, UsageError

MAX_LABEL_BYTES = 1 << 20  # a .json may hold captions
MAX_CLASS_LENGTH = 255  # as a folder's name
NUMBER = re.compile(r"[+-]?\d+")
DAMAGES = (tarfile.TarError, ValueError, OverflowError, MemoryError)  # but for the first, of absurd lengths in headers
Refused = list[tuple[str, str]]  # (name in the tar, reason)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """The samples of a shard in their order, and what was refused.

    Shapes: labels (n,) int64, which count in `classes`; places (n, 2) int64, offset and length of each image; names of
    length n.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    places: np.ndarray
    names: list[str]
    refused: Refused


@dataclass(frozen=True)
class _File:
    """A member of the tar; `content` of those that may hold a class."""

    name: str
    offset: int
    content: bytes | None
    bytes: int


@dataclass
class _Found:
    """What is collected on the way."""

    labels: list[str] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    refused: Refused = field(default_factory=list)
    damage: str = ""  # of the tar


class _UnusableError(Exception):
    """A sample that cannot be used; the message says why."""


def scan(file: BinaryIO) -> Scan:
    """The samples of an uncompressed tar: members in a row with one name up to its first dot, as webdataset has them.

    The class is what `.cls` says, a number or a name; else "label" or "class" of `.json`; else the first folder of the
    name. Of a damaged or truncated tar, the samples before the damage are kept, less the last, which may lack a part.

    Raises: DataError if it is no tar, OSError if it cannot be read.
    """
    found, keys = _Found(), set()
    for sample in _samples(_files(file, found), found.refused):
        key = sample.pop("__key__")
        try:
            if key in keys:
                raise _UnusableError("its key occurs twice")
            keys.add(key)
            if found.damage:  # known once all members have been seen, which is when the last sample comes
                raise _UnusableError("the last before the damage, perhaps not whole")
            image = _image(sample)
            found.labels.append(_class(sample, key))
        except _UnusableError as error:
            found.refused.append((key, str(error)))
            continue
        found.places.append((image.offset, image.bytes))
        found.names.append(image.name)
    classes = sorted(set(found.labels))
    number = {name: index for index, name in enumerate(classes)}
    return Scan(
        classes=tuple(classes),
        labels=np.array([number[name] for name in found.labels], np.int64),
        places=np.array(found.places, np.int64).reshape(-1, 2),
        names=found.names,
        refused=found.refused,
    )


def _samples(files: Iterable[_File], refused: Refused) -> Iterator[dict[str, Any]]:
    """Suffix to file, and "__key__", of each sample. Raises: UsageError if webdataset is missing."""
    try:
        from webdataset.tariterators import group_by_keys
    except ImportError as error:
        raise UsageError("to read shards: pip install 'transferkit[shards]'") from error
    current = ""

    def named() -> Iterator[dict[str, Any]]:
        nonlocal current
        for file in files:
            current = file.name
            yield {"fname": file.name, "data": file, "__url__": ""}

    def refuse(error: Exception) -> bool:
        refused.append((current, "its name occurs twice"))  # the one thing that group_by_keys raises
        return True

    for sample in group_by_keys(named(), handler=refuse):
        del sample["__url__"]
        yield sample


def _files(file: BinaryIO, found: _Found) -> Iterator[_File]:
    """The members that can belong to a sample; none is unpacked, no link is followed. Raises: DataError."""
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (closing it would not close `file`)
    except DAMAGES as error:
        raise DataError("is no tar, or a compressed one, in which no image can be found; decompress it") from error
    size = file.seek(0, os.SEEK_END)
    try:
        for member in tar:
            vars(tar)["members"].clear()  # it would keep them all
            if tar.offset <= member.offset:  # where the next one begins; a negative length makes a circle
                raise tarfile.ReadError("a negative length")
            if tar.offset > size:  # tarfile would tell of it only there
                raise tarfile.ReadError("unexpected end of data")
            if name := _name(member, found.refused):
                yield _File(name, member.offset_data, _label_content(tar, member), member.size)
        found.damage = _end(tar)
    except DAMAGES as error:
        found.damage = "truncated" if "unexpected end" in str(error) else "damaged"
    if found.damage:
        found.refused.append(("", f"the tar is {found.damage}; what comes after is lost"))


def _end(tar: tarfile.TarFile) -> str:
    """What is wrong with the end, which is a block of zeros; tarfile takes a damaged header for the end."""
    tar.fileobj.seek(tar.offset)
    block = tar.fileobj.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        return "truncated"
    return "" if block == tarfile.NUL * tarfile.BLOCKSIZE else "damaged"


def _name(member: tarfile.TarInfo, refused: Refused) -> str:
    """The name less "./"; empty if the member is of no use."""
    path = PurePosixPath(member.name)
    name = path.as_posix()
    if member.isdir() or any(map(_is_hidden, path.parts)):
        return ""
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        refused.append((name.replace("\0", ""), "its path leaves the tar"))
    elif not member.isreg() or member.issparse():
        refused.append((name, "not a regular file"))
    elif "." not in path.name:
        refused.append((name, "its name has no suffix"))
    else:
        return name
    return ""


def _is_hidden(part: str) -> bool:
    """Whether it is hidden, or what webdataset takes for no part of a sample."""
    return (part.startswith(".") and part != "..") or (part.startswith("__") and part.endswith("__"))


def _label_content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    if not member.name.lower().endswith((".cls", ".json")) or member.size > MAX_LABEL_BYTES:
        return None
    content = tar.extractfile(member)
    return content and content.read()


def _image(sample: dict[str, _File]) -> _File:
    """The image of a sample: `.jpg` and the like; something like `.left.jpg` if it is the only one."""
    named = [suffix for suffix in sample if f".{suffix}".endswith(IMAGE_SUFFIXES)]
    chosen = [suffix for suffix in named if "." not in suffix] or named
    if len(chosen) != 1:
        shown = ", ".join(f".{suffix}" for suffix in chosen)
        raise _UnusableError(f"more than one image: {shown}" if chosen else "no image")
    return sample[chosen[0]]


def _class(sample: dict[str, _File], key: str) -> str:
    """The name of a sample's class."""
    if "cls" in sample:
        name = _numbered(_text(sample["cls"], ".cls").strip())
    elif (label := _json_label(sample)) is not None:
        name = _numbered(label)
    elif "/" in key:
        name = key.split("/", 1)[0]
    else:
        raise _UnusableError("no class: neither .cls, nor a label in .json, nor a folder")
    if not name or len(name) > MAX_CLASS_LENGTH or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise _UnusableError("its class is no name or number")
    return unicodedata.normalize("NFC", name)


def _numbered(name: str) -> str:
    """The same; a number as Python writes it."""
    if len(name) > MAX_CLASS_LENGTH or not NUMBER.fullmatch(name):
        return name
    if int(name) < 0:
        raise _UnusableError(f"class {name} is below 0")
    return str(int(name))


def _json_label(sample: dict[str, _File]) -> str | None:
    if "json" not in sample:
        return None
    try:
        fields = json.loads(_text(sample["json"], ".json"))
    except (ValueError, RecursionError):
        raise _UnusableError("its .json is damaged") from None
    label = fields.get("label", fields.get("class")) if isinstance(fields, dict) else None
    if label is not None and (isinstance(label, bool) or not isinstance(label, (int, str))):
        raise _UnusableError("the label in its .json is no name or number")
    return None if label is None else str(label)


def _text(file: _File, kind: str) -> str:
    if file.content is None:
        raise _UnusableError(f"its {kind} is larger than {MAX_LABEL_BYTES >> 20} MB")
    try:
        return file.content.decode("utf-8")
    except UnicodeDecodeError:
        raise _UnusableError(f"its {kind} is no text") from None
