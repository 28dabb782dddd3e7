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


def fitted_on(taken, judged="", **about):
    """A fit that is right about all rows but the first."""
    labels, val = taken.listing.labels, np.flatnonzero(taken.listing.parts == "val")
    return Fitted(
        chosen="probe",
        networks=(create("cifar_resnet"),),
        rows=val,
        logits=(certain(labels, val),),
        predict=lambda rows: (certain(labels, rows),),
        features=lambda rows: np.random.default_rng(0).normal(size=(len(rows), 384)),
        judged=judged,
        **about,
    )


def test_images_that_judge_another_fit_than_ships_move_the_temperature_less(digit_folder):
    taken = passed_over(digit_folder, (["train"] * 8 + ["val"] * 16) * 3)
    about = {"backbone": "b", "strategy": "lp-ft", "precision": "fp32"}
    found = [
        evaluate.judge(fitted_on(taken, is_refitted=again), taken, **about).calibration["temperature"]
        for again in (False, True)
    ]
    assert found[0] > 1.1
    assert 1 < found[1] < (1 + found[0]) / 2


@pytest.mark.parametrize("with_test", [True, False])
def test_test_images_are_judged_where_there_are_any_and_else_those_that_validated(digit_folder, with_test):
    last = "test" if with_test else "val"
    taken = passed_over(digit_folder, (["train"] * 8 + ["val"] * 8 + [last] * 8) * 3)
    val = np.flatnonzero(taken.listing.parts == "val")
    fitted = fitted_on(taken, "the images that validate")
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
