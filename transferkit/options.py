"""The options of a fine-tuning run, each declared once: its kind, what it may be, its default, what it is for.

They are checked when a config is made; the command line, its help, the signature of `transferkit.finetune` and
docs/options.md are made of them. A new option is a field here.
"""

import dataclasses
import functools
import typing
from dataclasses import dataclass
from typing import Any

from transferkit import augment_file, kinds, presets
from transferkit.choices import BALANCES, LR, MAX_VIEWS, OPTIMIZERS, PRECISIONS, RULES, SCHEDULES
from transferkit.option import BATCHES, DATA, MACHINE, NETWORK, REGULARISATION, RUN, STAGES, TRAINING, Option, option
from transferkit.zoo import sources
from transferkit.zoo.schema import MAX_SIDE_PX


@dataclass(frozen=True, kw_only=True)
class Options:
    """Every option of `transferkit finetune`; None means that a default is worked out from the data.

    Raises: UsageError naming the option, the value and what is allowed.
    """

    data: str
    out: str | None = option(None, RUN, "Folder of the run.", rule="runs/NAME-N", metavar="RUN", short="-o")
    backbone: str = option(
        "auto",
        NETWORK,
        f"{sources.help_text()} auto: the best installed, beside the least; on a GPU a larger one, if it can be had. "
        "best: the one that `transferkit rank --commercial` puts first.",
        metavar="NAME",
    )
    weights: str | None = option(None, NETWORK, "Safetensors, with its config.json; none: random.", metavar="FILE")
    strategy: str = option("auto", TRAINING, "How the network becomes a classifier.")  # and strategies.help_text()
    freeze: str | None = option(
        None,
        NETWORK,
        "Freeze up to and including this stage (--dry-run lists them), the `backbone`, `half` its stages, or `none`.",
        rule=RULES["freeze"],
        metavar="STAGE",
    )
    epochs: int | None = option(
        None, TRAINING, "Passes over the images.", rule=RULES["epochs"], low=1, high=100_000, needs=BATCHES
    )
    batch_size: int | None = option(
        None, TRAINING, "Images a step.", rule=RULES["batch_size"], low=2, high=65_536, needs=BATCHES
    )
    lr: float | None = option(
        None,
        TRAINING,
        "Peak learning rate of the last stage before the head; deeper stages get less.",
        rule=", ".join(f"{name} {rate:g}" for name, rate in LR.items()),
        low=1e-9,
        high=100,
        needs=BATCHES,
    )
    optimizer: str | None = option(
        None,
        TRAINING,
        "lbfgs takes all images at once: it solves for the head of a probe, or trains up to 3 million weights of a "
        "network; any other trains by mini-batches.",
        rule="adamw; of a probe lbfgs, or adam where another option needs mini-batches",
        choices=OPTIMIZERS,
    )
    schedule: str | None = option(
        None,
        TRAINING,
        "How the learning rate falls.",
        rule="cosine, after a warm-up; snapshot with --snapshots",
        choices=SCHEDULES,
        needs=BATCHES,
    )
    decay: float | None = option(
        None,
        TRAINING,
        "Constant of the schedule: factor of step; k of exponential, exp(-kt), and inverse, 1 / (1 + kt), t in epochs.",
        rule="0.5; a k that ends at 5 % of --lr",
        low=0,
        high=100,
        needs=BATCHES,
    )
    compounding: bool = option(
        False,
        TRAINING,
        "Apply exponential or inverse decay anew to each epoch's rate, by a --decay ten times smaller.",
        needs=BATCHES,
    )
    step_epochs: int | None = option(
        None, TRAINING, "Epochs between two steps.", rule="a quarter of all", low=1, high=100_000, needs=BATCHES
    )
    layer_decay: float = option(
        0.8, TRAINING, "Learning rate of a stage over that of the one above it.", low=0.01, high=1, needs=STAGES
    )
    l2: float | None = option(
        None,
        REGULARISATION,
        "lambda of lambda * sum(W ** 2) in the loss; with adamw, decoupled weight decay.",
        rule="for a head alone found by cross-validation, else 0.0001; with adamw 0.05",
        low=0,
        high=100,
    )
    dropout: float = option(
        0.0, REGULARISATION, "Share of features dropped before the head in training.", low=0, high=0.99, needs=BATCHES
    )
    dropconnect: float = option(
        0.0, REGULARISATION, "Share of the head's weights dropped, others each image.", low=0, high=0.99, needs=BATCHES
    )
    snapshots: int | None = option(
        None,
        TRAINING,
        "Run M cosine cycles and average the outputs of their minima, if that validates better than the last alone.",
        low=2,
        high=100,
        metavar="M",
        needs=BATCHES,
    )
    tta: bool = option(
        False, TRAINING, "Answer with the mean over a photo and its mirror image, where validation is better by it."
    )
    label_smoothing: float = option(
        0.0, REGULARISATION, "Share of the target spread over all classes.", low=0, high=0.99, needs=BATCHES
    )
    mixup: float = option(
        0.0,
        REGULARISATION,
        "Train on means of two images and of their labels, weighted by draws from Beta(A, A), as of 0.2; with --cutmix "
        "too by a coin a batch. 0: never.",
        low=0,
        high=100,
        metavar="A",
        needs=STAGES,
    )
    cutmix: float = option(
        0.0,
        REGULARISATION,
        "Train on images of which a box is another's, and on their labels by area, drawn from Beta(A, A), as of 1.",
        low=0,
        high=100,
        metavar="A",
        needs=STAGES,
    )
    balance: str = option("none", TRAINING, "Make rare classes count as much as common ones.", choices=BALANCES)
    augment: str = option("default", DATA, presets.help_text(), metavar="NAME|FILE")
    views: int | None = option(
        None,
        DATA,
        "Views of each image that epochs repeat in turn; 0: a new one each epoch. For a head alone: as it is, mirrored "
        "if --augment mirrors, then augmented ones.",
        rule=RULES["views"],
        low=0,
        high=MAX_VIEWS,
        why="each view is one more pass over all images, and is kept",
        metavar="V",
    )
    image_size: int | None = option(None, DATA, "Side in pixels.", rule="that of the weights", low=8, high=MAX_SIDE_PX)
    bit_depth: int | None = option(
        None,
        DATA,
        "Bits of the values in 16-bit files that do not say it, as 12.",
        rule="8, 10 or 12 where no image has more; those the model remembers; else 16",
        low=8,
        high=16,
        metavar="N",
    )
    group_by: str | None = option(
        None, DATA, "Divide no images with the same text in a table's column or path.", metavar="REGEX|COLUMN"
    )
    label_column: str | None = option(None, DATA, "The column of a table that is the label.", metavar="NAME")
    label_from: str | None = option(
        None, DATA, "The class is what this finds in a photo's path, or its first group in brackets.", metavar="REGEX"
    )
    test_fraction: float | None = option(
        None, DATA, "Share set aside to test, before all else, if DATA has no test/.", low=0.01, high=0.9, metavar="F"
    )
    val_fraction: float | None = option(
        None, DATA, "Share kept for validation if DATA has no val/.", rule=RULES["val_fraction"], low=0.01, high=0.9
    )
    patience: int = option(
        8, TRAINING, "Stop so many epochs after the best; auto of few images never.", low=1, high=100_000, needs=BATCHES
    )
    budget: str | None = option(
        None, TRAINING, "Be done in so much time, as 90s, 10m or 1.5h, by training less.", metavar="TIME"
    )
    seed: int = option(0, RUN, "Of all that is drawn at random.", low=0, high=kinds.LARGEST)
    device: str = option("auto", MACHINE, "auto, cpu, cuda, cuda:1, mps.", metavar="NAME")
    precision: str = option(
        "auto",
        MACHINE,
        "auto, fp32 or bf16; A/B for A of features and B of training, fp32/fp16 too. auto: bf16 where it is faster and "
        "safe for the backbone; a GPU trains in bf16, or fp16 where it has no other.",
        choices=PRECISIONS,
        metavar="NAME",
    )
    compile: bool = option(
        False,
        MACHINE,
        "Train through torch.compile, which is made for GPUs and long runs: a minute or more before the first step.",
        needs=STAGES,
    )
    deterministic: bool = option(
        False,
        MACHINE,
        "On a GPU the same bytes in every run, by kernels that repeat, which may be slower; on a CPU it is so anyway.",
    )
    workers: int | None = option(
        None, MACHINE, "Threads that decode images; for a GPU, processes.", rule="one a core", low=0, high=1024
    )
    cache_dir: str | None = option(
        None,
        MACHINE,
        "Where decoded photos are kept from run to run; in DIR/transferkit if DIR holds other things.",
        rule="the user's cache",
        metavar="DIR",
    )
    offline: bool = option(False, MACHINE, "Use only weights that are on this machine.")
    keep_checkpoints: bool = option(False, RUN, "Keep the resume state after success.")
    log: str | None = option(None, RUN, "Trackers told of it: tensorboard, mlflow, wandb, aim.", metavar="NAME,...")

    def __post_init__(self):
        kinds.check(vars(self), Options)
        for name, about in DECLARED.items():
            about.check(name, getattr(self, name))

    @functools.cached_property
    def mirrors(self) -> bool:
        """Whether the augmentation mirrors images, so that a head may be fitted to mirror images."""
        return augment_file.mirrors(self.augment)


DECLARED: dict[str, Option] = {
    field.name: field.metadata["option"] for field in dataclasses.fields(Options) if field.metadata
}


def default_of(name: str) -> Any:
    """The default of an option; None where it is worked out."""
    return Options.__dataclass_fields__[name].default


def kind_of(name: str) -> type:
    """The type of an option's value: bool, int, float or str."""
    declared = typing.get_type_hints(Options)[name]
    return next((part for part in typing.get_args(declared) if part is not type(None)), declared)
