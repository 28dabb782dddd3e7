"""What --deterministic costs: images a second of fine-tuning with it, over those without it.

python -m benchmarks.deterministic

Where there is a GPU the runs are on it; on a CPU both compute the same.
"""

from argparse import Namespace
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.training import FULL, TRAIN, VAL, our_training_rate
from benchmarks.harness.work import generated

NETWORKS = ("mobilenetv2_100", "resnet18")


def main() -> None:
    claim.measured(claim.options(__doc__), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Both ways, in turn, for each network; what is timed is training and validation alone."""
    figures, about = [], []
    for name in NETWORKS[: 1 if given.quick else None]:
        work = generated(given, name, train=TRAIN, val=VAL)
        ways = [work.ours("as it comes", *FULL), work.ours("deterministic", *FULL, "--deterministic")]
        samples = measure.alternate(ways, repeats=given.repeats)
        free, fixed = ([our_training_rate(sample) for sample in samples[way.name]] for way in ways)
        figures += [
            claim.figure(f"{name}, deterministic / as it comes", measure.ratio_of(fixed, free)),
            claim.figure(f"{name}, deterministic", measure.Spread.of(fixed), unit="images/s"),
            claim.figure(f"{name}, as it comes", measure.Spread.of(free), unit="images/s"),
        ]
        about.append(work.about)
    return {"data": "; ".join(about), "figures": figures}


if __name__ == "__main__":
    main()
