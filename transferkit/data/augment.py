"""Random views of a photo, each a pure function of one seed. The only file that imports albumentations.

Where that cannot be imported, torchvision makes the views of presets.
"""

import copy
import functools
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from transferkit import augment_file, presets, ranks
from transferkit.augment_file import one_line
from transferkit.augment_steps import ALBUMENTATIONS, TORCHVISION, Step
from transferkit.data.decode import Decoded, eval_view
from transferkit.progress import Progress
from transferkit.zoo.card import Preprocessing
from transferkit.zoo.errors import UsageError

Pipeline = Callable[[np.ndarray, int], np.ndarray]  # pixels (H, W, 3) uint8 and a seed to a view of any size


def load(name_or_file: str | Path, preprocessing: Preprocessing) -> "Augment":
    """The augmentation of a preset's name, or of a JSON or YAML file as `albumentations.to_dict` describes it.

    Raises: UsageError if it is neither, if the file names a transform that is not in `augment_file.TRANSFORMS`, or if
    there is a file and albumentations cannot be imported.
    """
    name = str(name_or_file)
    if preset := presets.find(name):
        return _of(preset.steps, preprocessing, name=name)
    pipeline = _from_file(Path(name_or_file))
    return Augment(functools.partial(_copied, pipeline), preprocessing, name=name, engine=ALBUMENTATIONS)


def certain(step: Step | None, preprocessing: Preprocessing) -> "Augment":
    """The augmentation that is one step, drawn for every photo (a quarter turn may be by none); or none."""
    steps = (replace(step, p=1),) if step else ()
    return _of(steps, preprocessing, name=step.name if step else "none")


def _of(steps: tuple[Step, ...], preprocessing: Preprocessing, *, name: str) -> "Augment":
    if not steps:
        return Augment(None, preprocessing, name=name)
    engine = TORCHVISION if why_missing() else ALBUMENTATIONS  # here, once: other processes must take the same
    make = functools.partial(_by_torchvision if why_missing() else _by_albumentations, steps, preprocessing)
    return Augment(make, preprocessing, name=name, engine=engine)


class Augment:
    """Maps a decoded photo and a seed to a view; safe to call from many threads: each has a pipeline of its own.

    `make` makes one; None is for no augmentation. `engine` is the library that it is of, "" where there is none.
    """

    def __init__(
        self, make: Callable[[], Pipeline] | None, preprocessing: Preprocessing, *, name: str, engine: str = ""
    ):
        self.name = name
        self.engine = engine
        self._make = make
        self.preprocessing = preprocessing
        self._own = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        """For another process, whose threads make pipelines of their own."""
        return self.__dict__ | {"_own": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_own": threading.local()}

    def start(self) -> None:
        """Make the pipeline of this thread, if it has none: the first one of a process takes a second, for imports."""
        if self._make and not hasattr(self._own, "pipeline"):
            self._own.pipeline = self._make()

    def __call__(self, image: Decoded, *, seed: int) -> np.ndarray:
        """The view that `seed` stands for.

        Shapes: (H, W, 3) uint8 with (H, W) = `size_px`; what is left at another size is resized and cropped as for
        evaluation.
        Raises: UsageError if the transforms fail on this image or give no uint8 RGB.
        """
        if self._make is None:
            return eval_view(image, self.preprocessing)
        self.start()
        pixels = np.asarray(image)
        try:
            view = self._own.pipeline(pixels, seed)
        except Exception as error:  # transforms raise anything, from OpenCV's own error to KeyError
            size = f"{pixels.shape[1]} x {pixels.shape[0]} px"
            raise UsageError(f"augmentation {self.name} failed on an image of {size}: {one_line(error)}") from error
        if view.dtype != np.uint8 or view.ndim != 3 or view.shape[2] != 3:
            raise UsageError(
                f"augmentation {self.name} gives {view.dtype} of shape {view.shape}; it must give uint8 RGB"
            )
        if view.shape[:2] == self.preprocessing.size_px:
            return view
        return eval_view(Image.fromarray(view), self.preprocessing)


def tell_engine(augment: Augment, progress: Progress) -> None:
    """Say which library makes views where the usual one cannot. Raises: UsageError if ranks would take several."""
    if augment.engine == TORCHVISION:
        progress.say(f"albumentations cannot be imported ({why_missing()}): torchvision makes the views")
    first = ranks.from_first(augment.engine)
    if augment.engine != first:
        raise UsageError(
            f"rank {ranks.rank()} would make views with {augment.engine}, rank 0 with {first}; install the same on all"
        )


@functools.cache
def why_missing() -> str:
    """Why albumentations, or the OpenCV that it needs, cannot be imported; "" if it can."""
    try:
        _albumentations()
    except MemoryError:
        raise
    except Exception as error:  # of a library in a wrong version: anything
        return one_line(error)
    return ""


def refuse_without(path: str | Path) -> None:
    """Refuse the augmentation file in `path` where albumentations cannot be imported. Raises: UsageError."""
    if why := why_missing():
        raise UsageError(
            f"augmentation file {path} needs albumentations, which cannot be imported ({why}): "
            "pip install albumentations==2.0.8, or name a preset"
        )


@functools.cache
def _albumentations():
    """The module, imported without its look-up of the latest version, and OpenCV without threads of its own.

    Nor does it import torch where nobody has: of its three seconds, for what makes tensors, which we do ourselves.
    """
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    is_hidden = sys.modules.setdefault("torch", cast(Any, None)) is None
    try:
        import albumentations
    finally:
        if is_hidden:
            del sys.modules["torch"]
    import cv2

    cv2.setNumThreads(0)  # the batches' threads are the parallelism
    return albumentations


def _by_albumentations(steps: tuple[Step, ...], preprocessing: Preprocessing) -> Pipeline:
    A = _albumentations()  # noqa: N806
    transforms = [step.transform(A, preprocessing) for step in steps]
    for step, transform in zip(steps, transforms):
        transform.p = step.p
    return _seeded(A.Compose(transforms))


def _copied(pipeline: Any) -> Pipeline:
    return _seeded(copy.deepcopy(pipeline))


def _seeded(pipeline: Any) -> Pipeline:
    """A pipeline of albumentations as a function of a seed."""

    def view(pixels: np.ndarray, seed: int) -> np.ndarray:
        # Not set_random_seed: it gives each transform a generator with the same seed, so that all coins fall alike.
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return pipeline(image=pixels)["image"]

    return view


def _by_torchvision(steps: tuple[Step, ...], preprocessing: Preprocessing) -> Pipeline:
    """The same steps; its own random classes draw from torch's one generator, which threads share."""
    import torch
    from torchvision.transforms.v2 import functional

    def view(pixels: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        photo = torch.from_numpy(pixels.copy()).permute(2, 0, 1)  # of what may not be written torch would warn
        for step in steps:
            if rng.random() < step.p:
                photo = step.view(functional, photo, rng, preprocessing)
        return photo.permute(1, 2, 0).contiguous().numpy()

    return view


def _from_file(path: Path) -> Any:
    """The pipeline in a file.

    Raises: UsageError naming the file and what is wrong with it.
    """
    transform = augment_file.read(path)
    refuse_without(path)
    A = _albumentations()  # noqa: N806
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="Argument")  # one that albumentations would leave out
            pipeline: Any = A.from_dict({"transform": transform})
    except Exception as error:  # constructors raise pydantic's errors, ValueError, TypeError, warnings
        raise UsageError(f"augmentation file {path} has an argument that is refused: {one_line(error)}") from error
    return pipeline if isinstance(pipeline, A.Compose) else A.Compose([pipeline])
