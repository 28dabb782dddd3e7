"""What a file of `torch.save` asks for, found without unpickling it: enough to refuse whatever is not plain weights.

A pickle is a list of instructions, and whatever it calls or makes it must name first. So its names tell what it could
do. Formats: a zip with `NAME/data.pkl` and the numbers beside it, or, before PyTorch 1.6, pickles in a row.
"""

import _compat_pickle
import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from pickletools import OpcodeInfo, genops
from typing import Any, BinaryIO

from transferkit.zoo.errors import ModelFileError
from transferkit.zoo.text import first_line, printable

MAX_PICKLE_BYTES = 8 << 20  # that of the largest timm network, of 3,000 tensors, is under 1 MB
MAX_ENTRIES = 60_000
FOLDER = 0x10  # of MS-DOS; torch reads nothing then, and hands out whatever lay in memory
DAMAGE = (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, ValueError, LookupError, NotImplementedError)
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py
LEGACY_PICKLES = 5  # the magic number, the protocol, the machine, the content, the keys of the storages
NUMBERS = "Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool"
PLAIN = re.compile(
    rf"torch\.(cuda\.)?({NUMBERS})Storage|torch\.(Size|device|float\d+|bfloat16|int\d+|uint8|bool)"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)|torch\.nn\.parameter\.Parameter"
    r"|collections\.(OrderedDict|Counter)|builtins\.set|_codecs\.encode"
)
OTHER_TENSORS = {  # by how their names begin
    "torch._utils._rebuild_sparse": "sparse tensors",
    "torch.serialization._get_layout": "sparse tensors",
    "torch._utils._rebuild_qtensor": "quantised tensors",
    "torch.Q": "quantised tensors",
    "torch.Complex": "complex tensors",
    "torch.complex": "complex tensors",
    "torch._utils._rebuild_meta": "tensors without values",
    "torch._utils._rebuild_device": "tensors of another device",
    "torch._utils._rebuild_": "tensors of a class of their own",
    "torch._tensor._rebuild_": "tensors of a class of their own",
    "torch.storage.": "storages, not tensors",
}
EXTRAS = {  # what training scripts save beside weights, or instead of them
    "argparse", "pathlib", "datetime", "decimal", "numpy", "omegaconf", "yacs", "easydict", "addict", "torch", "timm",
    "torchvision", "__main__", "mmengine", "mmcv", "fastai", "ultralytics", "pytorch_lightning", "lightning",
}  # fmt: skip
CODE = re.compile(
    r"torch\.(hub|jit|load|serialization.(?!_get_layout)|package|utils|ops|classes|_dynamo|_inductor|multiprocessing)"
)


def check(path: Path) -> None:
    """Refuse a file that holds anything but tensors and plain values, or takes more room than it has; runs nothing.

    Raises: ModelFileError saying in one line what it holds.
    """
    with open(path, "rb") as file:
        start = file.read(4)
        file.seek(0)
        try:
            pickles = [_checked_zip(file)] if start == b"PK\x03\x04" else _checked_row(file)
        except DAMAGE as error:
            raise ModelFileError(f"it is damaged, or was not copied whole ({first_line(error)[:200]})") from error
    check_names([name for pickle in pickles for name in names(pickle)])


def check_names(found: list[str]) -> None:
    """Refuse what a pickle asks for, if that is more than plain weights take. Raises: ModelFileError."""
    others = [name for name in dict.fromkeys(found) if not PLAIN.fullmatch(name)]
    if not others:
        return
    first, more = printable(others[0][:200]), f" and {len(others) - 1} more" if len(others) > 1 else ""
    for name in others:
        if CODE.match(name) or name.split(".")[0] not in EXTRAS:
            more = f" ({len(others)} such names)" if len(others) > 1 else ""
            raise ModelFileError(f"it asks for {printable(name[:200])}{more}, which is code, not weights")
    kind = next((kind for start, kind in OTHER_TENSORS.items() if others[0].startswith(start)), None)
    if kind:
        raise ModelFileError(f"it holds {kind} ({first}), which are no plain weights")
    raise ModelFileError(
        f"it holds {first}{more} beside weights; where it was made, save the weights alone: "
        f"torch.save(model.state_dict(), FILE)"
    )


def names(pickle: bytes) -> Iterator[str]:
    """The names that a pickle asks for, in order, such as `posix.system`.

    Raises: ModelFileError if the instructions cannot be followed to their end.
    """
    texts: list[str] = []  # those on the stack, as far as a name by STACK_GLOBAL needs them
    memo: dict[int, str] = {}
    instructions: Iterator[tuple[OpcodeInfo, Any, int | None]] = genops(pickle)
    try:
        for instruction, value, _ in instructions:
            kind = instruction.name
            if kind in ("GLOBAL", "INST"):
                yield _modern(*value.split(" ", 1))
            elif kind == "STACK_GLOBAL":
                yield _modern(*["", "", *texts][-2:])
            elif kind.startswith("EXT"):
                yield f"extension.{value}"
            elif kind == "MEMOIZE":
                memo[len(memo)] = texts[-1] if texts else ""
            elif "PUT" in kind:
                memo[int(value)] = texts[-1] if texts else ""
            elif "GET" in kind:
                texts.append(memo.get(int(value), ""))
            elif isinstance(value, str):
                texts.append(value)
            elif kind not in ("FRAME", "PROTO"):
                texts.clear()  # a name that is not two texts side by side is none
            del texts[:-2]
    except (ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"its pickle is damaged ({first_line(error)[:200]})") from error


def _modern(module: str, name: str) -> str:
    """The name in Python 3 of what a pickle asks for: those of protocol 2 use the names of Python 2."""
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}"


def _checked_zip(file: BinaryIO) -> bytes:
    """The pickle in a zip, whose entries are whole and take no more room unpacked than the file does."""
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise ModelFileError(f"it has {len(entries)} entries, more than the {MAX_ENTRIES} allowed")
        paths = [entry.filename for entry in entries]
        if odd := next((path for path in paths if not _is_plain(path)), None):
            raise ModelFileError(f"it has an entry called {printable(odd[:200])}")
        if len(set(paths)) < len(paths) or len({path.split("/")[0] for path in paths}) > 1:
            raise ModelFileError("it has entries of the same name, or in more than one folder")
        if any(path.endswith("/constants.pkl") for path in paths):
            raise ModelFileError("it is a TorchScript program, which is code; save model.state_dict() instead")
        if any(entry.flag_bits & 1 for entry in entries):
            raise ModelFileError("it is encrypted")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ModelFileError("it is a zip that was packed, as torch.save does not")
        if any(entry.compress_size != entry.file_size for entry in entries):
            raise zipfile.BadZipFile("an entry has two sizes")
        if any(entry.external_attr & FOLDER for entry in entries):
            raise zipfile.BadZipFile("an entry is a folder")
        if sum(entry.file_size for entry in entries) > size:
            raise ModelFileError("its entries lie over each other: together they are larger than the file")
        inner = [entry for entry in entries if entry.filename.count("/") == 1 and entry.filename.endswith("/data.pkl")]
        if not inner:
            raise ModelFileError("it is a zip without data.pkl, so torch.save did not write it")
        if inner[0].file_size > MAX_PICKLE_BYTES:
            raise ModelFileError(f"its data.pkl is larger than the {MAX_PICKLE_BYTES >> 20} MB allowed")
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{printable(damaged)} does not fit its checksum")
        return archive.read(inner[0])


def _is_plain(path: str) -> bool:
    is_relative = not path.startswith("/") and "\\" not in path
    return is_relative and path.isprintable() and not {"..", ""}.intersection(path.split("/"))


def _checked_row(file: BinaryIO) -> list[bytes]:
    """The pickles at the start of a file of before PyTorch 1.6."""
    head = file.read(MAX_PICKLE_BYTES)
    if not head:
        raise ModelFileError("it is empty")
    if head[257:262] == b"ustar":
        raise ModelFileError("it is a tar, as PyTorch wrote before 0.2; save model.state_dict() with a newer one")
    if not head.startswith(b"\x80"):
        raise ModelFileError("it is no file of torch.save")
    stream = io.BytesIO(head)
    if LEGACY_MAGIC not in [value for _, value, _ in genops(stream)]:
        check_names(list(names(head)))
        raise ModelFileError("it is a plain pickle, which torch.save did not write")
    found = [head[: stream.tell()]]
    while len(found) < LEGACY_PICKLES:
        start = stream.tell()
        for _ in genops(stream):
            pass
        found.append(head[start : stream.tell()])
    return found
