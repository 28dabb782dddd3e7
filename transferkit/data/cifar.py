"""CIFAR, or other small images, as arrays: from class folders, a tar of them, or the binary version of CIFAR."""

import lzma
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

from transferkit.data import decode
from transferkit.zoo.errors import DataError, StorageError, UsageError

SIZE_PX = 32
IMAGE_BYTES = 3 * SIZE_PX * SIZE_PX
MAX_TAR_BYTES = 1 << 30  # unpacked; the binary version of CIFAR has 184 MB
PARTS = ("train", "test")

Files = dict[str, Path | bytes]  # by name relative to the data, with forward slashes


@dataclass(frozen=True, kw_only=True, eq=False)
class Cifar:
    """Labelled images to train on and to test with; `classes` is in order of label.

    Shapes: images (N, 32, 32, 3) uint8, labels (N,) int64; the same for the test images.
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Binary:
    """The files of a binary version: records of `label_bytes`, the last of which counts, and one image.

    Source: "Binary version" on https://www.cs.toronto.edu/~kriz/cifar.html
    """

    train: tuple[str, ...]
    test: str
    classes: str
    label_bytes: int


BINARIES = (
    Binary(
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test="test_batch.bin",
        classes="batches.meta.txt",
        label_bytes=1,
    ),
    Binary(train=("train.bin",), test="test.bin", classes="fine_label_names.txt", label_bytes=2),  # coarse, fine
)
PICKLES = ("batches.meta", "meta")  # files of the Python versions of CIFAR-10 and CIFAR-100


def read(data: Path) -> Cifar:
    """The images of a folder or a tar: train/ and test/ of class folders, or the binary version of CIFAR-10 or -100.

    In class folders images are in order of class and file name, in the binary version as they stand. A tar is read in
    memory; nothing of it is written to disk.

    Raises: UsageError if there is no such path; DataError naming the file that is damaged, missing or not 32 x 32;
    StorageError if one may not be read.
    """
    try:
        if data.is_dir():
            files = _in_folder(data)
        elif data.is_file():
            files = _in_tar(data)
        else:
            raise UsageError(f"no such folder or tar: {data}")
    except OSError as error:
        raise StorageError(f"cannot read {error.filename or data}: {error.strerror or error}") from error
    if not files.keys().isdisjoint(PICKLES):
        raise DataError(f"{data} is the Python version of CIFAR, a pickle, which can run code; take the binary version")
    for version in BINARIES:
        if version.test in files:
            return _from_binary(files, version, data)
    return _from_class_folders(files, data)


def _in_folder(folder: Path) -> Files:
    """Nothing deeper than part/CLASS/IMAGE is looked at, whatever else lies in the folder."""
    paths = [path for path in folder.iterdir() if path.is_file()]
    for part in PARTS:
        paths += folder.glob(f"{part}/*/*")
    return {path.relative_to(folder).as_posix(): path for path in paths if not _is_hidden(path.relative_to(folder))}


def _in_tar(path: Path) -> Files:
    """The files of a tar, less the folders that all of them are in.

    Raises: DataError if it is no tar, damaged, or holds links or more than 1 GB.
    """
    try:
        with tarfile.open(path) as tar:
            members = _members(tar, path)
    except PermissionError:  # no fault of its content
        raise
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path} is no tar, or a damaged or truncated one") from error
    shown = {name: content for name, content in members.items() if not _is_hidden(name)}
    return {name.as_posix(): content for name, content in _less_root(shown).items()}


def _members(tar: tarfile.TarFile, path: Path) -> dict[PurePosixPath, bytes]:
    members: dict[PurePosixPath, bytes] = {}
    size = 0
    for member in tar:
        if member.isdir():
            continue
        if not member.isreg():
            raise DataError(f"{path}: {member.name} is a link or a device; a tar of plain files is read")
        size += member.size
        if size > MAX_TAR_BYTES:
            raise DataError(f"{path} holds more than the {MAX_TAR_BYTES >> 20} MB that are read")
        members[PurePosixPath(member.name)] = tar.extractfile(member).read()
    tar.fileobj.seek(tar.offset)  # tarfile takes a damaged header for the end; the end is a block of zeros
    if tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("a header is damaged")
    return members


def _less_root(files: dict[PurePosixPath, bytes]) -> dict[PurePosixPath, bytes]:
    """The same without the folders that all files are in, unless that is train/ or test/."""
    roots = {name.parts[0] for name in files}
    if len(roots) != 1 or roots <= set(PARTS) or any(len(name.parts) == 1 for name in files):
        return files
    return _less_root({PurePosixPath(*name.parts[1:]): content for name, content in files.items()})


def _is_hidden(name: PurePath) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _from_class_folders(files: Files, data: Path) -> Cifar:
    """Raises: DataError naming a file that is damaged or of another size, or a part that is missing."""
    images, labels, classes = _part(files, "train", data)
    test_images, test_labels, test_classes = _part(files, "test", data)
    if test_classes != classes:
        odd = sorted({*classes} ^ {*test_classes})[0]
        raise DataError(f"{data} has other classes in test/ than in train/; {odd!r} is in one of them only")
    return Cifar(images=images, labels=labels, test_images=test_images, test_labels=test_labels, classes=classes)


def _part(files: Files, part: str, data: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The images and labels of one part and its classes, in order of class and file name."""
    paths = sorted(path for path in (name.split("/") for name in files) if path[0] == part and len(path) > 2)
    if not paths:
        raise DataError(f"{data} has no {part}/CLASS/IMAGE, nor is it the binary version of CIFAR")
    classes = tuple(sorted({path[1] for path in paths}))
    number = {name: label for label, name in enumerate(classes)}
    images = np.empty((len(paths), SIZE_PX, SIZE_PX, 3), np.uint8)
    for row, path in enumerate(paths):
        name = "/".join(path)
        if len(path) > 3:
            raise DataError(f"{data}: {name} lies deeper than {part}/CLASS/IMAGE")
        images[row] = _pixels(files[name], f"{data}: {name}")
    return images, np.array([number[path[1]] for path in paths], np.int64), classes


def _pixels(source: Path | bytes, name: str) -> np.ndarray:
    """The pixels of one image. Raises: DataError naming it."""
    try:
        image = decode.decode(source)
    except decode.DecodeError as error:
        raise DataError(f"{name}: {error}") from error
    if image.size != (SIZE_PX, SIZE_PX):
        raise DataError(f"{name} is {image.width} x {image.height} px; {SIZE_PX} x {SIZE_PX} are needed")
    return np.asarray(image)


def _from_binary(files: Files, version: Binary, data: Path) -> Cifar:
    """Raises: DataError naming a file that is missing, truncated, or has a label that has no name."""
    lines = _content(files, version.classes, data).decode("utf-8", "replace").splitlines()
    classes = tuple(line.strip() for line in lines if line.strip())
    parts = [_records(files, name, version, data) for name in (*version.train, version.test)]
    for name, (_, labels) in zip((*version.train, version.test), parts):
        if labels.max() >= len(classes):
            raise DataError(f"{data}: {name} has label {labels.max()}; {version.classes} names {len(classes)} classes")
    *train, (test_images, test_labels) = parts
    images, labels = (np.concatenate(arrays) for arrays in zip(*train))
    return Cifar(images=images, labels=labels, test_images=test_images, test_labels=test_labels, classes=classes)


def _records(files: Files, name: str, version: Binary, data: Path) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of one binary file."""
    content = _content(files, name, data)
    size = version.label_bytes + IMAGE_BYTES
    if not content or len(content) % size:
        raise DataError(f"{data}: {name} is truncated: {len(content)} bytes are no multiple of {size}")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    images = records[:, version.label_bytes :].reshape(-1, 3, SIZE_PX, SIZE_PX).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, version.label_bytes - 1].astype(np.int64)


def _content(files: Files, name: str, data: Path) -> bytes:
    """The bytes of a file. Raises: DataError naming it if it is missing or may not be read."""
    if name not in files:
        raise DataError(f"{data} has no {name}, which belongs to the binary version of CIFAR")
    source = files[name]
    try:
        return source if isinstance(source, bytes) else decode.read_file(source)
    except decode.DecodeError as error:
        raise DataError(f"{data}: {name}: {error}") from error
