"""A classifier for the Hugging Face hub: its model folder without paths of this machine, with the hub's metadata."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from transferkit import scratch
from transferkit.model import build
from transferkit.ship import artifact
from transferkit.ship.exporters import timm_folder
from transferkit.ship.exporters.exporter import ONE_BY_ONE
from transferkit.ship.models import Artifact, Ensemble
from transferkit.zoo import hashes
from transferkit.zoo.errors import UsageError
from transferkit.zoo.files import write_text

FRONT = "---\n"
LICENSES = {  # those of https://huggingface.co/docs/hub/repositories-licenses that networks have
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mpl-2.0", "openrail", "unknown"),
}
METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "mAP": "map"}  # in a block of scores, and on the hub
TRANSFORMERS = """
With transformers:

```python
from transformers import pipeline

classify = pipeline("image-classification", model="{repository}"{more})
print(classify("photo.jpg"))
```
"""


def push(path: str | Path, repository: str, *, private: bool = False, out: Path | None = None) -> str:
    """Upload the classifier of a run or a model folder to the hub's `repository`, ORG/NAME; the address of its page.

    Weights, configuration, card, hashes, and the features by which unfamiliar photos are known are what it sends; no
    photo, no name of a file, and no path. timm, transformers and `load("hf-hub:ORG/NAME")` open it.

    Args: private, whether others may not see it; out, a new folder to write all of it to, and upload nothing.
    Raises: UsageError for an ensemble, a network that is not timm's, a name or a token that the hub refuses;
    ModelFileError, StorageError, NetworkError.
    """
    build.check_repository(repository)
    if out is None:
        build.check_token()
    elif os.path.lexists(out):
        raise UsageError(f"{out} exists already; name a folder that does not")
    model = artifact.load(path)
    if isinstance(model, Ensemble) or build.bodies_of(model.backbone):
        raise UsageError(
            f"timm and transformers open one network and this is {model.name}; {ONE_BY_ONE.replace('export', 'push')}"
        )
    if model.backbone.spec["family"] != timm_folder.FAMILY:
        raise UsageError(
            f"{model.name} is no network of timm, which alone timm and transformers open; export it instead"
        )
    if out is not None:
        write(out, model, repository)
        return str(out)
    with scratch.folder("push") as folder:
        write(folder / "model", model, repository)
        return build.send(folder / "model", repository, private=private)


def write(folder: Path, model: Artifact, repository: str) -> None:
    """Write what the hub gets. Raises: UsageError, StorageError."""
    model = _without_paths(model)
    artifact.save(folder, model)
    card = folder / artifact.CARD
    body = card.read_text("utf-8").removeprefix(FRONT).partition(f"\n{FRONT}")[2]
    write_text(card, f"{FRONT}{_metadata(model, repository)}\n{FRONT}{_addressed(body, model, repository)}")
    own = [file.name for file in folder.iterdir() if file.name != hashes.MANIFEST]
    hashes.write(folder, sorted(own))


def _metadata(model: Artifact, repository: str) -> str:
    """The front matter, as YAML. Source: https://huggingface.co/docs/hub/model-cards#model-card-metadata"""
    from huggingface_hub import EvalResult, ModelCardData

    given = model.backbone.card.license
    known = given.lower() if given.lower() in LICENSES else "other"
    name = {"license_name": re.sub(r"[^\w.-]+", "-", given).lower()} if known == "other" else {}
    block = model.record.get("test") or {}
    scores = block.get("unseen") or block  # without those that were trained on
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",
            dataset_name="photos held out of the run",
            dataset_split="test",
            metric_type=kind,
            metric_value=scores[key],
        )
        for key, kind in METRICS.items()
        if key in scores
    ]
    about: dict[str, Any] = {"eval_results": results, "model_name": repository.partition("/")[2]} if results else {}
    data = ModelCardData(
        license=known,
        **name,
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "transformers", "transferkit"],
        **about,
    )
    return data.to_yaml()


def _addressed(body: str, model: Artifact, repository: str) -> str:
    """The text of a card, with the repository in place of the folder, and how transformers opens it."""
    body = body.replace('load("FOLDER")', f'load("hf-hub:{repository}")')
    body = body.replace('"local-dir:FOLDER"', f'"hf-hub:{repository}"')
    more = "" if model.task.names_one else f", top_k={len(model.classes)}"
    before, heading, after = body.partition("\n## What the network sees")
    return before + TRANSFORMERS.format(repository=repository, more=more) + heading + after


def _without_paths(model: Artifact) -> Artifact:
    """The model without the paths of this machine that its record may have, as of the folder that it began from."""
    card = model.backbone.card
    model.backbone.card = dataclasses.replace(card, name=_name(card.name), source=_name(card.source))
    return dataclasses.replace(model, record=_named(model.record))


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _named(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_named(each) for each in value]
    return _name(value) if isinstance(value, str) else value


def _name(text: str) -> str:
    """The last part of a path; a name of a hub and a URL as they are.

    >>> _name("/home/me/runs/photos-1"), _name("hf-hub:timm/resnet18.a1_in1k"), _name("https://example.org/x")
    ('photos-1', 'hf-hub:timm/resnet18.a1_in1k', 'https://example.org/x')
    """
    if ("://" in text and not text.startswith("file:")) or text.startswith("hf-hub:"):
        return text
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1]
