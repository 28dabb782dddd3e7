"""transferkit import"""

from pathlib import Path

import click

from transferkit.cli import options, render


@click.command("import")
@click.argument("source", metavar="FILE.pth", shell_complete=options.paths)
@click.option("-o", "--out", required=True, metavar="FILE.safetensors", help="The file to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file in -o.")
@options.debug_option
def import_weights(source: str, out: str, overwrite: bool) -> None:
    """Convert the tensors of a PyTorch pickle to safetensors, without running code from it.

    \b
    Example:
      transferkit import resnet18.pth -o resnet18.safetensors
    """
    from transferkit.zoo.weights import import_pickle

    import_pickle(Path(source), Path(out), overwrite=overwrite)
    render.say(out)
