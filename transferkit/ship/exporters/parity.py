"""The gate of the exporters that make a graph: it is kept if it gave PyTorch's answers on real images.

A graph takes photos, or views after resize and crop, and returns probabilities (B, K): normalisation is inside, so
nobody has to write it again.
"""

import contextlib
import copy
import dataclasses
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from transferkit.model import build
from transferkit.ship.export import FromPixels
from transferkit.ship.exporters.exporter import COMPARED, ONE_BY_ONE, Agreement
from transferkit.ship.exporters.sample import Sample
from transferkit.ship.models import Artifact, Ensemble
from transferkit.tasks import Task
from transferkit.trust import NOTHING_KNOWN, Sureness
from transferkit.zoo.errors import ParityError, TransferkitError, UsageError, is_out_of_memory
from transferkit.zoo.text import first_line

MAX_DIFFERENCE = 1e-4  # of any probability, from the same views
MAX_OF_PHOTOS = 5e-2  # from photos, for OpenVINO rounds a resize otherwise than Pillow here and there; 0.026 was seen
PHOTOS = "upright RGB photos of any size, uint8 (B, H, W, 3); resize, crop and normalisation are inside"
FAMILIARITY = "the second output, (B,): below 0 of an image unlike any that was trained on"
SURENESS = "pairs of a confidence and the share wrong of the answers that are as sure as that, or surer"
VIEWS = "RGB pixels after resize and crop as in preprocessing, uint8 (B, 3, H, W); not normalised"
BATCH_SIZE = 16

Views = list[Tensor]  # uint8 (N, 3, h, w), one a preprocessing
Outputs = list[np.ndarray]  # (N, K), and (N,) where it is known which are familiar
Run = Callable[..., Any]  # views of a batch -> what `FromPixels` gives, as arrays or tensors


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A classifier or an ensemble as the one network that becomes a graph."""

    name: str
    format: str
    network: FromPixels
    classes: tuple[str, ...]
    task: Task
    sureness: Sureness | None

    @property
    def inputs(self) -> list[str]:
        """The names of the views."""
        count = len(self.network.preprocessings)
        return ["pixels"] if count == 1 else [f"pixels_{number}" for number in range(count)]

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        is_known = any(True for known in self.network.familiarities for _ in known.children())
        return ["probabilities", *["familiarity"] * is_known]

    @property
    def any_batch(self) -> dict[str, Any]:
        """The axes that may have any length, as torch takes them."""
        return {"views": tuple({0: torch.export.Dim("batch")} for _ in self.inputs)}

    def facts(self, agreement: Agreement, *, input: str = VIEWS) -> dict[str, str]:
        """What somebody who has only the graph must know of it."""
        prepared = [dataclasses.asdict(each) for each in self.network.preprocessings]
        return {
            "input": input,
            "output": "probabilities (B, K) in the order of classes",
            **({"familiarity": FAMILIARITY} if "familiarity" in self.outputs else {}),
            **({"sureness": SURENESS, "sureness_points": json.dumps(self.sureness.points)} if self.sureness else {}),
            "classes": json.dumps(self.classes),
            "preprocessing": json.dumps(prepared[0] if len(prepared) == 1 else prepared),
            COMPARED: json.dumps(agreement.as_json()),
            **{key: json.dumps(value) for key, value in self.task.as_json().items()},
        }


def joined(model: Artifact | Ensemble, *, format: str, of_photos: bool = False) -> Joined:
    """A copy of the networks of a model, joined.

    Args: of_photos, whether the graph takes photos, which it can prepare in several ways.
    Raises: UsageError if they prepare images in several and it does not.
    """
    network = copy.deepcopy(FromPixels(model.passes(), model))
    if len(network.preprocessings) > 1 and not of_photos:
        raise UsageError(
            f"members that prepare images in different ways cannot become one {format} graph; {ONE_BY_ONE}"
        )
    build.unfold(network)  # a library that runs the graph folds it itself, and onnxscript garbles ours
    network = network.cpu().float().eval().requires_grad_(False)
    return Joined(
        name=model.name,
        format=format,
        network=network,
        classes=model.classes,
        task=model.task,
        sureness=model.sureness,
    )


def views_of(model: Joined, sample: Sample) -> Views:
    """What the networks see of the photos."""
    return [sample.views(preprocessing) for preprocessing in model.network.preprocessings]


def graph_of(model: Joined) -> ExportedProgram:
    """The network as a graph for any batch size, without the paths of this machine."""
    example = tuple(torch.zeros(2, 3, *each.size_px, dtype=torch.uint8) for each in model.network.preprocessings)
    program = torch.export.export(model.network, example, dynamic_shapes=model.any_batch)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


@torch.no_grad()
def answers(run: Run, views: Views) -> Outputs:
    """The outputs for all images: the first one alone, the rest in batches, so that two batch sizes are tried."""
    batches = [[view[:1], *view[1:].split(BATCH_SIZE)] for view in views]
    return joined_outputs([run(*batch) for batch in zip(*batches, strict=True) if len(batch[0])])


def of_photos(run: Run, sample: Sample) -> Outputs:
    """The outputs for all photos, the first one twice in one batch."""
    first, *rest = range(len(sample))
    twice = run(sample.photo(first)[None].repeat(2, axis=0))
    return joined_outputs([[output[:1] for output in twice], *(run(sample.photo(n)[None]) for n in rest)])


def joined_outputs(parts: Sequence[Any]) -> Outputs:
    """The outputs of one batch after another."""
    several = [part if isinstance(part, (tuple, list)) else (part,) for part in parts]
    return [np.concatenate([np.asarray(each) for each in output]) for output in zip(*several, strict=True)]


def compared(expected: Outputs, found: Outputs, model: Joined, sample: Sample) -> Agreement:
    """How two lists of answers agree."""
    same = sum(_names(model, one) == _names(model, other) for one, other in zip(expected[0], found[0], strict=True))
    difference = max(float(np.abs(one - other).max()) for one, other in zip(expected, found, strict=True))
    return Agreement(compared=sample.words, images=len(sample), same=same, difference=difference)


def proved(model: Joined, sample: Sample, run: Run, *, photos: Run | None = None, is_exact: bool = True) -> Agreement:
    """How a graph agrees with PyTorch, after it proved that it does.

    Args: run, the graph of views; photos, the same of photos, if there is one; is_exact, whether it should give
    PyTorch's numbers.
    Raises: ParityError if it does not, or if from photos it gives others than from views.
    """
    views = views_of(model, sample)
    expected, found = answers(model.network, views), answers(run, views)
    agreement = compared(expected, found, model, sample)
    if is_exact:
        check(agreement, model)
    if photos is not None:
        seen = of_photos(photos, sample)
        check(compared(found, seen, model, sample), model, most=MAX_OF_PHOTOS)
        agreement = compared(expected, seen, model, sample)
    return agreement


def check(agreement: Agreement, model: Joined, *, most: float = MAX_DIFFERENCE) -> None:
    """Raise ParityError if a probability differs by over `most`; with less, only ties are named otherwise."""
    if not agreement.difference <= most:  # `not` for NaN
        raise ParityError(
            f"the {model.format} export names {agreement.images - agreement.same} of {agreement.images} images "
            f"otherwise than PyTorch and its probabilities differ by up to {agreement.difference:.1e} ({most:.0e} is "
            "allowed); nothing was written"
        )


def of_network(model: Artifact, network: nn.Module, sample: Sample, *, format: str) -> Agreement:
    """How a network opened elsewhere answers: its logits are a model's own, for photos alone.

    Shapes: network, normalised views (B, 3, h, w) -> (B, K). Raises: ParityError if they differ.
    """
    alone = joined(dataclasses.replace(model, averages_mirror=False, trust=NOTHING_KNOWN), format=format)
    pixels = alone.network
    views = views_of(alone, sample)
    found = answers(lambda view: model.task.activated(network((view.float() - pixels.mean[0]) / pixels.std[0])), views)
    agreement = compared(answers(pixels, views), found, alone, sample)
    check(agreement, alone)
    return agreement


def _names(model: Joined, probabilities: np.ndarray) -> list[int]:
    return [k for k, _ in model.task.said(probabilities)]


@contextlib.contextmanager
def converting(model: Joined) -> Iterator[None]:
    """Nothing that exporters print, log or warn of gets out of the block, and what they raise is a ParityError."""
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    except TransferkitError:
        raise
    except Exception as error:  # the exporters raise anything where a network does not suit them
        if is_out_of_memory(error):
            raise
        raise ParityError(f"{model.name} cannot be exported as {model.format}: {first_line(error)}") from error
    finally:
        logging.disable(logging.NOTSET)
