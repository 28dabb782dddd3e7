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
@click.option("--core", is_flag=True, help="onnx: a graph of pixels after resize and crop, in place of photos.")
@click.option("--int8", is_flag=True, help="onnx: in 8-bit integers, calibrated and judged on the photos of the run.")
@click.option("--images", metavar="FOLDER", help="Photos to compare on.  [default: those that the run was judged on]")
@options.debug_option
def export(model: str, format: str, out: str, overwrite: bool, images: str | None, **asked: bool) -> None:
    """Write a classifier for use elsewhere.

    Before anything is kept, its answers are compared with those of the classifier on photos; where they differ nothing
    is written, and the exit code is 10. An ONNX graph takes photos as they are, uint8 (B, H, W, 3), upright, RGB, of
    any size, and gives probabilities.

    \b
    Examples:
      transferkit export runs/photos-1 --format onnx -o photos.onnx
      transferkit export runs/photos-1 --format onnx --int8 -o small.onnx
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
    written = load(model, device="cpu").export(
        format, out, images=photos, progress=render.progress_for(quiet=False), **asked
    )
    render.say(str(written))
