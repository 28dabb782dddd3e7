"""The same work for us and for others: images, a network, its weights, as commands to measure."""

import re
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import photos
from benchmarks.harness.measure import FRESH, Command, Sample

PHASE = re.compile(r"^(?P<phase>[a-z, -]+): (?P<images>\d+) images in (?P<seconds>[\d.]+) s", re.MULTILINE)
TRAINING = ("fine-tuning", "refitting")  # phases in which the network itself is trained
OURS = (sys.executable, "-m", "transferkit")


@dataclass(frozen=True, kw_only=True)
class Work:
    """Images, a timm architecture, and a timm model folder with its weights; without one they are random.

    An `is_embedded` architecture is one of ours, which no peer has, with its weights.
    """

    folder: Path
    architecture: str
    weights: Path | None = None
    is_embedded: bool = False
    about: str = ""  # the data in words, for the reader of a figure

    def ours(self, name: str, *options: str, cache: str | Path = f"{FRESH}/cache") -> Command:
        """`transferkit finetune` on it; by default nothing is cached before."""
        network = [f"timm:{self.architecture}", "--weights", "none"]
        if self.weights or self.is_embedded:
            network = [str(self.weights or self.architecture)]
        arguments = [*OURS, "finetune", str(self.folder), "-o", f"{FRESH}/run", "--json", "--backbone", *network]
        return Command(name=name, arguments=[*arguments, *options], environment={"TRANSFERKIT_CACHE": str(cache)})

    def peer(self, script: str, *options: str, python: str = sys.executable) -> Command:
        """A program of benchmarks/peers or benchmarks/parts on it, named after it."""
        network = ["--architecture", self.architecture, *(["--weights", str(self.weights)] if self.weights else [])]
        path = Path(__file__).parents[1] / f"{script}.py"
        return Command(name=path.stem, arguments=[python, str(path), str(self.folder), *network, *options])


def real(given: Namespace, name: str) -> Work | None:
    """A real folder with real weights, where both are given."""
    if not (given.folders and given.weights):
        return None
    about = f"{name}, mobilenetv2_100 with ImageNet weights"
    return Work(folder=given.folders / name, architecture="mobilenetv2_100", weights=given.weights, about=about)


def generated(given: Namespace, architecture: str, *, train: int, val: int) -> Work:
    """Generated photographs of 500 x 375 px and random weights; --quick takes few, and a tiny network."""
    if given.quick:
        train, val, architecture = 64, 16, "test_resnet"
    folder = photos.write_photos(given.scratch / f"photos-{train}-{val}", train=train, val=val)
    about = f"{train} + {val} generated photos of 500x375 px, {architecture} with random weights"
    return Work(folder=folder, architecture=architecture, about=about)


def phases(sample: Sample) -> list[tuple[str, int, float]]:
    """What our command said of its phases: name, images that went through, seconds."""
    return [(said["phase"], int(said["images"]), float(said["seconds"])) for said in PHASE.finditer(sample.errors)]


def trained(sample: Sample) -> list[tuple[int, float]]:
    """Images and seconds of each phase in which the network itself was trained."""
    return [(images, seconds) for name, images, seconds in phases(sample) if name in TRAINING]
