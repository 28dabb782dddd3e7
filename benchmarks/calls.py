"""Calls into torch of a training step, beside those of a plain loop: what a GPU waits for where steps are short.

python -m benchmarks.calls

Random weights, 4 images, AdamW in one pass over the weights in both; counted on a CPU by torch's profiler, BatchNorm
not folded, as in training on a GPU. Ours also clips gradients and follows the weights with their running average.
"""

from argparse import Namespace
from dataclasses import replace
from itertools import count
from typing import Any

from benchmarks.harness import claim

NETWORKS = {"mobilenetv2_100": 64, "resnet50": 64, "vit_small_patch16_224": 224}  # side in pixels
IMAGES = 4


def main() -> None:
    claim.measured(claim.options(__doc__, repeats=1), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Both steps of each network."""
    figures = []
    for name, size_px in list(NETWORKS.items())[: 1 if given.quick else None]:
        ours, plain = (calls(step) for step in (our_step(name, size_px), plain_step(name, size_px)))
        figures += [
            claim.figure(f"{name}, ours / plain", ours / plain, goal=claim.at_most(1.15)),
            claim.figure(f"{name}, ours", ours),
            claim.figure(f"{name}, plain", plain),
        ]
    return {"data": f"noise, {IMAGES} images", "figures": figures}


def calls(step) -> int:
    """How often a step calls torch, after one to warm up."""
    from torch.profiler import ProfilerActivity, profile

    step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    return sum(event.name.startswith("aten::") for event in seen.events())


def batch(size_px: int):
    """Images and labels."""
    import torch

    x = torch.randn(IMAGES, 3, size_px, size_px).contiguous(memory_format=torch.channels_last)
    return x, torch.arange(IMAGES) % 3


def plain_step(name: str, size_px: int):
    """The step of a tutorial."""
    import timm
    import torch

    x, y = batch(size_px)
    model = timm.create_model(name, num_classes=3).to(memory_format=torch.channels_last).train()
    optimizer, criterion = torch.optim.AdamW(model.parameters(), fused=True), torch.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return step


def our_step(name: str, size_px: int):
    """A step of fine-tuning, one to an epoch."""
    import numpy as np
    import torch

    import transferkit as tk
    from transferkit.train import loop, optim
    from transferkit.train.average import RunningAverage

    x, y = batch(size_px)
    model = tk.zoo.create(f"timm:{name}", weights="none", num_classes=3).to(memory_format=torch.channels_last)
    model.holds_statistics = True
    optimizer = optim.make("adamw", optim.parameter_groups(model, lr=1e-4, layer_decay=0.8, l2=0.05))
    average = RunningAverage(model, decay=0.9)
    optimizer.register_step_post_hook(lambda *_: average.update())
    examples = loop.Examples(rows=np.arange(IMAGES), labels=y.numpy(), num_classes=3)
    plan, epochs = loop.Plan(epochs=1000, batch_size=IMAGES), count()

    def step() -> None:
        epoch = replace(plan, first_epoch=next(epochs))
        list(loop.train_steps(model, optimizer, lambda batches, _: [(x, rows) for rows in batches], examples, epoch))

    return step


if __name__ == "__main__":
    main()
