"""Learning-rate schedules: pure functions of the step, returning a factor on the base rate.

`step` counts from 0; `t` is the time in epochs, step / steps an epoch.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from transferkit.choices import SCHEDULES
from transferkit.zoo.errors import UsageError

FINAL_FACTOR = 0.05  # where exponential and inverse end unless told otherwise


def constant(t: float) -> float:
    """Always 1."""
    return 1.0


def step_decay(t: float, *, decay: float = 0.5, every: float) -> float:
    """Fall to `decay` of itself every `every` epochs.

    >>> [step_decay(t, every=2) for t in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    return decay ** math.floor(t / every)


def exponential(t: float, *, k: float, compounding: bool = False) -> float:
    """Fall as e^(-k t).

    `compounding` is the recursion a[i + 1] = a[i] e^(-k i) over epochs instead. Its exponents add up to k n (n - 1) / 2
    after n epochs: it falls like a Gaussian, and after few epochs nothing is learnt any more.

    >>> [round(exponential(t, k=0.5, compounding=compounding), 4) for compounding in (False, True) for t in (1, 4, 8)]
    [0.6065, 0.1353, 0.0183, 1.0, 0.0498, 0.0]
    """
    epochs = math.floor(t)
    return math.exp(-k * (epochs * (epochs - 1) / 2 if compounding else t))


def inverse(t: float, *, k: float, compounding: bool = False) -> float:
    """Fall as 1 / (1 + k t).

    `compounding` is the recursion a[i + 1] = a[i] / (1 + k i) over epochs instead: a product of such factors, which
    falls faster than any exponential.

    >>> [round(inverse(t, k=0.5, compounding=compounding), 4) for compounding in (False, True) for t in (1, 4, 8)]
    [0.6667, 0.3333, 0.2, 1.0, 0.1333, 0.0007]
    """
    if compounding:
        return 1 / math.prod(1 + k * i for i in range(math.floor(t)))
    return 1 / (1 + k * t)


def cosine(step: float, *, steps: float) -> float:
    """Fall along half a cosine to zero at `steps`.

    Source: Loshchilov and Hutter 2017, equation 5, https://arxiv.org/abs/1608.03983
    """
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def warmup_cosine(step: int, *, steps: int, warmup: int) -> float:
    """Rise linearly over `warmup` steps, then fall along half a cosine to zero at `steps`.

    Source: linear warm-up, Goyal et al. 2017, section 2.2, https://arxiv.org/abs/1706.02677

    >>> [round(warmup_cosine(step, steps=6, warmup=2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup:
        return (step + 1) / warmup
    return cosine(step - warmup, steps=max(steps - warmup, 1))


def onecycle(step: int, *, steps: int) -> float:
    """Rise along half a cosine from 1/25 to 1 over the first 30 % of steps, then fall to 1/250,000 at the last.

    Source: Smith and Topin 2019, https://arxiv.org/abs/1708.07120; the numbers and the cosines are those of
    https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html
    """
    start, end = 1 / 25, 1 / 25e4
    peak, last = 0.3 * steps - 1, steps - 1
    if step <= peak:
        return 1 - (1 - start) * cosine(step, steps=peak)
    return end + (1 - end) * cosine(step - peak, steps=last - peak)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule with its numbers.

    Fields: decay is the factor of "step" (None: 0.5), and k of "exponential" and "inverse" (None: they end at 5 %);
    compounding makes these two the lecture's recursions; step_epochs, the epochs between two steps (None: a quarter of
    all); cycles, of "snapshot"; warmup_share, of all steps, of "cosine". A cycle of "snapshot" is half a cosine over
    whole epochs, so that its end can be validated.

    Raises: UsageError for an unknown name, and for more cycles than epochs.
    Source: Huang et al. 2017, equation 2 ("snapshot"), https://arxiv.org/abs/1704.00109
    """

    name: str
    epochs: int
    decay: float | None = None
    compounding: bool = False
    step_epochs: int | None = None
    cycles: int = 1
    warmup_share: float = 0.1

    def __post_init__(self):
        if self.name not in SCHEDULES:
            raise UsageError(f"the schedule {self.name!r} is unknown; allowed: {', '.join(SCHEDULES)}")
        if self.name == "snapshot" and not 1 <= self.cycles <= self.epochs:
            raise UsageError(f"{self.epochs} epochs hold 1 to {self.epochs} cycles, not {self.cycles}")

    def factor(self, step: int, *, steps_per_epoch: int) -> float:
        """The learning rate of a step over the base rate."""
        t, steps = step / steps_per_epoch, self.epochs * steps_per_epoch
        match self.name:
            case "step":
                every = self.step_epochs or max(1, round(self.epochs / 4))
                return step_decay(t, decay=0.5 if self.decay is None else self.decay, every=every)
            case "exponential":
                k = -math.log(FINAL_FACTOR) / self.epochs if self.decay is None else self.decay
                return exponential(t, k=k, compounding=self.compounding)
            case "inverse":
                k = (1 / FINAL_FACTOR - 1) / self.epochs if self.decay is None else self.decay
                return inverse(t, k=k, compounding=self.compounding)
            case "cosine":
                return warmup_cosine(step, steps=steps, warmup=round(self.warmup_share * steps))
            case "onecycle":
                return onecycle(step, steps=steps)
            case "constant":
                return constant(t)
            case _:  # "snapshot"
                first, end = next(bounds for bounds in self._cycles() if t < bounds[1])
                return cosine(step - first * steps_per_epoch, steps=(end - first) * steps_per_epoch)

    def snapshot_epochs(self) -> tuple[int, ...]:
        """The epochs, counted from 0, at whose end a cycle ends.

        >>> Schedule(name="snapshot", epochs=10, cycles=4).snapshot_epochs()
        (1, 4, 7, 9)
        """
        return tuple(end - 1 for _, end in self._cycles()) if self.name == "snapshot" else ()

    def _cycles(self) -> list[tuple[int, int]]:
        """The first epoch of each cycle and the one after its last: whole epochs, so that its minimum is validated."""
        return list(pairwise(round(cycle * self.epochs / self.cycles) for cycle in range(self.cycles + 1)))
