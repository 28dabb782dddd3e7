"""A run that has begun, and what one that goes on with it must have in common with it to give the same bits."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit import determinism, ranks, runtime
from transferkit.augment_steps import ALBUMENTATIONS
from transferkit.config import as_recorded
from transferkit.data.listing import Listing
from transferkit.data.source import Member, absolute
from transferkit.progress import Progress
from transferkit.ship import replacement, run_files
from transferkit.zoo.errors import RunConflictError, UsageError

OTHERWISE = "their order, parts or groups, the order of their classes, or whether an image has one class or any number"


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run that has begun: what its user calls it, and what stands in its run.json."""

    path: Path
    record: dict[str, Any]

    @contextmanager
    def threads(self, progress: Progress) -> Iterator[None]:
        """Compute with as many threads as the run began with, through the block."""
        import torch

        here, wanted = torch.get_num_threads(), self.record["threads"]
        if here != wanted:
            progress.say(f"threads: {wanted}, as the run began, not {here}")
        torch.set_num_threads(wanted)
        try:
            yield
        finally:
            torch.set_num_threads(here)

    @property
    def options(self) -> dict[str, Any]:
        """The options it began with; the device that was picked only where this machine has it."""
        options = {name: value for name, value in as_recorded(self.record["config"]).items() if name != "out"}
        kind = _kind(self.record["device"])
        if options.get("deterministic"):
            determinism.take_workspace()  # to pick a GPU starts it
        try:
            runtime.pick_device(kind)
        except UsageError:
            return options
        return options | {"device": kind}

    @property
    def augmentation(self) -> dict[str, Any]:
        """What trying its steps on some photos came to, when it began."""
        return self.record.get("augmentation") or {}

    def check(self, hashes: dict[str, str], *, device: str, engine: str) -> list[str]:
        """Refuse other inputs than the images, or views by another library; what else has changed of what decides bits.

        Args: engine, the library that would make the views, "" where none are drawn.
        Raises: RunConflictError.
        """
        began = self.record.get("engine", ALBUMENTATIONS)  # of what no record says otherwise
        if engine and began and engine != began:
            remedy = "install albumentations==2.0.8" if began == ALBUMENTATIONS else "go on without albumentations"
            raise RunConflictError(
                f"{began} made the views of {self.path}, here {engine} would; {remedy}, or start again with --overwrite"
            )
        for name in sorted(self.record["hashes"].keys() | hashes.keys()):
            if self.record["hashes"].get(name) != hashes.get(name):
                raise RunConflictError(
                    f"the {name} changed since {self.path} began; put back what was there, or start again with "
                    "--overwrite"
                )
        now = {**runtime.versions(), "device": _kind(device), "processes": ranks.size()}
        now["processor"] = runtime.processor(device)
        old = {
            **self.record["versions"],
            "device": _kind(self.record["device"]),
            "processes": self.record["processes"],
            "processor": self.record["processor"],
        }
        return [f"{name} {old[name]} -> {value}" for name, value in now.items() if old.get(name, value) != value]

    def check_images(self, place: Path, listing: Listing, sha256: Sequence[str]) -> None:
        """Refuse other images than those in the manifest in `place`. Raises: RunConflictError naming the first."""
        if fingerprint(listing, sha256) == self.record["data"]["fingerprint"]:
            return
        raise RunConflictError(
            f"the images are not those that {self.path} began with: "
            f"{self._difference(place, listing, sha256)}; put those back, or start again with --overwrite"
        )

    def _difference(self, place: Path, listing: Listing, sha256: Sequence[str]) -> str:
        source = absolute(Path(self.record["data"]["source"]))
        if not (place / "manifest.csv").exists():  # killed between the two
            return "it had not listed them yet"
        rows = run_files.read_manifest(place)
        old = {_name(row[0], (source, os.path.dirname(source))): (row[1], row[5]) for row in rows}
        labels = (listing.task.text(label, listing.classes) for label in listing.labels)
        new = dict(zip(_names(listing), zip(labels, sha256)))
        kinds = {
            "added": [name for name in new if name not in old],
            "removed": [name for name in old if name not in new],
            "changed": [name for name in new if name in old and new[name][1] != old[name][1]],
            "labelled otherwise": [
                name for name in new if name in old and new[name][1] == old[name][1] and new[name] != old[name]
            ],
        }
        told = [f"{len(names)} {kind}, the first {names[0]}" for kind, names in kinds.items() if names]
        return "; ".join(told) or OTHERWISE


def read(path: Path, progress: Progress) -> Begun:
    """The run that `--resume -o PATH` goes on with.

    Raises: UsageError if there is none, RunConflictError if its run.json was changed; ModelFileError, StorageError.
    """
    place = replacement.current(path)
    if not (place / "run.json").exists():
        raise UsageError(f"nothing to resume: {path} holds no run.json")
    record = run_files.read_record(place)
    if record.get("sha256") != _digest(record):
        raise RunConflictError(
            f"{path / 'run.json'} is not as the run wrote it, so the run cannot be resumed; "
            f"for a run with other options: transferkit finetune --config {path / 'run.json'}"
        )
    if place != path and not replacement.is_complete(path):
        progress.say(f"going on with the run that is to replace the one in {path}")
    return Begun(path=path, record=record)


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The contents of run.json with their own hash, so that a change by hand is seen."""
    return record | {"sha256": _digest(record)}


def _digest(record: dict[str, Any]) -> str:
    rest = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def fingerprint(listing: Listing, sha256: Sequence[str]) -> str:
    """A hash of all that training takes from the images: their names in order, contents, classes, parts and groups."""
    groups = None if listing.groups is None else listing.groups.tolist()
    columns = (listing.classes, _names(listing), list(sha256), listing.labels.tolist(), listing.parts.tolist(), groups)
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def _names(listing: Listing) -> list[str]:
    """The paths relative to the data, which may be moved as a whole."""
    bases = str(Path(listing.source)), str(Path(listing.source).parent)
    return [_name(str(path), bases) for path in listing.paths]


def _name(path: str, bases: tuple[str, ...]) -> str:
    for base in bases:
        if path.startswith(base) and path[len(base) : len(base) + 1] == os.sep and ".tar:" not in path:
            return path[len(base) + 1 :]
    member = Member.of(path)
    return f"{os.path.basename(member.shard)}/{member.name}" if member else path


def _kind(device: str) -> str:
    return device.partition(":")[0]
