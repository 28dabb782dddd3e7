"""A block of scores in words, and what is left of it without single classes."""

from typing import Any

FURTHER = {
    "balanced_accuracy": "balanced accuracy",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "top5": "top-5 accuracy",
    "roc_auc": "ROC AUC",
    "loss": "log loss",
    "ece": "calibration error (ECE)",
}  # scores beside those of the headline, and what they are called
SUMMARY = ("accuracy", "n", "seen", "unseen", "near_copies", "mAP", "micro_f1", *FURTHER)


def summary(block: dict[str, Any]) -> dict[str, Any]:
    """A block of scores without what is of single classes."""
    return {name: block[name] for name in SUMMARY if name in block}


def further(block: dict[str, Any]) -> dict[str, str]:
    """The scores beside those of the headline that a block has, as written and by the names that they go by."""
    return {words: f"{block[name]:.4f}" for name, words in FURTHER.items() if block.get(name) is not None}


def interval_words(block: dict[str, Any]) -> str:
    """The interval of the accuracy in a block, in per cent, and of how many groups that is where images lie in some."""
    low, high = block["interval"]
    of = f", by {block['groups']:,} groups" if "groups" in block else ""
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f}{of}"
