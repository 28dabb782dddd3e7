"""The numbers of training by mini-batches, and how they follow from the options of a run."""

from dataclasses import dataclass, field, replace

from transferkit.kinds import present
from transferkit.options import Options
from transferkit.runtime import FP32
from transferkit.train.mixing import Mixing
from transferkit.train.schedule import Schedule
from transferkit.train.step import MicroBatches


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The numbers of a training run."""

    epochs: int
    first_epoch: int = 0  # above 0 when a stopped run goes on
    batch_size: int
    schedule: Schedule | None = None  # None: warm-up, then a cosine to zero
    phase: str = "finetune"  # what the records call it
    label_smoothing: float = 0.0
    max_gradient_norm: float | None = 1.0  # None: gradients are not clipped
    balance: str = "none"  # none, weights, sampler
    mixing: Mixing = field(default_factory=Mixing)
    seed: int = 0
    precision: str = FP32  # of the forward and backward passes; the weights are always fp32
    is_compiled: bool = False  # those passes go through torch.compile
    full_batch_views: int = 0  # above 0: L-BFGS on all images, in so many views of each; 0: mini-batches
    micro_batches: MicroBatches = field(
        default_factory=MicroBatches, compare=False
    )  # found while training, one for all copies

    @property
    def has_cycles(self) -> bool:
        """Whether the schedule restarts, and each of its minima is kept."""
        return bool(self.schedule and self.schedule.snapshot_epochs())

    def shortened(self, epochs: int) -> "Plan":
        """The same from the first epoch, for `epochs`; a schedule without constants of its own is pressed into them."""
        schedule = self.schedule and replace(self.schedule, epochs=epochs)
        return replace(self, epochs=epochs, first_epoch=0, schedule=schedule)


def plan_of(options: Options, *, phase: str, precision: str) -> Plan:
    """The numbers of training by mini-batches in options that are filled in."""
    epochs = present(options.epochs)
    return Plan(
        epochs=epochs,
        schedule=Schedule(
            name=present(options.schedule),
            epochs=epochs,
            decay=options.decay,
            compounding=options.compounding,
            step_epochs=options.step_epochs,
            cycles=options.snapshots or 1,
        ),
        phase=phase,
        batch_size=present(options.batch_size),
        label_smoothing=options.label_smoothing,
        balance=options.balance,
        seed=options.seed,
        precision=precision,
        is_compiled=options.compile,
    )
