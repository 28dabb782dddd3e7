"""Progress as a line that is redrawn, on a terminal and in a notebook, and what a call from Python shows by itself."""

import importlib
import io
import sys
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from transferkit.progress import Progress
from transferkit.zoo.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

WIDE = 90  # columns; a narrower terminal is not told the images a second
NOTEBOOK_COLUMNS = 110
DRAWN_SECONDS = 0.2  # between two drawings in a notebook, each a message to its page


def here() -> Progress:
    """The progress of a call from Python that names none: the live line in a notebook, elsewhere warnings alone."""
    return NotebookProgress() if _is_notebook() else WarningProgress()


def _is_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which has a shell of IPython with a kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class WarningProgress(Progress):
    """Shows nothing, and warns of what is left out of the data."""

    def leave_out(self, lines: Sequence[str]) -> None:
        depth, frame = 1, sys._getframe()
        while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] == "transferkit":
            depth, frame = depth + 1, frame.f_back
        warnings.warn("\n".join(map(printable, lines)), stacklevel=depth)


class LiveProgress(Progress):
    """One line a phase that is redrawn: share done, images a second, time left, the last figures."""

    bar: "Bar | None" = None

    def start(self, phase: str, total: int) -> None:
        self.finish()
        self.bar = _bar(self._console())
        self.task = self.bar.add_task(printable(phase), total=total, rate="", figures="")
        self._begin(self.bar)

    def advance(self, images: int) -> None:
        super().advance(images)
        if self.bar:
            self.bar.advance(self.task, images)
            speed = self.bar.tasks[0].speed
            self._update(self.bar, rate=f"{speed:.0f} images/s" if speed else "")

    def note(self, figures: str) -> None:
        if self.bar:
            self._update(self.bar, figures=printable(figures))
        else:
            self.say(figures)

    def finish(self) -> None:
        if self.bar:
            self._end(self.bar)
            self.bar = None

    def say(self, line: str) -> None:
        if self.bar:
            self.bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(printable(line), err=True)

    def _console(self) -> "Console":
        from rich.console import Console

        return Console(stderr=True)

    def _begin(self, bar: "Bar") -> None:
        bar.start()

    def _update(self, bar: "Bar", **fields: Any) -> None:
        bar.update(self.task, **fields)

    def _end(self, bar: "Bar") -> None:
        bar.stop()


class NotebookProgress(LiveProgress):
    """The same below the cell of a notebook, as text in a display of its own; needs no widgets."""

    def say(self, line: str) -> None:
        click.echo(printable(line))  # what is on stderr looks like an error there

    def _console(self) -> "Console":
        from rich.console import Console

        return Console(file=io.StringIO(), width=NOTEBOOK_COLUMNS, force_jupyter=False, force_terminal=False)

    def _begin(self, bar: "Bar") -> None:
        shown = importlib.import_module("IPython.display")  # there is one where there is a notebook
        self.drawn = time.monotonic()
        self.display: Any = shown.display(_text(bar), raw=True, display_id=True)

    def _update(self, bar: "Bar", **fields: Any) -> None:
        bar.update(self.task, **fields)
        if time.monotonic() - self.drawn >= DRAWN_SECONDS:
            self._draw(bar)

    def _end(self, bar: "Bar") -> None:
        self._draw(bar)

    def _draw(self, bar: "Bar") -> None:
        self.drawn = time.monotonic()
        self.display.update(_text(bar), raw=True)


def _text(bar: "Bar") -> dict[str, str]:
    """The line as a notebook takes it."""
    with bar.console.capture() as capture:
        bar.console.print(bar.get_renderable())
    return {"text/plain": capture.get().rstrip()}


def _bar(console: "Console") -> "Bar":
    from rich.progress import Progress as Bar
    from rich.progress import TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

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
    return Bar(*columns, console=console, expand=True)
