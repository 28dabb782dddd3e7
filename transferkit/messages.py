"""What a run tells while it goes on, in words: what was found, what was left out, how training stands."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transferkit import durations
from transferkit.progress import Progress

MAX_LINES = 5  # about files; the run folder lists them all
MAX_CLASSES = 20
LONG_SECONDS = 300  # of training: then a person is told how to limit it
HEAD_EPOCHS = 10  # of a head on cached features pass between two lines: each takes milliseconds


def found(
    counts: Mapping[str, int],
    *,
    images: int,
    notes: Sequence[str],
    ignored: Sequence[tuple[str, str]],
    progress: Progress,
) -> None:
    """Say which classes there are, in the order of the network's outputs, how DATA was understood, what was ignored.

    Args: counts, of the images of each class; images, how many there are.
    """
    shown = [f"{name} ({count})" for name, count in counts.items()]
    more = ["..."] if len(shown) > MAX_CLASSES else []
    progress.say(f"{images} images, {len(shown)} classes: {', '.join([*shown[:MAX_CLASSES], *more])}")
    for note in notes:
        progress.say(note)
    _list("ignored", ignored, "run.json", progress)


def trained(trainable: int, parameters: int, *, frozen: Sequence[str], progress: Progress) -> None:
    """Say how many parameters training may change, and which stages it leaves as they are."""
    line = f"trains {trainable:,} of {parameters:,} parameters"
    progress.say(line + (f"; frozen: {', '.join(frozen)}" if frozen else ""))


def left_out(quarantine: Sequence[tuple[str, str]], progress: Progress) -> None:
    """Say which images cannot be read."""
    _list("left out", quarantine, "quarantine.csv", progress)


def refused(images: Sequence[Sequence[str]], progress: Progress) -> None:
    """Say which images to be judged cannot be read."""
    _list("left out", [(path, reason) for path, reason in images], '"refused" of the scores', progress)


def absent(classes: Sequence[str], progress: Progress) -> None:
    """Say which classes no image to be judged has, of those that each are a yes or a no."""
    if classes:
        names = ", ".join([*classes[:MAX_CLASSES], *(["..."] if len(classes) > MAX_CLASSES else [])])
        progress.say(f"no image has {names}: where one is named, that counts as wrong")


def seen_words(block: dict[str, Any]) -> str:
    """How many of the judged images were also trained on, and the score without them; "" if it is none or not known."""
    count, rest = block.get("seen"), block.get("unseen")
    if not count:
        return ""
    near, others = block.get("near_copies", 0), "training or validation images"
    are = f"also {others}" if not near else f"near copies of {others}"
    if 0 < near < count:
        are = f"also {others}, or near copies of these"
    if not rest:
        return f"all of which are {are}: no measure of others"
    low, high = rest["interval"]
    return (
        f"of which {count:,} are {are}; without them {100 * rest['accuracy']:.1f} % of "
        f"{rest['n']:,} (95 % interval {100 * low:.1f} to {100 * high:.1f})"
    )


def judged(validation: str, *, test: int) -> list[str]:
    """The line on which images the scores stand, if it is known of those in validation; `test`, how many others."""
    if not validation:
        return []
    return [f"validation is {validation}" + f"; test is {test:,} images that chose nothing" * (test > 0)]


def baseline_words(block: dict[str, Any], *, names_one: bool) -> str:
    """What giving the commonest answer, and that of the most similar image, scores on the images of a block; or ""."""
    if "baselines" not in block:
        return ""
    commonest, nearest = (block["baselines"][name] for name in ("commonest", "nearest"))
    words = f"commonest {'class' if names_one else 'labels'} {100 * commonest['accuracy']:.1f} %"
    if nearest:
        of = f" of {nearest['n']:,}" if nearest["n"] < block["n"] else ""
        words += f", nearest neighbour {100 * nearest['accuracy']:.1f} %{of}"
    return words


def _list(what: str, entries: Sequence[tuple[str, str]], file: str, progress: Progress) -> None:
    lines = [f"{what}: {path}: {reason}" for path, reason in entries[:MAX_LINES]]
    if len(entries) > MAX_LINES:
        lines.append(f"{what}: {len(entries) - MAX_LINES} more, see {file}")
    if lines:
        progress.leave_out(lines)


class Reporter:
    """Hears how fitting goes: each line of metrics.jsonl goes to `append`, and what a person should know to `progress`.

    Args: epochs, how many there will be at most, where there are any; has_budget, whether the time is limited;
    network, of several the one that the lines are of, which they name.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        *,
        append: Callable[[dict[str, Any]], None] | None = None,
        epochs: int | None = None,
        has_budget: bool = False,
        network: str = "",
    ):
        self._progress = progress or Progress()
        self._append = append
        self._epochs = epochs
        self._has_budget = has_budget
        self._network = network

    def of(self, network: str) -> "Reporter":
        """One that hears of that network alone, of several, and tells the same people."""
        return Reporter(
            self._progress, append=self._append, epochs=self._epochs, has_budget=self._has_budget, network=network
        )

    def phase(self, name: str, images: int) -> None:
        """Work on so many images begins."""
        self._progress.start(name, images)

    def say(self, line: str) -> None:
        """A line worth reading."""
        self._progress.say(line)

    def record(self, line: dict[str, Any]) -> None:
        """A line of metrics.jsonl is there."""
        if self._append:
            self._append(line | ({"network": self._network} if self._network else {}))
        val = ", ".join(f"val {name.replace('_', ' ')} {value:.3f}" for name, value in line["val"].items())
        if line["phase"] == "probe":
            whose = f" of {self._network}" if self._network else ""
            self._progress.note(f"probe{whose}, L2 {line['l2']:g}: {val}")
            return
        number = line["epoch"] + 1
        is_notable = number == self._epochs or "snapshot" in line or "stopped" in line
        if line["phase"] == "head" and number % HEAD_EPOCHS and not is_notable:
            return
        stopped = f"; stopped, {line['stopped']}" if "stopped" in line else ""
        self._progress.note(f"epoch {number}/{self._epochs}: loss {line['train']['loss']:.3f}, {val}{stopped}")
        if number == 1 and self._epochs and not stopped and not self._has_budget:
            self._tell_long(line["seconds"], more=self._epochs - 1)

    def _tell_long(self, seconds: float, *, more: int) -> None:
        """Say how a run is limited where what is left may take long."""
        if seconds * more > LONG_SECONDS:
            self.say(
                f"an epoch takes {durations.words(seconds)}, up to {more} more and further fits may follow; "
                "a run with --budget 10m is planned to end in 10 minutes"
            )

    def advance(self, images: int) -> None:
        """So many more images of the phase are done. Raises: StoppedError, if a signal has asked for the end."""
        self._progress.advance(images)
