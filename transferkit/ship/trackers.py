"""Experiment trackers that hear of a run while it trains: TensorBoard, MLflow, Weights & Biases, Aim.

Each library is asked for when it is wanted, and left to its own settings: MLFLOW_TRACKING_URI, WANDB_MODE=offline and
so on. Where a record cannot be begun the run does not start; what goes wrong later is said once, and the run goes on.
One that is resumed tells all its lines again, to a record of its own; that of TensorBoard replaces the one before.
"""

import io
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from transferkit.config import trackers_in
from transferkit.ship import curves, pictures
from transferkit.ship.replacement import TENSORBOARD
from transferkit.zoo.errors import UsageError

PROJECT = "transferkit"
LONGEST = 500  # characters of an option's value that MLflow takes


class Tracker(ABC):
    """A record of one run in a library of others. Args: folder of the run, its name, its options."""

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, folder: Path, name: str, options: Mapping[str, Any]): ...

    @abstractmethod
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Figures of a step."""

    @abstractmethod
    def picture(self, name: str, png: bytes) -> None:
        """A picture of the whole run."""

    @abstractmethod
    def end(self, *, is_complete: bool) -> None:
        """Nothing more comes."""


class TensorBoard(Tracker):
    """Event files in RUN/tensorboard: `tensorboard --logdir runs` shows all runs beside each other."""

    name = "tensorboard"

    def __init__(self, folder: Path, name: str, options: Mapping[str, Any]):
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
        self._writer = SummaryWriter(str(folder / TENSORBOARD))
        self._writer.add_text("options", "\n".join(f"    {key}: {value}" for key, value in options.items()))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def picture(self, name: str, png: bytes) -> None:
        self._writer.add_image(name, pictures.pixels(png), dataformats="HWC")

    def end(self, *, is_complete: bool) -> None:
        self._writer.close()


class MLflow(Tracker):
    """A run of the experiment "transferkit"."""

    name = "mlflow"

    def __init__(self, folder: Path, name: str, options: Mapping[str, Any]):
        from mlflow import MlflowClient

        self._client = MlflowClient()
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in options.items():
            self._client.log_param(self._run, key, str(value)[:LONGEST])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._client.log_metric(self._run, key, value, step=step)

    def picture(self, name: str, png: bytes) -> None:
        self._client.log_image(self._run, pictures.pixels(png), artifact_file=f"{name}.png")

    def end(self, *, is_complete: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if is_complete else "KILLED")


class WandB(Tracker):
    """A run of the project "transferkit", unless WANDB_PROJECT says another."""

    name = "wandb"

    def __init__(self, folder: Path, name: str, options: Mapping[str, Any]):
        import wandb  # pyright: ignore[reportMissingImports]  an extra

        self._library = wandb
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self._run = wandb.init(project=project, name=name, config=dict(options), dir=str(folder), reinit="create_new")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "epoch": step})

    def picture(self, name: str, png: bytes) -> None:
        self._run.log({name: self._library.Image(pictures.pixels(png))})

    def end(self, *, is_complete: bool) -> None:
        self._run.finish(exit_code=0 if is_complete else 1)


class Aim(Tracker):
    """A run of the experiment "transferkit", in the `.aim` of the current folder or of the nearest one above it."""

    name = "aim"

    def __init__(self, folder: Path, name: str, options: Mapping[str, Any]):
        import aim  # pyright: ignore[reportMissingImports]  an extra

        self._library = aim
        self._run = aim.Run(experiment=PROJECT, system_tracking_interval=None, capture_terminal_logs=False)
        self._run.name = name
        self._run["options"] = {key: str(value) for key, value in options.items()}

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._run.track(value, name=key, step=step)

    def picture(self, name: str, png: bytes) -> None:
        self._run.track(self._library.Image(Image.open(io.BytesIO(png)), format="png"), name=name)

    def end(self, *, is_complete: bool) -> None:
        self._run.add_tag("complete" if is_complete else "stopped")
        self._run.close()


TABLE: dict[str, type[Tracker]] = {each.name: each for each in (TensorBoard, MLflow, WandB, Aim)}  # choices.TRACKERS


class Listeners:
    """All trackers of a run, until the end of a block; one that fails is told of and left out from then on."""

    def __init__(self):
        self._trackers: list[Tracker] = []
        self._say: Callable[[str], None] = print

    def __enter__(self) -> "Listeners":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._all("end", is_complete=kind is None)

    def open(self, folder: Path, options: Mapping[str, Any], *, name: str, say: Callable[[str], None]) -> None:
        """Begin a record in each tracker that the option `log` names; `say` hears of those that fail later.

        Raises: UsageError if one cannot begin.
        """
        self._say = say
        for each in trackers_in(options["log"]):
            try:
                self._trackers.append(TABLE[each](folder, name, options))
            except Exception as error:  # of a library, any
                raise UsageError(f"--log {each}: {_words(error)}") from error

    def line(self, line: dict[str, Any]) -> None:
        """A line of metrics.jsonl: its figures, at its epoch, or of a probe at the place of its L2 on the path."""
        values = {f"{part}/{key}": value for part in ("train", "val") for key, value in line[part].items()}
        values |= {key: line[key] for key in ("lr", "l2", "seconds") if line.get(key) is not None}
        if line["phase"] == "probe":
            network = re.sub(r"[^\w.-]", "_", line.get("network", ""))  # MLflow takes few other characters
            place = "/".join(filter(None, ("probe", network)))
            values = {f"{place}/{key}": value for key, value in values.items()}
        self._all("scalars", values, line["epoch"])

    def result(self, run: Path, metrics: Mapping[str, Any]) -> None:
        """What the run in that folder came to: the scores of each part, the curves, who is taken for whom."""
        if not self._trackers:
            return
        for part in ("val", "test"):
            block = metrics[part] or {}
            scores = {f"result/{part}/{key}": each for key, each in block.items() if isinstance(each, float)}
            self._all("scalars", scores, 0)
        chosen = (metrics["snapshots"] or {}).get("chosen")
        for name, figure in curves.draw(curves.read(run), chosen=chosen).items():
            self._all("picture", name.replace("/", "_"), curves.png(figure))  # MLflow makes a path of it
        judged = metrics["test"] or metrics["val"]
        if "confusion" in judged:
            self._all("picture", "confusion", pictures.confusion(judged["confusion"], metrics["classes"]))

    def _all(self, what: str, *values: Any, **options: Any) -> None:
        for tracker in list(self._trackers):
            with self._guarded(tracker.name):
                getattr(tracker, what)(*values, **options)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a server that is away, a full disk: no reason to lose a training
            self._trackers = [each for each in self._trackers if each.name != name]
            self._say(f"{name} hears no more of this run: {_words(error)}")


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
