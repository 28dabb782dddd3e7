"""CIFAR, or other images shrunk to its size, as arrays: from DATA, a tar of it, or the binary version of CIFAR."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.data import decode, folder, trainable
from transferkit.data.listing import PARTS, Listing, PathTable, class_name
from transferkit.data.photos import source_side
from transferkit.pretraining import encoding, tar
from transferkit.tasks import split
from transferkit.zoo.card import Preprocessing
from transferkit.zoo.errors import DataError, StorageError, UsageError

SIZE_PX = 32
IMAGE_BYTES = 3 * SIZE_PX * SIZE_PX
SHRUNK = Preprocessing(size_px=(SIZE_PX, SIZE_PX), crop_pct=1.0)
HELD_OUT = 0.2  # of the images, where DATA does not say which to score

Files = Mapping[str, Path | bytes]  # by name relative to the data, with forward slashes


@dataclass(frozen=True, kw_only=True, eq=False)
class Cifar:
    """Labelled images to train on and to test with; `classes` is in order of label.

    Fields: tested, what the test images are: "test", "validation" or "held-out"; encoding, that of the first training
    image in words.
    Shapes: images (N, 32, 32, 3) uint8, labels (N,) int64; the same for the test images.
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    tested: str
    encoding: str

    def sha256(self) -> str:
        """The hash of what is trained on: pixels and labels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


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


def read(data: Path, *, seed: int = 0) -> Cifar:
    """The images of DATA (a folder or a CSV), of a tar of such a folder, or of the binary version of CIFAR-10 or -100.

    In folders images are in order of class and file name, elsewhere as they stand. Those of another size are resized
    and cropped to 32 x 32 px, as for any network. To test with are the images of test/, else those of val/, else a
    stratified fifth drawn by `seed`; all others are trained on. A tar is read in memory.

    Raises: UsageError if there is no such path; DataError naming the file that is damaged or missing; StorageError if
    one may not be read.
    """
    if not data.exists():
        raise UsageError(f"no such folder, tar or CSV file: {data}")
    is_tar = data.is_file() and data.suffix.lower() != ".csv"
    try:
        files = tar.read(data) if is_tar else _directly_in(data)
    except OSError as error:
        raise StorageError(f"cannot read {error.filename or data}: {error.strerror or error}") from error
    if not files.keys().isdisjoint(PICKLES):
        raise DataError(f"{data} is the Python version of CIFAR, a pickle, which can run code; take the binary version")
    for version in BINARIES:
        if version.test in files:
            return _from_binary(files, version, data)
    if is_tar:
        listing = _listing(files, data)
        return _from_listing(listing, lambda row: files[listing.paths[row].as_posix()], seed=seed)
    listing = folder.read(data)
    return _from_listing(listing, lambda row: listing.paths[row], seed=seed)


def _directly_in(data: Path) -> Files:
    return {path.name: path for path in data.iterdir() if path.is_file()} if data.is_dir() else {}


def _listing(files: Files, data: Path) -> Listing:
    """The images of class folders in a tar, by their names there; files outside class folders are left out.

    Raises: DataError if there are no two classes to train on.
    """
    names = sorted(name.split("/") for name in files)
    has_parts = any(name[0].casefold() == "train" and len(name) > 2 for name in names)
    if has_parts:
        names = [name for name in names if name[0].casefold() in PARTS]
    depth = int(has_parts)  # of the class folder
    names = [name for name in names if len(name) > depth + 1]
    if not names:
        raise DataError(f"{data} has no class folders, nor is it the binary version of CIFAR; CLASS/IMAGE is expected")
    labels = [class_name(name[depth], data) for name in names]
    classes, numbers = np.unique(labels, return_inverse=True)
    listing = Listing(
        source=data,
        paths=PathTable.from_paths("/".join(name) for name in names),
        labels=numbers.astype(np.int64),
        parts=np.array([PARTS[name[0].casefold()] if has_parts else "" for name in names]),
        classes=tuple(classes.tolist()),
    )
    trainable.check(listing)
    return listing


def _from_listing(listing: Listing, source: Callable[[int], Path | bytes], *, seed: int) -> Cifar:
    """Args: source, where the image of a row is. Raises: DataError naming an image that cannot be read."""
    is_tested, tested = _tested(listing, seed)
    train, test = np.flatnonzero(~is_tested), np.flatnonzero(is_tested)
    images, test_images = (_pixels(listing, source, rows) for rows in (train, test))
    first = source(train[0])
    return Cifar(
        images=images,
        labels=listing.labels[train],
        test_images=test_images,
        test_labels=listing.labels[test],
        classes=listing.classes,
        tested=tested,
        encoding=encoding.describe(first if isinstance(first, bytes) else decode.read_file(first)),
    )


def _tested(listing: Listing, seed: int) -> tuple[np.ndarray, str]:
    """Which images are to test with (N,), and what they are called.

    Raises: DataError if no image can be held out.
    """
    for part, name in (("test", "test"), ("val", "validation")):
        if (listing.parts == part).any():
            return listing.parts == part, name
    is_tested = split.stratified(listing.labels, HELD_OUT, seed=seed, groups=listing.groups)
    if not is_tested.any():
        raise DataError(f"{listing.source} has too few images to hold some out for the score; 2 of a class are needed")
    return is_tested, "held-out"


def _pixels(listing: Listing, source: Callable[[int], Path | bytes], rows: np.ndarray) -> np.ndarray:
    """What the network sees of some images: (n, 32, 32, 3) uint8. Raises: DataError naming one."""
    images = np.empty((len(rows), SIZE_PX, SIZE_PX, 3), np.uint8)
    for number, row in enumerate(rows):
        try:
            images[number] = decode.eval_view(decode.decode(source(row), shrunk_to=source_side(SHRUNK)), SHRUNK)
        except decode.DecodeError as error:
            raise DataError(f"{listing.source}: {listing.relative(row)}: {error}") from error
    return images


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
    return Cifar(
        images=images,
        labels=labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=classes,
        tested="test",
        encoding="the binary version of CIFAR",
    )


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
