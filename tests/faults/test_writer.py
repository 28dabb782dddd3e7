"""The checkpoint writer is killed before each of its file operations: there is always a checkpoint to go on from."""

import json
import os
import subprocess
import sys

import pytest

from tests.faults.conftest import environment


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_checkpoint_is_there_whenever_its_writer_is_killed_and_nothing_else_after_the_next_start(
    tmp_path, figure, step
):
    words = [sys.executable, "-m", "tests.faults.writer", str(tmp_path), str(step)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    kills = [one for one in found if one["killed"]]
    good = [one for one in kills if one["whole"] and one["epochs"] in (2, 3) and not one["said"] and not one["left"]]
    figure(f"checkpoint writer killed before each file operation: {len(good)} of {len(kills)} loadable, nothing left")
    assert [one for one in kills if one not in good] == []
    assert len(kills) > 40 // step
    assert {one["epochs"] for one in kills} == {2, 3}
