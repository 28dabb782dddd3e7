"""A head alone is trained 15 times as fast as by the tutorial's loop in 10 epochs, 40 times in 30, on one view a photo.

python -m benchmarks.frozen [--folders DIR --weights DIR] [--whole]

resnet18 with random weights, 600 + 200 photos, SGD with momentum in batches of 32, the same learning rate. The loop of
benchmarks/peers/tutorial_loop.py runs 3 epochs; longer ones are worked out as what it took plus the median of its
epochs after the first for each more; --whole really runs all. It is not the same work: the loop draws new augmentations
each epoch, we compute features once, of each photo as it is (--views 1) or of its mirror image too (the default of 2,
which takes twice the passes and was 1.2 points better in the mean of four folders: benchmarks/views.py). Where real
photos and weights are given, 10 epochs are really run on them, which tells what that does to accuracy and how good the
working out is.
"""

from argparse import Namespace
from dataclasses import replace
from statistics import median
from typing import Any

from benchmarks.harness import claim, measure
from benchmarks.harness.measure import Sample
from benchmarks.harness.work import Work, generated, real

GOALS = {10: 15, 30: 40}  # by epochs
MEASURED_EPOCHS = 3
HEAD = ("--strategy", "probe", "--optimizer", "momentum", "--schedule", "constant", "--lr", "0.001", "--l2", "0")
HEAD += ("--batch-size", "32", "--patience", "1000")
VIEWS = (1, 2)
NOTE = "the loop draws new augmentations each epoch, ours reuses views: the photo, or it and its mirror image"


def main() -> None:
    parser = claim.options(__doc__)
    parser.add_argument("--whole", action="store_true", help="run all epochs of the loop; three quarters of an hour")
    claim.measured(parser, compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Our head and the loop's, in turn, for 10 and for 30 epochs."""
    work = generated(given, "resnet18", train=600, val=200)
    ours = {(epochs, views): head(work, epochs, views) for epochs in GOALS for views in VIEWS}
    lengths = tuple(GOALS) if given.whole else (MEASURED_EPOCHS,)
    loops = {length: loop(work, length) for length in lengths}
    samples = measure.alternate([*ours.values(), *loops.values()], repeats=given.repeats)
    figures = []
    for epochs, goal in GOALS.items():
        theirs = samples[loops[epochs if given.whole else MEASURED_EPOCHS].name]
        whole = [replace(sample, seconds=seconds_of(sample, epochs)) for sample in theirs]
        told = "loop" if given.whole else "loop, worked out"
        for views in VIEWS:
            fast = ours[epochs, views].name
            ratio = measure.ratio(whole, samples[fast])
            figures.append(claim.figure(f"{told} / {fast}", ratio, goal=claim.at_least(goal)))
        figures.append(claim.figure(f"loop, {epochs} epochs", measure.spread(whole), unit="s"))
    for name, found in samples.items():
        figures += claim.used(name, found)
    return {"data": work.about, "note": NOTE, "figures": figures + on_real_photos(given)}


def head(work: Work, epochs: int, views: int) -> measure.Command:
    """Our head on features of so many views of a photo, trained by the loop's steps."""
    name = f"ours, {epochs} epochs, {views} view{'s' if views > 1 else ''}"
    return work.ours(name, *HEAD, "--epochs", str(epochs), "--views", str(views))


def loop(work: Work, epochs: int, *, name: str = "loop") -> measure.Command:
    """The tutorial's loop with a frozen backbone."""
    command = work.peer("peers/tutorial_loop", "--frozen", "--epochs", str(epochs))
    return replace(command, name=f"{name}, {epochs} epochs run")


def seconds_of(sample: Sample, epochs: int) -> float:
    """From start to exit with so many epochs, from those that were run."""
    each = sample.result["epoch_seconds"]
    return sample.seconds + (epochs - len(each)) * median(each[1:])


def on_real_photos(given: Namespace) -> list[dict[str, Any]]:
    """After 10 epochs: test accuracies of the loop and of ours, and how well 3 epochs foretell the loop's time."""
    work = real(given, "trashnet")
    if work is None or given.quick:
        return []
    theirs = measure.run(loop(work, 10))
    later = theirs.result["epoch_seconds"][MEASURED_EPOCHS:]
    foretold = theirs.seconds - sum(later) + len(later) * median(theirs.result["epoch_seconds"][1:MEASURED_EPOCHS])
    same = {views: measure.run(head(work, 10, views)).result["test"]["accuracy"] for views in VIEWS}
    solved = measure.run(work.ours("ours, solved for", "--strategy", "probe")).result["test"]["accuracy"]
    about = f"test accuracy, {work.about}:"
    return [
        claim.figure(f"{about} loop, new augmentations", theirs.result["accuracy"]),
        *(claim.figure(f"{about} ours, the same steps, views: {views}", found) for views, found in same.items()),
        claim.figure(f"{about} ours, solved for (the default)", solved),
        claim.figure("10 epochs of that loop as run / as worked out from its first 3", theirs.seconds / foretold),
    ]


if __name__ == "__main__":
    main()
