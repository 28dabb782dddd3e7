"""Single precision or one of 16 bits: what this machine computes faster, where the network's answers bear it."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferkit import runtime
from transferkit.model import timings
from transferkit.model.build import Backbone
from transferkit.runtime import BF16, FP16, FP32, arithmetic
from transferkit.zoo.errors import UsageError

ROUNDS = 2
CLEAR = 1.5  # times beyond `SMALLEST_GAIN`, above or below: one round decides, though fp32 comes first, unwarmed
LARGEST_ERROR = 0.02  # of features, relative: 0.01 changed no answer of 240, 0.10 (mobilenetv2_100) up to 15
NO_NUMBER = 1e9  # stands for an error that is none, which JSON cannot keep: beyond all that are
SMALLEST_GAIN = 1.15  # times as fast; less is within what two timings differ by


@dataclass(frozen=True, kw_only=True)
class Precision:
    """The arithmetic of the frozen passes that features come from, and that of training through the network.

    Epochs are compared in that of training; scores, and whatever is shipped, are of single precision.
    Written "fp32", "bf16", or both with a slash; "fp16" is for training alone, whose loss is scaled for it.
    """

    features: str = FP32
    training: str = FP32

    def __str__(self) -> str:
        return self.features if self.features == self.training else f"{self.features}/{self.training}"

    @property
    def is_single(self) -> bool:
        """Whether nothing is computed in 16 bits."""
        return self.features == self.training == FP32

    @classmethod
    def read(cls, text: str) -> "Precision":
        """The precision written as `text`.

        >>> Precision.read("bf16/fp32")
        Precision(features='bf16', training='fp32')
        """
        features, _, training = text.partition("/")
        return cls(features=features, training=training or features)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds that a machine computes for a batch, in each precision."""

    fp32: float
    bf16: float

    @property
    def choice(self) -> str:
        """The precision to take."""
        return BF16 if self.bf16 * SMALLEST_GAIN < self.fp32 else FP32


def choose(
    model: Backbone, asked: str, *, device: str, cache: Path, phases: Sequence[str]
) -> tuple[Precision, tuple[str, ...]]:
    """The precision to fit `model` in, and lines for the reader on how it was found.

    "auto" on a CPU times both where it has bfloat16, once a machine, network, phase and versions: what was found is
    kept in `cache` and looked up afterwards, so that the same command gives the same model. On a GPU it times nothing:
    the units for 16 bits are many times as fast as those for 32.

    Args: phases, "features", "training" or both in this order: what the run has.
    Raises: UsageError where `asked` is not for this device.
    """
    if asked != "auto":
        _check(asked, device=device)
        return Precision.read(asked), ()
    kind = torch.device(device).type
    look_up = partial(timings.looked_up, model, device=device, cache=cache)
    if kind == "cuda":
        return _on_gpu(model, look_up, device=device, phases=phases)
    if not runtime.computes_bf16(device):
        return Precision(), ()
    if words := _objection(model, look_up, device=device):
        return Precision(), (f"precision: fp32; {words}",)
    found = {
        phase: Timing(**look_up({"phase": phase}, partial(_time, model, WORK[phase], device=device)))
        for phase in phases
    }
    lines = (
        f"precision of {phase}: {timing.choice}; bf16 is {timing.fp32 / timing.bf16:.1f} times as fast"
        for phase, timing in found.items()
    )
    return Precision.read("/".join(timing.choice for timing in found.values())), tuple(lines)


def _check(asked: str, *, device: str) -> None:
    """Refuse a precision that `device` does not have. Raises: UsageError."""
    if BF16 in asked and torch.device(device).type == "mps":
        raise UsageError(f"--precision {asked} is for CPUs and CUDA devices; use fp32 on {device}")
    if FP16 in asked and not runtime.computes_fp16(device):
        raise UsageError(f"--precision {asked} is for CUDA devices of compute capability 7.0 and more; use fp32 here")


def _on_gpu(
    model: Backbone, look_up: Callable[..., dict[str, Any]], *, device: str, phases: Sequence[str]
) -> tuple[Precision, tuple[str, ...]]:
    """Training in bfloat16 where the GPU has it, else in fp16 where it has tensor cores; features as on a CPU."""
    has_bf16, lines = runtime.computes_bf16(device), []
    features = training = BF16 if has_bf16 else FP32
    if not has_bf16 and runtime.computes_fp16(device):
        training = FP16
    if has_bf16 and "features" in phases and (words := _objection(model, look_up, device=device)):
        lines.append(f"precision of features: fp32; {words}")
        features = FP32
    if "training" not in phases:
        training = features
    else:
        lines.append(f"precision of training: {training}")
    return Precision(features=features, training=training), tuple(lines)


def _objection(model: Backbone, look_up: Callable[..., dict[str, Any]], *, device: str) -> str:
    """What bfloat16 does to the features of `model` that it may not do; "" if nothing."""
    error = look_up({"phase": "error"}, partial(_error, model, device=device))["error"]
    if error <= LARGEST_ERROR:
        return ""
    if error >= NO_NUMBER:
        return "bf16 gives features that are no numbers"
    return f"bf16 changes features by {100 * error:.0f} %"


@torch.no_grad()
def _error(model: Backbone, *, device: str) -> dict[str, float]:
    """The relative error of features of noise in bfloat16; `NO_NUMBER` where one is not finite, or all are zero."""
    x = timings.noise(model, device=device)
    with _restored(model):
        model.eval()
        exact = model.features(x)
        with arithmetic(device, BF16):
            found = model.features(x).float()
    error = ((found - exact).norm() / exact.norm()).item()
    return {"error": error if math.isfinite(error) else NO_NUMBER}


def _time(model: Backbone, work: Callable[[Backbone, Tensor], None], *, device: str) -> dict[str, float]:
    """The fields of a Timing. It times `work` on noise, in turn in both precisions; the faster of the rounds counts.

    A second round is for where the first leaves a doubt.
    """
    x = timings.noise(model, device=device)
    seconds: dict[str, list[float]] = {FP32: [], BF16: []}
    with _restored(model):
        for _ in range(ROUNDS):
            for precision, found in seconds.items():
                with arithmetic(device, precision):
                    found.append(timings.computing(partial(work, model, x), device=device))
            beyond = seconds[FP32][0] / seconds[BF16][0] / SMALLEST_GAIN
            if max(beyond, 1 / beyond) >= CLEAR:
                break
    return {precision: min(found) for precision, found in seconds.items()}


@contextmanager
def _restored(model: Backbone) -> Iterator[None]:
    """The mode and the lack of gradients of `model` are the same after the block."""
    mode = model.training
    try:
        yield
    finally:
        model.train(mode)
        model.zero_grad(set_to_none=True)


@torch.no_grad()
def _features(model: Backbone, x: Tensor) -> None:
    model.eval()
    model.features(x)


def _training(model: Backbone, x: Tensor) -> None:
    state = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    model(x).float().logsumexp(1).sum().backward()
    for name, buffer in model.named_buffers():
        buffer.copy_(state[name])  # BatchNorm in training mode has moved its statistics


WORK = {"features": _features, "training": _training}  # of each phase
