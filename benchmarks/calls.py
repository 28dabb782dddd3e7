"""Calls into torch of a training step, beside those of a plain loop: what a GPU waits for where steps are short.

python -m benchmarks.calls

Random weights, 4 images, AdamW in one pass over the weights in both; counted on a CPU by torch's profiler over 20
steps, BatchNorm not folded, as in training on a GPU. Ours also clips gradients and follows the weights with their
running average. What goes over all weights at once (`_foreach_*`) falls apart on a CPU into a call or two a weight,
which CUDA does in one: "as on a GPU" counts without those.
"""

from argparse import Namespace
from dataclasses import replace
from itertools import count
from typing import Any

from benchmarks.harness import claim

NETWORKS = {"mobilenetv2_100": 64, "resnet50": 64, "vit_small_patch16_224": 224}  # side in pixels
IMAGES, STEPS = 4, 20


def main() -> None:
    claim.measured(claim.options(__doc__, repeats=1), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Both steps of each network."""
    figures = []
    for name, size_px in list(NETWORKS.items())[: 1 if given.quick else None]:
        ours, plain = (calls(steps) for steps in (our_steps(name, size_px), plain_steps(name, size_px)))
        figures += [
            claim.figure(f"{name}, ours / plain", ours[0] / plain[0], goal=claim.at_most(1.15)),
            claim.figure(f"{name}, as on a GPU, ours / plain", ours[1] / plain[1], goal=claim.at_most(1.15)),
            claim.figure(f"{name}, ours", ours[0]),
            claim.figure(f"{name}, plain", plain[0]),
        ]
    return {"data": f"noise, {IMAGES} images", "figures": figures}


def calls(steps) -> tuple[float, float]:
    """How often a step calls torch, after some to warm up: in all, and without what `_foreach_*` calls."""
    from torch.profiler import ProfilerActivity, profile

    steps()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        steps()
    events = [event for event in seen.events() if event.name.startswith("aten::")]
    return len(events) / STEPS, sum(not in_foreach(event) for event in events) / STEPS


def in_foreach(event) -> bool:
    """Whether a call was made by one that goes over many tensors."""
    while (event := event.cpu_parent) is not None:
        if event.name.startswith("aten::_foreach_"):
            return True
    return False


def batch(size_px: int):
    """Images and labels."""
    import torch

    x = torch.randn(IMAGES, 3, size_px, size_px).contiguous(memory_format=torch.channels_last)
    return x, torch.arange(IMAGES) % 3


def plain_steps(name: str, size_px: int):
    """Steps of a tutorial."""
    import timm
    import torch

    x, y = batch(size_px)
    model = timm.create_model(name, num_classes=3).to(memory_format=torch.channels_last).train()
    optimizer, criterion = torch.optim.AdamW(model.parameters(), fused=True), torch.nn.CrossEntropyLoss()

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()

    return steps


def our_steps(name: str, size_px: int):
    """An epoch of fine-tuning."""
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
    examples = loop.Examples(rows=np.tile(np.arange(IMAGES), STEPS), labels=y.numpy(), num_classes=3)
    plan, epochs = loop.Plan(epochs=1000, batch_size=IMAGES), count()

    def steps() -> None:
        epoch = replace(plan, first_epoch=next(epochs))
        list(loop.train_steps(model, optimizer, lambda batches, _: [(x, rows) for rows in batches], examples, epoch))

    return steps


if __name__ == "__main__":
    main()
