"""transferkit rank"""

import shlex
from dataclasses import asdict
from typing import Any

import click

from transferkit.cli import options, render


@click.command(cls=options.GroupedCommand)
@click.argument("data", shell_complete=options.paths)
@click.option("--backbones", metavar="A,B,...", help="Which to try.  [default: all whose weights are here]")
@click.option("--download", is_flag=True, help="Try strong networks of the hub too: other ones on a GPU than on a CPU.")
@click.option("--commercial", is_flag=True, help="Only networks under an Apache, MIT or BSD licence.")
@click.option("--most", type=click.IntRange(20), default=2000, show_default=True, help="Images to look at.")
@options.how_labels_are_found
@options.how_images_are_read
@options.json_option
@options.quiet_option
@options.debug_option
def rank(data: str, backbones: str | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Find the backbone that suits the images in DATA.

    Fits a head to the features that each of them gives, and judges it by cross-validation; nothing is trained, and test
    images take no part. The first one has the lowest log loss. A star marks those that none as fast beats. Features are
    kept: a run that follows computes none of them again. A licence that is none of Apache, MIT and BSD is told before
    anything is downloaded.

    \b
    Examples:
      transferkit rank photos
      transferkit rank photos --backbones efficientnet_lite0,timm:resnet18
      transferkit rank photos --download --commercial
      transferkit finetune photos --backbone best
    """
    from transferkit import flow
    from transferkit.candidates import Choice

    choice = Choice(download=given.pop("download"), commercial=given.pop("commercial"))
    given = {name: value for name, value in given.items() if value is not None}
    names = None if backbones is None else [name for name in backbones.split(",") if name]
    found = flow.rank(data, names, choice=choice, progress=render.progress_for(quiet=quiet), **given)
    if as_json:
        render.data([asdict(each) for each in found])
        return
    rows = [
        (
            f"{each.backbone}{' *' if each.is_ahead else ''}",
            f"{100 * each.accuracy:.1f} %",
            f"{100 * each.interval[0]:.1f} to {100 * each.interval[1]:.1f}",
            f"{each.loss:.3f}",
            f"{each.logme:.3f}",
            f"{each.milliseconds:.1f}",
            f"{each.megabytes:.0f}",
            each.license,
        )
        for each in found
    ]
    render.table(("backbone", "right", "95 %", "log loss", "LogME", "ms", "MB", "licence"), rows)
    said = options.as_given(given, "label_column", "label_from")
    click.echo("\n" + shlex.join(["transferkit", "finetune", data, *said, "--backbone", found[0].backbone]))
