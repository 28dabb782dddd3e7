"""transferkit evaluate"""

import click

from transferkit.cli import options, render


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL", shell_complete=options.paths)
@click.argument("data", shell_complete=options.paths)
@click.option("--part", type=click.Choice(["test", "val", "train", "all"]), help="[default: test, else val, else all]")
@options.how_labels_are_found
@options.declared("bit_depth")
@options.declared("device")
@options.json_option
@options.quiet_option
@options.debug_option
def evaluate(
    model: str, data: str, bit_depth: int | None, device: str | None, as_json: bool, quiet: bool, **given: str | None
) -> None:
    """Score a classifier on the labelled images in DATA; classes are matched by name.

    RUN_OR_MODEL is a run folder, a model folder or the name of an embedded network.

    \b
    Examples:
      transferkit evaluate runs/photos-1 more_photos
      transferkit evaluate runs/photos-1/model photos --part test --json
    """
    from transferkit import tasks
    from transferkit.ship.classifier import load

    classifier = load(model, device=device or "auto", bit_depth=bit_depth)
    scores = classifier.evaluate(data, progress=render.progress_for(quiet=quiet), **given)
    for path, reason in scores["refused"]:
        render.say(f"left out: {path}: {reason}", err=True)
    if as_json:
        render.data(scores)
        return
    task = tasks.of_scores(scores)
    render.facts({scores["part"]: tasks.score_line(task, scores), **tasks.further(scores)})
    click.echo()
    header, *rows = task.class_table(scores, scores["classes"])
    render.table(header, rows)
