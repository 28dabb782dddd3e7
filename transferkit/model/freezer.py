"""Freezing: which stages of a network stay exactly as they are."""

import difflib
from dataclasses import dataclass

from transferkit.choices import BACKBONE, HALF, NOTHING
from transferkit.model.build import Backbone
from transferkit.zoo.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """One stage and how many parameters of it are frozen and trainable."""

    stage: str
    frozen: int
    trainable: int


@dataclass(frozen=True)
class FreezeReport:
    """What `freeze` did, stage by stage, shallow to deep."""

    stages: tuple[StageReport, ...]

    @property
    def frozen(self) -> int:
        """Parameters that no training step may change."""
        return sum(stage.frozen for stage in self.stages)

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.frozen + self.trainable

    @property
    def frozen_stages(self) -> list[str]:
        """The stages that stay as they are, shallow to deep."""
        return [stage.stage for stage in self.stages if not stage.trainable]

    @property
    def trainable(self) -> int:
        """Parameters that training changes."""
        return sum(stage.trainable for stage in self.stages)


def freeze(model: Backbone, until: str | None = None) -> FreezeReport:
    """Freeze the stages of `model` up to and including `until` and make the rest trainable.

    Frozen means bit-equal afterwards, BatchNorm statistics included: the stages stay in eval mode through every
    `train()`.

    Args: until is the name of a stage; "backbone" for all but the head; "half" for the first half of the stages below
    it; None or "none" for nothing.
    Raises: UsageError for a name that is no stage, or the head, which would leave nothing to train.
    """
    model.freeze(model.stages[: _depth(model, until)])
    rows = []
    for stage, parameters in model.stage_parameters().items():
        frozen = sum(p.numel() for _, p in parameters if not p.requires_grad)
        trainable = sum(p.numel() for _, p in parameters if p.requires_grad)
        rows.append(StageReport(stage=stage, frozen=frozen, trainable=trainable))
    return FreezeReport(tuple(rows))


def _depth(model: Backbone, until: str | None) -> int:
    """How many of the stages are to be frozen."""
    *body, head = model.stages
    if until in (None, NOTHING):
        return 0
    if until == BACKBONE:
        return len(body)
    if until == HALF:
        return len(body) // 2
    if until == head:
        raise UsageError(f"freezing up to {until!r} would freeze the head too and leave nothing to train")
    if until not in body:
        near = difflib.get_close_matches(until, body, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        known = f"{', '.join(body)} (or {BACKBONE}, {HALF}, {NOTHING})"
        raise UsageError(f"no stage {until!r} in this network; its stages: {known}{hint}")
    return body.index(until) + 1
