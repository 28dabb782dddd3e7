"""A probe and full fine-tuning take at most 1.25 times the sum of their fastest measured parts; where the rest goes.

python -m benchmarks.limit [--folders DIR --weights DIR]

The parts are `import torch, timm`; decoding and shrinking each photo once; the passes forward that ours runs, of photos
and mirror images (probe); a training step for each image that ours trains on and a pass forward for each it validates
on (full), each the fastest way of benchmarks/parts/fastest.py, measured in turn with ours. The sum takes no account of
overlap. A way counts if it is in the precision of the run: bfloat16 changes the features of mobilenetv2_100 so much
that ours does not use it. What the sum is if any precision counts stands beside it.
"""

import sys
from argparse import Namespace
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.measure import Command, Sample
from benchmarks.harness.training import EPOCHS, FULL, TRAIN, VAL
from benchmarks.harness.work import Work, generated, phases, real, trained
from transferkit.config import FinetuneConfig
from transferkit.model.precision import Precision

PROBE = FinetuneConfig(data=".", strategy="probe")
VIEWS = PROBE.chosen_strategy.feature_views(PROBE)
IMPORTS = Command(name="imports", arguments=[sys.executable, "-c", "import torch, timm"])


def main() -> None:
    claim.measured(claim.options(__doc__), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Our probe and our full fine-tuning beside their parts."""
    photos = generated(given, "mobilenetv2_100", train=360, val=240)
    probe = photos if given.quick else real(given, "trashnet") or photos
    full = generated(given, "resnet18", train=TRAIN, val=VAL)
    of_probe, fast = distances(probe, given, "probe", "--strategy", "probe")
    of_full, faster = distances(full, given, "full", *FULL)
    note = f"an image at its fastest: probe {fast}; full {faster}"
    return {"data": f"probe: {probe.about}; full: {full.about}", "note": note, "figures": of_probe + of_full}


def distances(work: Work, given: Namespace, name: str, *options: str) -> tuple[list[dict[str, Any]], str]:
    """Our whole time over the sum of the parts, each stretch of it beside its parts, and the parts in words."""
    training = ["--training"] if options == FULL else []
    commands = [work.ours(name, *options), IMPORTS, work.peer("parts/fastest", *training)]
    samples = measure.alternate(commands, repeats=given.repeats)
    rounds = list(zip(samples[name], samples["imports"], samples["fastest"]))
    parts = [parts_of(ours, imports, fast) for ours, imports, fast in rounds]
    stretches = [stretches_of(ours) for ours, _, _ in rounds]
    whole = [ours.seconds for ours, _, _ in rounds]
    least = [sum(found.values()) for found in parts]
    of_any = [sum(parts_of(*found, any_precision=True).values()) for found in rounds]
    figures = [
        claim.figure(f"{name}, ours / sum of the parts", measure.ratio_of(whole, least), goal=claim.at_most(1.25)),
        claim.figure(f"{name}, ours / sum of the parts in any precision", measure.ratio_of(whole, of_any)),
        claim.figure(f"{name}, ours, whole process", measure.Spread.of(whole), unit="s"),
        claim.figure(f"{name}, sum of the parts", measure.Spread.of(least), unit="s"),
    ]
    for stretch in stretches[0]:
        takes = measure.Spread.of(found[stretch] for found in stretches)
        limit = measure.Spread.of(found.get(stretch, 0.0) for found in parts)
        figures.append(claim.figure(f"{name}, {stretch}", takes, unit="s"))
        if stretch in parts[0]:
            figures.append(claim.figure(f"{name}, {stretch}: its parts", limit, unit="s"))
    ways = samples["fastest"][-1].result
    return figures, "; ".join(f"{part} {in_words(ways[part])}" for part in ways)


def in_words(ways: dict[str, float]) -> str:
    """Milliseconds an image, the fastest way first."""
    return ", ".join(f"{ms:.2f} ({way})" for way, ms in sorted(ways.items(), key=lambda item: item[1]))


def parts_of(ours: Sample, imports: Sample, fast: Sample, *, any_precision: bool = False) -> dict[str, float]:
    """The fastest seconds of each stretch of a run."""
    run = Precision.read(ours.result["precision"])
    features, training = ("", "") if any_precision else (run.features, run.training)  # what names of ways begin with
    _, images, _ = phases(ours)[0]
    decode = images * least(fast.result["decode"])
    if "step" not in fast.result:
        judged_alone = (ours.result["test"] or {"n": 0})["n"]  # whose mirror images nobody needs
        passes = VIEWS * (images - judged_alone) + judged_alone
        return {"start-up": imports.seconds, "reading": decode + passes * least(fast.result["forward"], features)}
    learned = sum(count for count, _ in trained(ours)) * least(fast.result["step"], training)
    judged = EPOCHS * ours.result["val"]["n"] * least(fast.result["forward"], training)
    return {"start-up": imports.seconds, "reading": decode, "training": learned + judged}


def least(ways: dict[str, float], begins: str = "") -> float:
    """Seconds an image of the fastest way whose name begins so."""
    return min(ms for way, ms in ways.items() if way.startswith(begins)) / 1000


def stretches_of(sample: Sample) -> dict[str, float]:
    """The seconds of a run from start to exit, cut where it says that a phase ends."""
    total, read = (sample.result["seconds"][key] for key in ("total", "read"))
    _, _, reading = phases(sample)[0]
    found = {"start-up": sample.seconds - total + read - reading, "reading": reading}
    training = sum(seconds for _, seconds in trained(sample))
    if training:
        found["training"] = training
    return found | {"head, scores, model, report": total - read - training}


if __name__ == "__main__":
    main()
