"""The options of a fine-tuning run, checked, and the numbers that follow from the size of the data."""

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.zoo import files
from transferkit.zoo.errors import UsageError

STRATEGIES = ("auto", "probe", "finetune", "lp-ft")
BALANCES = ("none", "weights", "sampler")
IMAGE_PASSES = 3000  # a fine-tuning shows about as many images, counted once an epoch: 12 epochs of 240, 5 of 600


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Every option of `transferkit finetune`; None means that a default is worked out from the data.

    Raises: UsageError naming the option, the value and what is allowed.
    """

    data: str
    out: str | None = None  # None: runs/NAME-N
    backbone: str = "auto"
    weights: str | None = None  # a safetensors file, or "none" for random weights
    strategy: str = "auto"
    freeze: str | None = None  # a stage, or "backbone"
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None  # of the last stage before the head; deeper stages get less
    layer_decay: float = 0.8  # learning rate of a stage over that of the stage above it
    l2: float = 0.05  # decoupled weight decay of AdamW
    dropout: float = 0.0  # before the head
    label_smoothing: float = 0.0
    balance: str = "none"
    augment: str = "default"
    image_size: int | None = None  # px; None: what the weights were trained on
    val_fraction: float = 0.2
    patience: int = 8  # epochs without a better validation loss
    seed: int = 0
    device: str = "auto"
    workers: int | None = None  # threads that decode
    offline: bool = False
    keep_checkpoints: bool = False

    def __post_init__(self):
        self._check_choice("strategy", STRATEGIES)
        self._check_choice("balance", BALANCES)
        self._check_range("epochs", 1, 100_000)
        self._check_range("batch_size", 2, 65_536)
        self._check_range("lr", 1e-9, 100)
        self._check_range("layer_decay", 0.01, 1)
        self._check_range("l2", 0, 100)
        self._check_range("dropout", 0, 0.99)
        self._check_range("label_smoothing", 0, 0.99)
        self._check_range("image_size", 8, 4096)
        self._check_range("val_fraction", 0.01, 0.9)
        self._check_range("patience", 1, 100_000)
        self._check_range("seed", 0, 2**63 - 1)
        self._check_range("workers", 0, 1024)
        if self.strategy == "probe" and self.freeze not in (None, "backbone"):
            raise UsageError(f"--strategy probe freezes the whole backbone; drop --freeze {self.freeze} or use lp-ft")
        if self.strategy == "probe" and self.dropout:
            raise UsageError(
                "--strategy probe solves for the head exactly and takes no --dropout; use --strategy lp-ft"
            )

    def _check_choice(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise UsageError(f"--{_dashed(name)} {value!r} is unknown; allowed: {', '.join(allowed)}")

    def _check_range(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{_dashed(name)} {value} is out of range; allowed: {low} to {high}")

    def resolved(self, images: int) -> "FinetuneConfig":
        """The same with every number filled in that depends on how many images there are to train on.

        >>> config = FinetuneConfig(data="photos").resolved(images=600)
        >>> config.epochs, config.batch_size
        (5, 32)
        """
        return dataclasses.replace(
            self,
            epochs=self.epochs or min(max(round(IMAGE_PASSES / images), 4), 20),
            batch_size=self.batch_size or min(max(images // 16, 4), 32),
            lr=self.lr or 3e-4,
        )


def make(data: str | Path | None, options: dict[str, Any], *, file: str | Path | None = None) -> FinetuneConfig:
    """The config of `options`, over those in `file` (a YAML or JSON config, or a run.json), over the defaults.

    Raises: UsageError for an option nobody knows, or if no data is named.
    """
    values = dict(read(Path(file))) if file is not None else {}
    values.pop("out", None)  # a repeated run has a folder of its own
    values.update(options)
    if data is not None:
        values["data"] = str(data)
    if not values.get("data"):
        raise UsageError("name the images: transferkit finetune DATA (a folder of class folders, or a CSV)")
    known = [field.name for field in dataclasses.fields(FinetuneConfig)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(f"unknown option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    try:
        return FinetuneConfig(**values)
    except TypeError as error:
        raise UsageError(f"an option has a value of the wrong kind: {error}") from error


def read(path: Path) -> dict[str, Any]:
    """The options in a YAML or JSON file; of a run.json, those under "config".

    Raises: UsageError if it is missing or holds no options.
    """
    if path.suffix == ".json":
        values = files.read_json(path)
    else:
        import yaml

        if not path.is_file():
            raise UsageError(f"no such file: {path}")
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no options; write lines such as 'epochs: 10'")
    return values.get("config", values)


def _dashed(name: str) -> str:
    return name.replace("_", "-")
