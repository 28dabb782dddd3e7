"""What a report shows where an image may have several labels."""

from collections.abc import Sequence
from typing import Any

from transferkit.ship.markup import bar, interval_kind, nearest, percent, section, shown, table
from transferkit.ship.mistakes import Case
from transferkit.ship.run_files import Prediction
from transferkit.tasks.multi_label import BAR


def brief(block: dict[str, Any]) -> str:
    """The score in a word."""
    return f"mAP {block['mAP']:.3f}"


def headline(block: dict[str, Any], *, part: str) -> str:
    """The score, large, with what a ranking at random would reach."""
    judged = [one for one in block["per_class"] if one["images"]]
    chance = sum(one["images"] for one in judged) / max(1, len(judged)) / block["n"]
    low, high = block["interval"]
    beside = block.get("baselines")
    commonest = f" Always giving the commonest would score {percent(beside['commonest']['accuracy'])}" if beside else ""
    return (
        f"<h1><strong>{block['mAP']:.3f}</strong> mean average precision (mAP) of {len(judged):,} classes, "
        f"{block['n']:,} {part} images</h1>"
        f'<div class="scale" aria-hidden="true"><b class="chance" style="left:{chance:.2%}"></b>'
        f'<b style="left:{block["mAP"]:.2%}"></b></div>'
        f'<p class="lead">F1 at the chosen thresholds: {block["micro_f1"]:.3f} micro, {block["macro_f1"]:.3f} macro. '
        f"All labels are right on {percent(block['accuracy'])} of the images (95 % interval {100 * low:.1f} to "
        f"{percent(high)}, {interval_kind(block)}).{commonest}{nearest(beside)}{'.' * bool(beside)} "
        f"A ranking at random would score an mAP of {chance:.3f}.</p>"
    )


def tables(block: dict[str, Any], classes: Sequence[str], *, part: str) -> list[str]:
    """The scores of every class, lowest average precision first."""
    scored = zip(classes, block["per_class"])
    ordered = sorted(scored, key=lambda one: (one[1]["ap"] is None, one[1]["ap"], one[0]))
    rows = [
        (
            shown(name),
            f"{one['images']:,}",
            bar(one["ap"]),
            *(percent(one[key]) for key in ("precision", "recall", "f1")),
            f"{one['threshold']:.3f}",
        )
        for name, one in ordered
    ]
    head = ("Class", "Images", "Average precision", "Precision", "Recall", "F1", "Threshold")
    lead = (
        "A class is named where its probability is above its threshold, which was chosen on validation for the highest "
        "F1; the average precision needs none. Lowest average precision first."
    )
    return [section("Class by class", table(head, rows, text=1), lead=lead)]


def mistakes(predictions: Sequence[Prediction], classes: Sequence[str], *, part: str) -> tuple[list[Case], str]:
    """Each label that is missed or wrongly said, and how many images that concerns, in words."""
    found, wrong = [], 0
    for path, labels, said, probabilities in predictions:
        true, named = set(labels.split(BAR)), set(said.split(BAR))
        wrong += true != named
        words = f"is {labels.replace(BAR, ', ') or 'none of the classes'}"
        for name, p in zip(classes, probabilities):
            if name in named - true:
                found.append(Case(path, f"says {name} {percent(p)}", words, p, name))
            elif name in true - named:
                found.append(Case(path, f"misses {name} {percent(p)}", words, 1 - p, name))
    return found, f"On {wrong:,} of {len(predictions):,} {part} images {len(found):,} labels are wrong"


def uncertain(predictions: Sequence[Prediction], block: dict[str, Any], classes: Sequence[str]) -> list[Case]:
    """All images, by how near to its threshold is the class that is nearest to it."""
    thresholds, found = [one["threshold"] for one in block["per_class"]], []
    for path, labels, said, probabilities in predictions:
        true, named = set(labels.split(BAR)), set(said.split(BAR))
        distances = [abs(p - threshold) for p, threshold in zip(probabilities, thresholds)]
        k = min(range(len(distances)), key=distances.__getitem__)
        name, is_right = classes[k], (classes[k] in named) == (classes[k] in true)
        verb, figures = "says" if name in named else "not", (probabilities[k], thresholds[k])
        words = f"{verb} {name}: {percent(figures[0])}, threshold {percent(figures[1])}"
        found.append(Case(path, words, "is right" if is_right else "is wrong", 1 - distances[k], name, is_right))
    return found
