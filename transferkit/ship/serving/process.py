"""What runs in the process of a `Network`: it loads the classifier and answers until nobody asks."""

import dataclasses
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from transferkit.ship.classifier import Classifier, load
from transferkit.ship.prediction import Prediction
from transferkit.ship.serving.network import BATCH, About, Wanted
from transferkit.zoo.errors import TransferkitError
from transferkit.zoo.text import first_line


class Here:
    """A `Network` in this process, for Windows, where no connection can be handed to another one."""

    def __init__(self, wanted: Wanted):
        self._wanted, self._classifier = wanted, _loaded(wanted)
        self.about = _about(self._classifier)

    def __call__(self, photos: list[bytes]) -> list[Prediction]:
        """The answer to each file of an image, in order. Raises: what the classifier raises."""
        return predictions(self._classifier, photos, self._wanted)

    def close(self) -> None:
        """Nothing is to be ended."""


def main(descriptor: int) -> None:
    """Take `Wanted` and give `About`, then for each list of photos the predictions; or an error.

    Args: descriptor, of the connection to the process that asks.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a service's end is told to all its processes, and one decides
    with Connection(descriptor) as asking, suppress(EOFError, OSError):  # nobody asks any more
        for answer in answered(asking.recv(), iter(asking.recv, None)):
            asking.send(answer)


def answered(wanted: Wanted, questions: Iterable[list[bytes]]) -> Iterator[About | list[Prediction] | Exception]:
    """What is wanted, and the answer to each list of photos; an error in place of what fails."""
    try:
        classifier = _loaded(wanted)
    except Exception as error:
        yield _portable(error)
        return
    yield _about(classifier)
    for photos in questions:
        try:
            yield predictions(classifier, photos, wanted)
        except Exception as error:
            yield _portable(error)


def predictions(classifier: Classifier, photos: list[bytes], wanted: Wanted) -> list[Prediction]:
    """What `predict` says of these files of images; without the files."""
    found: list[Prediction] = []
    top = min(wanted.top, len(classifier.classes))
    while left := photos[len(found) :]:  # few sizes of batches: oneDNN keeps memory for each that it has met
        size = min(BATCH, 1 << (len(left).bit_length() - 1))
        found += classifier.predict(left[:size], top=top, max_error=wanted.max_error)
    doubts: dict[str, Any] = {} if wanted.abstains else {"is_sure": None, "is_familiar": None}
    return [dataclasses.replace(each, source="", **doubts) for each in found]


def _loaded(wanted: Wanted) -> Classifier:
    classifier = load(wanted.model, device=wanted.device, bit_depth=wanted.bit_depth)
    classifier.predict([], max_error=wanted.max_error)  # what cannot be kept is refused now, not at the first photo
    return classifier


def _about(classifier: Classifier) -> About:
    return About(classes=classifier.classes, names_one=classifier.task.names_one)


def _portable(error: Exception) -> Exception:
    """The error if another process can read it for sure, else one that says the same."""
    if isinstance(error, TransferkitError) or type(error).__module__ == "builtins":
        return error
    return RuntimeError(f"{type(error).__name__}: {first_line(error)}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
