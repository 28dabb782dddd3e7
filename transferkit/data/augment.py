"""Random views of a photo, each a pure function of one seed. The only file that imports albumentations."""

import copy
import functools
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from transferkit import augment_file, presets
from transferkit.augment_file import one_line
from transferkit.data.decode import Decoded, eval_view
from transferkit.presets import Step
from transferkit.zoo.card import Preprocessing
from transferkit.zoo.errors import UsageError


def load(name_or_file: str | Path, preprocessing: Preprocessing) -> "Augment":
    """The augmentation of a preset's name, or of a JSON or YAML file as `albumentations.to_dict` describes it.

    Raises: UsageError if it is neither, or if the file names a transform that is not in `augment_file.TRANSFORMS`.
    """
    name = str(name_or_file)
    if preset := presets.find(name):  # made at the first view: a second of imports that can wait for the first pass
        make = functools.partial(_pipeline, preset.steps, preprocessing) if preset.steps else None
        return Augment(make, preprocessing, name=name)
    pipeline = _from_file(Path(name_or_file))
    return Augment(functools.partial(copy.deepcopy, pipeline), preprocessing, name=name)


def certain(step: Step | None, preprocessing: Preprocessing) -> "Augment":
    """The augmentation that is one step, drawn for every photo (a quarter turn may be by none); or none."""
    make = functools.partial(_pipeline, (step,), preprocessing, is_certain=True) if step else None
    return Augment(make, preprocessing, name=step.name if step else "none")


class Augment:
    """Maps a decoded photo and a seed to a view; safe to call from many threads: each has a pipeline of its own.

    `make` makes one; None is for no augmentation.
    """

    def __init__(self, make: Callable[[], Any] | None, preprocessing: Preprocessing, *, name: str):
        self.name = name
        self._make = make
        self.preprocessing = preprocessing
        self._own = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        """For another process, whose threads make pipelines of their own."""
        return self.__dict__ | {"_own": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_own": threading.local()}

    def start(self) -> None:
        """Make the pipeline of this thread, if it has none: the first one takes a second, for imports."""
        if self._make and not hasattr(self._own, "pipeline"):
            self._own.pipeline = self._make()

    def __call__(self, image: Decoded, *, seed: int) -> np.ndarray:
        """The view that `seed` stands for.

        Shapes: (H, W, 3) uint8 with (H, W) = `size_px`; what a file's transforms leave at another size is
        resized and cropped as for evaluation.
        Raises: UsageError if the transforms fail on this image or give no uint8 RGB.
        """
        if self._make is None:
            return eval_view(image, self.preprocessing)
        self.start()
        pipeline, pixels = self._own.pipeline, np.asarray(image)
        # Not set_random_seed: it gives each transform a generator with the same seed, so that all coins fall alike.
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            view = pipeline(image=pixels)["image"]
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


def _pipeline(steps: tuple[Step, ...], preprocessing: Preprocessing, *, is_certain: bool = False) -> Any:
    A = _albumentations()  # noqa: N806
    transforms = [step.transform(A, preprocessing) for step in steps]
    for transform in transforms if is_certain else ():
        transform.p = 1.0
    return A.Compose(transforms)


def _from_file(path: Path) -> Any:
    """The pipeline in a file.

    Raises: UsageError naming the file and what is wrong with it.
    """
    transform = augment_file.read(path)
    A = _albumentations()  # noqa: N806
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="Argument")  # one that albumentations would leave out
            pipeline: Any = A.from_dict({"transform": transform})
    except Exception as error:  # constructors raise pydantic's errors, ValueError, TypeError, warnings
        raise UsageError(f"augmentation file {path} has an argument that is refused: {one_line(error)}") from error
    return pipeline if isinstance(pipeline, A.Compose) else A.Compose([pipeline])
