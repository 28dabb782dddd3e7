"""Images a second of a loader alone, epoch by epoch, and the memory of all its processes; one JSON line.

python benchmarks/parts/loading.py ours|torchvision FOLDER CACHE --workers N --epochs E

`ours` is what fine-tuning on a GPU reads its images with, each batch copied as on its way there, where it is
normalised; `torchvision` is `DataLoader` with ImageFolder and RandomResizedCrop, flip, ColorJitter, ToTensor and
Normalize. Batches of 64 at 224 px.
"""

import argparse
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import torch

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("whose", choices=("ours", "torchvision"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    epochs = {"ours": ours, "torchvision": torchvision}[given.whose](given)
    seconds, memory_mb = [], []
    for epoch in epochs:
        started, images = time.perf_counter(), 0
        for pixels in epoch:
            images += len(pixels)
        seconds.append(time.perf_counter() - started)
        memory_mb.append(proportional_mb())
    print(json.dumps({"images": images, "seconds": seconds, "memory_mb": memory_mb}))


def ours(given: argparse.Namespace) -> Iterable[Iterable[torch.Tensor]]:
    """The batches of each epoch."""
    from transferkit import runtime
    from transferkit.data import augment, folder
    from transferkit.data.known import Known
    from transferkit.data.photos import Decoding, Photos
    from transferkit.data.store import Store
    from transferkit.data.views import Views
    from transferkit.data.worker_pool import WorkerPool
    from transferkit.progress import Progress
    from transferkit.train.loop import Examples, cut_batches, epoch_order
    from transferkit.zoo.card import Preprocessing

    listing = folder.read(given.folder)
    preprocessing = Preprocessing()
    decoding = Decoding.of(preprocessing)
    room = runtime.available_memory() // 2
    store = Store(given.cache, side=decoding.side_px, progress=Progress())
    photos = Photos(decoding, workers=given.workers, store=store, index=Known(given.cache / "known.sqlite"))
    examples = Examples(
        rows=(listing.parts == "train").nonzero()[0], labels=listing.labels, num_classes=len(listing.classes)
    )
    views = Views(augment.load("default", preprocessing), 0)
    pinned = torch.empty(BATCH, 3, *preprocessing.size_px, dtype=torch.uint8, memory_format=torch.channels_last)
    with WorkerPool(views, photos=photos, kept_bytes=room) as pool:
        for epoch in range(given.epochs):
            rows = cut_batches(epoch_order(examples, balance="none", seed=0, epoch=epoch), BATCH)
            yield (
                pinned[: len(batch.rows)].copy_(batch.pixels)
                for batch in pool.batches(listing.paths, rows, epoch=epoch)
            )


def torchvision(given: argparse.Namespace) -> Iterable[Iterable[torch.Tensor]]:
    """The batches of each epoch."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    steps = [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(brightness=0.2, contrast=0.2),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    data = datasets.ImageFolder(given.folder / "train", transforms.Compose(steps))
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=given.workers, persistent_workers=True)
    for _ in range(given.epochs):
        yield (x for x, _ in loader)


def proportional_mb() -> float:
    """Memory of this process and those it has started: pages that several of them share count once."""
    pids = [os.getpid()]
    for pid in pids:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pids += map(int, found)
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Shmem:"))
    return total / 1024


if __name__ == "__main__":
    main()
