"""transferkit export"""

import click

from transferkit.cli import options

FORMATS = ("safetensors", "timm", "onnx", "torch-export")


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True)
@click.option("-o", "--out", required=True, metavar="OUT", help="The file, or for timm the folder, to write.")
@click.option("--images", metavar="FOLDER", help="Photos to compare on.  [default: those that the run was judged on]")
@options.debug_option
def export(model: str, form: str, out: str, images: str | None) -> None:
    """Write a classifier for use elsewhere.

    onnx and torch-export take pixels, 0 to 255, after resize and crop, and give probabilities; before the file is kept, its
    answers are compared with those of the classifier.

    \b
    Examples:
      transferkit export runs/photos-1 --format onnx -o photos.onnx
      transferkit export runs/photos-1 --format timm -o photos_timm
    """
    from transferkit.ship.classifier import load

    written = load(model, device="cpu").export(form, out, images=images)
    click.echo(str(written))
