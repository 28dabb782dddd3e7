"""The gate of the exporters that make a graph: it is kept if it gave PyTorch's answers on real images.

A graph takes pixels after resize and crop, uint8 (B, 3, H, W), and returns probabilities (B, K): normalisation is
inside, so nobody has to write it again.
"""

import contextlib
import copy
import dataclasses
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from transferkit.model import build
from transferkit.model.build import Preprocessing
from transferkit.ship.export import FromPixels
from transferkit.ship.exporters.exporter import ONE_BY_ONE
from transferkit.ship.models import Artifact, Ensemble
from transferkit.tasks import Task
from transferkit.trust import Sureness
from transferkit.zoo.errors import ParityError, UsageError, is_out_of_memory
from transferkit.zoo.text import first_line

MAX_DIFFERENCE = 1e-4  # of any probability
FAMILIARITY = "the second output, (B,): below 0 of an image unlike any that was trained on"
SURENESS = "pairs of a confidence and the share wrong of the answers that are as sure as that, or surer"
BATCH_SIZE = 16
ANY_BATCH = {"pixels": {0: torch.export.Dim("batch")}}

Run = Callable[[Tensor], Any]  # uint8 (B, 3, H, W) -> what `FromPixels` gives, as arrays or tensors


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A classifier or an ensemble as the one network that becomes a graph."""

    name: str
    format: str
    network: FromPixels
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    task: Task
    sureness: Sureness | None

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        is_known = any(len(known) for known in self.network.familiarities)
        return ["probabilities", *["familiarity"] * is_known]

    def facts(self) -> dict[str, str]:
        """What somebody who has only the graph must know of it."""
        return {
            "input": "RGB pixels after resize and crop as in preprocessing, uint8 (B, 3, H, W); not normalised",
            "output": "probabilities (B, K) in the order of classes",
            **({"familiarity": FAMILIARITY} if "familiarity" in self.outputs else {}),
            **({"sureness": SURENESS, "sureness_points": json.dumps(self.sureness.points)} if self.sureness else {}),
            "classes": json.dumps(self.classes),
            "preprocessing": json.dumps(dataclasses.asdict(self.preprocessing)),
            **{key: json.dumps(value) for key, value in self.task.as_json().items()},
        }


def joined(model: Artifact | Ensemble, *, format: str) -> Joined:
    """A copy of the networks of a model, joined. Raises: UsageError if they prepare images in different ways."""
    passes = model.passes()
    preprocessing = passes[0].preprocessing
    if any(each.preprocessing != preprocessing for each in passes):
        raise UsageError(
            f"members that prepare images in different ways cannot become one {format} graph; {ONE_BY_ONE}"
        )
    network = copy.deepcopy(FromPixels(passes, model))
    build.unfold(network)  # a library that runs the graph folds it itself, and onnxscript garbles ours
    network = network.cpu().float().eval().requires_grad_(False)
    return Joined(
        name=model.name,
        format=format,
        network=network,
        preprocessing=preprocessing,
        classes=model.classes,
        task=model.task,
        sureness=model.sureness,
    )


def proved(
    model: Joined, converted: Callable[[ExportedProgram, Joined], tuple[bytes, Run]], *, pixels: Tensor
) -> bytes:
    """The bytes of the exported graph, after a run of them gave PyTorch's answers.

    Args: converted, given the graph and the model, returns the bytes that are kept and how to run exactly these;
    pixels, uint8 (N, 3, H, W), are the images that are compared.
    Raises: ParityError if an image is named otherwise or a probability differs by over 1e-4, or if there is no graph.
    """
    with torch.no_grad():
        expected = _in_batches(model.network, pixels)
    try:
        with _quiet(), torch.no_grad():
            data, run = converted(_graph(model), model)
            found = _in_batches(run, pixels)
    except Exception as error:  # the exporters raise anything where a network does not suit them
        if is_out_of_memory(error):
            raise
        raise ParityError(f"{model.name} cannot be exported as {model.format}: {first_line(error)}") from error
    _compare(expected, found, model)
    return data


def _graph(model: Joined) -> ExportedProgram:
    """The network as a graph for any batch size, without the paths of this machine."""
    example = torch.zeros(2, 3, *model.preprocessing.size_px, dtype=torch.uint8)
    program = torch.export.export(model.network, (example,), dynamic_shapes=ANY_BATCH)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _in_batches(run: Run, pixels: Tensor) -> list[np.ndarray]:
    """The outputs for all images: the first one alone, the rest in batches, so that two batch sizes are tried.

    Shapes: uint8 (N, 3, H, W) -> (N, K), and (N,) where it is known which are familiar.
    """
    batches = [pixels[:1], *pixels[1:].split(BATCH_SIZE)]
    answers = [run(batch) for batch in batches if len(batch)]
    parts = [answer if isinstance(answer, (tuple, list)) else (answer,) for answer in answers]
    return [np.concatenate([np.asarray(each) for each in output]) for output in zip(*parts, strict=True)]


def _compare(expected: list[np.ndarray], found: list[np.ndarray], model: Joined) -> None:
    """Raise ParityError unless every image is named the same and nearly the same numbers in both."""
    others = sum(_names(model, one) != _names(model, other) for one, other in zip(expected[0], found[0]))
    difference = max(float(np.abs(one - other).max()) for one, other in zip(expected, found, strict=True))
    if others or not difference <= MAX_DIFFERENCE:  # `not` for NaN
        raise ParityError(
            f"the {model.format} export names {others} of {len(expected[0])} images otherwise than PyTorch and its "
            f"probabilities differ by up to {difference:.1e} ({MAX_DIFFERENCE:.0e} is allowed); nothing was written"
        )


def _names(model: Joined, probabilities: np.ndarray) -> list[int]:
    return [k for k, _ in model.task.said(probabilities)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that the exporters print, log or warn of gets out of the block."""
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
