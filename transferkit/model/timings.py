"""What was timed on this machine, kept so that a repeated command decides alike."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferkit import runtime
from transferkit.model.build import Backbone
from transferkit.zoo import cache_folder
from transferkit.zoo.disk_cache import DiskCache

LEAST = 0.02  # seconds of a look: some systems' clocks of a thread move by a 64th of one
IMAGES = 8  # a batch to time: tells by what factor one way is faster as 32 do, in a quarter of the time


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Where and in what precision something is timed, and where that is kept."""

    device: str
    precision: str
    cache: Path


def looked_up(
    model: Backbone, what: dict[str, Any], measure: Callable[[], dict[str, Any]], *, device: str, cache: Path
) -> dict[str, Any]:
    """What `measure` found of `model` on this machine, in this run or an earlier one with the same versions.

    Args: what, plain data that says what is measured and under which conditions, beyond network, size and machine.
    """
    key = what | {
        "network": model.spec,
        "images": IMAGES,
        "size_px": list(model.card.preprocessing.size_px),
        "processor": runtime.processor(device),
        "versions": {name: version for name, version in runtime.versions().items() if name in ("torch", "timm")},
    }
    kept, digest = DiskCache(cache, "timings"), cache_folder.digest(key)
    path = kept.folder / f"{digest}.json"
    held = cache_folder.read(path)  # None: not timed yet, or damaged
    if held and cache_folder.digest(held["key"]) == digest:
        return held["found"]
    found = measure()
    kept.write(path, cache_folder.write, {"key": key, "found": found})
    return found


def noise(model: Backbone, *, device: str) -> Tensor:
    """A batch for `model`, the same at every call.

    Returns: `IMAGES` of normal values, (B, 3, H, W) in channels_last.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(IMAGES, 3, *model.card.preprocessing.size_px, generator=generator)
    return x.to(device, memory_format=torch.channels_last)


def seconds(work: Callable[[], Any], *, device: str) -> float:
    """How long `work` takes, with all that it leaves to a CUDA device."""
    started = time.perf_counter()
    work()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def computing(work: Callable[[], Any], *, device: str) -> float:
    """How many seconds a CPU computes for `work`, on one thread; for another device, how long it takes.

    For what decides: other processes lengthen the time that passes, unevenly, and hardly that of a thread.
    """
    if torch.device(device).type != "cpu":
        return seconds(work, device=device)
    threads, times = torch.get_num_threads(), 0
    torch.set_num_threads(1)
    try:
        started = time.thread_time()
        while (spent := time.thread_time() - started) < LEAST:
            work()
            times += 1
    finally:
        torch.set_num_threads(threads)
    return spent / times
