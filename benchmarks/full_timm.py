"""How full fine-tuning compares with timm's own training script, in images a second.

python -m benchmarks.full_timm

resnet18, random weights, 5 epochs in batches of 32 at 224 px. benchmarks/peers/timm_finetune.py has the loader,
optimiser, schedule and loop of timm's train.py with its defaults for a CPU.
"""

from benchmarks.harness import claim, training


def main() -> None:
    parser = claim.options(__doc__, repeats=2)
    claim.measured(parser, lambda given: training.compare(given, "timm_finetune", {"resnet18": None}))


if __name__ == "__main__":
    main()
