"""From the options of a run to the numbers of its training by mini-batches."""

from transferkit.kinds import present
from transferkit.options import Options
from transferkit.train.loop import Plan
from transferkit.train.schedule import Schedule


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
