"""transferkit export"""

import os
from itertools import islice
from pathlib import Path

import click

from transferkit.cli import options, render
from transferkit.ship import exporters

MAX_PHOTOS = 64  # to compare on


def _help() -> str:
    """What each format is."""
    return " ".join(f"{exporter.name}: {exporter.help}." for exporter in exporters.EXPORTERS)


def _folders() -> str:
    """The names of the formats that are folders."""
    return ", ".join(exporter.name for exporter in exporters.EXPORTERS if exporter.is_folder)


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL", shell_complete=options.paths)
@click.option("--format", type=click.Choice(exporters.names()), required=True, help=_help())
@click.option("-o", "--out", required=True, metavar="OUT", help=f"The file, or for {_folders()} the folder, to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file in -o.")
@click.option("--images", metavar="FOLDER", help="Photos to compare on.  [default: those that the run was judged on]")
@options.debug_option
def export(model: str, format: str, out: str, overwrite: bool, images: str | None) -> None:
    """Write a classifier for use elsewhere.

    A graph takes pixels, 0 to 255, after resize and crop, and gives probabilities; before the file is kept, its
    answers are compared with those of the classifier.

    \b
    Examples:
      transferkit export runs/photos-1 --format onnx -o photos.onnx
      transferkit export runs/photos-1 --format timm -o photos_timm
    """
    from transferkit.data import tree
    from transferkit.ship.classifier import load
    from transferkit.ship.run_files import judged_images
    from transferkit.zoo.files import check_free

    exporter = exporters.find(format)
    if not exporter.is_folder:  # a folder is never replaced
        check_free(Path(out).expanduser(), overwrite=overwrite, sources=Path(model).expanduser().rglob("*"))
    photos: list[str] = []
    if images:
        photos = list(islice(tree.files(images), MAX_PHOTOS))
    else:
        photos = judged_images(Path(model).expanduser())[:MAX_PHOTOS]
    photos = [path for path in photos if os.path.isfile(path)]
    written = load(model, device="cpu").export(format, out, images=photos)
    if exporter.is_compared:
        compared = f"{len(photos)} photos" if photos else "noise, as no photos were named with --images"
        click.echo(f"the same answers as PyTorch on {compared}", err=True)
    render.say(str(written))
