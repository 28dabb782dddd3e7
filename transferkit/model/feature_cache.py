"""Features of images kept from one run to the next, never used where network, pixels or arithmetic differ."""

import hashlib
import os
import zlib
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit import runtime
from transferkit.model.build import Backbone
from transferkit.model.eval_batch import EVAL_BATCH, batch_of
from transferkit.zoo import cache_folder, files
from transferkit.zoo.disk_cache import DiskCache

FORMAT = 1  # to be raised with every change that computes other features with the same weights from the same files


class FeatureCache:
    """The features that one network gives images, by the SHA-256 of their files and the name of a view.

    What a run computed is one file. Those of a network are in one folder and go together.
    """

    def __init__(self, root: Path, key: dict[str, Any]):
        self._kept = DiskCache(root, "features")
        self._folder = self._kept.folder / cache_folder.digest(key)
        self._kept.use(self._folder)
        self.is_closed = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be found."""
        return not os.path.isdir(self._folder)

    def get(self, view: str, sha256: Sequence[str], *, width: int) -> np.ndarray:
        """The features of files in a view; NaN where they are not there.

        Shapes: n hashes, "" for one that is not known -> (n, width) float32.
        """
        found = np.full((len(sha256), width), np.nan, np.float32)
        wanted = np.array([digest or "0" * 64 for digest in sha256], "S64")
        for name in sorted(glob(f"{view}.*.safetensors", root_dir=self._folder)):
            hashes, features = self._kept.read(self._folder / name, _content) or ((), np.empty((0, 0)))
            if not len(hashes) or features.shape[1] != width:
                continue
            places = np.searchsorted(hashes, wanted).clip(max=len(hashes) - 1)
            hits = hashes[places] == wanted
            found[hits] = features[places[hits]]
        return found

    def close(self) -> None:
        """Keep nothing from now on: what this run computes need not have the bits that the key stands for."""
        self.is_closed = True

    def add(self, view: str, sha256: Sequence[str], features: np.ndarray) -> Path | None:
        """Keep the features (n, D) of files in a view; the file they are in.

        Where there is no room, nothing is kept and nothing lost: None.
        """
        if self.is_closed or not len(sha256):
            return None
        hashes, first = np.unique(np.array(sha256, "S64"), return_index=True)
        features = np.ascontiguousarray(features[first], np.float32)
        codes = hashes.view(np.uint8).reshape(len(hashes), 64)
        tensors = {
            "sha256": torch.from_numpy(codes.copy()),
            "features": torch.from_numpy(features),
            "check": torch.tensor([_check(codes, features)]),
        }
        name = hashlib.sha256(codes.data).hexdigest()[:16]
        path = self._folder / f"{view}.{name}.safetensors"
        return path if self._kept.write(path, files.write_safetensors, tensors) else None


def _content(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The hashes (n,), in order, and features (n, D) in a file; None if they do not fit its checksum."""
    tensors = files.read_safetensors(path)
    codes, features = tensors["sha256"].numpy(), tensors["features"].numpy()
    if _check(codes, features) != int(tensors["check"]):
        return None
    return np.ascontiguousarray(codes).view("S64")[:, 0], features


def _check(codes: np.ndarray, features: np.ndarray) -> int:
    shapes = f"{codes.dtype} {codes.shape} {features.dtype} {features.shape}".encode()
    return zlib.crc32(features.tobytes(), zlib.crc32(codes.tobytes(), zlib.crc32(shapes)))


def key_of(model: Backbone, *, weights: str, pixels: dict[str, Any], device: str, tf32: bool = False) -> dict[str, Any]:
    """All that the features of an image depend on beside its file, the view and the precision.

    Args: weights, the hash of those below the head; pixels, how a file becomes what the network sees; tf32,
    whether single precision is that.
    """
    key: dict[str, Any] = {
        "format": FORMAT,
        "network": model.spec,
        "weights": weights,
        "preprocessing": repr(model.card.preprocessing),
        "pixels": pixels,
        "processor": runtime.processor(device),
        "threads": torch.get_num_threads(),
        "versions": runtime.versions(),
    }
    if tf32:
        key["tf32"] = True
    if (size := batch_of(model)) != EVAL_BATCH:
        key["batch"] = size
    return key


def weights_hash(model: Backbone) -> str:
    """The SHA-256 of all tensors below the head, with their names, shapes and types."""
    digest = hashlib.sha256()
    for name, tensor in model.model.state_dict().items():
        if name.rpartition(".")[0] not in model.heads:
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
