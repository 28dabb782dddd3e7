"""A probe and full fine-tuning take at most 1.25 times the sum of their fastest measured parts; where the rest goes.

python -m benchmarks.limit [--folders DIR --weights DIR]

The parts are `import torch, timm`; decoding and shrinking each photo once; a pass forward for each view of a photo, as
it is and mirrored (probe); a training step for each image that ours trains on and a pass forward for each it validates
on (full), each the fastest way of benchmarks/parts/fastest.py, measured in turn with ours. The sum takes no account of
overlap.
"""

import sys
from argparse import Namespace
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.measure import Command, Sample
from benchmarks.harness.training import EPOCHS, FULL, TRAIN, VAL
from benchmarks.harness.work import Work, generated, phases, real, trained
from transferkit.config import FinetuneConfig

VIEWS = FinetuneConfig(data=".", strategy="probe").feature_views
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
    ours = samples[name]
    parts = [
        parts_of(mine, imports.seconds, fast.result)
        for mine, imports, fast in zip(ours, samples["imports"], samples["fastest"])
    ]
    least = [sum(found.values()) for found in parts]
    stretches = [stretches_of(sample) for sample in ours]
    gap = measure.ratio_of([sample.seconds for sample in ours], least)
    figures = [
        claim.figure(f"{name}, ours / sum of the parts", gap, goal=claim.at_most(1.25)),
        claim.figure(f"{name}, ours, whole process", measure.spread(ours), unit="s"),
        claim.figure(f"{name}, sum of the parts", measure.Spread.of(least), unit="s"),
    ]
    for stretch in stretches[0]:
        takes = measure.Spread.of(found[stretch] for found in stretches)
        limit = measure.Spread.of(found.get(stretch, 0.0) for found in parts)
        figures.append(claim.figure(f"{name}, {stretch}", takes, unit="s"))
        if stretch in parts[0]:
            figures.append(claim.figure(f"{name}, {stretch}: its parts", limit, unit="s"))
    fast = samples["fastest"][-1].result
    ways = ", ".join(f"{part} {way['ms']:.2f} ms ({way['by']})" for part, way in fast.items())
    return figures, ways


def parts_of(sample: Sample, imports: float, fast: dict[str, Any]) -> dict[str, float]:
    """The fastest seconds of each stretch of a run."""
    _, images, _ = phases(sample)[0]
    decode, forward = fast["decode"]["ms"] / 1000, fast["forward"]["ms"] / 1000
    if "step" not in fast:
        return {"start-up": imports, "reading": images * (decode + VIEWS * forward)}
    learned = sum(count for count, _ in trained(sample))
    judged = EPOCHS * sample.result["val"]["n"]
    return {
        "start-up": imports,
        "reading": images * decode,
        "training": learned * fast["step"]["ms"] / 1000 + judged * forward,
    }


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
