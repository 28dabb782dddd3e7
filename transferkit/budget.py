"""--budget: a plan that is done in time, from a forecast."""

import math
import time
from dataclasses import replace
from typing import Any

from transferkit import durations, forecast, kinds, preparation, ranks
from transferkit.forecast import Forecast
from transferkit.preparation import Prepared
from transferkit.progress import Progress
from transferkit.train.deadline import Deadline
from transferkit.zoo.errors import UsageError

SHARE = 0.9  # of the time that is planned for: a forecast is none too exact
ALONE = {"freeze": None, "views": None, "compile": False}  # options of a network that a head alone does not take
HEAD = "reading the images and fitting a head to their features"
PLANNED = ("strategy", "epochs", *ALONE)  # options that a plan decides


def kept(prepared: Prepared, old: dict[str, Any] | None, *, started: float, progress: Progress) -> Prepared:
    """The same, planned so that it is done in `--budget`: with fewer epochs, else with the head alone under auto.

    Args: old, the options of the run that is gone on with, as it was planned; started, by the clock of
    `time.monotonic`.
    Raises: UsageError where nothing is done in time, with how much is needed; DataError.
    """
    given = prepared.given
    if given.budget is None:
        return prepared
    budget, end = durations.seconds(given.budget), 0.0
    if old:
        plan = {name: old[name] for name in PLANNED}
    else:
        found = _measured(prepared, SHARE * budget, started=started)
        plan, end = ranks.from_first(_plan(prepared, found, SHARE * budget, progress))
    planned = replace(given, **plan)
    if planned.strategy != given.strategy:
        prepared = preparation.complete(planned, prepared.listing, progress)
    return replace(prepared, given=planned, asked=given, deadline=Deadline(at=started + budget - end))


def _measured(prepared: Prepared, left: float, *, started: float) -> Forecast:
    """What a run takes; where not one epoch of it, or no head, is done in the time that is `left`, the quicker of two.

    Other work of the machine slows a look of a second, and refuses what would have been done in a tenth of the time.
    """
    least = prepared.given.snapshots or 1

    def needed(found: Forecast) -> float:
        return _needed(found, least) if found.pace else found.without_training

    looks = [forecast.measure(prepared, started=started)]
    if ranks.from_first(needed(looks[0]) > left > time.monotonic() - started):
        looks.append(forecast.measure(prepared, started=started, look=1))
    found = min(looks, key=lambda found: needed(found) - found.started)
    return replace(found, started=time.monotonic() - started)  # measuring takes its part of the time


def _plan(prepared: Prepared, found: Forecast, left: float, progress: Progress) -> tuple[dict[str, Any], float]:
    """The options that change, and the seconds that the work after training takes. Args: left, seconds there are."""
    given, alone = prepared.given, found.without_training
    asked = kinds.present(given.budget)
    if not found.pace:
        if alone > left:
            raise _too_little(asked, alone, HEAD)
        return {}, 0.0
    wanted, least = kinds.present(found.config.epochs), given.snapshots or 1
    fitting = [epochs for epochs in range(least, wanted + 1) if _needed(found, epochs) <= left]
    if fitting:
        if fitting[-1] < wanted:
            progress.say(f"epochs: {fitting[-1]} of {wanted}, to be done in {asked}")
        return {"epochs": fitting[-1]}, found.seconds()["end"]
    needed = _needed(found, least)
    if prepared.strategy.without_training and alone <= left:
        progress.say(
            f"the head alone is fitted: with an epoch of the network the run takes about {durations.words(needed)}, "
            f"more than --budget {asked}"
        )
        return {"strategy": prepared.strategy.without_training, **ALONE}, 0.0
    if prepared.strategy.without_training:
        raise _too_little(asked, alone, HEAD)
    raise _too_little(asked, needed, f"--strategy {given.strategy} with {least} epoch{'s' * (least > 1)}")


def _needed(found: Forecast, epochs: int) -> float:
    """The seconds of a run with so many epochs."""
    return sum(found.seconds(epochs=epochs).values())


def _too_little(budget: str, seconds: float, what: str) -> UsageError:
    needed = math.ceil(seconds / SHARE)
    enough = f"{needed}s" if needed < 600 else f"{math.ceil(needed / 60)}m"
    return UsageError(
        f"--budget {budget} is too little: {what} takes about {durations.words(seconds)} here; allow {enough}"
    )
