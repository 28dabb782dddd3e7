"""Files that survive a crash: written beside the target, flushed to disk, renamed into place.

Source: the order write, fsync, rename, fsync of the folder is that of Pillai et al. 2014, section 2, "All File
Systems Are Not Created Equal".
"""

import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.zoo import header
from transferkit.zoo.errors import ModelFileError, RunConflictError, StorageError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

MAX_JSON_BYTES = 16 << 20


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names `path` and the free space."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}{_free_space(path)}") from error


def _free_space(path: Path) -> str:
    for folder in (path, *path.parents):
        if os.path.isdir(folder):  # False where it may not be looked into
            with suppress(OSError):
                return f" ({shutil.disk_usage(folder).free >> 20} MB free there)"
    return ""


def check_free(path: Path, *, overwrite: bool, sources: Iterable[Path] = ()) -> None:
    """Refuse to write a file where something lies, unless it is a file that may be replaced and none of `sources`.

    A source is one under every name: through a link, or spelled otherwise.

    Raises: RunConflictError, UsageError if a folder is there.
    """
    if not os.path.lexists(path):
        return
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file with -o")
    if path.exists() and any(source.exists() and path.samefile(source) for source in sources):
        raise RunConflictError(f"{path} is the file that is read; name another file with -o")
    if not overwrite:
        raise RunConflictError(f"{path} is there already; name another -o, or add --overwrite")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` for the block to fill; what is there replaces `path` when it ends without an error.

    The file gets mode 0666 less the umask. Raises: StorageError naming `path`.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            yield scratch
            _sync_file(scratch)
            scratch.chmod(0o666 & ~_umask())  # safetensors writes files that nobody else may read
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` with `data`, whole or not at all.

    Raises: StorageError naming the path.
    """
    with new_file(path) as scratch:
        scratch.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Replace `path` with `text` in UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` with `value` as indented JSON, whole or not at all; a NaN is an error."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the system can (Windows cannot open a folder)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target`, replacing what was there, when the block ends without an error.

    Raises: StorageError naming the target.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield scratch
        with storage_errors(target):
            scratch.chmod(0o777 & ~_umask())
            for file in scratch.rglob("*"):
                if file.is_file():
                    _sync_file(file)
            if target.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
                os.replace(target, old / "old")
                os.replace(scratch, target)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(scratch, target)
            sync_folder(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@functools.cache
def _umask() -> int:
    """The user's, asked for once: it can only be read by changing it, for a moment and for all threads."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_file(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def read_errors(path: str | Path) -> Iterator[None]:
    """Turn an OSError of the block, which reads `path`, into a StorageError that names it."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot read {error.filename or path}: {error.strerror or error}") from error


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_text(path: Path, *, most: int = MAX_JSON_BYTES) -> str:
    """The text of a file of at most so many bytes; a name that is no UTF-8 stands in it as `write_text` wrote it.

    Raises: UsageError if it is missing, ModelFileError if it is larger, StorageError if it cannot be read.
    """
    with read_errors(path):
        if not path.is_file() and not path.is_dir():  # of a folder the system says what is wrong
            raise UsageError(f"no such file: {path}")
        if path.stat().st_size > most:
            raise ModelFileError(f"{path} is larger than the {most >> 20} MB allowed")
        return path.read_bytes().decode("utf-8", "surrogateescape")


def read_json(path: Path, *, most: int = MAX_JSON_BYTES) -> Any:
    """The value in a JSON file. Raises: as `read_text`, and ModelFileError if it is no JSON."""
    return parse_json(read_text(path, most=most), path)


def parse_json(text: str, path: Path) -> Any:
    """The value in a text of `path`. Raises: ModelFileError if it is no JSON, which has no NaN or Infinity."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not valid JSON: {error}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def write_safetensors(path: Path, tensors: "dict[str, Tensor]", metadata: dict[str, str] | None = None) -> None:
    """Replace `path` with the tensors, whole or not at all.

    Raises: StorageError naming the path.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with new_file(path) as scratch:
        try:
            save_file(contiguous, scratch, metadata)
        except SafetensorError as error:  # a full disk as well: it knows no other kind of error
            raise OSError(str(error).rpartition(": ")[2]) from error


def read_safetensors(path: Path) -> "dict[str, Tensor]":
    """The tensors of a safetensors file, in memory of their own.

    Raises: UsageError if it is missing, ModelFileError if it is a pickle, truncated, or has a header that is odd.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise UsageError(f"no such weights file: {path}")
    with read_errors(path):
        header.read(path)
        try:
            return load(path.read_bytes())
        except (SafetensorError, OverflowError, ValueError, KeyError) as error:
            raise ModelFileError(f"{path} is damaged: {error}") from error
