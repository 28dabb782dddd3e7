"""transferkit finetune"""

import shlex
from pathlib import Path
from typing import Any

import click

from transferkit.cli import options, render
from transferkit.option import MACHINE
from transferkit.zoo.errors import UsageError


@click.command(cls=options.GroupedCommand)
@click.argument("data", required=False, shell_complete=options.paths)
@options.every_declared
@click.option("--config", "config_file", metavar="FILE", help="Options from a YAML or JSON file, or from a run.json.")
@click.option("--dry-run", is_flag=True, help="Show what would be trained and what it takes; train nothing.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in -o RUN.")
@click.option("--overwrite", is_flag=True, help="Replace the run in -o RUN, once the new one is complete.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    cls=options.GroupedOption,
    group=MACHINE,
    help="Train in as many processes of this machine, one a GPU; torchrun does the same on several machines.",
)
@options.json_option
@options.quiet_option
@options.debug_option
@click.pass_obj
def finetune(arguments: list[str], data: str | None, config_file: str | None, dry_run: bool, resume: bool,
             overwrite: bool, processes: int | None, as_json: bool, quiet: bool, **given: Any) -> int:  # fmt: skip
    """Fit a classifier to the images in DATA.

    DATA is a folder with one folder of images for each class; or one with train/ and optionally val/ and test/, each
    of class folders; or a CSV or JSON Lines with the columns path,label and optionally split, or path,labels where
    images have several ("beach|dog"); or WebDataset shards, such as "photos-{000..099}.tar" or a URL of them; or a
    ZIP or compressed tar of folders or of a table. Other usual names of folders and columns are understood, and said.

    \b
    Examples:
      transferkit finetune photos
      transferkit finetune photos --strategy probe -o runs/first
      transferkit finetune photos --budget 10m
      transferkit finetune labels.csv --label-column species
      transferkit finetune photos --label-from "([a-z]+)[.][0-9]+[.]jpg$"
      transferkit finetune photos --strategy probe --dropconnect 0.5 --snapshots 5
      transferkit finetune photos --backbone resnet18.a1_in1k --freeze layer2 --epochs 10
      transferkit finetune --config runs/first/run.json --seed 1
      transferkit finetune photos --processes 4
      transferkit finetune "s3://bucket/photos-{000..099}.tar" --strategy probe --workers 16
    """
    from transferkit import flow, ranks
    from transferkit.cli import launch, plan

    if ranks.launched() and processes not in (None, ranks.size()):
        raise UsageError(f"torchrun has started {ranks.size()} processes; drop --processes {processes}")
    if processes and processes > 1 and not ranks.launched() and not dry_run:
        return launch.start(arguments, processes=processes)
    given = {name: value for name, value in given.items() if value is not None}
    progress = render.progress_for(quiet=quiet or not ranks.is_first())
    if dry_run:
        expected = flow.forecast(data, config_file=config_file, progress=progress, **given)
        if ranks.is_first():
            plan.show(expected, as_json=as_json)
        return 0
    run = flow.finetune(data, config_file=config_file, overwrite=overwrite, resume=resume, progress=progress, **given)
    if not ranks.is_first():
        return 0
    if as_json:
        render.data(run.metrics | {"run": str(run.folder)})
    else:
        _show_result(run.folder, run.metrics)
    return 0


def _show_result(folder: Path, metrics: dict[str, Any]) -> None:
    from transferkit import tasks

    shown = {"run": str(folder), "backbone": metrics["backbone"], "strategy": metrics["strategy"]}
    if metrics["chosen"] != metrics["strategy"]:
        shown["strategy"] += f", which chose: {metrics['chosen']}"
    if snapshots := metrics["snapshots"]:
        shown["snapshots"] = (
            f"{snapshots['members']}: validation {100 * snapshots['ensemble']:.1f} % together, "
            f"{100 * snapshots['single']:.1f} % the last alone; chosen: {snapshots['chosen']}"
        )
    if metrics["notes"]:
        shown["how"] = "; ".join(metrics["notes"])
    for part, name in (("val", "validation"), ("test", "test")):
        if metrics[part]:
            shown[name] = tasks.score_line(tasks.of_scores(metrics), metrics[part])
    shown["seconds"] = f"{metrics['seconds']['total']:.1f}"
    shown["report"] = str(folder / "report.html")
    shown["next"] = f"{shlex.join(['transferkit', 'predict', str(folder)])} PHOTO..."
    render.facts(shown)
