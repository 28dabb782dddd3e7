import numpy as np
import pytest

from transferkit import evaluate
from transferkit.data.folder import read
from transferkit.model.build import create
from transferkit.train.first_pass import FirstPass
from transferkit.train.fitted import Fitted


def passed_over(digit_folder, parts):
    listing = read(digit_folder)
    listing = type(listing)(**{**vars(listing), "parts": np.array(parts, "<U5")})
    digests = [f"{row:064x}" for row in range(len(parts))]
    return FirstPass(listing=listing, features=None, bytes=[], sha256=digests, quarantine=[])


def certain(labels, rows):
    """Logits that are right about every row but the first."""
    logits = 9 * np.eye(3)[labels[rows]]
    logits[0] = np.roll(logits[0], 1)
    return logits


@pytest.mark.parametrize("with_test", [True, False])
def test_test_images_are_judged_where_there_are_any_and_else_those_that_validated(digit_folder, with_test):
    last = "test" if with_test else "val"
    taken = passed_over(digit_folder, (["train"] * 8 + ["val"] * 8 + [last] * 8) * 3)
    labels = taken.listing.labels
    val = np.flatnonzero(taken.listing.parts == "val")
    fitted = Fitted(
        chosen="probe",
        networks=(create("cifar_resnet"),),
        rows=val,
        logits=(certain(labels, val),),
        predict=lambda rows: (certain(labels, rows),),
        features=lambda rows: np.random.default_rng(0).normal(size=(len(rows), 384)),
        judged="the images that validate",
    )
    result = evaluate.judge(fitted, taken, backbone="b", strategy="auto", precision="fp32")
    scores, judged = result.as_metrics(), result.judged
    tested = "; test is 24 images that chose nothing" * with_test
    assert scores["notes"] == [f"validation is the images that validate{tested}"]
    assert scores["val"]["n"] == len(val)
    assert scores["val"]["accuracy"] == (len(val) - 1) / len(val)
    assert (scores["test"] is None) != with_test
    expected = np.flatnonzero(taken.listing.parts == last) if with_test else val
    assert [path for path, *_ in judged] == [str(taken.listing.paths[row]) for row in expected]
    assert [label != predicted for _, label, predicted, _ in judged] == [True] + [False] * (len(expected) - 1)
