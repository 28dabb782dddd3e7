"""Full fine-tuning goes through 2.2 times (resnet18) and 1.6 times (mobilenetv2_100) the images of the tutorial's loop.

python -m benchmarks.full

Images a second, whole process, random weights, 5 epochs in batches of 32 at 224 px; both augment every image anew. The
loop is benchmarks/peers/tutorial_loop.py.
"""

from benchmarks.harness import claim, training

GOALS = {"resnet18": claim.at_least(2.2), "mobilenetv2_100": claim.at_least(1.6)}


def main() -> None:
    claim.measured(claim.options(__doc__), lambda given: training.compare(given, "tutorial_loop", GOALS))


if __name__ == "__main__":
    main()
