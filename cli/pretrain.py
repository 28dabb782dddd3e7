"""transferkit pretrain"""

from pathlib import Path

import click

from transferkit.cli import options, render


@click.command()
@click.argument("name", type=click.Choice(["cifar_resnet"]))
@click.option("--data", required=True, metavar="CIFAR", help="A folder with train/ and test/ of class folders, 32 px.")
@click.option("-o", "--out", required=True, metavar="FILE.safetensors", help="The weights; FILE.json is their card.")
@click.option("--epochs", type=click.IntRange(min=1), help="[default: what the embedded weights had]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@options.quiet_option
@options.debug_option
def pretrain(name: str, data: str, out: str, epochs: int | None, seed: int, quiet: bool) -> None:
    """Train an embedded network from scratch, as its weights were made.

    \b
    Example:
      transferkit pretrain cifar_resnet --data cifar10 -o cifar_resnet.safetensors
    """
    from transferkit.train.pretrain import Recipe, pretrain

    recipe = Recipe(seed=seed, epochs=epochs) if epochs else Recipe(seed=seed)
    progress = render.progress_for(quiet=quiet)
    card = pretrain(Path(data), Path(out), recipe, on_record=lambda line: progress.say(_words(line, recipe.epochs)))
    for part, score in card.measured.items():
        click.echo(f"{part}: {100 * score['accuracy']:.2f} % right")
    click.echo(out)


def _words(record: dict[str, float], epochs: int) -> str:
    return f"epoch {record['epoch'] + 1}/{epochs}: loss {record['loss']:.3f}, {record['seconds']:.0f} s"
