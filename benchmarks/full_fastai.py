"""How full fine-tuning compares with fastai's `fine_tune`, in images a second.

python -m benchmarks.full_fastai --fastai-python PATH

PATH is the python of an environment of its own with fastai and timm: fastai asks for another torch. resnet18, random
weights, at 224 px; fastai's frozen epoch before its 5 epochs counts as an epoch.
"""

import subprocess
from argparse import Namespace
from typing import Any

from benchmarks.harness import claim, training


def main() -> None:
    parser = claim.options(__doc__, repeats=2)
    parser.add_argument("--fastai-python", metavar="PATH", help="python of an environment with fastai and timm")
    claim.measured(parser, compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Ours and fastai's, in turn, if there is a fastai."""
    if not given.fastai_python:
        return claim.skipped("needs --fastai-python, the python of an environment with fastai and timm")
    command = [given.fastai_python, "-c", "import fastai, timm, torch; print(fastai.__version__, torch.__version__)"]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        return claim.skipped(f"{given.fastai_python} has no fastai with timm")
    fastai, torch = found.stdout.split()
    line = training.compare(given, "fastai_finetune", {"resnet18": None}, python=given.fastai_python)
    return line | {"note": f"fastai {fastai} with torch {torch}"}


if __name__ == "__main__":
    main()
