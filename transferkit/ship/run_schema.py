"""The schema of what a run's folder holds: of each file, what is used when it is read back."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from transferkit.kinds import LARGEST
from transferkit.ship.evidence_schema import Abstention, Audit, Calibration, LearningCurve, Tried
from transferkit.ship.numbers import Count, Finite, Number, Positive, Share
from transferkit.tasks import MultiLabel, SingleLabel


class Images(Struct, forbid_unknown_fields=True):
    """How many images each part has, in run.json."""

    val: Count
    train: Count = 0
    test: Count = 0


class Data(Struct):
    """Of run.json: the images."""

    images: Images
    ignored: list[tuple[str, str]]
    fingerprint: str = ""
    source: str = ""


class Config(Struct):
    """Of the options in run.json, what is used without the checks of all options."""

    precision: str
    bit_depth: Annotated[int, Meta(ge=8, le=16)] | None = None


class Given(Struct):
    """Of run.json, the options before defaults were filled in."""

    given: dict[str, Any]


class Augmentation(Struct):
    """Of run.json, what trying the steps of the augmentation came to."""

    lines: list[str] = []


class Record(Struct):
    """run.json."""

    config: Config
    command: Annotated[list[str], Meta(min_length=1)]
    seed: Annotated[int, Meta(ge=0, le=LARGEST)]
    threads: Annotated[int, Meta(ge=1, le=4096)]
    versions: dict[str, str]
    data: Data
    device: str = "cpu"
    processes: Number = 1
    processor: str = ""
    given: dict[str, Any] = {}
    hashes: dict[str, str] = {}  # of what training begins with, beside the images
    augmentation: Augmentation | None = None
    engine: str = "albumentations"  # that made the views, "" where none were drawn
    sha256: str = ""  # of all the rest


class Rest(Struct):
    """A block of scores without the images that were trained on."""

    accuracy: Share
    n: Number
    interval: tuple[Share, Share]


class Commonest(Struct):
    """What always giving the commonest answer scores."""

    label: str
    accuracy: Share


class Nearest(Struct):
    """What the answer of the most similar image scores, of how many."""

    accuracy: Share
    n: Number


class Baselines(Struct):
    """What the scores of a part stand beside."""

    commonest: Commonest
    nearest: Nearest | None


class Block(Struct):
    """The scores of a part in metrics.json."""

    accuracy: Share
    n: Number
    loss: Finite | UnsetType = UNSET
    ece: Share | UnsetType = UNSET
    groups: Number | UnsetType = UNSET
    macro_precision: Share | UnsetType = UNSET
    roc_auc: Share | UnsetType | None = UNSET
    seen: Count = 0
    unseen: Rest | None = None
    baselines: Baselines | UnsetType = UNSET
    near_copies: Count = 0


class ClassScores(Struct, kw_only=True):
    """Of one class."""

    images: Count
    named: Count
    precision: Share | None
    recall: Share | None
    f1: Share | None


class SingleLabelBlock(Block, kw_only=True):
    """Where an image has one class."""

    confusion: list[list[Count]]
    interval: tuple[Share, Share] | UnsetType = UNSET
    balanced_accuracy: Share | UnsetType = UNSET
    macro_f1: Share | UnsetType = UNSET
    top5: Share | UnsetType = UNSET
    per_class: list[ClassScores] | UnsetType = UNSET


class LabelScores(ClassScores, kw_only=True):
    """Of one class, where an image may have several."""

    threshold: Share
    ap: Share | None


class MultiLabelBlock(Block, kw_only=True):
    """Where an image may have several classes."""

    interval: tuple[Share, Share]
    mAP: Share  # noqa: N815 - as everybody writes it
    micro_f1: Share
    macro_f1: Share
    per_class: list[LabelScores]
    macro_recall: Share | UnsetType = UNSET


AnyBlock = TypeVar("AnyBlock", bound=Block)


class Losses(Struct):
    """Of the last snapshot alone, and of all together."""

    single: Finite
    ensemble: Finite


class Snapshots(Struct):
    """What averaging the snapshots gave, in metrics.json."""

    members: Number
    n: Number
    ensemble: Share
    single: Share
    chosen: str
    loss: Losses


class Both(Struct):
    """Of an image alone, and of the mean with its mirror image."""

    plain: Finite
    averaged: Finite


class Tta(Struct):
    """What averaging over mirror images gave, in metrics.json."""

    n: Number
    loss: Both
    accuracy: Both
    gain: Finite
    interval: tuple[Finite, Finite] | None
    used: bool


class Seconds(Struct):
    """How long it took."""

    total: Positive


class Scores(Struct, Generic[AnyBlock]):
    """metrics.json."""

    val: AnyBlock
    classes: Annotated[list[str], Meta(min_length=1)]
    chosen: str
    backbone: str
    strategy: str
    seconds: Seconds
    test: AnyBlock | None = None
    task: str = SingleLabel.name
    notes: list[str] = []
    snapshots: Snapshots | None = None
    tta: Tta | None = None
    tried: Tried | None = None
    learning_curve: LearningCurve | None = None
    calibration: Calibration | None = None
    abstention: Abstention | None = None
    audit: Audit | None = None


SCORES: dict[str, type[Scores]] = {
    SingleLabel.name: Scores[SingleLabelBlock],
    MultiLabel.name: Scores[MultiLabelBlock],
}


class Measured(Struct):
    """Loss and accuracy of a part after an epoch."""

    loss: Finite
    accuracy: Share
    mAP: Share | UnsetType = UNSET  # noqa: N815


class ProbeLine(Struct, tag="probe", tag_field="phase"):
    """A line of metrics.jsonl about one L2 of a probe."""

    l2: Positive
    train: Measured
    val: Measured
    network: str | UnsetType = UNSET  # of several that lie side by side


class EpochLine(Struct):
    """A line of metrics.jsonl about an epoch."""

    phase: Literal["finetune", "head"]
    epoch: Annotated[int, Meta(ge=0, le=100_000)]
    lr: Positive
    train: Measured
    val: Measured
    lrs: list[Positive] | UnsetType = UNSET
    snapshot: Count | UnsetType = UNSET
