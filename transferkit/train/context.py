"""How fitting is done, and who is told."""

from dataclasses import dataclass, field
from pathlib import Path

from transferkit.messages import Reporter
from transferkit.train.deadline import Deadline
from transferkit.train.plan import Plan


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """How fitting is done, and who is told.

    Fields: plan, the numbers of training by mini-batches, None where nothing is; patience, epochs without a better
    validation loss; checkpoint, the folder of what a stopped run goes on from, without it nothing is kept; resume,
    whether to go on from it; deadline, when fitting has to be over; to_the_end, whether the last epoch is kept, and
    not the one that validates best.
    """

    plan: Plan | None
    patience: int
    reporter: Reporter
    checkpoint: Path | None = None
    resume: bool = False
    deadline: Deadline = field(default_factory=Deadline)
    to_the_end: bool = False
