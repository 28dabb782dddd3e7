"""What a person sees: progress on stderr, results on stdout."""

import json
import sys
import time
from typing import Any

import click

from transferkit.cli import streams
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


WIDE = 90  # columns; a narrower terminal is not told the images a second


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


class LiveProgress(Progress):
    """One line a phase that is redrawn: share done, images a second, time left, the last figures."""

    def __init__(self):
        self.bar = None

    def start(self, phase: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar
        from rich.progress import TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.table import Column

        self.finish()
        console = Console(stderr=True)
        columns = [
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            TaskProgressColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            TextColumn(
                "{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
        ]
        if console.width >= WIDE:
            columns.insert(2, TextColumn("{task.fields[rate]}", table_column=Column(no_wrap=True)))
        self.bar = Bar(*columns, console=console, expand=True)
        self.task = self.bar.add_task(printable(phase), total=total, rate="", figures="")
        self.bar.start()

    def advance(self, images: int) -> None:
        super().advance(images)
        if self.bar:
            self.bar.advance(self.task, images)
            speed = self.bar.tasks[0].speed
            self.bar.update(self.task, rate=f"{speed:.0f} images/s" if speed else "")

    def note(self, figures: str) -> None:
        if self.bar:
            self.bar.update(self.task, figures=printable(figures))
        else:
            self.say(figures)

    def finish(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None

    def say(self, line: str) -> None:
        if self.bar:
            self.bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
        else:
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
