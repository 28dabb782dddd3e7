"""What a person sees: progress on stderr, results on stdout."""

import json
import sys
import time
from typing import Any

import click

from transferkit.cli import streams
from transferkit.live import LiveProgress
from transferkit.progress import Progress
from transferkit.zoo.text import printable


def say(line: str, *, err: bool = False) -> None:
    """Print a line on stdout or stderr, whatever names of a stranger are in it."""
    click.echo(printable(line), err=err)


def data(value: Any, *, indent: int | None = None) -> None:
    """Print JSON, on a line unless it is indented: ASCII, in which whatever a terminal would obey is an escape."""
    streams.as_utf8()
    click.echo(json.dumps(value, indent=indent))


def progress_for(*, quiet: bool) -> Progress:
    """Progress for this stderr: none, a live line on a terminal, else plain lines."""
    if quiet:
        return Progress()
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()


class PlainProgress(Progress):
    """A line at the end of each phase and for each note: for logs and pipes."""

    phase = ""

    def start(self, phase: str, total: int) -> None:
        self.finish()
        self.phase, self.done, self.started = phase, 0, time.monotonic()

    def advance(self, images: int) -> None:
        super().advance(images)
        self.done += images

    def note(self, figures: str) -> None:
        say(figures, err=True)

    def finish(self) -> None:
        if self.phase:
            seconds = max(time.monotonic() - self.started, 1e-3)
            speed = self.done / seconds
            say(f"{self.phase}: {self.done} images in {seconds:.1f} s, {speed:.0f} images/s", err=True)
        self.phase = ""

    def say(self, line: str) -> None:
        say(line, err=True)


def facts(pairs: dict[str, str]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name in pairs)
    for name, value in pairs.items():
        say(f"{name:<{width}}  {value}")


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print rows under a header; the first column is text, the others are numbers, to the right."""
    header, *rows = [tuple(map(printable, row)) for row in [header, *rows]]
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    for row in [header, *rows]:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:]))]
        click.echo("  ".join(cells).rstrip())
