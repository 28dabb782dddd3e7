"""What `transferkit finetune --dry-run` shows: what would be trained, and what it would take."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from transferkit import durations, runtime
from transferkit.cli import render

if TYPE_CHECKING:
    from transferkit.forecast import Forecast


def show(expected: "Forecast", *, as_json: bool) -> None:
    """Show what would be trained, were every image readable and none a copy of another, and what it would take."""
    prepared, config = expected.prepared, expected.config
    listing, frozen = prepared.listing, prepared.frozen
    if as_json:
        render.data({
            "images": expected.images,
            "classes": list(listing.classes),
            "backbone": prepared.model.card.name,
            "strategy": config.strategy,
            "epochs": config.epochs if prepared.strategy.fits_on_batches else None,
            "batch_size": config.batch_size,
            "device": prepared.device,
            "stages": [{"stage": s.stage, "frozen": s.frozen, "trainable": s.trainable} for s in frozen.stages],
            "seconds": {name: round(span, 2) for name, span in expected.seconds().items()},
            "seconds_range": [round(span, 2) for span in expected.extremes],
            "memory_bytes": expected.memory,
            "run_bytes": expected.disk,
            "cache_bytes": expected.cache,
        })  # fmt: skip
        return
    render.facts({
        "images": f"{len(listing.labels)} of {len(listing.classes)} classes: {', '.join(listing.classes)}",
        "backbone": prepared.model.card.name,
        "strategy": config.strategy,
        "epochs": (
            "none, the head is solved for"
            if not prepared.strategy.fits_on_batches
            else f"{config.epochs}, batches of {config.batch_size}"
            if config.batch_size
            else f"{config.epochs}, all images at once"
        ),
        "device": prepared.device,
        "time": _time(expected),
        "memory": f"about {_size(expected.memory)} of the {_size(runtime.available_memory())} that are free",
        "disk": f"about {_size(expected.disk)} for the run, {_size(expected.cache)} more in the cache, of the "
        f"{_size(shutil.disk_usage(Path.cwd()).free)} that are free",
    })  # fmt: skip
    click.echo()
    rows = [(s.stage, f"{s.frozen:,}", f"{s.trainable:,}") for s in frozen.stages]
    render.table(("stage", "frozen", "trainable"), [*rows, ("in all", f"{frozen.frozen:,}", f"{frozen.trainable:,}")])


def _time(expected: "Forecast") -> str:
    parts = [f"{name} {durations.words(span)}" for name, span in expected.seconds().items() if span >= 0.5]
    least, most = (durations.words(span) for span in expected.extremes)
    between = "" if least == most else f" ({least} if the first epoch is the best one, {most} if the last)"
    return f"about {durations.words(expected.total)}{between}: {', '.join(parts)}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
