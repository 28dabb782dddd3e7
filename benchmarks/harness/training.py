"""Full fine-tuning, ours beside a peer's: images a second from start to exit."""

import sys
from argparse import Namespace
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.claim import Goal
from benchmarks.harness.measure import Sample
from benchmarks.harness.work import generated, trained

TRAIN, VAL, EPOCHS = 256, 64, 2
FULL = ("--strategy", "finetune", "--batch-size", "32", "--epochs", str(EPOCHS))


def compare(
    given: Namespace, peer: str, goals: dict[str, Goal | None], *, python: str = sys.executable
) -> dict[str, Any]:
    """Images a second of ours and of a program of benchmarks/peers, for each architecture of `goals`.

    An image counts each time that training goes through it: in ours also while it is fitted to training and validation
    images together at the end. Reading, validation, start-up and the report are in the time.
    """
    figures, about = [], []
    for architecture, goal in goals.items():
        work = generated(given, architecture, train=TRAIN, val=VAL)
        theirs = work.peer(f"peers/{peer}", "--epochs", str(EPOCHS), python=python)
        samples = measure.alternate([work.ours("ours", *FULL), theirs], repeats=given.repeats)
        ours, others = samples["ours"], samples[theirs.name]
        per_second = {
            f"{architecture}, ours": measure.spread(ours, our_rate),
            f"{architecture}, {peer}": measure.spread(others, their_rate),
        }
        rounds = [our_rate(mine) / their_rate(other) for mine, other in zip(ours, others)]
        median = per_second[f"{architecture}, ours"].median / per_second[f"{architecture}, {peer}"].median
        gain = measure.Spread(median=median, low=min(rounds), high=max(rounds))
        figures.append(claim.figure(f"{architecture}, ours / {peer}", gain, goal=goal))
        figures += [claim.figure(name, rate, unit="images/s") for name, rate in per_second.items()]
        inside = measure.spread(ours, epoch_rate)
        figures.append(claim.figure(f"{architecture}, ours, the training phases alone", inside, unit="images/s"))
        if "epoch_seconds" in others[0].result:
            steady = measure.spread(others, lambda sample: sample.result["train"] / sample.result["epoch_seconds"][-1])
            figures.append(claim.figure(f"{architecture}, {peer}, its last epoch alone", steady, unit="images/s"))
        figures += claim.used(f"{architecture}, ours", ours) + claim.used(f"{architecture}, {peer}", others)
        about.append(work.about)
    return {"data": "; ".join(about), "figures": figures}


def our_rate(sample: Sample) -> float:
    """Images a second, whole process."""
    return sum(images for images, _ in trained(sample)) / sample.seconds


def epoch_rate(sample: Sample) -> float:
    """Images a second while it trains and validates."""
    return sum(images for images, _ in trained(sample)) / sum(seconds for _, seconds in trained(sample))


def their_rate(sample: Sample) -> float:
    """Images a second, whole process; fastai's frozen epoch is one more."""
    epochs = len(sample.result["epoch_seconds"]) if "epoch_seconds" in sample.result else EPOCHS + 1
    return epochs * sample.result["train"] / sample.seconds
