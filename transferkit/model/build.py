"""The only door from the library to the zoo's networks."""

from transferkit.zoo.backbone import Backbone
from transferkit.zoo.beside import files_of as files_beside
from transferkit.zoo.card import ModelCard, Preprocessing
from transferkit.zoo.catalog import at_hand, create, files_of, model_folder, rebuild
from transferkit.zoo.catalog import describe as card_of
from transferkit.zoo.depths import deeper_name
from transferkit.zoo.embedded import CARDS, NAMES
from transferkit.zoo.errors import ModelFileError, NetworkError, StorageError
from transferkit.zoo.folding import fold, unfold
from transferkit.zoo.hub import check_name as check_repository
from transferkit.zoo.hub import check_token, send
from transferkit.zoo.hub import folder_of as hub_folder
from transferkit.zoo.layers import Dropping, he_normal, new_head
from transferkit.zoo.lazy_network import assemble, describe
from transferkit.zoo.mlp import CifarMlp
from transferkit.zoo.names import DEPTH, SIDE_BY_SIDE, missing_folder
from transferkit.zoo.packages import PLAIN, best, is_installed
from transferkit.zoo.packed import pack, unpack
from transferkit.zoo.resnet import CifarResNet
from transferkit.zoo.side_by_side import bodies_of
from transferkit.zoo.sizes import refusal
from transferkit.zoo.sources import families
from transferkit.zoo.weights import check_finite

__all__ = [
    "CARDS",
    "DEPTH",
    "NAMES",
    "SIDE_BY_SIDE",
    "Backbone",
    "CifarMlp",
    "CifarResNet",
    "Dropping",
    "ModelCard",
    "Preprocessing",
    "assemble",
    "at_hand",
    "bodies_of",
    "card_of",
    "check_finite",
    "check_repository",
    "check_token",
    "create",
    "deeper_name",
    "describe",
    "families",
    "files_beside",
    "files_of",
    "fold",
    "he_normal",
    "hub_folder",
    "missing_folder",
    "model_folder",
    "named",
    "new_head",
    "open_backbone",
    "pack",
    "rebuild",
    "refusal",
    "send",
    "unfold",
    "unpack",
]

GPU_DEFAULT = "convnext_tiny.in12k_ft_in1k"
EMBEDDED_DEFAULT = "cifar_resnet"


def named(name: str, device: str) -> tuple[str, ...]:
    """The names of networks to take the first of that can be had: those that "auto" means, else the name itself.

    On a CPU none of them needs a hub: a run is the same with a network and without. Where two are installed, the least
    and the best of them are taken side by side.
    """
    if name != "auto":
        return (name,)
    own: tuple[str, ...] = (best(),)
    if best() != PLAIN and is_installed(PLAIN):
        own = (SIDE_BY_SIDE.join((PLAIN, best())), best(), PLAIN)
    return (*(() if device == "cpu" else (GPU_DEFAULT,)), *own, EMBEDDED_DEFAULT)


def open_backbone(
    names: tuple[str, ...], *, weights: str | None, image_size: int | None, offline: bool
) -> tuple[Backbone, str]:
    """The first network of `names` whose pretrained weights can be had, and why it is not the very first, or "".

    Raises: UsageError, ModelFileError, NetworkError, StorageError, of the last one.
    """
    if weights:  # those that are given are for the network that is meant, and a file for one network
        names = tuple(name for name in names if weights == "none" or SIDE_BY_SIDE not in name)[:1] or names[:1]
    *others, last = names
    reason = ""
    for name in others:
        try:
            return create(name, image_size=image_size, offline=offline), reason
        except (NetworkError, StorageError, ModelFileError) as error:
            reason = reason or str(error)
    return create(last, weights=weights, image_size=image_size, offline=offline), reason
