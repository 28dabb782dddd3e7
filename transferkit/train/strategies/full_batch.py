"""--optimizer lbfgs for a strategy that trains the network: all images at once, and nothing drawn anew at each look."""

from typing import TYPE_CHECKING, Any

from transferkit.option import dashed
from transferkit.options import Options, default_of
from transferkit.train.strategies.base import L2, Strategy, default_l2
from transferkit.zoo.errors import UsageError

if TYPE_CHECKING:
    from transferkit.model.build import Backbone
    from transferkit.train.plan import Plan

EPOCHS = 20
VIEWS = 4  # of each image, where --augment makes others than the image as it is
LBFGS_TAKES_NO = (
    "batch_size",
    "lr",
    "layer_decay",
    "schedule",
    "decay",
    "step_epochs",
    "compounding",
    "snapshots",
    "mixup",
    "cutmix",
    "dropout",
    "dropconnect",
    "compile",
)


class FullBatch(Strategy):
    """What L-BFGS changes of a strategy; it stands before the strategy among the bases of a class."""

    optimizer = "lbfgs"

    def check(self, options: Options) -> None:
        """Refuse what would change the loss from one look to the next, or the length of a step. Raises: UsageError."""
        for name in LBFGS_TAKES_NO:
            if getattr(options, name) != default_of(name):
                raise UsageError(
                    "--optimizer lbfgs minimises one loss of all images and finds the length of its steps itself; it "
                    f"takes no {dashed(name)}; drop one"
                )
        if options.balance == "sampler":
            raise UsageError(
                "--balance sampler draws other images each epoch, which --optimizer lbfgs cannot take; "
                "use --balance weights"
            )
        if options.views == 0:
            raise UsageError(
                "--views 0 changes the images each epoch, which --optimizer lbfgs cannot take; "
                "allowed: --views 1 or more"
            )
        if (options.views or 1) > 1 and options.augment == "none":
            raise UsageError(f"--augment none gives one view of an image, as it is; drop --views {options.views}")
        if self.precision(options).endswith("16"):
            raise UsageError(
                "--optimizer lbfgs compares losses that differ by less than 16 bits can tell; use --precision fp32"
            )

    def check_network(self, options: Options, model: "Backbone") -> None:
        """Refuse a network that is too large, or whose loss is not the same at each look. Raises: UsageError."""
        from transferkit.train import full_batch

        full_batch.check(model)

    def expected_best(self, images: int, *, epochs: int) -> int:
        """The last: what was measured of the best epoch is of mini-batches."""
        return epochs

    def precision(self, options: Options) -> str:
        """Single, unless something else is asked for."""
        return "fp32" if options.precision == "auto" else options.precision

    def slots(self) -> int:
        """The pairs that the curvature is told by."""
        from transferkit.train import full_batch

        return full_batch.SLOTS

    def defaults(self, options: Options, images: int, *, are_few: bool) -> dict[str, Any]:
        """No numbers of batches and no learning rate; the views are the same in all epochs."""
        return {
            "epochs": options.epochs or EPOCHS,
            "batch_size": None,
            "optimizer": self.optimizer,
            "schedule": None,
            "lr": None,
            "l2": default_l2(options, self.optimizer, otherwise=L2),
            "views": options.views or (1 if options.augment == "none" else VIEWS),
        }

    def plan(self, options: Options) -> "Plan | None":
        """All images in all views at each step."""
        from transferkit.train import full_batch

        return full_batch.plan_of(options)
