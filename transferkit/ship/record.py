"""What a run writes about itself: run.json and the manifest before training, the scores, model and report after it."""

import csv
import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from transferkit import ranks, runtime
from transferkit.data import manifest
from transferkit.judge.evaluate import Judged
from transferkit.model.build import Backbone
from transferkit.ship import artifact, report, run_files
from transferkit.ship.artifact import Artifact
from transferkit.ship.runs import RunFolder
from transferkit.train.intake import Intake
from transferkit.zoo import files
from transferkit.zoo.errors import RunConflictError


def start(
    run: RunFolder, config: dict[str, Any], given: dict[str, Any], taken: Intake, *, device: str, resume: bool
) -> None:
    """Write run.json, manifest.csv and quarantine.csv; refuse to resume on other images.

    Args: config, every option with its value; given, the same before defaults were filled in.

    Raises: RunConflictError, StorageError.
    """
    listing = taken.listing
    images = sorted(zip(taken.sha256, listing.labels.tolist(), listing.parts.tolist()))
    fingerprint = hashlib.sha256(repr((listing.classes, images)).encode()).hexdigest()
    if resume and files.read_json(run.place / "run.json")["data"]["fingerprint"] != fingerprint:
        raise RunConflictError(f"the images are not those that {run.path} began with; start again with --overwrite")
    data = {
        "source": str(listing.source),
        "fingerprint": fingerprint,
        "classes": list(listing.classes),
        "images": {part: int((listing.parts == part).sum()) for part in ("train", "val", "test")},
        "refused": len(taken.quarantine),
        "ignored": [list(entry) for entry in listing.ignored],
    }
    record = {
        "config": config,
        "given": given,
        "command": sys.argv,
        "seed": config["seed"],
        "device": device,
        "threads": torch.get_num_threads(),
        "processes": ranks.size(),
        "versions": runtime.versions(),
        "data": data,
    }
    run.write_json("run.json", record)
    run.start_metrics()
    manifest.write_manifest(run.place / "manifest.csv", listing, sha256=taken.sha256, bytes=taken.bytes)
    manifest.write_quarantine(run.place / "quarantine.csv", taken.quarantine)


def finish(run: RunFolder, networks: Sequence[Backbone], scores: dict[str, Any], judged: list[Judged]) -> None:
    """Write metrics.json, the model, the report and the curves; several `networks` are the members of an ensemble.

    Raises: StorageError.
    """
    record = {"backbone": scores["backbone"], "strategy": scores["kept"]}
    for part in ("val", "test"):
        if scores[part]:
            record[part] = {key: scores[part][key] for key in ("accuracy", "loss", "n", "seen", "unseen")}
    _save_model(run.place / "model", networks, classes=tuple(scores["classes"]), record=record)
    _write_predictions(run.place / run_files.PREDICTIONS, judged)
    run.write_json("metrics.json", scores)
    write_report(run.place, name=run.path)


def _save_model(
    folder: Path, networks: Sequence[Backbone], *, classes: tuple[str, ...], record: dict[str, Any]
) -> None:
    made = {key: record[key] for key in ("backbone", "strategy")}  # the scores are those of all members together
    if len(networks) == 1:
        preprocessing = networks[0].card.preprocessing
        artifact.save(folder, networks[0], classes=classes, preprocessing=preprocessing, record=record)
        return
    members = [
        Artifact(backbone=network, classes=classes, preprocessing=network.card.preprocessing, record=made)
        for network in networks
    ]
    artifact.save_ensemble(folder, members, classes=classes, record=record)


def write_report(run: Path, *, name: Path | None = None) -> Path:
    """Write RUN/report.html and RUN/curves.png from the files in the run's folder; the path of the report.

    Args: name, what the report calls the run, by default its folder.
    Raises: UsageError or ModelFileError if one of them is missing or damaged; StorageError.
    """
    return report.write(run, predictions=run_files.read_predictions(run), name=name)


def _write_predictions(path: Path, judged: list[Judged]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("path", "label", "predicted", "probability"))
    writer.writerows((image, label, predicted, f"{p:.6f}") for image, label, predicted, p in judged)
    files.write_text(path, text.getvalue())
