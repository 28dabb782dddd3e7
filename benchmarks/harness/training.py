"""Full fine-tuning, ours beside a peer's: images a second from start to exit."""

import sys
from argparse import Namespace
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.claim import Goal
from benchmarks.harness.measure import Sample
from benchmarks.harness.work import generated, trained

TRAIN, VAL, EPOCHS = 192, 64, 5
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
        fast, slow = [our_rate(sample) for sample in ours], [their_rate(sample) for sample in others]
        training_alone = measure.spread(ours, our_training_rate)
        figures += [
            claim.figure(f"{architecture}, ours / {peer}", measure.ratio_of(fast, slow), goal=goal),
            claim.figure(f"{architecture}, ours", measure.Spread.of(fast), unit="images/s"),
            claim.figure(f"{architecture}, {peer}", measure.Spread.of(slow), unit="images/s"),
            claim.figure(f"{architecture}, ours, training and validation alone", training_alone, unit="images/s"),
            *claim.used(f"{architecture}, ours", ours),
            *claim.used(f"{architecture}, {peer}", others),
        ]
        about.append(work.about)
    return {"data": "; ".join(about), "figures": figures}


def our_rate(sample: Sample) -> float:
    """Images a second, whole process."""
    return sum(images for images, _ in trained(sample)) / sample.seconds


def our_training_rate(sample: Sample) -> float:
    """Images a second while it trains and validates."""
    return sum(images for images, _ in trained(sample)) / sum(seconds for _, seconds in trained(sample))


def their_rate(sample: Sample) -> float:
    """Images a second, whole process."""
    return sample.result["trained"] / sample.seconds
