"""The numbers of a training from scratch, as plain data, and what one call of it is asked to do."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit import kinds
from transferkit.model.build import CARDS, NAMES
from transferkit.zoo import files
from transferkit.zoo.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All numbers of a training from scratch; those of the embedded networks lie beside their cards.

    Fields: lr_factors, the learning rate of a layer over that of the others; l2, see `optim.make`; rank, in how many
    principal components of the images the first layer of the perceptron is trained; teacher, a network of the zoo
    whose features on the same images, enlarged to teacher_size_px, the network also learns, and teacher_weight, how
    much that counts against the labels.
    """

    network: str
    epochs: int
    batch_size: int
    optimizer: str
    peak_lr: float
    lr_factors: dict[str, float] = dataclasses.field(default_factory=dict)
    warmup_share: float  # of the steps of `epochs`, linear from zero; then a cosine to zero
    restart_epochs: int = 0  # after `epochs`, under a second cosine
    restart_share: float = 0.2  # its highest rate over peak_lr
    l2: float
    label_smoothing: float
    max_shift_px: int
    cutout_px: int = 0  # side of the square that each image loses
    dropout: tuple[float, ...] = (0.0, 0.0)
    dropconnect: float = 0.0
    rank: int | None = None
    teacher: str | None = None
    teacher_size_px: int = 128
    teacher_weight: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if self.network not in NAMES:
            raise UsageError(f"no recipe trains {self.network!r}; there is one for each of {', '.join(NAMES)}")
        if self.network == "cifar_mlp":
            self._check_mlp()
        elif any(self.dropout) or self.dropconnect or self.rank:
            raise UsageError(f"a recipe of {self.network} has no dropout, dropconnect or rank; leave them out")
        if self.epochs < 1 or self.restart_epochs < 0 or self.batch_size < 2:
            raise UsageError(
                f"a recipe has epochs >= 1, restart_epochs >= 0 and batch_size >= 2, not {self.epochs}, "
                f"{self.restart_epochs} and {self.batch_size}"
            )

    @property
    def all_epochs(self) -> int:
        """Those before and after the restart."""
        return self.epochs + self.restart_epochs

    def _check_mlp(self) -> None:
        if not self.rank or len(self.dropout) != 2:
            raise UsageError("a recipe of cifar_mlp has a rank, and two shares of dropout")
        if self.dropconnect and self.dropout[1]:
            raise UsageError("cifar_mlp has dropconnect instead of the second share of dropout; make one of them 0")
        if self.teacher:
            raise UsageError("a recipe of cifar_mlp has no teacher; leave it out, or train cifar_resnet")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training from scratch: on which data, by which recipe, and where its files go.

    Fields: out, the weights; card, recipe and checkpoint lie beside them under the same name. overwrite, whether it
    starts anew where a checkpoint lies, and replaces weights that are there.

    Raises: UsageError if `out` is no safetensors file.
    """

    data: Path
    out: Path
    recipe: Recipe
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self):
        if self.out.suffix != ".safetensors":
            raise UsageError(f"name the weights FILE.safetensors, not {self.out.name}; card and recipe lie beside it")

    @property
    def card_file(self) -> Path:
        """Where the card goes."""
        return self.out.with_suffix(".json")

    @property
    def recipe_file(self) -> Path:
        """Where the recipe goes."""
        return self.out.with_suffix(".recipe.json")

    @property
    def checkpoint(self) -> Path:
        """The folder of the resume state; gone when the weights are written."""
        return self.out.with_suffix(".checkpoint")


def read_recipe(path: Path, **changes: Any) -> Recipe:
    """The recipe in a JSON file, with some of its values changed.

    Raises: UsageError if it is missing or has a value that no recipe has.
    """
    try:
        values: dict[str, Any] = {**files.read_json(path), **changes}
        if unknown := values.keys() - {field.name for field in dataclasses.fields(Recipe)}:
            raise TypeError(f"unknown are {', '.join(sorted(unknown))}")
        kinds.check(values, Recipe, option=f"{path}: {{}}")
        values["dropout"] = tuple(values.get("dropout", (0.0, 0.0)))
        return Recipe(**values)
    except TypeError as error:
        raise UsageError(f"{path} is not a recipe: {error}") from error


def recipe_of(name: str) -> Path:
    """The recipe that the embedded network of that name was trained by."""
    return CARDS / f"{name}.recipe.json"
