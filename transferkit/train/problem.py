"""What a strategy is given: a network, images, features, and the numbers of the fit."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from transferkit.model.build import Backbone
from transferkit.model.features import Features
from transferkit.train.context import FitContext
from transferkit.train.loop import Examples, Loader

REFIT_IMAGES = 2000  # up to here a fit to all images is worth as much time again


def are_few(images: int) -> bool:
    """Whether so many, test images aside, are so few that all are fitted to once those that validate have judged."""
    return images <= REFIT_IMAGES


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """The constants of a fit; `optimizer` "lbfgs" takes all images at once, the others train by mini-batches.

    `l2` None lets cross-validation choose it, for a head that is solved for; `lr` and `layer_decay` are of
    mini-batches. `dropout` and `dropconnect` are for a head on features; a network has them in its own head.
    """

    optimizer: str
    lr: float | None
    layer_decay: float
    l2: float | None
    dropout: float
    dropconnect: float
    balance: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A network with a fresh head, frozen as asked, the images to fit it to, and how.

    `features` are those of the network as it is, None where none are wanted; `groups` (N,) names images that
    belong together. `network` is what training goes through, the model or its part above what is frozen, and `loader`
    has its inputs. `are_few` says whether, in the end, it is fitted to the validation images, too. `images` has whole
    images, where answers are to be averaged over mirror images if that is better.
    """

    model: Backbone
    features: Features | None
    network: nn.Module
    loader: Loader
    train: Examples
    val: Examples
    groups: np.ndarray | None
    context: FitContext
    hyperparameters: Hyperparameters
    are_few: bool
    images: Loader | None = None
