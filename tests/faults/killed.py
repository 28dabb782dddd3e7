"""Runs that are killed at random instants and gone on with until they are done, beside the same runs left in peace.

Each attempt is a fork of this process, which has imported everything and computed nothing: so an attempt costs its
training alone. `python -m tests.faults.killed FOLDER SEED SAMPLES IMAGES KILLS`
prints one JSON object a sample.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations  # noqa: F401
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401
import sklearn.linear_model  # noqa: F401
import timm  # noqa: F401
import torch
import torch._dynamo  # which the first optimiser imports

from tests.conftest import write_digits
from transferkit import (
    evaluate,  # noqa: F401
    flow,
)
from transferkit.data import augment  # noqa: F401
from transferkit.model import precision  # noqa: F401
from transferkit.pretraining import pretrain, recipe
from transferkit.ship import classifier, record, report  # noqa: F401
from transferkit.train import problem
from transferkit.zoo import files
from transferkit.zoo.errors import RunConflictError

NETWORK = {
    "backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "precision": "fp32", "augment": "light",
}  # fmt: skip
KINDS: list[dict[str, Any]] = [  # options of finetune; None for pretrain
    {"strategy": "finetune", "optimizer": "momentum", "snapshots": 2, "epochs": 4},
    {"strategy": "finetune", "optimizer": "sgd", "freeze": "layer2", "views": 2},
    {"strategy": "probe", "optimizer": "adam", "epochs": 20, "l2": 0.001},
    {"strategy": "auto", "optimizer": "adamw"},
    {"strategy": "lp-ft", "optimizer": "adam"},
    {"strategy": "finetune", "optimizer": "adamw"},
    {},
]
RECIPE = recipe.Recipe(
    network="cifar_resnet", epochs=3, batch_size=16, optimizer="adamw", peak_lr=1e-3, warmup_share=0.2, l2=1e-4,
    label_smoothing=0.1, max_shift_px=2,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A run to kill. `refits` False leaves out the fit to all images, as above 2,000 of them."""

    kind: dict[str, Any]
    workers: int
    data: Path
    refits: bool

    @property
    def name(self) -> str:
        words = [*self.kind.values()] if self.kind else ["pretrain"]
        return " ".join(map(str, [*words, f"workers={self.workers}", f"refits={self.refits}"]))

    def run(self, out: Path) -> None:
        """Train, from the beginning or from where an attempt before was killed."""
        torch.set_num_threads(1)
        if not self.refits:
            problem.REFIT_IMAGES = 0
        if not self.kind:
            job = recipe.Job(data=self.data, out=out / "net.safetensors", recipe=RECIPE, device="cpu")
            is_done = job.card_file.exists() and not job.checkpoint.exists()  # it was killed after all was done
            with contextlib.suppress(*[RunConflictError] if is_done else []):
                pretrain.pretrain(job)
        elif (out / "run.json").exists():
            flow.finetune(resume=True, out=str(out), workers=self.workers)
        else:
            options = {"epochs": 3, "batch_size": 8} | NETWORK | self.kind
            flow.finetune(str(self.data), out=str(out), workers=self.workers, **options)


def attempt(sample: Sample, out: Path, *, seconds: float | None) -> int | None:
    """Fork, run, and kill after some seconds; the exit code, None if it was killed."""
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(BaseException), open(out.with_suffix(".log"), "a") as log:
            os.dup2(log.fileno(), 2)
            try:
                sample.run(out)
                code = 0
            except BaseException as error:
                log.write(f"{type(error).__name__}: {error}\n")
                log.flush()
        os._exit(code)
    end = time.monotonic() + (600 if seconds is None else seconds)
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def content(out: Path) -> dict[str, Any]:
    """All that a finished run left and that must not depend on stops: times aside, byte by byte."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if name == "metrics.jsonl":
            found[name] = [json.loads(line) | {"seconds": None} for line in path.read_text().splitlines()]
        elif name == "metrics.json":
            found[name] = json.loads(path.read_text()) | {"seconds": None}
        elif path.suffix == ".safetensors" or name == "predictions.csv":
            found[name] = files.sha256(path)
        elif path.is_file():
            found[name] = "there"
    return found


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Runs that are killed at instants drawn from `coin`, each at most `kills` times."""

    folder: Path
    coin: random.Random
    kills: int

    def peace(self, sample: Sample) -> tuple[dict[str, Any], float]:
        """What the run leaves that is not killed, whatever decodes its images, and how long it took; made once."""
        out = self.folder / f"peace {KINDS.index(sample.kind)} {sample.refits}"
        if not out.exists():
            started = time.monotonic()
            code = attempt(sample, out, seconds=None)
            out.with_suffix(".json").write_text(json.dumps([code, time.monotonic() - started]))
        code, seconds = json.loads(out.with_suffix(".json").read_text())
        return content(out) if code == 0 else {"ended with": code}, seconds

    def killed(self, sample: Sample, number: int) -> dict[str, Any]:
        """Run `sample`, killed until it is done; what came of it."""
        out = self.folder / f"killed {number}"
        expected, whole = self.peace(sample)
        started, kills, attempts, end = time.monotonic(), 0, 0, None
        while end is None:
            attempts += 1
            longest = whole * min(0.8 + 0.1 * attempts, 2)
            end = attempt(sample, out, seconds=self.coin.uniform(0, longest) if attempts <= self.kills else None)
            kills += end is None
        found = content(out)
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        result = {"name": sample.name, "exit code": end, "kills": kills, "differing": differing}
        if differing or end:
            return result | {"said": out.with_suffix(".log").read_text()}
        shutil.rmtree(out)
        return result | {"seconds": round(time.monotonic() - started, 2)}


def main(folder: Path, seed: int, samples: int, images: int, kills: int) -> None:
    """Print what became of each sample."""
    os.environ["TRANSFERKIT_CACHE"] = str(folder / "cache")
    campaign = Campaign(folder=folder, coin=random.Random(seed), kills=kills)
    data = write_digits(folder / "data", classes=(0, 1), per_class=20) if images == 40 else many(folder, images)
    for part in ("train", "test"):
        write_digits(folder / "parts" / part, classes=(0, 1), per_class=16)
    for number in range(samples):
        kind = KINDS[number % len(KINDS)]
        sample = Sample(
            kind=kind,
            workers=(0, 2)[number // len(KINDS) % 2],
            data=data if kind else folder / "parts",
            refits=images > 40 or number % 5 == 4,
        )
        sys.stdout.write(json.dumps(campaign.killed(sample, number)) + "\n")
        sys.stdout.flush()


def many(folder: Path, images: int) -> Path:
    """Two classes of `images` in all: copies of digits in other shades."""
    from PIL import Image

    source = write_digits(folder / "few", classes=(0, 1), per_class=20)
    for path in sorted(source.rglob("*.png")):
        target = folder / "all" / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            for shade in range(images // 40):
                image.point([max(0, value - shade) for value in range(256)]).save(target / f"{path.stem} {shade}.png")
    return folder / "all"


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
