"""transferkit audit"""

import shlex
import shutil
import textwrap
from typing import Any

import click

from transferkit.cli import options, render
from transferkit.zoo.errors import UsageError
from transferkit.zoo.text import printable

NARROW = 40  # columns; a narrower terminal breaks lines itself


@click.command(cls=options.GroupedCommand)
@click.argument("data", shell_complete=options.paths)
@click.option("-o", "--out", metavar="OUT", help="Folder to write to; of --apply, the CSV.  [default: audits/NAME-N]")
@click.option("--apply", "fixes", metavar="FIXES", help="Write DATA as a CSV, with the actions of this fixes.csv done.")
@options.declared("backbone")
@options.declared("weights")
@options.declared("group_by")
@options.how_labels_are_found
@options.how_images_are_read
@options.json_option
@options.quiet_option
@options.debug_option
def audit(data: str, out: str | None, fixes: str | None, as_json: bool, quiet: bool, **given: Any) -> None:
    """Find what is wrong with the images in DATA, before anything is trained.

    Copies of one file and near copies, in two parts or under two labels; labels that are probably wrong; shortcuts,
    which tell the label without a look at the photo: file size, dimensions, brightness, border, file name, camera,
    date; photos of nearly one colour, and files that cannot be read.

    Writes audit.html with the photos that are meant, audit.json, and fixes.csv: there each image in doubt has the
    action keep. Change it to remove or to label:CLASS where you agree; --apply then writes a cleaned data set. No photo
    is ever changed. Features are kept: a run that follows computes none of them again.

    \b
    Examples:
      transferkit audit photos
      transferkit audit photos -o look
      transferkit audit photos --apply look/fixes.csv -o clean.csv
      transferkit finetune clean.csv
    """
    from transferkit import auditing

    given = {name: value for name, value in given.items() if value is not None}
    progress = render.progress_for(quiet=quiet)
    if fixes is not None:
        if out is None:
            raise UsageError("name the CSV to write with -o: transferkit audit DATA --apply FIXES -o CLEAN.csv")
        cleaned = auditing.clean(data, fixes, out, progress=progress, **given)
        if as_json:
            render.data({"data": out, **vars(cleaned)})
            return
        shown = [
            ("images", f"{cleaned.images:,}; {cleaned.removed:,} removed, {cleaned.relabelled:,} with another label"),
            ("data set", out),
            ("next", shlex.join(["transferkit", "finetune", out])),
        ]
        _show(shown)
        return
    found = auditing.audit(data, out=out, progress=progress, **given)
    if as_json:
        render.data(found.contents | {"folder": str(found.folder)})
        return
    lines = found.lines or [("found", "nothing to look at")]
    fixes_file, said = found.folder / "fixes.csv", options.as_given(given, "group_by", "label_column", "label_from")
    _show(
        [
            *lines,
            ("page", str(found.folder / "audit.html")),
            ("fixes", str(fixes_file)),
            ("next", shlex.join(["transferkit", "audit", data, *said, "--apply", str(fixes_file), "-o", "CLEAN.csv"])),
        ]
    )


def _show(pairs: list[tuple[str, str]]) -> None:
    """Print names and words in two columns, the words broken to the width of the terminal."""
    width = max(len(name) for name, _ in pairs)
    room = shutil.get_terminal_size().columns - width - 2
    for name, words in pairs:
        words = printable(words)
        is_broken = room >= NARROW and name not in ("page", "fixes", "next", "data set")  # those are to be copied
        first, *rest = (textwrap.wrap(words, room, break_on_hyphens=False) if is_broken else [words]) or [""]
        click.echo(f"{name:<{width}}  {first}")
        for line in rest:
            click.echo(" " * (width + 2) + line)
