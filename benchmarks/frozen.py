"""A head alone is trained 15 times as fast as by the tutorial's loop in 10 epochs, 40 times in 30.

python -m benchmarks.frozen [--folders DIR --weights DIR] [--whole]

resnet18 with random weights, 600 + 200 photos, SGD with momentum in batches of 32, the same learning rate. The loop of
benchmarks/peers/tutorial_loop.py runs 3 epochs; longer ones are worked out as what it took plus the median of its
epochs after the first for each more, and one run of 10 epochs is compared with that; --whole really runs all. It is not
the same work: the loop draws new augmentations each epoch, we compute features once. What that does to accuracy is
measured with real photos and weights, where they are given.
"""

from argparse import Namespace
from dataclasses import replace
from statistics import median
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.measure import Sample
from benchmarks.harness.work import generated, real

GOALS = {10: 15, 30: 40}  # by epochs
MEASURED_EPOCHS = 3
HEAD = ("--strategy", "probe", "--optimizer", "momentum", "--schedule", "constant", "--lr", "0.001", "--l2", "0")
HEAD += ("--batch-size", "32", "--patience", "1000")
NOTE = "the loop draws new augmentations each epoch, ours reuses the views of its one pass"


def main() -> None:
    parser = claim.options(__doc__)
    parser.add_argument("--whole", action="store_true", help="run all epochs of the loop; three quarters of an hour")
    claim.measured(parser, compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Our head and the loop's, in turn, for 10 and for 30 epochs."""
    work = generated(given, "resnet18", train=600, val=200)
    ours = [work.ours(f"ours, {epochs} epochs", *HEAD, "--epochs", str(epochs)) for epochs in GOALS]
    lengths = tuple(GOALS) if given.whole else (MEASURED_EPOCHS,)
    loops = {length: loop(work, length) for length in lengths}
    samples = measure.alternate([*ours, *loops.values()], repeats=given.repeats)
    figures = []
    for epochs, goal in GOALS.items():
        theirs = samples[loops[epochs if given.whole else MEASURED_EPOCHS].name]
        whole = [replace(sample, seconds=seconds_of(sample, epochs)) for sample in theirs]
        fast = samples[f"ours, {epochs} epochs"]
        told = "loop / ours" if given.whole else "loop, worked out / ours"
        figures += [
            claim.figure(f"{told}, {epochs} epochs", measure.ratio(whole, fast), goal=claim.at_least(goal)),
            claim.figure(f"loop, {epochs} epochs", measure.spread(whole), unit="s"),
        ]
    if not given.whole and not given.quick:
        ten = measure.run(loop(work, 10)).seconds
        expected = median(seconds_of(sample, 10) for sample in samples[loops[MEASURED_EPOCHS].name])
        figures.append(claim.figure("10 epochs of the loop as run / as worked out", ten / expected))
    for name, found in samples.items():
        figures += claim.used(name, found)
    return {"data": work.about, "note": NOTE, "figures": figures + accuracies(given)}


def loop(work, epochs: int, *, name: str = "loop") -> measure.Command:
    """The tutorial's loop with a frozen backbone."""
    command = work.peer("peers/tutorial_loop", "--frozen", "--epochs", str(epochs))
    return replace(command, name=f"{name}, {epochs} epochs run")


def seconds_of(sample: Sample, epochs: int) -> float:
    """From start to exit with so many epochs, from those that were run."""
    each = sample.result["epoch_seconds"]
    return sample.seconds + (epochs - len(each)) * median(each[1:])


def accuracies(given: Namespace) -> list[dict[str, Any]]:
    """Test accuracy after 10 epochs on real photos: of the loop, of our head by the same steps, of our own probe."""
    work = real(given, "trashnet")
    if work is None or given.quick:
        return []
    theirs = measure.run(loop(work, 10)).result["accuracy"]
    same = measure.run(work.ours("ours", *HEAD, "--epochs", "10")).result["test"]["accuracy"]
    solved = measure.run(work.ours("ours", "--strategy", "probe")).result["test"]["accuracy"]
    return [
        claim.figure(f"test accuracy, {work.about}: loop, new augmentations", theirs),
        claim.figure(f"test accuracy, {work.about}: ours, the same optimiser on views computed once", same),
        claim.figure(f"test accuracy, {work.about}: ours, solved for (the default)", solved),
    ]


if __name__ == "__main__":
    main()
