"""The heat maps beside the photos of a report, made once from the model of a run and kept in its folder."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit import runtime, tasks
from transferkit.data import batches
from transferkit.data.decode import DecodeError, eval_view, seen_box
from transferkit.data.photos import Decoding
from transferkit.kernels import single_precision
from transferkit.model.build import Preprocessing
from transferkit.model.heat_maps import heat_maps
from transferkit.ship import artifact, overlays, report, run_files
from transferkit.ship.models import Artifact, Ensemble
from transferkit.zoo import cache_folder, files, hashes
from transferkit.zoo.errors import RankLostError, StorageError
from transferkit.zoo.text import first_line

BATCH = 6  # all that its layers give for so many photos is held at once
FORMAT = 2  # to be raised with every change that makes other maps

Wanted = Sequence[tuple[str, str]]  # path of a photo, and the class that its map is of


def write(run: Path, *, cache: Path | None = None, device: str = "cpu") -> None:
    """Write RUN/heat_maps.json for the photos that the report shows, as far as the network of RUN/model has maps.

    Args: cache, the folder in which the maps of the same weights and photos are found again, and kept.
    Raises: UsageError or ModelFileError if another file of the run is missing or damaged; StorageError.
    """
    scores = run_files.read_scores(run)
    predictions = run_files.read_predictions(run, tasks.of_scores(scores), scores["classes"])
    wanted = [*dict.fromkeys((str(case.path), case.about) for case in report.shown_cases(scores, predictions))]
    path = cache and cache / "maps" / f"{cache_folder.digest(_key(run, wanted, device))}.json"
    found = path and cache_folder.read(path)
    if not found:
        maps, fault = _made(run, wanted, device=device)
        found = {"maps": maps, "fault": fault}
        if path and not fault:
            with suppress(StorageError):
                cache_folder.write(path, found)
    files.write_json(run / overlays.FILE, {"maps": found["maps"], "fault": found["fault"]})


def _key(run: Path, wanted: Wanted, device: str) -> dict[str, Any]:
    """What the maps depend on: the weights, the contents of the photos, and what computes."""
    contents = {path: sha256 for path, *_, sha256 in run_files.read_manifest(run)}
    manifest = run / "model" / hashes.MANIFEST
    return {
        "format": FORMAT,
        "versions": runtime.versions(),
        "processor": runtime.processor(device),
        "threads": torch.get_num_threads(),
        "model": files.read_json(manifest) if manifest.exists() else None,
        "photos": [[ascii(path), contents.get(path, ""), label] for path, label in wanted],
    }


def _made(run: Path, wanted: Wanted, *, device: str) -> tuple[list[dict[str, Any]], str]:
    """The maps of photos, none where the network has none; and why it gave none: a report does without, and says it."""
    try:
        return [*_computed(_Network.of(artifact.load(run / "model"), device), wanted)] if wanted else [], ""
    except RankLostError:
        raise
    except Exception as error:  # called as they were not made for, networks fail in as many ways as there are
        return [], first_line(error)


@dataclass(frozen=True, kw_only=True)
class _Network:
    """What answers: networks that see the same pixels, and their classes. The map is the mean of theirs."""

    members: tuple[Artifact, ...]
    preprocessing: Preprocessing
    device: str

    @classmethod
    def of(cls, model: Artifact | Ensemble, device: str) -> "_Network":
        members = model.members if isinstance(model, Ensemble) else (model,)
        alike = tuple(each for each in members if each.preprocessing == members[0].preprocessing)
        for each in alike:
            each.backbone.to(device).eval()
        return cls(members=alike, preprocessing=members[0].preprocessing, device=device)

    def maps(self, pixels: np.ndarray, labels: Sequence[str]) -> np.ndarray | None:
        """Shapes: (B, H, W, 3) uint8 -> (B, h, w)."""
        x = batches.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device), self.preprocessing)
        found = []
        for each in self.members:
            classes = [each.classes.index(label) for label in labels]
            with single_precision(self.device, exact=True):
                found.append(heat_maps(each.backbone, x, classes))
        return np.mean(found, axis=0) if all(each is not None for each in found) else None


def _computed(network: _Network, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """The entries of heat_maps.json."""
    decoding = Decoding.of(network.preprocessing)
    for start in range(0, len(wanted), BATCH):
        entries, views = [], []
        for path, label in wanted[start : start + BATCH]:
            with suppress(DecodeError):
                image = decoding.image(path)
                box = [round(end, 4) for end in seen_box(image.size, network.preprocessing)]
                entries.append({"path": path, "about": label, "box": box})
                views.append(eval_view(image, network.preprocessing))
        maps = network.maps(np.stack(views), [each["about"] for each in entries]) if views else None
        for entry, each in zip(entries, () if maps is None else maps):
            yield entry | {"rows": [row.tobytes().hex() for row in (255 * each).round().astype(np.uint8)]}
