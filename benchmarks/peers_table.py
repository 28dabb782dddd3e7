"""Test accuracy and seconds of ours beside other toolkits, on folders of photos and from the same weights, as a table.

python -m benchmarks.peers_table FOLDER... --weights DIR [--strategies auto,probe] [--seeds 3]
[--fastai-python PATH] [--autogluon-python PATH] [--autotimm-python PATH] [--vyntri-python PATH]

Each FOLDER holds train/CLASS and test/CLASS; DIR is a timm model folder. PATH is the python of an environment with one
toolkit: `pip install` autogluon.multimodal, autotimm, fastai timm, or vyntri timm. They run one after the other, each
as its documentation has it, without a network: AutoGluon and AutoTimm, which take weights from the hub alone, find
DIR in a hub's cache made for them.

A cell has the test accuracy, and the seconds and CPU seconds of a process from start to exit, imports and scoring too:
means over the seeds. Nothing is cached for ours.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from benchmarks.harness import measure
from benchmarks.harness.measure import Command, CommandError, Sample
from benchmarks.harness.work import Work

PEERS = {
    "fastai": ("fastai_finetune", "--epochs", "10"),  # as many as AutoTimm's quick start; fastai leaves it to the user
    "autogluon": ("autogluon_medium",),
    "autotimm": ("autotimm_trainer",),
    "vyntri": ("vyntri_fit",),
}
FROM_THE_HUB = ("autogluon", "autotimm")
HUB_NAME = "weights/given"


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as hub:
        write_hub(Path(hub), given.weights)
        os.environ |= {"HF_HOME": hub, "HF_HUB_OFFLINE": "1"}
        everything = {}
        for folder in given.folders:
            samples = {}
            for seed in range(given.seeds):
                for command in contestants(given, folder.resolve(), seed):
                    samples.setdefault(command.name, []).append(attempt(command))
            if not everything:
                print(row("folder", samples), row("---", ["---"] * len(samples)), sep="\n")
            print(row(folder.name, map(cell, samples.values())), flush=True)
            everything = {name: everything.get(name, []) + found for name, found in samples.items()}
    print(row("mean", map(cell, everything.values())))


def arguments() -> Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, required=True, metavar="DIR")
    parser.add_argument("--strategies", default="auto,probe")
    parser.add_argument("--seeds", type=int, default=3)
    for peer in PEERS:
        parser.add_argument(f"--{peer}-python", metavar="PATH")
    given = parser.parse_args()
    given.weights = given.weights.resolve()
    return given


def write_hub(home: Path, weights: Path) -> None:
    """A hub's cache that has the model folder `weights` under HUB_NAME."""
    repository = home / "hub" / f"models--{HUB_NAME.replace('/', '--')}"
    shutil.copytree(weights, repository / "snapshots" / "given")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("given")


def contestants(given: Namespace, folder: Path, seed: int) -> list[Command]:
    """Ours, and each toolkit whose python is given."""
    work = Work(folder=folder, architecture=given.weights.name, weights=given.weights)
    from_hub = Work(folder=folder, architecture=f"hf-hub:{HUB_NAME}")
    seeded = ("--seed", str(seed))
    commands = [work.ours(f"transferkit {name}", "--strategy", name, *seeded) for name in given.strategies.split(",")]
    for peer, (script, *options) in PEERS.items():
        python = getattr(given, f"{peer}_python")
        if python:
            found = from_hub if peer in FROM_THE_HUB else work
            commands.append(found.peer(f"peers/{script}", *options, *seeded, python=python))
    return commands


def attempt(command: Command) -> Sample | None:
    """A run of it; None if it fails."""
    try:
        sample = measure.run(command)
    except CommandError as error:
        print(error, file=sys.stderr, flush=True)
        return None
    print(f"{command.name}: {cell([sample])}", file=sys.stderr, flush=True)
    return sample


def cell(samples: list[Sample | None]) -> str:
    """Accuracy and seconds, means; of none if one failed."""
    done = [sample for sample in samples if sample]
    if len(done) < len(samples):
        return "failed"
    accuracy = statistics.mean(sample.result.get("test", sample.result)["accuracy"] for sample in done)
    seconds, cpu = (statistics.mean(getattr(sample, name) for sample in done) for name in ("seconds", "cpu_seconds"))
    return f"{accuracy:.4f}, {seconds:.0f} s, {cpu:.0f} s CPU"


def row(first: str, cells: Iterable[str]) -> str:
    """A line of the table."""
    return f"| {' | '.join([first, *cells])} |"


if __name__ == "__main__":
    main()
