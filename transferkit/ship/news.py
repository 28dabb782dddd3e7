"""What a run tells while it goes on, in words: what was found, what was left out, how training stands."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from transferkit.progress import Progress

if TYPE_CHECKING:
    from transferkit.data.listing import Listing
    from transferkit.model.freezer import FreezeReport
    from transferkit.train.loop import Supply

MAX_LINES = 5  # about files; the run folder lists them all
MAX_CLASSES = 20
HEAD_EPOCHS = 10  # of a head on cached features pass between two lines: each takes milliseconds


def found(listing: "Listing", progress: Progress) -> None:
    """Say which classes there are, in the order of the network's outputs, how DATA was understood, what was ignored."""
    counts = Counter(listing.labels.tolist())
    shown = [f"{name} ({counts[label]})" for label, name in enumerate(listing.classes[:MAX_CLASSES])]
    if len(listing.classes) > MAX_CLASSES:
        shown.append("...")
    progress.say(f"{len(listing.labels)} images, {len(listing.classes)} classes: {', '.join(shown)}")
    for note in listing.notes:
        progress.say(note)
    _list("ignored", listing.ignored, "run.json", progress)


def trained(report: "FreezeReport", progress: Progress) -> None:
    """Say how many parameters training may change, and which stages it leaves as they are."""
    frozen = [stage.stage for stage in report.stages if not stage.trainable]
    line = f"trains {report.trainable:,} of {report.trainable + report.frozen:,} parameters"
    progress.say(line + (f"; frozen: {', '.join(frozen)}" if frozen else ""))


def left_out(quarantine: Sequence[tuple[str, str]], progress: Progress) -> None:
    """Say which images cannot be read."""
    _list("left out", quarantine, "quarantine.csv", progress)


def seen_words(block: dict[str, Any]) -> str:
    """How many of the judged images were also trained on, and the score without them; "" if it is none or not known."""
    count, rest = block.get("seen"), block.get("unseen")
    if not count:
        return ""
    if not rest:
        return "all of which are also training or validation images: no measure of others"
    low, high = rest["interval"]
    return (
        f"of which {count:,} are also training or validation images; without them {100 * rest['accuracy']:.1f} % of "
        f"{rest['n']:,} (95 % interval {100 * low:.1f} to {100 * high:.1f})"
    )


def _list(what: str, entries: Sequence[tuple[str, str]], file: str, progress: Progress) -> None:
    for path, reason in entries[:MAX_LINES]:
        progress.say(f"{what}: {path}: {reason}")
    if len(entries) > MAX_LINES:
        progress.say(f"{what}: {len(entries) - MAX_LINES} more, see {file}")


class TrainingNews:
    """Passes each line of metrics.jsonl to `append`, and tells `progress` of it."""

    def __init__(self, append: Callable[[dict[str, Any]], None], progress: Progress, *, epochs: int):
        self.append = append
        self.progress = progress
        self.epochs = epochs

    def record(self, line: dict[str, Any]) -> None:
        """A line of metrics.jsonl is there."""
        self.append(line)
        val = f"val loss {line['val']['loss']:.3f}, val accuracy {line['val']['accuracy']:.3f}"
        if line["phase"] == "probe":
            self.progress.note(f"probe, L2 {line['l2']:g}: {val}")
            return
        number = line["epoch"] + 1
        is_notable = number == self.epochs or "snapshot" in line or "stopped" in line
        if line["phase"] == "head" and number % HEAD_EPOCHS and not is_notable:
            return
        stopped = f"; stopped, {line['stopped']}" if "stopped" in line else ""
        self.progress.note(f"epoch {number}/{self.epochs}: loss {line['train']['loss']:.3f}, {val}{stopped}")


def counted_by(progress: Progress) -> Callable[["Supply"], "Supply"]:
    """What wraps a supply so that `progress` hears how many training images have gone through."""

    def counted(supply: "Supply") -> "Supply":
        def counting(batches: list, epoch: int | None) -> Iterator:
            for batch, (x, rows) in zip(batches, supply(batches, epoch)):
                yield x, rows
                if epoch is not None:
                    progress.advance(len(batch))

        return counting

    return counted
