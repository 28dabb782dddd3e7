"""Several labels an image: mAP of probe and lp-ft on held-out pictures, the probe as good as scikit-learn's.

python -m benchmarks.multi_label

3,000 generated pictures of 1 to 4 coloured shapes, every fifth held out; the labels are the six kinds of shapes. The
backbone is cifar_resnet, embedded, at 64 px. scikit-learn fits a logistic regression of each class against the rest to
the same features, with the one C of nine that is best in five folds; it is compared with a probe that sees no mirror
images either.
"""

import csv
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import claim, shapes
from benchmarks.harness.measure import Command, run

COUNT, SIZE_PX = 3000, "64"
RUNS = {
    "probe": ("--strategy", "probe"),
    "plain": ("--strategy", "probe", "--augment", "none"),
    "lp-ft": ("--strategy", "lp-ft"),
}
STRENGTHS = 10 ** np.arange(-3, 1.5, 0.5)


def main() -> None:
    claim.measured(claim.options(__doc__, repeats=1), compare)


def compare(given: Namespace) -> dict[str, Any]:
    """Both strategies, and scikit-learn on the features of the first."""
    count = 200 if given.quick else COUNT
    table = shapes.write(given.scratch / "shapes", count)
    found = {}
    for name, options in RUNS.items():
        arguments = ["finetune", table, "-o", given.scratch / name, *options, "--backbone", "cifar_resnet"]
        arguments += ["--image-size", SIZE_PX, "--json", "--quiet", "--offline"]
        command = [sys.executable, "-m", "transferkit", *map(str, arguments)]
        found[name] = run(Command(name=name, arguments=command)).result["test"]
    theirs = one_against_rest(table)
    return {
        "data": f"{count:,} pictures of coloured shapes, cifar_resnet at {SIZE_PX} px",
        "figures": [
            claim.figure("mAP, probe", found["probe"]["mAP"], goal=claim.at_least(0.90)),
            claim.figure("mAP, lp-ft", found["lp-ft"]["mAP"], goal=claim.at_least(0.97)),
            claim.figure("mAP, scikit-learn one against rest", theirs),
            claim.figure("mAP, probe without mirror images", found["plain"]["mAP"]),
            claim.figure("the same - scikit-learn", found["plain"]["mAP"] - theirs, goal=claim.at_least(-0.01)),
        ],
    }


def one_against_rest(table: Path) -> float:
    """The mAP of scikit-learn's classifiers on the held-out pictures."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, labels, is_test = features(table)
    found = {}
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(C=strength, max_iter=1000)))
        answers = cross_val_predict(model, x[~is_test], labels[~is_test], cv=5, method="predict_proba")
        found[average_precision_score(labels[~is_test], answers)] = model
    best = found[max(found)].fit(x[~is_test], labels[~is_test])
    return float(average_precision_score(labels[is_test], best.predict_proba(x[is_test])))


def features(table: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, D) of the plain pictures, labels (N, K), and which are held out."""
    import torch

    import transferkit as tk
    from transferkit.data import batches
    from transferkit.data.decode import decode, eval_view

    model = tk.zoo.create("cifar_resnet", image_size=int(SIZE_PX)).eval()
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = []
    for start in range(0, len(rows), 100):
        paths = [table.parent / row["path"] for row in rows[start : start + 100]]
        views = np.stack([eval_view(decode(path), model.card.preprocessing) for path in paths])
        pixels = torch.from_numpy(views).permute(0, 3, 1, 2)
        with torch.no_grad():
            found.append(model.features(batches.normalise(pixels, model.card.preprocessing)).numpy())
    labels = np.array([[name in row["labels"].split("|") for name in sorted(shapes.SHAPES)] for row in rows])
    return np.concatenate(found), labels, np.array([row["split"] == "test" for row in rows])


if __name__ == "__main__":
    main()
