"""How many views of an image the epochs repeat, and what of the network runs once for each of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from transferkit import kinds, ranks
from transferkit.model import boundary
from transferkit.model.boundary import Activations, Boundary
from transferkit.model.build import Backbone
from transferkit.model.eval_batch import batch_of
from transferkit.model.features import Extractor, Features
from transferkit.model.timings import Conditions
from transferkit.options import Options
from transferkit.progress import Progress
from transferkit.train import loader
from transferkit.train.loop import ImageLoader, Loader, eval_batches

VIEWS = 4  # that epochs repeat where the network is frozen in part
WORTH_REPEATING = 1.2  # times as fast; below, new views each epoch are worth more


def augmented(extractor: Extractor, features: Features, images: ImageLoader, rows: np.ndarray) -> Features:
    """`features` with as many augmented views of `rows` as the extractor wants; each rank computes a part."""
    rows = np.sort(rows)
    size = ranks.from_first(batch_of(extractor.model))  # GPUs may differ
    blocks = ranks.blocks(len(rows), of=size)
    own = eval_batches(rows[blocks[ranks.rank()]], size)
    views = list(features.views)
    while len(views) < extractor.views:
        view = extractor.augmented(images(own, len(views)), count=len(features.plain))
        part = view[rows]
        ranks.fill(part, blocks)
        view[rows] = part
        views.append(view)
    return replace(features, views=tuple(views))


@dataclass(frozen=True, kw_only=True)
class ActivationReuse:
    """A network that is frozen in part, where it can be cut, and where what is computed once may be kept."""

    model: Backbone
    boundary: Boundary | None
    device: str
    precision: str
    cache: Path
    progress: Progress

    def choose_views(self, *, epochs: int) -> int:
        """`VIEWS` where repeating them saves much of the time, as measured here; else 0, a new view each epoch."""
        if self.boundary is None:
            return 0
        where = Conditions(device=self.device, precision=self.precision, cache=self.cache)
        saving = boundary.saving(self.model, self.boundary, epochs=epochs, views=VIEWS, where=where)
        if saving < WORTH_REPEATING:
            return 0
        self.progress.say(f"frozen stages run once for each of {VIEWS} views of an image: {saving:.1f} times as fast")
        return VIEWS

    def kept_views(self, options: Options, *, images: int, fitted: int) -> int:
        """Of how many views what is frozen runs once: those that epochs repeat, else one for each epoch, if small.

        Several trainings, whose epochs have the same views, share it then, without a disk. A GPU computes it anew
        sooner than it gets it.

        Args: images, how many there are; fitted, how many of them are trained and validated on.
        """
        mixes = options.mixup or options.cutmix
        if options.views or mixes or self.boundary is None or self.device != "cpu":
            return options.views or 0
        epochs = kinds.present(options.epochs)
        return epochs if self.memory(images, fitted=fitted, views=epochs) else 0

    def memory(self, images: int, *, fitted: int, views: int) -> int:
        """Bytes of memory for what is frozen of so many images, and of so many views of some; 0 if none or in files."""
        needed = self.boundary.bytes_of(images, fitted=fitted, views=views) if self.boundary and views else 0
        return needed if needed <= boundary.MEMORY_BYTES else 0

    def trained_part(
        self, images: ImageLoader, *, views: int, count: int, fitted: np.ndarray
    ) -> tuple[nn.Module, Loader]:
        """What training goes through and its inputs: the part above the boundary where there is room for what it takes.

        Args: images, of the whole network; views, how many of each the epochs repeat, 0 for none; count, how many
        images there are; fitted, (N,), the rows of those to train and validate on.
        """
        if not views:
            return self.model, images
        images = loader.repeated(images, views)
        if self.boundary is None:
            if self.model.frozen:
                self.progress.say("the network cannot be cut where it is frozen: its frozen stages run in every epoch")
            return self.model, images
        try:
            kept = Activations(self.boundary, count, fitted, views=views, folder=self.cache)
        except (OSError, MemoryError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            self.progress.say(f"frozen stages run in every epoch, their outputs are not kept: {reason}")
            return self.model, images
        above = loader.above(images, self.boundary, kept, precision=self.precision, device=self.device)
        return self.boundary.above, above
