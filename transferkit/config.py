"""The options of a fine-tuning run, checked, and the numbers that follow from the size of the data."""

import dataclasses
import difflib
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit import augment_file, config_file, kinds
from transferkit.zoo.errors import UsageError

STRATEGIES = ("auto", "probe", "finetune", "lp-ft")
PRECISIONS = ("auto", "fp32", "bf16", "fp32/bf16", "bf16/fp32")
BALANCES = ("none", "weights", "sampler")
THROUGH = {"head": "adam", "network": "adamw"}  # what a search for a learning rate trains, and its usual optimiser
FIRST_ORDER = ("sgd", "momentum", "nesterov", "adam", "adamw")
OPTIMIZERS = (*FIRST_ORDER, "lbfgs")
PATHS = ("data", "out", "backbone", "weights", "augment", "cache_dir")
DECIDING = {"strategy", "freeze", "optimizer", "schedule", "snapshots", "dropout", "dropconnect"}  # other defaults
SCHEDULES = ("constant", "step", "exponential", "inverse", "cosine", "onecycle", "snapshot")
IMAGE_PASSES = 3000  # a fine-tuning shows about as many images, counted once an epoch: 12 epochs of 240, 5 of 600
MAX_VIEWS = 64
HEAD_PASSES = 30_000  # the same for a head on cached features, whose epochs take milliseconds
LR = {"sgd": 3e-2, "momentum": 3e-3, "nesterov": 3e-3, "adam": 1e-3, "adamw": 3e-4}  # Adam's is the lecture's
DECOUPLED_DECAY = 0.05  # of adamw


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
    optimizer: str | None = None  # None: lbfgs for a probe, adamw for fine-tuning
    schedule: str | None = None  # None: cosine, or snapshot where snapshots are asked for
    decay: float | None = None  # step: the factor; exponential and inverse: the rate an epoch
    step_epochs: int | None = None  # epochs between two steps of the step schedule
    layer_decay: float = 0.8  # learning rate of a stage over that of the stage above it
    l2: float | None = None  # lambda of lambda * sum(W ** 2) in the loss; of adamw, the decoupled decay
    dropout: float = 0.0  # share of the features set to zero before the head
    dropconnect: float = 0.0  # share of the head's weights set to zero, anew for each image
    snapshots: int | None = None  # cosine cycles, and members of the ensemble of their minima
    label_smoothing: float = 0.0
    balance: str = "none"
    augment: str = "default"
    views: int | None = None  # of an image, that epochs repeat in turn; 0: a new one each epoch
    image_size: int | None = None  # px; None: what the weights were trained on
    bit_depth: int | None = None  # of values in 16-bit files that do not say it
    val_fraction: float = 0.2
    patience: int = 8  # epochs without a better validation loss
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"  # fp32, bf16, or two of them with a slash: of features and of training
    compile: bool = False  # training goes through torch.compile
    workers: int | None = None  # threads that decode
    cache_dir: str | None = None  # None: cache_folder.default()
    offline: bool = False
    keep_checkpoints: bool = False

    def __post_init__(self):
        kinds.check(vars(self), FinetuneConfig)
        self._check_choice("strategy", STRATEGIES)
        self._check_choice("balance", BALANCES)
        self._check_choice("precision", PRECISIONS)
        self._check_range("epochs", 1, 100_000)
        self._check_range("batch_size", 2, 65_536)
        self._check_range("lr", 1e-9, 100)
        self._check_choice("optimizer", (None, *OPTIMIZERS))
        self._check_choice("schedule", (None, *SCHEDULES))
        self._check_range("decay", 0, 100)
        self._check_range("step_epochs", 1, 100_000)
        self._check_range("layer_decay", 0.01, 1)
        self._check_range("l2", 0, 100)
        self._check_range("dropout", 0, 0.99)
        self._check_range("dropconnect", 0, 0.99)
        self._check_range("snapshots", 2, 100)
        self._check_range("label_smoothing", 0, 0.99)
        self._check_range("views", 0, MAX_VIEWS, why="each view is one more pass over all images, and is kept")
        self._check_range("image_size", 8, 4096)
        self._check_range("bit_depth", 8, 16)
        self._check_range("val_fraction", 0.01, 0.9)
        self._check_range("patience", 1, 100_000)
        self._check_range("seed", 0, 2**63 - 1)
        self._check_range("workers", 0, 1024)
        self._check_together()

    def _check_together(self) -> None:
        if self.strategy == "probe" and self.freeze not in (None, "backbone"):
            raise UsageError(f"--strategy probe freezes the whole backbone; drop --freeze {self.freeze} or use lp-ft")
        if self.optimizer == "lbfgs":
            if not self.fits_head_alone:
                raise UsageError(
                    "--optimizer lbfgs needs the whole gradient, on mini-batches its estimate of curvature is noise; "
                    "use it with --strategy probe, on cached features"
                )
            for name in ("schedule", "snapshots", "dropout", "dropconnect", "batch_size"):
                if getattr(self, name):
                    raise UsageError(
                        f"--optimizer lbfgs fits a head to all images at once and takes no --{_dashed(name)}; drop one"
                    )
        if self.fits_head_alone and self.views == 0:
            raise UsageError("a head alone is fitted to features computed once a view; allowed: --views 1 or more")
        if self.fits_head_alone and (self.views or 1) > 1 and self.augment == "none":
            raise UsageError(f"--augment none gives one view of an image, as it is; drop --views {self.views}")
        if self.fits_head_alone and self.compile:
            raise UsageError("a head alone has no network to train that --compile would speed up; drop one")
        if self.dropout and self.dropconnect:
            raise UsageError("a head drops its inputs or its weights, not both: choose --dropout or --dropconnect")
        if self.snapshots and self.schedule not in (None, "snapshot"):
            raise UsageError(f"--snapshots needs the cycles of --schedule snapshot, not --schedule {self.schedule}")
        if self.schedule == "snapshot" and not self.snapshots:
            raise UsageError("--schedule snapshot needs the number of cycles: add --snapshots 5")
        if self.decay is not None and self.schedule not in ("step", "exponential", "inverse"):
            raise UsageError("--decay is a constant of --schedule step, exponential and inverse; name one of them")
        if self.schedule == "step" and self.decay is not None and not 0 < self.decay <= 1:
            raise UsageError(f"--decay {self.decay} is no factor for --schedule step; allowed: above 0, up to 1")
        if self.step_epochs is not None and self.schedule != "step":
            raise UsageError("--step-epochs is a constant of --schedule step; add it")
        if self.snapshots and self.epochs and self.epochs < self.snapshots:
            raise UsageError(f"{self.snapshots} snapshots need as many epochs; --epochs is {self.epochs}")

    @property
    def fits_head_alone(self) -> bool:
        """Whether all that is trained is a head on features computed once."""
        return self.strategy == "probe" or (self.strategy == "auto" and self.freeze == "backbone")

    @property
    def phases(self) -> tuple[str, ...]:
        """The passes through the network that the run has: of features, of training, or of both in this order."""
        if self.fits_head_alone:
            return ("features",)
        return ("training",) if self.strategy == "finetune" else ("features", "training")

    @property
    def feature_views(self) -> int:
        """How many views features are computed of: the image as it is, mirrored if that may be, then augmented ones."""
        return (self.fits_head_alone and self.views) or (2 if self.mirrors else 1)

    @functools.cached_property
    def mirrors(self) -> bool:
        """Whether the augmentation mirrors images, so that a head may be fitted to mirror images."""
        return augment_file.mirrors(self.augment)

    @property
    def augments_nothing(self) -> bool:
        """Whether features, of images and mirror images alone, are all that a head is fitted to."""
        return self.fits_head_alone and self.feature_views <= (2 if self.mirrors else 1)

    @property
    def unused(self) -> list[str]:
        """The options given that solving for the head does not use."""
        if not self.fits_head_alone or self.fits_on_batches:
            return []
        names = ("epochs", "batch_size", "lr", "label_smoothing")
        return [f"--{_dashed(name)}" for name in names if getattr(self, name)]

    @property
    def fits_on_batches(self) -> bool:
        """Whether the head is trained by mini-batches on the cached features, not solved for by L-BFGS."""
        asked = self.dropout or self.dropconnect or self.snapshots or self.schedule
        return self.fits_head_alone and bool(asked or self.optimizer not in (None, "lbfgs"))

    def _check_choice(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise UsageError(f"--{_dashed(name)} {value!r} is unknown; allowed: {', '.join(filter(None, allowed))}")

    def _check_range(self, name: str, low: float, high: float, *, why: str = "") -> None:
        value = getattr(self, name)
        if value is not None and not low <= value <= high:
            reason = f"; {why}" if why else ""
            raise UsageError(f"--{_dashed(name)} {value} is out of range; allowed: {low} to {high}{reason}")

    def resolved(self, images: int) -> "FinetuneConfig":
        """The same with every number filled in that depends on how many images there are to train on.

        >>> config = FinetuneConfig(data="photos").resolved(images=600)
        >>> config.epochs, config.batch_size
        (5, 32)
        """
        optimizer = self.optimizer or self._default_optimizer()
        if optimizer == "lbfgs":
            return dataclasses.replace(self, optimizer=optimizer, batch_size=None)  # all images at once
        if self.fits_on_batches:
            epochs = min(max(round(HEAD_PASSES / images), 10), 100)
        else:
            epochs = min(max(round(IMAGE_PASSES / images), 4), 20)
        return dataclasses.replace(
            self,
            epochs=self.epochs or max(epochs, 4 * (self.snapshots or 0)),
            batch_size=self.batch_size or min(max(images // 16, 4), 32),
            optimizer=optimizer,
            schedule=self.schedule or ("snapshot" if self.snapshots else "cosine"),
            lr=self.lr or LR[optimizer],
            l2=self._default_l2(optimizer) if self.l2 is None else self.l2,
        )

    def _default_l2(self, optimizer: str) -> float | None:
        if optimizer == "adamw":
            return DECOUPLED_DECAY
        return None if self.fits_head_alone else 1e-4

    def _default_optimizer(self) -> str:
        if self.fits_on_batches:
            return "adam"
        return "lbfgs" if self.fits_head_alone else "adamw"


def make(data: str | Path | None, options: dict[str, Any], *, file: str | Path | None = None) -> FinetuneConfig:
    """The config of `options`, over those in `file` (a YAML or JSON config, or a run.json), over the defaults.

    Raises: UsageError for an option nobody knows, or if no data is named.
    """
    values = dict(config_file.read(Path(file), as_given=bool(DECIDING & options.keys()))) if file is not None else {}
    values.pop("out", None)  # a repeated run has a folder of its own
    values.update((name, kinds.plain(value)) for name, value in options.items())
    if data is not None:
        values["data"] = str(data)
    values |= {name: os.path.expanduser(values[name]) for name in PATHS if isinstance(values.get(name), str)}
    if not values.get("data"):
        raise UsageError("name the images: transferkit finetune DATA (a folder of class folders, or a CSV)")
    known = [field.name for field in dataclasses.fields(FinetuneConfig)]
    for name in map(str, values):
        if name == "processes":
            raise UsageError("processes are started by a command: transferkit finetune ... --processes 2, or torchrun")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(f"unknown option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return FinetuneConfig(**values)


def _dashed(name: str) -> str:
    return name.replace("_", "-")
