"""transferkit ensemble"""

import click

from transferkit.cli import options, render


@click.command()
@click.argument("models", metavar="RUN_OR_MODEL...", nargs=-1, required=True, shell_complete=options.paths)
@click.option("-o", "--out", required=True, metavar="MODEL", help="The model folder to write.")
@click.option("--data", metavar="DATA", help="Labelled images to score the members and the ensemble on.")
@options.how_labels_are_found
@options.declared("device")
@options.json_option
@options.quiet_option
@options.debug_option
def ensemble(
    models: tuple[str, ...],
    out: str,
    data: str | None,
    device: str | None,
    as_json: bool,
    quiet: bool,
    **given: str | None,
) -> None:
    """Join two or more classifiers of the same classes into one that answers with their mean probability.

    Each RUN_OR_MODEL is a run folder, a model folder or the name of an embedded network; classes are matched by name.
    Runs that were fitted to the same images are calibrated together: logits are divided by one number, chosen on images
    that no fit behind their answers has seen. Without that the mean is less sure than it is right, and no answer is
    called "not sure".
    DATA is scored on its test part, else validation, else all of it; only a test score, of images that no member was
    trained on, is put into the model card.

    \b
    Example:
      transferkit ensemble runs/photos-1 runs/photos-2 -o both --data photos
    """
    from transferkit import tasks
    from transferkit.ship.ensemble import join

    progress = render.progress_for(quiet=quiet)
    joined = join(models, out, data=data, device=device or "auto", progress=progress, **given)
    scores = joined.scores
    for path, reason in scores["refused"] if scores else ():
        render.say(f"left out: {path}: {reason}", err=True)
    if scores and scores["part"] != "test":
        warning = "DATA has no test part: if members were trained on these images, the scores say little; see --help"
        render.say(warning, err=True)
    if as_json:
        said = {"model": out, "members": models, "passes": joined.passes, "calibration": joined.calibration}
        render.data(said | {"scores": scores})
        return
    calibrated = f"no: {joined.uncalibrated}"
    if joined.calibration:
        calibrated = "logits divided by {temperature:.3f}, by {images:,} images that no fit had seen".format(
            **joined.calibration
        )
    render.facts(
        {"model": out, "members": str(len(models)), "passes": f"{joined.passes} through a backbone for an image"}
        | {"calibrated": calibrated}
        | ({scores["part"]: tasks.score_line(tasks.of_scores(scores), scores)} if scores else {})
    )
    if scores:
        click.echo()
        blocks = [*zip(models, scores["members"]), ("ensemble", scores)]
        columns = {"mAP": "mAP", "accuracy": "accuracy", "loss": "log loss"}
        keys = [key for key in columns if key in scores]
        rows = [(name, *(f"{block[key]:.{4 if key == 'loss' else 3}f}" for key in keys)) for name, block in blocks]
        render.table(("member", *(columns[key] for key in keys)), rows)
