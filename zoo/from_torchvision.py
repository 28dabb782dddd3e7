"""Any torchvision classifier, or another network that ends in a linear layer, as a Backbone."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import torchvision
from torch import Tensor, nn
from torchvision.models import SqueezeNet, get_model, get_model_weights

from transferkit.zoo.backbone import Anatomy, Backbone
from transferkit.zoo.card import ModelCard, Preprocessing
from transferkit.zoo.downloads import from_url
from transferkit.zoo.errors import UsageError
from transferkit.zoo.files import read_safetensors, sha256
from transferkit.zoo.stages import group_by_children
from transferkit.zoo.weights import load_state

AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads that only help training from scratch
BRANCHED = {"aux_logits": False, "init_weights": False, "transform_input": True}  # the last is what the weights expect
ARGUMENTS = {"googlenet": BRANCHED, "inception_v3": BRANCHED}
FIXED_SIZE = ("maxvit", "vit_")  # the start of the names of networks built for one image size


def names() -> list[str]:
    """The classifiers that torchvision has."""
    return torchvision.models.list_models(module=torchvision.models)


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A torchvision network before it is built. `is_linear`: its new head has no rectifier after it (SqueezeNet)."""

    architecture: str
    size_px: int | None = None
    is_linear: bool = False

    def __post_init__(self):
        if self.architecture not in names():
            raise UsageError(f"torchvision has no classifier named {self.architecture!r}")

    def resized(self, size_px: int) -> "Blueprint":
        """The same for square images of another size. Raises: UsageError if the network is made for one size."""
        if self.architecture.startswith(FIXED_SIZE):
            raise UsageError(
                f"torchvision:{self.architecture} is built for one image size; timm's networks can change it"
            )
        return dataclasses.replace(self, size_px=size_px)

    def pretrained(self, *, offline: bool) -> Path:
        """torchvision's default weights, downloaded and converted once. Raises: NetworkError, ModelFileError."""
        return from_url(get_model_weights(self.architecture)["DEFAULT"].url, offline=offline)

    def build(self, *, num_classes: int | None = None, weights: Path | None = None) -> Backbone:
        """The network with the weights of a file, or random ones; without `num_classes` it keeps the head it has.

        Raises: ModelFileError if the file does not fit.
        """
        if weights is None:
            return self._wrap(num_classes or 1000)
        tensors = _with_new_names(read_safetensors(weights))
        weight = tensors.get(f"{self._wrap(1).heads[0]}.weight")
        backbone = self._wrap(1000 if weight is None else len(weight), sha256=sha256(weights))
        load_state(backbone.model, tensors, source=weights)
        if num_classes not in (None, backbone.num_classes):
            backbone.reset_head(num_classes)
        return backbone

    def card(self) -> ModelCard:
        """What is known without building it: all but the number of parameters and the hash of the weights."""
        default = get_model_weights(self.architecture)["DEFAULT"]
        transform = default.transforms()
        size = self.size_px or transform.crop_size[0]
        return ModelCard(
            name=f"torchvision:{self.architecture}",
            architecture=self.architecture,
            preprocessing=Preprocessing(
                size_px=(size, size),
                mean=tuple(transform.mean),
                std=tuple(transform.std),
                interpolation=transform.interpolation.value,
                crop_pct=transform.crop_size[0] / transform.resize_size[0],
            ),
            classes=tuple(default.meta["categories"]),
            license="BSD-3-Clause",
            source=default.url,
        )

    def _wrap(self, num_classes: int, *, sha256: str = "") -> Backbone:
        name = self.architecture
        model = get_model(name, weights=None, num_classes=num_classes, **ARGUMENTS.get(name, {}))
        parameters = sum(parameter.numel() for parameter in model.parameters())
        card = dataclasses.replace(self.card(), parameters=parameters, sha256=sha256)
        if num_classes != len(card.classes):
            card = dataclasses.replace(card, classes=())
        spec = {"family": "torchvision", "architecture": name, "model_args": {}}
        backbone = Backbone(model, dissect(model), card=card, spec=spec)
        if self.is_linear:
            backbone.make_linear()
        return backbone


def dissect(model: nn.Module) -> Anatomy:
    """The final layer and parameter groups of a network whose last linear layer, as registered, makes the logits.

    Raises: UsageError if it has no such layer.
    """
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    linear = [name for name, module in layers if isinstance(module, nn.Linear)]
    squeezed = isinstance(model, SqueezeNet)
    if not linear and not squeezed:
        raise UsageError(f"{type(model).__name__} does not end in a linear layer")
    return Anatomy(
        heads=("classifier.1",) if squeezed else (linear[-1],),
        groups=group_by_children(name for name, _ in model.named_parameters()),
        nonlinear=("classifier.2",) if squeezed else (),
    )


def _with_new_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without auxiliary heads, a DenseNet's `norm.1` read as `norm1`, as torchvision reads its files."""
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)")
    return {old.sub(r"\1\2", name): tensor for name, tensor in tensors.items() if not name.startswith(AUXILIARY)}
