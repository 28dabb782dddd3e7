"""What all strategies have in common, and what they answer before anything is trained."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from transferkit.choices import LR
from transferkit.option import dashed
from transferkit.options import DECLARED, Options, default_of

if TYPE_CHECKING:
    from transferkit.model.build import Backbone
    from transferkit.train.fitted import Fitted
    from transferkit.train.modes import TrainingMode
    from transferkit.train.plan import Plan
    from transferkit.train.problem import Problem

IMAGE_PASSES = 3000  # a fine-tuning shows about as many images, counted once an epoch: 12 epochs of 240, 5 of 600
DECOUPLED_DECAY = 0.05  # of adamw
L2 = 1e-4  # of a network, in the loss
VAL_FRACTION = 0.2
LEAST_BATCH, MOST_BATCH = 4, 32  # images


class Strategy(ABC):
    """A way from a pretrained network with a fresh head to a classifier.

    Fields: name and help, as the command line shows them; needs_features, of the network as it is, computed once;
    trains_network, all stages that are not frozen; fits_on_batches, anything at all; manner, how a head alone is
    fitted; optimizer, the usual one; lr_search, what `transferkit lr --through` calls a search for its learning rate;
    without_training, what it comes to where there is no time for an epoch, "" if it cannot do without.
    """

    name: str
    help: str
    needs_features = True
    trains_network = True
    fits_on_batches = True
    manner = ""
    optimizer = "adamw"
    lr_search = ""
    without_training = ""

    @abstractmethod
    def run(self, problem: "Problem") -> "Fitted":
        """Fit `problem.model` in place. Raises: DivergedError."""

    def mode(self, problem: "Problem") -> "TrainingMode":
        """How its first training by mini-batches is done. Raises: TypeError for a strategy with another beginning."""
        raise TypeError(f"{self.name} does not begin with training by mini-batches")

    def variant(self, options: Options) -> "Strategy":
        """The strategy that the options make of this one."""
        return self

    def check(self, options: Options) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse options that contradict the strategy. Raises: UsageError saying what to do."""

    def check_network(self, options: Options, model: "Backbone") -> None:  # noqa: B027 - as above
        """Refuse a network, frozen as asked, that the strategy cannot train. Raises: UsageError saying what to do."""

    def precision(self, options: Options) -> str:
        """The precision to ask for, as `--precision` has it."""
        return options.precision

    def slots(self) -> int:
        """How many numbers the optimiser keeps of each weight that is trained, at most."""
        return 2

    def unused(self, options: Options) -> list[str]:
        """The options given that the strategy does not use, as they are written."""
        needs = {name: about.needs for name, about in DECLARED.items() if about.needs}
        return [
            dashed(name)
            for name, need in needs.items()
            if not getattr(self, need) and getattr(options, name) != default_of(name)
        ]

    def picks_epoch(self, options: Options, *, are_few: bool) -> bool:
        """Whether the epoch that validates best is kept, and training ends when none is better; else all are made.

        Args: are_few, whether all images are trained on again.
        """
        return not options.snapshots

    def expected_best(self, images: int, *, epochs: int) -> int:
        """Which epoch is likely to be the best of a training on so many images: from a random head, the last."""
        return epochs

    def after(self, options: Options, train: int, val: int, *, are_few: bool) -> tuple[int, int]:
        """How many images each epoch of what follows the training has, and how many are judged for it.

        Args: are_few, whether all of them are trained on again.
        """
        return (train + val if are_few else 0), 0

    @property
    def phases(self) -> tuple[str, ...]:
        """The passes through the network: of features, of training, or of both in this order."""
        return ("features",) * self.needs_features + ("training",) * self.trains_network

    def freezes(self, options: Options, *, are_few: bool) -> str | None:
        """Up to where the network stays as it is, as `freezer.freeze` has it.

        Args: are_few, whether all images are trained on again.
        """
        return options.freeze

    def validates(self, options: Options, *, are_few: bool) -> float:
        """The share of the images that validates, where the data do not say which.

        Args: are_few, whether all images are trained on again.
        """
        return options.val_fraction or VAL_FRACTION

    def feature_views(self, options: Options) -> int:
        """How many views features are computed of: the image as it is, mirrored if that may be, then augmented ones."""
        return 2 if options.mirrors else 1

    def takes_one_pass(self, options: Options) -> bool:
        """Whether features of the images and their mirror images are all that is fitted to."""
        return False

    def defaults(self, options: Options, images: int, *, are_few: bool) -> dict[str, Any]:
        """The options whose defaults depend on how many images there are to train on, filled in.

        Args: are_few, whether all images are trained on again.
        """
        optimizer = options.optimizer or self.optimizer
        epochs = min(max(round(IMAGE_PASSES / images), 4), 20)
        return batch_defaults(options, images, optimizer=optimizer, epochs=epochs) | {
            "l2": default_l2(options, optimizer, otherwise=L2)
        }

    def plan(self, options: Options) -> "Plan | None":
        """The numbers of training by mini-batches, for options that are filled in; None where nothing is."""
        from transferkit.model.precision import Precision
        from transferkit.train.mixing import Mixing
        from transferkit.train.plan import plan_of

        plan = plan_of(options, phase="finetune", precision=Precision.read(options.precision).training)
        return replace(plan, mixing=Mixing(mixup=options.mixup, cutmix=options.cutmix))


def batch_defaults(options: Options, images: int, *, optimizer: str, epochs: int) -> dict[str, Any]:
    """The defaults of training by mini-batches; an epoch more where the cycles of snapshots need it."""
    return {
        "epochs": options.epochs or max(epochs, 4 * (options.snapshots or 0)),
        "batch_size": options.batch_size or min(max(images // 16, LEAST_BATCH), MOST_BATCH),
        "optimizer": optimizer,
        "schedule": options.schedule or ("snapshot" if options.snapshots else "cosine"),
        "lr": options.lr or LR[optimizer],
    }


def default_l2(options: Options, optimizer: str, *, otherwise: float | None) -> float | None:
    """The L2 given, or that of the optimiser, or another one."""
    if options.l2 is not None:
        return options.l2
    return DECOUPLED_DECAY if optimizer == "adamw" else otherwise
