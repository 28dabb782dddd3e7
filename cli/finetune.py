"""transferkit finetune"""

from pathlib import Path
from typing import Any

import click

from transferkit import presets
from transferkit.cli import options, render
from transferkit.config import BALANCES, OPTIMIZERS, SCHEDULES, STRATEGIES
from transferkit.zoo import sources
from transferkit.zoo.errors import UsageError


@click.command()
@click.argument("data", required=False)
@click.option("-o", "--out", metavar="RUN", help="Folder of the run.  [default: runs/NAME-N]")
@click.option(
    "--backbone",
    metavar="NAME",
    help=f"{sources.help_text()}  [default: auto]",
)
@click.option("--weights", metavar="FILE", help="A safetensors file for the backbone; none: random weights.")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    help="probe: fit the head alone. finetune: train all stages. lp-ft: probe, then fine-tune from it. "
    "auto: lp-ft, but keep the probe unless it is clearly beaten.  [default: auto]",
)
@click.option(
    "--freeze", metavar="STAGE", help="Freeze up to and including this stage (--dry-run lists them), or `backbone`."
)
@click.option("--epochs", type=int, help="[default: 4 to 20, about 3000 images in all; of a head alone 10 to 100]")
@click.option("--batch-size", type=int, help="[default: a sixteenth of the images, 4 to 32]")
@click.option(
    "--lr",
    type=float,
    help="Peak learning rate of the last stage.  [default: adamw 0.0003, adam 0.001, momentum and nesterov 0.003, "
    "sgd 0.03]",
)
@click.option(
    "--optimizer",
    type=click.Choice(OPTIMIZERS),
    help="lbfgs solves for the head of a probe; any other trains by mini-batches.  [default: adamw; of a probe lbfgs, "
    "or adam where another option needs mini-batches]",
)
@click.option(
    "--schedule",
    type=click.Choice(SCHEDULES),
    help="How the learning rate falls.  [default: cosine, after a warm-up; snapshot with --snapshots]",
)
@click.option(
    "--decay",
    type=float,
    help="Constant of the schedule: factor of a step, or the k of exponential, exp(-kt), and inverse, 1 / (1 + kt), "
    "t in epochs.  [default: 0.5; a k that ends at 5 % of --lr]",
)
@click.option("--step-epochs", type=int, help="Epochs between two steps.  [default: a quarter of all]")
@click.option(
    "--snapshots",
    type=int,
    metavar="M",
    help="Run M cosine cycles and average the outputs of their minima, if that validates better than the last alone.",
)
@click.option(
    "--layer-decay", type=float, help="Learning rate of a stage over that of the one above it.  [default: 0.8]"
)
@click.option(
    "--l2",
    type=float,
    help="lambda of lambda * sum(W ** 2) in the loss; with adamw, decoupled weight decay.  "
    "[default: for a head alone found by cross-validation, else 0.0001; with adamw 0.05]",
)
@click.option("--dropout", type=float, help="Share of features dropped before the head in training.  [default: 0]")
@click.option(
    "--dropconnect",
    type=float,
    help="Share of the head's weights dropped in training, others for each image.  [default: 0]",
)
@click.option("--label-smoothing", type=float, help="Share of the target spread over all classes.  [default: 0]")
@click.option(
    "--balance", type=click.Choice(BALANCES), help="Make rare classes count as much as common ones.  [default: none]"
)
@click.option(
    "--augment",
    metavar="NAME|FILE",
    help=presets.help_text(),
)
@click.option(
    "--views",
    type=int,
    metavar="V",
    help="Views of each image that epochs repeat in turn; 0: a new one each epoch. For a head alone: as it is, "
    "mirrored if --augment mirrors, then augmented ones.  [default: 2 for a head alone, 1 where --augment does not "
    "mirror; else 0, or 4 with --freeze STAGE where that saves much, since what is frozen runs once a view]",
)
@click.option("--image-size", type=int, help="Side in pixels.  [default: that of the weights]")
@options.bit_depth_option
@click.option("--val-fraction", type=float, help="Share kept for validation if DATA has no val/.  [default: 0.2]")
@click.option("--patience", type=int, help="Stop after so many epochs without a better validation loss.  [default: 8]")
@click.option("--seed", type=int, help="[default: 0]")
@options.device_option
@click.option(
    "--precision",
    metavar="NAME",
    help="auto, fp32 or bf16; A/B for A of features and B of training. auto: bf16 where it is faster here and safe for "
    "the backbone.  [default: auto]",
)
@click.option(
    "--compile",
    is_flag=True,
    default=None,
    help="Train through torch.compile, which is made for GPUs and long runs: a minute or more before the first step.",
)
@click.option("--workers", type=int, help="Threads that decode images.  [default: one a core]")
@options.cache_option
@click.option("--offline", is_flag=True, default=None, help="Use only weights that are on this machine.")
@click.option("--config", "config_file", metavar="FILE", help="Options from a YAML or JSON file, or from a run.json.")
@click.option("--dry-run", is_flag=True, help="Show what would be trained, and train nothing.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in -o RUN.")
@click.option("--keep-checkpoints", is_flag=True, default=None, help="Keep the resume state after success.")
@click.option("--overwrite", is_flag=True, help="Replace the run in -o RUN, once the new one is complete.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
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
    of class folders; or a CSV with the columns path,label and optionally split; or WebDataset shards, such as
    "photos-{000..099}.tar" or a URL of them.

    \b
    Examples:
      transferkit finetune photos
      transferkit finetune photos --strategy probe -o runs/first
      transferkit finetune photos --strategy probe --dropconnect 0.5 --snapshots 5
      transferkit finetune photos --backbone resnet18.a1_in1k --freeze layer2 --epochs 10
      transferkit finetune --config runs/first/run.json --seed 1
      transferkit finetune photos --processes 4
      transferkit finetune "s3://bucket/photos-{000..099}.tar" --strategy probe --workers 16
    """
    from transferkit import flow, launch, ranks

    if ranks.launched() and processes not in (None, ranks.size()):
        raise UsageError(f"torchrun has started {ranks.size()} processes; drop --processes {processes}")
    if (processes or 1) > 1 and not ranks.launched() and not dry_run:
        return launch.start(arguments, processes=processes)
    given = {name: value for name, value in given.items() if value is not None}
    progress = render.progress_for(quiet=quiet or not ranks.is_first())
    if dry_run:
        setting = flow.prepare(data, config_file=config_file, progress=progress, **given)
        if ranks.is_first():
            _show_plan(setting)
        return 0
    run = flow.finetune(data, config_file=config_file, overwrite=overwrite, resume=resume, progress=progress, **given)
    if not ranks.is_first():
        return 0
    if as_json:
        render.data(run.metrics | {"run": str(run.folder)})
    else:
        _show_result(run.folder, run.metrics)
    return 0


def _show_plan(setting) -> None:
    listing = setting.listing
    config = setting.config.resolved(images=round(len(listing.labels) * (1 - setting.config.val_fraction)))
    render.facts({
        "images": f"{len(listing.labels)} of {len(listing.classes)} classes: {', '.join(listing.classes)}",
        "backbone": setting.model.card.name,
        "strategy": config.strategy,
        "epochs": (
            "none, the head is solved for"
            if config.optimizer == "lbfgs"
            else f"{config.epochs}, batches of {config.batch_size}"
        ),
        "device": setting.device,
    })  # fmt: skip
    click.echo()
    rows = [(s.stage, f"{s.frozen:,}", f"{s.trainable:,}") for s in setting.frozen.stages]
    total = ("in all", f"{setting.frozen.frozen:,}", f"{setting.frozen.trainable:,}")
    render.table(("stage", "frozen", "trainable"), [*rows, total])


def _show_result(folder: Path, metrics: dict[str, Any]) -> None:
    shown = {"run": str(folder), "backbone": metrics["backbone"], "strategy": metrics["strategy"]}
    if metrics["kept"] != metrics["strategy"]:
        shown["strategy"] += f", which kept: {metrics['kept']}"
    if snapshots := metrics["snapshots"]:
        shown["snapshots"] = (
            f"{snapshots['members']}: validation {100 * snapshots['ensemble']:.1f} % together, "
            f"{100 * snapshots['single']:.1f} % the last alone; kept: {snapshots['kept']}"
        )
    if metrics["notes"]:
        shown["how"] = "; ".join(metrics["notes"])
    for part, name in (("val", "validation"), ("test", "test")):
        if metrics[part]:
            shown[name] = render.accuracy_line(metrics[part])
    shown["seconds"] = f"{metrics['seconds']['total']:.1f}"
    shown["report"] = str(folder / "report.html")
    shown["next"] = f"transferkit predict {folder} PHOTO..."
    render.facts(shown)
