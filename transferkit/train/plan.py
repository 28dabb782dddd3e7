"""From the options of a run to the numbers of its training by mini-batches."""

from transferkit import runtime
from transferkit.config import FinetuneConfig
from transferkit.model.precision import Precision
from transferkit.train.loop import Plan
from transferkit.train.schedule import Schedule


def plan_of(config: FinetuneConfig) -> Plan:
    """The numbers of training by mini-batches in a config whose numbers are filled in."""
    schedule = config.schedule and Schedule(
        name=config.schedule,
        epochs=config.epochs,
        decay=config.decay,
        step_epochs=config.step_epochs,
        cycles=config.snapshots or 1,
    )
    return Plan(
        epochs=config.epochs or 1,
        schedule=schedule,
        phase="head" if config.fits_on_batches else "finetune",
        batch_size=config.batch_size or 2,
        label_smoothing=config.label_smoothing,
        max_gradient_norm=None if config.fits_on_batches else 1.0,  # a clipped gradient would outweigh less L2
        balance=config.balance,
        seed=config.seed,
        precision=runtime.FP32 if config.fits_on_batches else Precision.read(config.precision).training,
        is_compiled=config.compile,
    )
