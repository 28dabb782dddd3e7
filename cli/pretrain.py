"""transferkit pretrain"""

import dataclasses
from pathlib import Path
from typing import Any

import click

from transferkit.cli import options, render
from transferkit.zoo import embedded


@click.command()
@click.argument("name", type=click.Choice(embedded.NAMES))
@click.option(
    "--data",
    required=True,
    metavar="DATA",
    help="As for finetune, a tar of such a folder, or the binary version of CIFAR (cifar-10-batches-bin). Images of "
    "another size are resized to 32 px.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    metavar="FILE.safetensors",
    help="The weights. FILE.json and FILE.recipe.json: the rest.",
)
@click.option("--recipe", metavar="FILE", help="Numbers of the training.  [default: those of the embedded weights]")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the recipe's.")
@click.option("--teacher", metavar="NAME|FOLDER|none", help="Instead of the recipe's, where it has one.")
@click.option("--overwrite", is_flag=True, help="Start anew where a checkpoint lies, and replace FILE in the end.")
@options.declared("device")
@options.json_option
@options.quiet_option
@options.debug_option
def pretrain(
    name: str, data: str, out: str, recipe: str | None, teacher: str | None, overwrite: bool, device: str | None,
    as_json: bool, quiet: bool, **changes: int | None,
) -> None:  # fmt: skip
    """Train an embedded network from scratch, as its weights were made.

    Takes an hour or two on a CPU. Stopped, it goes on where it was when the same command is given again, without
    --overwrite. It is scored on test/, else on val/, else on a fifth of the images held out.

    \b
    Examples:
      transferkit pretrain cifar_mlp --data cifar-10-binary.tar.gz -o mlp.safetensors
      transferkit pretrain cifar_resnet --data cifar10 --teacher none --epochs 5 -o small.safetensors
    """
    from transferkit.pretraining import pretrain as training
    from transferkit.pretraining import recipe as recipes
    from transferkit.pretraining.recipe import Job
    from transferkit.zoo.errors import UsageError

    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    if teacher:
        given["teacher"] = None if teacher == "none" else teacher
    made = recipes.read_recipe(Path(recipe) if recipe else recipes.recipe_of(name), **given)
    if made.network != name:
        raise UsageError(f"{recipe} is a recipe of {made.network}, not of {name}")
    progress = render.progress_for(quiet=quiet)
    card = training.pretrain(
        Job(data=Path(data), out=Path(out), recipe=made, device=device or "auto", overwrite=overwrite),
        on_record=lambda line: progress.note(_words(line, made.all_epochs)),
        progress=progress,
    )
    if as_json:
        render.data(dataclasses.asdict(card), indent=1)
        return
    for part, score in card.measured.items():
        low, high = score["interval"]
        click.echo(f"{part}: {100 * score['accuracy']:.2f} % right (95 % interval {100 * low:.1f} to {100 * high:.1f})")
    render.say(out)


def _words(record: dict[str, float], epochs: int) -> str:
    figures = f"loss {record['loss']:.3f}, accuracy {record['accuracy']:.3f}, {record['seconds']:.0f} s"
    return f"epoch {record['epoch'] + 1}/{epochs}: {figures}"
