"""The README.md of a model folder: what a person must know before trusting the network in it."""

import json
from collections.abc import Sequence
from typing import Any

from transferkit.messages import seen_words
from transferkit.model.build import Backbone, Preprocessing
from transferkit.zoo.text import printable

HEADER = """---
license: {license}
library_name: {library}
pipeline_tag: image-classification
---

# An image classifier of {count} classes

It tells apart: {classes}.
{made_of}
| part | accuracy | images |
|---|---|---|
{scores}

{caution} The validation part chose settings, so its score is a little too good.

## Use it

```python
import transferkit as tk

classifier = tk.load("FOLDER")
for prediction in classifier.stream(["photo.jpg"]):
    print(prediction.label, prediction.probability)
```
"""
TIMM = """
Without transferkit, in plain timm:

```python
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()
```
"""
NETWORK = """
## What the network sees

A photo is turned upright and made RGB, resized ({interpolation}, {crop_mode}) so that {width} x {height} px are
{crop} % of its side, cropped in the middle to {width} x {height} px, divided by 255, and normalised by the mean
{mean} and the standard deviation {std} per channel.

{depth}## Where it comes from

Backbone: {backbone}, {parameters:,} weights in all. Source: {source}. Licence: {license}.
"""
DEPTH = """A value of more than 8 bits, in a file that does not say how many it has, is one of {bits} bits.

"""
MADE_OF = """
A probability is the mean of the softmax outputs of {count} networks, the members. Members that differ only in the head
share one pass through the backbone. Passes for an image: {passes}.
"""
MEMBERS = """
## Its members

| folder | backbone | weights | input, px | validation | test | source | licence |
|---|---|---|---|---|---|---|---|
{rows}

Each of these folders is a model of its own, with a model card that says what its network sees.
"""
LIMITS = """
## What it does not promise

- It knows no other classes: a photo of something else gets one of the names above too.
- A probability is the network's own confidence. It is no measured frequency.
- The scores hold for photos like those it was judged on. Another camera, place or season can do worse; measure it
  with `transferkit evaluate`.
- MANIFEST.json finds damage. It does not prove who made the files.
"""


def model_card(
    backbone: Backbone, *, classes: tuple[str, ...], preprocessing: Preprocessing, record: dict[str, Any]
) -> str:
    """The model card as Markdown, with YAML front matter as the hub reads it.

    Args: record may hold the blocks of scores "test" and "val" with "accuracy" and "n".
    """
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
        depth=DEPTH.format(bits=preprocessing.bit_depth) if preprocessing.bit_depth else "",
        backbone=quoted(backbone.card.name),
        parameters=_parameters(backbone),
        source=quoted(backbone.card.source),
        license=quoted(backbone.card.license),
    )
    library = "timm" if is_timm else "transferkit"
    header = _header(classes, record, license=backbone.card.license, library=library)
    return header + (TIMM if is_timm else "") + network + LIMITS


def ensemble_card(
    members: Sequence[tuple[Backbone, Preprocessing, dict[str, Any]]],
    *,
    classes: tuple[str, ...],
    record: dict[str, Any],
    passes: int,
) -> str:
    """The model card of an ensemble.

    Args: members, each with the record of its own making; passes, through a backbone, for an image.
    """
    rows = []
    for number, (backbone, preprocessing, own) in enumerate(members):
        height, width = preprocessing.size_px
        cells = [f"`members/{number}`", quoted(backbone.card.name), f"{_parameters(backbone):,}", f"{width} x {height}"]
        cells += [_score(own[part]) if own.get(part) else "" for part in ("val", "test")]
        rows.append(f"| {' | '.join([*cells, quoted(backbone.card.source), quoted(backbone.card.license)])} |")
    licenses = {backbone.card.license for backbone, _, _ in members}
    made_of = MADE_OF.format(count=len(members), passes=passes)
    header = _header(
        classes,
        record,
        license=licenses.pop() if len(licenses) == 1 else "other",
        library="transferkit",
        made_of=made_of,
    )
    return header + MEMBERS.format(rows="\n".join(rows)) + LIMITS


def _header(classes: tuple[str, ...], record: dict[str, Any], *, license: str, library: str, made_of: str = "") -> str:
    rows = []
    caution = "The test part was never used for any decision."
    for part in ("test", "val", "all"):
        if block := record.get(part):
            if seen_words(block):
                caution = "Some of these images were also trained on: trust the score without them."
            images = ", ".join(filter(None, (f"{block['n']:,}", seen_words(block))))
            rows.append(f"| {part} | {100 * block['accuracy']:.1f} % | {images} |")
    return HEADER.format(
        license=json.dumps(printable(license)),  # a JSON string is a YAML string too
        library=library,
        count=len(classes),
        classes=", ".join(quoted(name) for name in classes),
        made_of=made_of,
        scores="\n".join(rows or ["| none measured | | |"]),
        caution=caution,
    )


def _score(block: dict[str, Any]) -> str:
    return f"{100 * block['accuracy']:.1f} % of {block['n']:,}"


def _parameters(backbone: Backbone) -> int:
    return sum(parameter.numel() for parameter in backbone.parameters())


def quoted(text: str) -> str:
    """A stranger's text as Markdown code, in which nothing is markup."""
    return f"`{printable(text).replace('`', chr(39))}`"
