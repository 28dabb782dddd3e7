"""transferkit report"""

from pathlib import Path

import click

from transferkit.cli import options, render


@click.command()
@click.argument("run", shell_complete=options.paths)
@click.option("--open", "is_opened", is_flag=True, help="Show it in a browser, where there is one.")
@options.debug_option
def report(run: str, is_opened: bool) -> None:
    """Write the report of a run again, from the files in its folder, and print where it is.

    \b
    Example:
      transferkit report runs/photos-1 --open
    """
    import webbrowser

    from transferkit.ship.record import write_report

    path = write_report(Path(run))
    render.say(str(path))
    if is_opened and not webbrowser.open(path.resolve().as_uri()):
        render.say("no browser was found; open that file in one", err=True)
