"""What timm's table of results says of its networks: top-1 accuracy on ImageNet's validation images.

`timm_accuracy.csv` has its 1,002 rows, percent at the image size of that table, by the names that timm has today.
Source: https://github.com/huggingface/pytorch-image-models/blob/0173a139/results/results-imagenet.csv
"""

import csv
from functools import cache
from pathlib import Path

OWNER = "timm/"  # of the hub's repositories that the table is about


def measured(hub: str) -> dict[str, str]:
    """The accuracy of the weights in a repository of the hub, as a card has it; nothing where the table is silent.

    >>> measured("timm/resnet50.a1_in1k"), measured("timm/resnet50"), measured("me/resnet50.a1_in1k")
    ({'ImageNet, top-1': "81.2 %, in timm's table of results"}, {}, {})
    """
    accuracy = _table().get(hub.removeprefix(OWNER))
    return {"ImageNet, top-1": f"{float(accuracy):.1f} %, in timm's table of results"} if accuracy else {}


@cache
def _table() -> dict[str, str]:
    with Path(__file__).with_name("timm_accuracy.csv").open(encoding="utf-8", newline="") as file:
        return dict(csv.reader(file))
