"""RUN/unseen.safetensors: what a run's model says of images that the fit behind the answer has not seen."""

from pathlib import Path

import numpy as np
import torch

from transferkit.data.manifest import run_of
from transferkit.trust.unseen import Unseen
from transferkit.zoo.errors import ModelFileError
from transferkit.zoo.files import read_safetensors, write_safetensors

FILE = "unseen.safetensors"


def write(run: Path, unseen: Unseen) -> None:
    """Replace the file in a run's folder. Raises: StorageError."""
    arrays = {"hashes": unseen.hashes, "labels": unseen.labels, "logits": unseen.logits.astype(np.float32)}
    arrays["is_refitted"] = np.array(unseen.is_refitted)
    write_safetensors(run / FILE, {name: torch.from_numpy(array.copy()) for name, array in arrays.items()})


def read(source: Path, *, num_classes: int) -> Unseen | None:
    """Of a run's folder, or of the model folder in it; None where there is no such file.

    Raises: ModelFileError if it is damaged, or of a model with another number of classes.
    """
    path = run_of(source) / FILE
    if not path.is_file():
        return None
    tensors = read_safetensors(path)
    try:
        found = {name: tensors[name].numpy() for name in ("hashes", "labels", "logits")}
        unseen = Unseen(**found, is_refitted=bool(tensors["is_refitted"]))
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ModelFileError(f"{path} is damaged: {error}") from error
    if not _fits(unseen, num_classes):
        raise ModelFileError(f"{path} does not fit the model: {unseen.logits.shape} logits for {num_classes} classes")
    return unseen


def _fits(unseen: Unseen, num_classes: int) -> bool:
    """Whether the arrays are those of that many classes."""
    hashes, labels, logits, count = unseen.hashes, unseen.labels, unseen.logits, len(unseen.logits)
    if hashes.dtype != np.uint8 or hashes.shape != (count, 32) or logits.dtype != np.float32:
        return False
    if logits.shape != (count, num_classes) or not np.isfinite(logits).all():
        return False
    if labels.dtype == np.bool_:
        return labels.shape == logits.shape
    is_numbered = labels.dtype == np.int64 and labels.shape == (count,)
    return is_numbered and bool(((labels >= 0) & (labels < num_classes)).all())
