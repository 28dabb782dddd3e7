"""What a run writes about itself: run.json and the manifest before training, the scores, model and report after it."""

import functools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from transferkit import determinism, ranks, runtime, tasks
from transferkit.data import cells, manifest
from transferkit.data.listing import Listing
from transferkit.evaluate import Result
from transferkit.model.build import Backbone
from transferkit.ship import artifact, begun, heat_maps, overlays, report, run_files, unseen_file
from transferkit.ship.models import Artifact
from transferkit.ship.runs import RunFolder
from transferkit.tasks import summary
from transferkit.train import state
from transferkit.train.first_pass import FirstPass
from transferkit.trust import NOTHING_KNOWN, Trust
from transferkit.zoo.errors import StorageError


def start(run: RunFolder, setting: dict[str, Any], taken: FirstPass) -> None:
    """Write run.json: from now on the run can be resumed.

    Args: setting, of run.json config, every option with its value; given, the same before defaults were filled in;
    device; hashes of what training begins with, beside the images.

    Raises: StorageError.
    """
    listing = taken.listing
    data = {
        "source": listing.data,
        "fingerprint": begun.fingerprint(listing, taken.sha256),
        "classes": list(listing.classes),
        "images": {part: int((listing.parts == part).sum()) for part in ("train", "val", "test")},
        "refused": len(taken.quarantine),
        "ignored": [list(entry) for entry in listing.ignored],
    }
    record = setting | {
        "command": sys.argv,
        "seed": setting["config"]["seed"],
        "threads": torch.get_num_threads(),
        "processes": ranks.size(),
        "processor": runtime.processor(setting["device"]),
        "repeats": determinism.words(setting["device"], deterministic=setting["config"]["deterministic"]),
        "versions": runtime.versions(),
        "data": data,
    }
    run.write_json("run.json", begun.sealed(record))


def begin(run: RunFolder, taken: FirstPass) -> None:
    """Write manifest.csv and quarantine.csv, and begin metrics.jsonl; a run that is resumed may lack them, too.

    Raises: StorageError.
    """
    run.metrics.start()
    manifest.write_manifest(run.place / "manifest.csv", taken.listing, sha256=taken.sha256, bytes=taken.bytes)
    manifest.write_quarantine(run.place / "quarantine.csv", taken.quarantine)


def finished(run: RunFolder) -> dict[str, Any] | None:
    """The scores of a run that is finished, its report written if it was killed before that; None if it is not.

    Raises: ModelFileError, StorageError.
    """
    if not all((run.place / name).exists() for name in ("metrics.json", "model/MANIFEST.json", run_files.PREDICTIONS)):
        return None
    scores = run_files.read_scores(run.place)
    if not all((run.place / name).exists() for name in ("report.html", "curves.png")):
        write_report(run.place, name=run.path)
    return scores


def finish(run: RunFolder, networks: Sequence[Backbone], result: Result, *, cache: Path | None = None) -> None:
    """Write the model, metrics.json, the report and the curves; several `networks` are the members of an ensemble.

    Args: cache, where heat maps of the same model and photos are found again.
    Raises: StorageError.
    """
    calibration = {name: result.calibration[name] for name in ("temperature", "images")}
    record: dict[str, Any] = {"backbone": result.backbone, "strategy": result.chosen, "calibration": calibration}
    for part, block in (("val", result.val), ("test", result.test)):
        if block:
            record[part] = summary(block)
    about = {"classes": tuple(result.classes), "task": result.task, "record": record}
    about["averages_mirror"] = result.tta is not None and result.tta["used"]
    about["trust"] = result.trust
    ship = functools.partial(_save_model, run.place / "model", networks, **about)
    try:
        ship()
    except StorageError:  # the older checkpoint makes room for it
        state.prune(run.checkpoints, kept=1)
        ship()
    run.metrics.finish()
    cells.write(run.place / run_files.PREDICTIONS, result.task.prediction_columns(result.classes), result.judged)
    unseen_file.write(run.place, result.unseen)
    run.write_json("metrics.json", result.as_metrics())
    run.listeners.result(run.place, result.as_metrics())
    heat_maps.write(run.place, cache=cache, device=next(networks[0].parameters()).device.type)
    write_report(run.place, name=run.path)


def keep_best(run: RunFolder, model: Backbone, *, listing: Listing, backbone: str, epoch: int) -> Path:
    """Write the model of the best epoch of a run that diverged later; its folder. Raises: StorageError."""
    record = {"backbone": backbone, "strategy": f"epoch {epoch} of a training that diverged"}
    _save_model(run.place / "model", (model,), classes=listing.classes, task=listing.task, record=record)
    return run.place / "model"


def _save_model(
    folder: Path, models: Sequence[Backbone], *, record: dict[str, Any], trust: Trust = NOTHING_KNOWN, **about: Any
) -> None:
    """Args: about, the other fields of an `Artifact`, the same of all networks: classes, task, averages_mirror."""
    made = {key: record[key] for key in ("backbone", "strategy")}  # the scores are those of all members together
    members = [
        Artifact(
            backbone=model,
            preprocessing=model.card.preprocessing,
            record=made if len(models) > 1 else record,
            **about,
        )
        for model in models
    ]
    if len(members) == 1:
        artifact.save(folder, replace(members[0], trust=trust))
        return
    *others, last = members  # whose features are known
    members = [*others, replace(last, trust=replace(trust, sureness=None))]
    own = {"classes": about["classes"], "record": record, "sureness": trust.sureness}
    artifact.save_ensemble(folder, members, **own)


def write_report(run: Path, *, name: Path | None = None) -> Path:
    """Write RUN/report.html and RUN/curves.png from the files in the run's folder; the path of the report.

    Heat maps are made where the folder has a model and none of them, as after a run of an earlier version.

    Args: name, what the report calls the run, by default its folder.
    Raises: UsageError or ModelFileError if one of them is missing or damaged; StorageError.
    """
    scores = run_files.read_scores(run)
    predictions = run_files.read_predictions(run, tasks.of_scores(scores), scores["classes"])
    if (run / "model").is_dir() and not (run / overlays.FILE).exists():
        heat_maps.write(run)
    return report.write(run, predictions=predictions, name=name)
