"""The public interface used as README.md uses it; `test_surface.py` has it type-checked, nobody runs it."""

from pathlib import Path
from typing import Any

from typing_extensions import assert_type

import transferkit as tk
from transferkit.model.freezer import FreezeReport
from transferkit.zoo.backbone import Backbone


def train(photos: Path) -> tk.Run:
    """A run, its options in a configuration or as keywords."""
    config = tk.FinetuneConfig(data=str(photos), strategy="probe")
    run = tk.finetune(photos, backbone="resnet18.a1_in1k", strategy=config.strategy, overwrite=True)
    print(run.metrics["val"]["accuracy"], run.folder.name)
    return assert_type(run, tk.Run)


def use(run: tk.Run) -> Path:
    """Predictions of a classifier that is read back, its scores, and the file that it is exported to."""
    clf = assert_type(tk.load(run.folder, device="cpu"), tk.Classifier)
    for prediction in clf.stream(["new.jpg", Path("other.png"), b"\xff\xd8"], top=3):
        print(prediction.source, prediction.label, prediction.probability, prediction.top)
    first = assert_type(run.classifier.predict("new.jpg", top=2)[0], tk.Prediction)
    assert_type(first.top, tuple[tuple[str, float], ...])
    assert_type(clf.evaluate("photos", part="test"), dict[str, Any])
    return assert_type(clf.export("onnx", "photos.onnx", images=["new.jpg"]), Path)


def look_inside() -> Backbone:
    """A network by name, with a new head, frozen up to a stage."""
    model = assert_type(tk.zoo.create("mobilenetv3_small_100.lamb_in1k", num_classes=5), Backbone)
    print(assert_type(tk.freeze(model, until="blocks.3"), FreezeReport).trainable, model.card.name)
    print([card.name for card in tk.zoo.cards()], tk.zoo.describe("cifar_mlp").parameters, tk.zoo.suggest("resnet81"))
    print([name.upper() for name in tk.zoo.search("*convnext*")])
    return tk.zoo.wrap(assert_type(tk.reset_head(model, 3, dropout=0.2), Backbone).model)


def compare(runs: list[tk.Run]) -> str:
    """Whether two runs differ, in words and in numbers."""
    found = tk.compare(runs[0].folder, runs[1].folder, "photos")
    print(found.better, found.difference, found.interval, assert_type(found.p, float))
    return assert_type(found.verdict, str)


def join(runs: list[tk.Run]) -> tk.Classifier:
    """Several runs as one classifier."""
    joined = tk.ensemble([run.folder for run in runs], "joined", data="photos")
    print(joined.folder.name, joined.passes, assert_type(tk.__version__, str))
    return assert_type(joined.classifier, tk.Classifier)
