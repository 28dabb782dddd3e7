"""What a model folder holds, ready for use: a network and what it is for, or several whose answers are averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transferkit.model import ensemble as networks
from transferkit.model.build import Backbone, Preprocessing
from transferkit.model.ensemble import Pass
from transferkit.model.mirror import MirrorAveraged
from transferkit.tasks import SINGLE_LABEL, Task
from transferkit.trust import NOTHING_KNOWN, Familiarity, Sureness, Trust
from transferkit.zoo.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A network ready for use: the names of its outputs, how its images are prepared, the record of its making,
    what it is asked, whether its answer is the mean over an image and its mirror image, and what is known of answers.
    """

    backbone: Backbone
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    record: dict[str, Any]
    task: Task = SINGLE_LABEL
    averages_mirror: bool = False
    trust: Trust = NOTHING_KNOWN

    @property
    def name(self) -> str:
        """What the network is called."""
        return self.backbone.card.name

    @property
    def network(self) -> Backbone | MirrorAveraged:
        """What gives its logits."""
        return MirrorAveraged(self.backbone) if self.averages_mirror else self.backbone

    def passes(self) -> list[Pass]:
        """The one forward pass that gives its logits."""
        return [Pass(preprocessing=self.preprocessing, network=self.network, members=(0,))]

    @property
    def sureness(self) -> Sureness | None:
        """Which answers are sure."""
        return self.trust.sureness

    @property
    def familiarities(self) -> tuple[Familiarity | None, ...]:
        """Which images are like those trained on, of each member."""
        return (self.trust.familiarity,)


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Networks whose probabilities are averaged; each has its own way of preparing images and order of classes.

    Fields: sureness, which answers are sure, None where nothing is known of the mean.

    Raises: UsageError if there are fewer than two, or if one knows other classes, or has another task.
    """

    members: tuple[Artifact, ...]
    classes: tuple[str, ...]
    record: dict[str, Any]
    sureness: Sureness | None = None

    def __post_init__(self):
        if len(self.members) < 2:
            raise UsageError(f"an ensemble has at least 2 members, not {len(self.members)}")
        for number, member in enumerate(self.members):
            check_same(self.members[0].task, self.classes, member, name=f"member {number}")

    @property
    def task(self) -> Task:
        """That of its members."""
        return self.members[0].task.joined([member.task.reordered(self.order(member)) for member in self.members])

    @property
    def familiarities(self) -> tuple[Familiarity | None, ...]:
        """Which images are like those trained on, of each member."""
        return tuple(member.trust.familiarity for member in self.members)

    def order(self, member: Artifact) -> list[int]:
        """Which output of a member is each class."""
        return [member.classes.index(name) for name in self.classes]

    @property
    def name(self) -> str:
        """What it is called."""
        return f"an ensemble of {len(self.members)}"

    def passes(self) -> list[Pass]:
        """As few forward passes as give the logits of all members."""
        return networks.plan_passes(
            [member.backbone for member in self.members],
            preprocessings=[member.preprocessing for member in self.members],
            orders=[self.order(member) for member in self.members],
            averages_mirror=[member.averages_mirror for member in self.members],
        )


def check_same(task: Task, expected: Sequence[str], member: Artifact, *, name: str) -> None:
    """Raise UsageError, saying how `name` differs, unless task and classes, in any order, are the same."""
    if member.task.name != task.name:
        raise UsageError(f"the members of an ensemble have one task, but {name} is {member.task.name}, not {task.name}")
    classes = member.classes
    lacking, besides = (sorted({*one}.difference(other)) for one, other in ((expected, classes), (classes, expected)))
    if lacking or besides:
        parts = [f"{verb} {', '.join(names)}" for verb, names in (("lacks", lacking), ("adds", besides)) if names]
        raise UsageError(f"the members of an ensemble know the same classes, but {name} {' and '.join(parts)}")
