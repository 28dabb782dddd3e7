"""transferkit report"""

from pathlib import Path

import click

from transferkit.cli import options, render


@click.command()
@click.argument("run")
@options.debug_option
def report(run: str) -> None:
    """Write the report of a run again, from the files in its folder, and print where it is."""
    from transferkit.ship.record import write_report

    render.say(str(write_report(Path(run))))
