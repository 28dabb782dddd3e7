"""transferkit lr"""

import math
from pathlib import Path
from typing import Any

import click

from transferkit.choices import FIRST_ORDER, LR_STEPS
from transferkit.cli import options, render
from transferkit.train.strategies import LR_SEARCHES

USUAL = ", ".join(f"{through} {strategy.optimizer}" for through, strategy in LR_SEARCHES.items())


@click.command(cls=options.GroupedCommand)
@click.argument("data", shell_complete=options.paths)
@click.option("-o", "--out", metavar="FILE.png", default="lr.png", show_default=True, help="The picture.")
@click.option("--overwrite", is_flag=True, help="Replace the file in -o.")
@options.declared("backbone", help="As for `transferkit finetune`.")
@click.option(
    "--through",
    type=click.Choice(list(LR_SEARCHES)),
    default="head",
    show_default=True,
    help="head: train a head alone, on features computed once, which takes seconds. network: train all stages.",
)
@options.declared("optimizer", choices=FIRST_ORDER, help="What takes the steps.", rule=USUAL)
@options.declared("freeze", help="Through the network: freeze up to and including this stage.", rule="none")
@options.declared("batch_size", rule="a sixteenth of the images, 4 to 32")
@click.option("--steps", type=click.IntRange(*LR_STEPS), default=100, show_default=True, help="At each learning rate.")
@options.how_labels_are_found
@options.declared("image_size")
@options.declared("bit_depth")
@options.declared("seed")
@options.declared("device")
@options.declared("cache_dir")
@options.declared("offline")
@options.json_option
@options.quiet_option
@options.debug_option
def lr(
    data: str, out: str, overwrite: bool, through: str, steps: int, as_json: bool, quiet: bool, **given: Any
) -> None:
    """Find a learning rate for the images in DATA.

    Trains for a few steps at each of nine learning rates, from a hundredth to a hundred times the default, draws the
    losses, and names the rates that are very high, high, good and low.

    \b
    Examples:
      transferkit lr photos
      transferkit lr photos --through network --optimizer momentum -o momentum.png
    """
    from transferkit import flow
    from transferkit.zoo.files import check_free

    check_free(Path(out).expanduser(), overwrite=overwrite)
    given = {name: value for name, value in given.items() if value is not None}
    progress = render.progress_for(quiet=quiet)
    found = flow.try_rates(data, out=out, through=through, steps=steps, progress=progress, **given)
    strategy = LR_SEARCHES[through].name
    optimizer = given.get("optimizer", LR_SEARCHES[through].optimizer)
    take = {"strategy": strategy, "optimizer": optimizer, "lr": found.lr}
    if as_json:
        tried = [
            {"lr": trial.lr, "word": word, "end": _finite(trial.end)} for trial, word in zip(found.trials, found.words)
        ]
        span = {"low": found.low, "high": found.high, "below": found.below, "above": found.above}
        render.data(take | span | {"tried": tried, "picture": out})
        return
    tried = zip(found.trials, found.words)
    rows = [(f"{trial.lr:.2g}", f"{trial.losses[0]:.3f}", f"{trial.end:.3f}", word) for trial, word in tried]
    render.table(("learning rate", "first loss", "last loss", ""), rows)
    click.echo()
    render.facts({
        "take": f"--strategy {strategy} --optimizer {optimizer} --lr {found.lr:.2g}",
        "range": found.span,
        "picture": out,
    })  # fmt: skip


def _finite(loss: float) -> float | None:
    """JSON has no infinity."""
    return loss if math.isfinite(loss) else None
