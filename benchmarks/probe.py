"""A probe is 2.5 times as fast as an expert's own with nothing cached, 3.5 times with a warm cache, and as accurate.

python -m benchmarks.probe --folders DIR --weights DIR

The expert's is benchmarks/peers/expert_probe.py: timm features in one pass, then scikit-learn. Both choose the strength
of their regularisation by cross-validation. The folder is trashnet, where DIR has it; generated photos and random
weights show speed alone. The system's own cache of files is warm for both.
"""

from argparse import Namespace
from statistics import mean
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.work import generated, real

FOLDER = "trashnet"


def main() -> None:
    claim.measured(claim.options(__doc__), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Our probe, cold and warm, and the expert's, in turn."""
    work = real(given, FOLDER) or generated(given, "mobilenetv2_100", train=360, val=240)
    warm_cache = given.scratch / "probe-cache"
    commands = [
        work.ours("cold", "--strategy", "probe"),
        work.ours("warm", "--strategy", "probe", cache=warm_cache),
        work.peer("peers/expert_probe"),
    ]
    measure.run(commands[1])  # fills the cache
    samples = measure.alternate(commands, repeats=given.repeats)
    theirs = samples["expert_probe"]
    figures = [
        claim.figure("expert / ours, cold cache", measure.ratio(theirs, samples["cold"]), goal=claim.at_least(2.5)),
        claim.figure("expert / ours, warm cache", measure.ratio(theirs, samples["warm"]), goal=claim.at_least(3.5)),
    ]
    if work.weights:
        ours = mean(sample.result["test"]["accuracy"] for sample in samples["cold"])
        expert = mean(sample.result["accuracy"] for sample in theirs)
        figures += [
            claim.figure("test accuracy, ours", ours, goal=claim.at_least(expert)),
            claim.figure("test accuracy, expert", expert),
        ]
    for name in ("cold", "warm", "expert_probe"):
        figures += claim.used(name, samples[name])
    return {"data": work.about, "figures": figures}


if __name__ == "__main__":
    main()
