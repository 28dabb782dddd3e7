"""From the options of a run to the numbers of its training by mini-batches."""

from transferkit.options import Options
from transferkit.train.loop import Plan
from transferkit.train.schedule import Schedule


def plan_of(options: Options, *, phase: str, precision: str) -> Plan:
    """The numbers of training by mini-batches in options that are filled in."""
    return Plan(
        epochs=options.epochs,
        schedule=Schedule(
            name=options.schedule,
            epochs=options.epochs,
            decay=options.decay,
            compounding=options.compounding,
            step_epochs=options.step_epochs,
            cycles=options.snapshots or 1,
        ),
        phase=phase,
        batch_size=options.batch_size,
        label_smoothing=options.label_smoothing,
        balance=options.balance,
        seed=options.seed,
        precision=precision,
        is_compiled=options.compile,
    )
