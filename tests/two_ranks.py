"""What each of two ranks does for tests/test_ranks.py, and what one process does to compare with.

Run as `python -m tests.two_ranks FOLDER` with the variables that torchrun sets.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import transferkit as tk
from transferkit import ranks
from transferkit.model.feature_cache import FeatureCache
from transferkit.model.features import Extractor
from transferkit.train import loop, optim, outputs, replica
from transferkit.train.loop import Examples, Plan
from transferkit.train.step import MicroBatches
from transferkit.zoo.errors import DataError, TransferkitError

PLANS = {
    "equal parts": Plan(epochs=2, batch_size=8),
    "unequal parts": Plan(epochs=2, batch_size=7, balance="weights", label_smoothing=0.1, max_gradient_norm=0.2),
    "sampled": Plan(epochs=2, batch_size=7, balance="sampler"),
    "too small to divide": Plan(epochs=1, batch_size=3),
}
PIXELS = torch.randn(72, 3, 8, 8, generator=torch.Generator().manual_seed(0))
EXAMPLES = Examples(rows=np.arange(40), labels=np.array([0, 0, 0, 0, 1, 2] * 12), num_classes=3)


def network(*, normalises: bool = False) -> nn.Module:
    torch.manual_seed(0)
    middle = nn.BatchNorm2d(8) if normalises else nn.Identity()
    found = nn.Sequential(nn.Conv2d(3, 8, 3), middle, nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    found.unused = nn.Parameter(torch.zeros(2))  # no output depends on it, as in some of timm's
    return found


def trained(plan: Plan, *, normalises: bool = False, lr: float = 0.1) -> tuple[dict[str, Tensor], list, list]:
    """The network's state after the plan, the rows of each batch that this rank was given, the epochs' records."""
    model, seen = network(normalises=normalises), []

    def loader(batches, epoch):
        for rows in batches:
            seen.append(rows.tolist())
            yield PIXELS[torch.from_numpy(rows)], rows

    optimizer = optim.make("sgd", optim.groups_of(model.parameters(), lr=lr, l2=0.0))
    records = list(loop.train_epochs(model, optimizer, loop.divided(loader), EXAMPLES, plan))
    return model.state_dict(), seen, records


def logits() -> np.ndarray:
    def loader(batches, epoch):
        for rows in batches:
            yield PIXELS[torch.from_numpy(rows)], rows

    return outputs.logits_of(network(), loader, np.arange(len(PIXELS)), num_classes=3)


def kept(folder: Path) -> bool:
    """Whether features are kept where the last rank had to compute some by halves."""
    cache = FeatureCache(folder, {})
    if ranks.rank() + 1 == ranks.size():
        cache.close()
    Extractor(model=tk.zoo.create("cifar_mlp"), cache=cache).agree()
    return not cache.is_closed


def divided() -> list[str]:
    """What is said of batches that are too large for a GPU, and how that ends."""
    said = []

    def too_large(module, inputs):
        raise torch.OutOfMemoryError("out of memory")

    model = network()
    model.register_forward_pre_hook(too_large)
    plan = Plan(epochs=1, batch_size=8, micro_batches=MicroBatches(say=said.append))
    optimizer = optim.make("sgd", optim.groups_of(model.parameters(), lr=0.1, l2=0.0))

    def loader(batches, epoch):
        for rows in batches:
            yield PIXELS[torch.from_numpy(rows)], rows

    try:
        list(loop.train_epochs(model, optimizer, loop.divided(loader), EXAMPLES, plan))
    except torch.OutOfMemoryError as error:
        said.append(str(error))
    return said


def drawn() -> list[float]:
    replica.seed_step(0, epoch=1, step=2)
    return torch.rand(3).tolist()


def exchanged() -> dict:
    """What each of the exchanges of ranks.py gives here."""
    number = ranks.rank()
    names = np.array(["a" * 64, "é", "", "b"][2 * number : 2 * number + 2] * 2, "<U64")
    names[2 - 2 * number : 4 - 2 * number] = "?"
    table = np.full((3, 2), number, np.float32)
    ranks.fill(names, [slice(0, 2), slice(2, 4)])
    ranks.fill(table, [slice(0, 3), slice(3, 3)])
    mean, first = torch.full((2, 2), float(number)), torch.full((2,), float(number))
    ranks.average([mean, torch.zeros(3)])
    ranks.copy_first([first])
    return {
        "gathered": ranks.gather({"rank": number, "name": "\udcffé" * (1 + number)}),
        "first": ranks.from_first(0.1 + number),
        "names": names.tolist(),
        "table": table.tolist(),
        "total": ranks.total([1.0, number]),
        "mean": mean.tolist(),
        "copied": first.tolist(),
        "blocks": [(block.start, block.stop) for block in ranks.blocks(100, of=32)],
        "shards": [ranks.shard(np.arange(count), least=2).tolist() for count in (2, 3, 5)],
    }


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    found = {}
    try:
        with ranks.joined():
            number = ranks.rank()
            for name, plan in PLANS.items():
                state, found[name], found[f"{name}, records"] = trained(plan)
                torch.save(state, folder / f"{name} {number}.pt")
            torch.save(trained(PLANS["equal parts"], normalises=True)[0], folder / f"normalised {number}.pt")
            torch.save(trained(PLANS["equal parts"], normalises=True, lr=0.0)[0], folder / f"statistics {number}.pt")
            np.save(folder / f"logits {number}.npy", logits())
            found |= {"drawn": drawn(), "exchanged": exchanged(), "divided": divided(), "kept": kept(folder)}
            if number == 1:
                raise DataError("only rank 1 sees this")
            ranks.gather("what rank 1 never answers")
    except TransferkitError as error:
        found["error"] = [type(error).__name__, str(error), error.exit_code]
    (folder / f"{number}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # as the command does: a thread of an exchange that failed may be left, which aborts an orderly end
