"""What 1, 2, 4 and 8 views of an image cost, and what they do to test accuracy.

python -m benchmarks.views --folders DIR --weights DIR [--freeze STAGE] [--seeds 1]

A probe, or with --freeze 8 epochs of fine-tuning above STAGE, on four real folders; mobilenetv2_100, nothing cached.
The test images take part in no decision.
"""

import subprocess
from argparse import Namespace
from statistics import mean
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.work import OURS, Work, generated, real

VIEWS = (1, 2, 4, 8)
FOLDERS = ("hymenoptera", "trashnet", "brain_mri", "sign_digits")


def main() -> None:
    parser = claim.options(__doc__, repeats=1)
    parser.add_argument("--freeze", metavar="STAGE", help="fine-tune what is above it  [default: fit a probe]")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with other splits and views  [default: 1]")
    claim.measured(parser, compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Each folder with each number of views."""
    said = subprocess.run([*OURS, "finetune", "--help"], capture_output=True, text=True, cwd=measure.ROOT).stdout
    if "--views" not in said:
        return claim.skipped("this version has no --views")
    works = [real(given, name) for name in FOLDERS]
    if None in works or given.quick:
        works = [generated(given, "mobilenetv2_100", train=96, val=32)]
    figures, about = [], "; ".join(work.about for work in works)
    scores = {views: [] for views in VIEWS}
    for work in works:
        for views, samples in runs(work, given).items():
            if work.weights:
                accuracy = mean(sample.result["test"]["accuracy"] for sample in samples)
                scores[views].append(accuracy)
                figures.append(claim.figure(f"{work.folder.name}, {views} views, test accuracy", accuracy))
            figures.append(claim.figure(f"{work.folder.name}, {views} views", measure.spread(samples), unit="s"))
    means = [
        claim.figure(f"{views} views, mean test accuracy of {len(found)} folders", mean(found))
        for views, found in scores.items()
        if found
    ]
    return {"data": f"{about}; {' '.join(job(given))}", "seeds": given.seeds, "figures": means + figures}


def job(given: Namespace) -> tuple[str, ...]:
    """The options of what is trained."""
    if given.freeze:
        return ("--strategy", "finetune", "--epochs", "8", "--freeze", given.freeze)
    return ("--strategy", "probe")


def runs(work: Work, given: Namespace) -> dict[int, list[measure.Sample]]:
    """The samples of each number of views, over seeds and repeats."""
    samples = {views: [] for views in VIEWS}
    for seed in range(given.seeds):
        chosen = (*job(given), "--seed", str(seed), "--views")
        commands = {views: work.ours(f"{views} views", *chosen, str(views)) for views in VIEWS}
        found = measure.alternate(list(commands.values()), repeats=given.repeats)
        for views, command in commands.items():
            samples[views] += found[command.name]
    return samples


if __name__ == "__main__":
    main()
