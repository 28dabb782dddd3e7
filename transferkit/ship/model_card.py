"""The README.md of a model folder: what a person must know before trusting the network in it."""

from typing import Any

from transferkit.model.build import Backbone, Preprocessing

TEMPLATE = """---
license: {license}
library_name: {library}
pipeline_tag: image-classification
---

# An image classifier of {count} classes

It tells apart: {classes}.

| part | accuracy | images |
|---|---|---|
{scores}

The test part was never used for any decision. The validation part chose settings, so its score is a little too good.

## Use it

```python
import transferkit as tk

classifier = tk.load("FOLDER")
for prediction in classifier.stream(["photo.jpg"]):
    print(prediction.label, prediction.probability)
```
{timm}
## What the network sees

A photo is turned upright and made RGB, resized ({interpolation}, {crop_mode}) so that {width} x {height} px are
{crop} % of its side, cropped in the middle to {width} x {height} px, divided by 255, and normalised by the mean
{mean} and the standard deviation {std} per channel.

## Where it comes from

Backbone: {backbone}, {parameters:,} weights in all. Source: {source}. Licence: {license}.

## What it does not promise

- It knows no other classes: a photo of something else gets one of the names above too.
- A probability is the network's own confidence. It is no measured frequency.
- The scores hold for photos like those it was judged on. Another camera, place or season can do worse; measure it
  with `transferkit evaluate`.
- MANIFEST.json finds damage. It does not prove who made the files.
"""
TIMM = """
Without transferkit, in plain timm:

```python
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()
```
"""


def model_card(
    backbone: Backbone, *, classes: tuple[str, ...], preprocessing: Preprocessing, record: dict[str, Any]
) -> str:
    """The model card as Markdown, with YAML front matter as the hub reads it.

    Args: record may hold the blocks of scores "test" and "val" with "accuracy" and "n".
    """
    blocks = [(part, record[part]) for part in ("test", "val") if record.get(part)]
    rows = [f"| {part} | {100 * block['accuracy']:.1f} % | {block['n']:,} |" for part, block in blocks]
    height, width = preprocessing.size_px
    is_timm = backbone.spec["family"] == "timm"
    return TEMPLATE.format(
        license=quoted(backbone.card.license),
        library="timm" if is_timm else "transferkit",
        count=len(classes),
        classes=", ".join(quoted(name) for name in classes),
        scores="\n".join(rows or ["| none measured | | |"]),
        timm=TIMM if is_timm else "",
        interpolation=preprocessing.interpolation,
        crop_mode=preprocessing.crop_mode,
        height=height,
        width=width,
        crop=round(100 * preprocessing.crop_pct, 1),
        mean=preprocessing.mean,
        std=preprocessing.std,
        backbone=quoted(backbone.card.name),
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        source=quoted(backbone.card.source),
    )


def printable(text: str) -> str:
    """`text` with everything that cannot be printed, line ends and half characters among it, as a visible escape.

    >>> printable("a\\x1b[2J\\n")
    'a\\\\x1b[2J\\\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str) -> str:
    """A stranger's text as Markdown code, in which nothing is markup."""
    return f"`{printable(text).replace('`', chr(39))}`"
