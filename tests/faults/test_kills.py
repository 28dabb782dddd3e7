"""SIGKILL at random instants: a run that is resumed until it is done leaves the bytes of one that was never killed."""

import json
import os
import subprocess
import sys

import pytest

from tests.faults.conftest import environment

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def campaign(folder, *, seed: int, samples: int, images: int, kills: int) -> list[dict]:
    """What became of each sample of tests/faults/killed.py."""
    words = [sys.executable, "-m", "tests.faults.killed", str(folder), *map(str, (seed, samples, images, kills))]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found: list[dict], *, seed: int, figure) -> None:
    equal = [sample for sample in found if sample["exit code"] == 0 and not sample["differing"]]
    kills = sum(sample["kills"] for sample in found)
    figure(f"SIGKILL at random instants, resumed: {len(equal)} of {len(found)} byte-equal after {kills} kills")
    assert [sample for sample in found if sample not in equal] == [], f"seed {seed}"
    assert kills > len(found) // 3


def test_runs_killed_once_at_any_instant_leave_the_bytes_of_those_that_were_not(tmp_path, figure):
    found = campaign(tmp_path, seed=7, samples=1, images=40, kills=1)  # at a third: it may be quicker than it was
    assert len(found) == 1
    check(found, seed=7, figure=figure)


@pytest.mark.faults
@pytest.mark.parametrize(("samples", "images"), [(90, 40), (10, 2200)])
def test_runs_killed_again_and_again_leave_the_bytes_of_those_that_were_not(samples, images, tmp_path, figure):
    seed = int.from_bytes(os.urandom(3), "big")
    found = campaign(tmp_path, seed=seed, samples=samples, images=images, kills=8)
    assert len(found) == samples
    check(found, seed=seed, figure=figure)
