"""The options of a run as they are given, checked together, and as they are once the data is known."""

import dataclasses
import difflib
import functools
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit import config_file, durations, kinds
from transferkit.choices import BEST, NOTHING, TRACKERS
from transferkit.options import Options
from transferkit.train import strategies
from transferkit.train.strategies import Strategy
from transferkit.zoo.errors import UsageError

PATHS = ("data", "out", "backbone", "weights", "augment", "cache_dir")
# options that give others another default
DECIDING = {"augment", "strategy", "freeze", "optimizer", "schedule", "snapshots", "dropout", "dropconnect"} | {
    "backbone", "weights", "views", "mixup", "cutmix"  # of what is frozen
}  # fmt: skip
DECAYING = ("step", "exponential", "inverse")  # schedules with a constant


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(Options):
    """The options of a run, every default that depends on the images filled in: those of run.json."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Options):
    """The options of a run as they are given; None means that a default is worked out from the data.

    Raises: UsageError naming the option, the value and what is allowed, or which options contradict each other.
    """

    def __post_init__(self):
        super().__post_init__()
        self.chosen_strategy  # noqa: B018 - it checks the options
        for name in trackers_in(self.log):
            if name not in TRACKERS:
                raise UsageError(f"--log {name} is unknown; allowed, with commas between: {', '.join(TRACKERS)}")
            if importlib.util.find_spec(name) is None:
                raise UsageError(f"--log {name} needs its library: pip install 'transferkit[{name}]'")
        if self.budget is not None:
            durations.seconds(self.budget)
        if self.backbone == BEST and self.weights:
            raise UsageError("--backbone best chooses by the weights that networks have; drop --weights, or name one")
        if self.dropout and self.dropconnect:
            raise UsageError("a head drops its inputs or its weights, not both: choose --dropout or --dropconnect")
        if self.mixes and self.freeze not in (None, NOTHING) and self.views and self.chosen_strategy.trains_network:
            raise UsageError(
                "--mixup and --cutmix mix images, and with --freeze and --views frozen stages see each image alone; "
                "drop --views"
            )
        if self.snapshots and self.schedule not in (None, "snapshot"):
            raise UsageError(f"--snapshots needs the cycles of --schedule snapshot, not --schedule {self.schedule}")
        if self.schedule == "snapshot" and not self.snapshots:
            raise UsageError("--schedule snapshot needs the number of cycles: add --snapshots 5")
        if self.decay is not None and self.schedule not in DECAYING:
            raise UsageError("--decay is a constant of --schedule step, exponential and inverse; name one of them")
        if self.schedule == "step" and self.decay is not None and not 0 < self.decay <= 1:
            raise UsageError(f"--decay {self.decay} is no factor for --schedule step; allowed: above 0, up to 1")
        if self.compounding and (self.decay is None or self.schedule not in ("exponential", "inverse")):
            raise UsageError("--compounding is for --schedule exponential and inverse with their --decay; add both")
        if self.step_epochs is not None and self.schedule != "step":
            raise UsageError("--step-epochs is a constant of --schedule step; add it")
        if self.snapshots and self.epochs and self.epochs < self.snapshots:
            raise UsageError(f"{self.snapshots} snapshots need as many epochs; --epochs is {self.epochs}")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with each other."""
        return bool(self.mixup or self.cutmix)

    @functools.cached_property
    def chosen_strategy(self) -> Strategy:
        """The strategy that the options come to."""
        return strategies.of(self)

    def resolved(self, images: int, *, are_few: bool) -> ResolvedConfig:
        """The same with every number filled in that depends on how many images there are to train on.

        Args: are_few, whether all images are trained on again, once those that validate have judged.

        >>> config = FinetuneConfig(data="photos", strategy="lp-ft").resolved(images=600, are_few=True)
        >>> config.epochs, config.batch_size
        (5, 32)
        """
        return ResolvedConfig(**dataclasses.asdict(self) | self.chosen_strategy.defaults(self, images, are_few=are_few))


def trackers_in(log: str | None) -> list[str]:
    """The names in `--log`.

    >>> trackers_in("mlflow, tensorboard")
    ['mlflow', 'tensorboard']
    """
    return [name.strip() for name in (log or "").split(",") if name.strip()]


def as_recorded(config: dict[str, Any]) -> dict[str, Any]:
    """The resolved options of a run.json, all of them.

    Where a network was trained and none are named, no stages were frozen: they were not by default, once.
    """
    trains = config.get("strategy") in [strategy.name for strategy in strategies.TABLE if strategy.trains_network]
    return config | ({"freeze": NOTHING} if trains and config.get("freeze", NOTHING) is None else {})


def make(data: str | Path | None, options: dict[str, Any], *, file: str | Path | None = None) -> FinetuneConfig:
    """The config of `options`, over those in `file` (a YAML or JSON config, or a run.json), over the defaults.

    Raises: UsageError for an option nobody knows, or if no data is named.
    """
    values: dict[str, Any] = {}
    if file is not None:
        found, is_resolved = config_file.read(Path(file), as_given=bool(DECIDING & options.keys()))
        values = as_recorded(found) if is_resolved else dict(found)
    values.pop("out", None)  # a repeated run has a folder of its own
    values.update((name, kinds.plain(value)) for name, value in options.items())
    if data is not None:
        values["data"] = str(data)
    values |= {name: os.path.expanduser(values[name]) for name in PATHS if isinstance(values.get(name), str)}
    if not values.get("data"):
        raise UsageError("name the images: transferkit finetune DATA (a folder of class folders, or a CSV)")
    known = [field.name for field in dataclasses.fields(Options)]
    for name in map(str, values):
        if name == "processes":
            raise UsageError("processes are started by a command: transferkit finetune ... --processes 2, or torchrun")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(f"unknown option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return FinetuneConfig(**values)
