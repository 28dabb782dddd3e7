"""The README.md of a model folder: what a person must know before trusting the network in it."""

import json
from dataclasses import dataclass
from typing import Any

from transferkit.messages import seen_words
from transferkit.model.build import Backbone, bodies_of
from transferkit.ship.exporters.exporter import card_words
from transferkit.ship.models import Artifact, Ensemble
from transferkit.tasks import MultiLabel, SingleLabel, Task
from transferkit.trust.familiarity import FALSE_ALARMS
from transferkit.zoo.text import printable

HEADER = """---
license: {license}
library_name: {library}
pipeline_tag: image-classification
---

# {title}

It {does}: {classes}.
{made_of}
| part | {measure} | images |
|---|---|---|
{scores}

{caution} The validation part chose settings, so its score is a little too good.

## Use it

```python
import transferkit as tk

classifier = tk.load("FOLDER")
for prediction in classifier.stream(["photo.jpg"]):
    {use}
```
"""
TIMM = """
Without transferkit, in plain timm:

```python
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()
```
{outputs}"""
NETWORK = """
## What the network sees

A photo is turned upright and made RGB, resized ({interpolation}, {crop_mode}) so that {width} x {height} px are
{crop} % of its side, cropped in the middle to {width} x {height} px, divided by 255, and normalised by the mean
{mean} and the standard deviation {std} per channel.

{mirror}{depth}## Where it comes from

Backbone: {backbone}, {parameters:,} weights in all. Source: {source}. Licence: {license}.
"""
MIRROR = """The network looks at it twice, as it is and mirrored left for right, which takes twice the time; the logits
are the mean of both.

"""
ALONE = """
It answers for a photo as it is. The scores above are of the mean with its mirror image, which transferkit takes by
itself: `(model(x) + model(x.flip(-1))) / 2`.
"""
DEPTH = """A value of more than 8 bits, in a file that does not say how many it has, is one of {bits} bits.

"""
MADE_OF = """
A probability is the mean of those of {count} networks, the members. Members that differ only in the head
share one pass through the backbone. Passes for an image: {passes}.
"""
MEMBERS = """
## Its members

| folder | backbone | weights | input, px | validation | test | source | licence |
|---|---|---|---|---|---|---|---|
{rows}

Each of these folders is a model of its own, with a model card that says what its network sees.
"""
SIDE_BY_SIDE = """
## Its networks

They lie side by side: each sees the photo, and one head has the features of all. Plain timm has no such network, but
these folders are models {which}, and the logits of the whole are the mean of theirs: {folders}.
"""
STAGES = """
## Its features

The head has those of the last layer and, averaged over the photo, those of {stages}. Plain timm knows the network alone
({architecture}), not this head; `transferkit export` writes the whole as one graph.
"""
CALIBRATED = """a frequency, for photos like those it was judged on: by {images:,} images that the fit
  had not seen, the logits were divided by {temperature:.3f}."""
RAW = "the network's own confidence. It is no measured frequency."
UNLIKE = """ transferkit says of most of these that they are "unlike anything seen", and
  of about {alarms:.0f} % of photos like those it was trained on."""
LIMITS = """
## What it does not promise

- It knows no other classes: {stranger}{unlike}
- A probability is {probability}
- The scores hold for photos like those it was judged on. Another camera, place or season can do worse; measure it
  with `transferkit evaluate`.
- MANIFEST.json finds damage. It does not prove who made the files.
"""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a card says of a task; title has a place for the number of classes."""

    title: str
    does: str
    measure: str
    use: str
    outputs: str
    stranger: str


WORDS = {
    SingleLabel.name: Words(
        title="An image classifier of {} classes",
        does="tells apart",
        measure="accuracy",
        use="print(prediction.label, prediction.probability)",
        outputs="",
        stranger="a photo of something else gets one of the names above too.",
    ),
    MultiLabel.name: Words(
        title="A multi-label image classifier of {} classes",
        does="says which of these are on a photo, be it none",
        measure="mAP, all labels right",
        use="print(prediction.labels)  # those above their thresholds, each with its probability",
        outputs="""
Its outputs are logits: `model(x).sigmoid()` gives a probability for each class, and the key `transferkit.task` of
config.json has the threshold of each, chosen on validation images for the highest F1.
""",
        stranger="whatever else is on a photo is not said.",
    ),
}


def model_card(model: Artifact) -> str:
    """The model card as Markdown, with YAML front matter as the hub reads it.

    Args: the record of the model may hold the blocks of scores "test" and "val" with "accuracy" and "n".
    """
    backbone, preprocessing = model.backbone, model.preprocessing
    height, width = preprocessing.size_px
    is_timm = backbone.spec["family"] == "timm"
    network = NETWORK.format(
        interpolation=preprocessing.interpolation,
        crop_mode=preprocessing.crop_mode,
        height=height,
        width=width,
        crop=round(100 * preprocessing.crop_pct, 1),
        mean=preprocessing.mean,
        std=preprocessing.std,
        mirror=MIRROR if model.averages_mirror else "",
        depth=DEPTH.format(bits=preprocessing.bit_depth) if preprocessing.bit_depth else "",
        backbone=quoted(backbone.card.name),
        parameters=_parameters(backbone),
        source=quoted(backbone.card.source),
        license=quoted(backbone.card.license),
    )
    words = WORDS[model.task.name]
    origin = {"license": backbone.card.license, "library": "timm" if is_timm else "transferkit"}
    alone = ALONE if model.averages_mirror else ""
    plain = TIMM.format(outputs=words.outputs + alone) if is_timm else ""
    bodies = bodies_of(backbone)
    folders = ", ".join(f"`members/{number}` ({quoted(body.card.name)})" for number, body in enumerate(bodies))
    which = "that it opens" if all(body.spec["family"] == "timm" for body in bodies) else "of their own"
    network += SIDE_BY_SIDE.format(folders=folders, which=which) if folders else ""
    if stages := backbone.spec.get("stages"):
        network += STAGES.format(
            stages=", ".join(map(quoted, stages)), architecture=quoted(backbone.spec["architecture"])
        )
    return _header(model, origin) + plain + network + _limits(model, model.trust.familiarity is not None)


def ensemble_card(model: Ensemble) -> str:
    """The model card of an ensemble."""
    rows = []
    for number, member in enumerate(model.members):
        backbone, own = member.backbone, member.record
        height, width = member.preprocessing.size_px
        cells = [f"`members/{number}`", quoted(backbone.card.name), f"{_parameters(backbone):,}", f"{width} x {height}"]
        cells += [
            f"{_score(model.task, own[part])} of {own[part]['n']:,}" if own.get(part) else ""
            for part in ("val", "test")
        ]
        rows.append(f"| {' | '.join([*cells, quoted(backbone.card.source), quoted(backbone.card.license)])} |")
    licenses = {member.backbone.card.license for member in model.members}
    origin = {"license": licenses.pop() if len(licenses) == 1 else "other", "library": "transferkit"}
    made_of = MADE_OF.format(count=len(model.members), passes=sum(each.views for each in model.passes()))
    header = _header(model, origin | {"made_of": made_of})
    is_known = any(familiarity is not None for familiarity in model.familiarities)
    return header + MEMBERS.format(rows="\n".join(rows)) + _limits(model, is_known)


def _limits(model: Artifact | Ensemble, knows_familiar: bool) -> str:
    """What the model does not promise."""
    calibrated = model.record.get("calibration")
    return LIMITS.format(
        stranger=WORDS[model.task.name].stranger,
        unlike=UNLIKE.format(alarms=100 * FALSE_ALARMS) if knows_familiar else "",
        probability=CALIBRATED.format(**calibrated) if calibrated else RAW,
    )


def _header(model: Artifact | Ensemble, origin: dict[str, str]) -> str:
    """The beginning of a card. Args: origin, its license, library, and perhaps what it is made_of."""
    rows, task, words = [], model.task, WORDS[model.task.name]
    caution = "The test part was never used for any decision."
    for part in ("test", "val", "all"):
        if block := model.record.get(part):
            if seen_words(block):
                caution = "Some of these images were also trained on: trust the score without them."
            images = ", ".join(filter(None, (f"{block['n']:,}", seen_words(block))))
            rows.append(f"| {part} | {_score(task, block)} | {images} |")
    return HEADER.format(
        license=json.dumps(printable(origin["license"])),  # a JSON string is a YAML string too
        library=origin["library"],
        title=words.title.format(len(model.classes)),
        does=words.does,
        measure=words.measure,
        use=words.use,
        classes=", ".join(quoted(name) for name in model.classes),
        made_of=origin.get("made_of", ""),
        scores="\n".join(rows or ["| none measured | | |"]),
        caution=caution + card_words(model.record),
    )


def _score(task: Task, block: dict[str, Any]) -> str:
    return ("" if task.names_one else f"{block['mAP']:.3f}, ") + f"{100 * block['accuracy']:.1f} %"


def _parameters(backbone: Backbone) -> int:
    return sum(parameter.numel() for parameter in backbone.parameters())


def quoted(text: str) -> str:
    """A stranger's text as Markdown code, in which nothing is markup."""
    return f"`{printable(text).replace('`', chr(39))}`"
