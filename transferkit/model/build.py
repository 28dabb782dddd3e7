"""The only door from the library to the zoo's networks."""

from transferkit.zoo.backbone import Backbone
from transferkit.zoo.card import ModelCard, Preprocessing
from transferkit.zoo.catalog import create, files_of, model_folder, rebuild
from transferkit.zoo.embedded import CARDS, NAMES
from transferkit.zoo.errors import NetworkError, StorageError
from transferkit.zoo.folding import fold
from transferkit.zoo.layers import Dropping, he_normal, new_head
from transferkit.zoo.lazy_network import assemble, describe
from transferkit.zoo.mlp import CifarMlp
from transferkit.zoo.packed import pack, unpack
from transferkit.zoo.resnet import CifarResNet
from transferkit.zoo.sizes import refusal
from transferkit.zoo.sources import families
from transferkit.zoo.weights import check_finite

__all__ = [
    "CARDS",
    "NAMES",
    "Backbone",
    "CifarMlp",
    "CifarResNet",
    "Dropping",
    "ModelCard",
    "Preprocessing",
    "assemble",
    "check_finite",
    "create",
    "describe",
    "families",
    "files_of",
    "fold",
    "he_normal",
    "model_folder",
    "named",
    "new_head",
    "open_backbone",
    "pack",
    "rebuild",
    "refusal",
    "unpack",
]

DEFAULTS = {"cpu": "mobilenetv3_large_100.ra_in1k", "gpu": "convnext_tiny.in12k_ft_in1k"}
EMBEDDED_DEFAULT = "cifar_resnet"


def named(name: str, device: str) -> str:
    """The name itself, or for "auto" that of a small ImageNet network which suits the device."""
    return DEFAULTS["cpu" if device == "cpu" else "gpu"] if name == "auto" else name


def open_backbone(
    name: str, *, weights: str | None, image_size: int | None, offline: bool, device: str
) -> tuple[Backbone, str]:
    """The network of a name, and a line to tell the user, or "".

    "auto" is the one that `named` says, or the embedded network where that cannot be had.

    Raises: UsageError, ModelFileError, NetworkError.
    """
    if name != "auto":
        return create(name, weights=weights, image_size=image_size, offline=offline), ""
    wanted = named(name, device)
    try:
        return create(wanted, weights=weights, image_size=image_size, offline=offline), f"backbone {wanted}"
    except (NetworkError, StorageError) as error:
        note = f"backbone {EMBEDDED_DEFAULT}, which is embedded: {error}"
        return create(EMBEDDED_DEFAULT, weights=weights, image_size=image_size), note
