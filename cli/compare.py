"""transferkit compare"""

import click

from transferkit.cli import options, render


@click.command()
@click.argument("first", metavar="RUN1", shell_complete=options.paths)
@click.argument("second", metavar="RUN2", shell_complete=options.paths)
@click.argument("data", required=False, shell_complete=options.paths)
@click.option("--part", type=click.Choice(["test", "val", "train", "all"]), help="[default: test, else val, else all]")
@options.how_labels_are_found
@options.json_option
@options.quiet_option
@options.debug_option
def compare(
    first: str, second: str, data: str | None, part: str | None, as_json: bool, quiet: bool, **given: str | None
) -> None:
    """Say whether two classifiers differ, by a paired test on the same images.

    With DATA both are evaluated on it, and RUN1 and RUN2 may be model folders too; without, they are compared on the
    test images that both runs have judged. Images that either was trained or validated on are left out. Where images
    have several labels, all of them right is right.

    \b
    Examples:
      transferkit compare runs/photos-1 runs/photos-2
      transferkit compare runs/photos-1 runs/photos-2 more_photos --json
    """
    from transferkit.ship.compare import compare

    found = compare(first, second, data, part=part, progress=render.progress_for(quiet=quiet), **given)
    for note in found.notes:
        render.say(note, err=True)
    if as_json:
        render.data(found.as_json())
        return
    render.say(found.verdict)
    click.echo()
    of = f" in {found.groups:,} groups" if found.groups else ""
    columns = (f"{found.n:,} {found.part} images{of}", "right", "it alone", "log loss")[: 4 if found.losses else 3]
    rows = [
        (name, f"{100 * accuracy:.1f} %", f"{only:,}", *(f"{loss:.4f}" for loss in losses))
        for name, accuracy, only, *losses in zip(
            found.names, found.accuracies, found.only, *([found.losses] if found.losses else [])
        )
    ]
    render.table(columns, rows)
    if found.loss_interval:
        low, high = found.loss_interval
        change = f"{found.loss_difference:.4f} (95 % interval {low:.4f} to {high:.4f})"
        click.echo(f"\nlog loss of the first minus that of the second: {change}")
