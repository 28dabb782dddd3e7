"""A run that replaces another is killed at any instant: one of the two is whole, and the next start ends the work."""

import random
import re
import shutil
import time

import pytest

from transferkit.ship.classifier import load
from transferkit.zoo import files

WORDS = ("--strategy", "finetune", "--epochs", "3", "--backbone", "timm:test_resnet", "--weights", "none")
WORDS = (*WORDS, "--image-size", "32", "--augment", "none", "--workers", "0", "--offline")


def digest(run) -> str:
    return files.sha256(run / "model" / "model.safetensors")


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1])
def test_a_replacement_killed_at_random_leaves_a_whole_run_and_ends_with_the_bytes_of_one_that_was_not(
    begin, command, photos, tmp_path, figure, seed
):
    chance = random.Random(seed)
    assert command("finetune", photos, "-o", "old", "--seed", "1", *WORDS).returncode == 0
    started = time.monotonic()
    assert command("finetune", photos, "-o", "plain", *WORDS).returncode == 0
    seconds = time.monotonic() - started
    old, new = digest(tmp_path / "old"), digest(tmp_path / "plain")
    found, count = [], 5
    for number in range(count):
        run = tmp_path / str(number)
        shutil.copytree(tmp_path / "old", run)
        instant = seconds * chance.uniform(0.5, 1.05)
        process = begin("finetune", photos, "-o", run, "--overwrite", *WORDS)
        time.sleep(instant)
        process.kill()
        process.communicate()
        assert load(run).classes, (seed, number, instant)
        found.append(digest(run))
        assert found[-1] in (old, new), (seed, number, instant)
        begun = (run / ".replacement" / "run.json").exists()
        words = ["--resume"] if begun else ["--overwrite", photos, *WORDS]
        done = command("finetune", "-o", run, *words)
        assert done.returncode == 0, (seed, number, instant, done.stderr)
        assert digest(run) == new, (seed, number, instant, begun)
        assert not [path.name for path in run.iterdir() if path.name.startswith(".")], (seed, number, instant)
    figure(
        f"SIGKILL of --overwrite: {count} of {count} whole ({found.count(old)} old, {found.count(new)} new), "
        "all ended byte-equal"
    )


@pytest.mark.faults
def test_of_two_that_start_at_once_one_wins_and_the_other_is_told_by_whom(begin, photos, tmp_path, figure):
    both = [begin("finetune", photos, "-o", "r", *WORDS) for _ in range(2)]
    ends = [(process.pid, process.communicate()[1].decode(), process.returncode) for process in both]
    winners = [pid for pid, _, code in ends if code == 0]
    told = [re.search(r"in use by process (\d+)|already holds a run", text) for _, text, code in ends if code == 7]
    assert len(winners) == 1, ends
    assert len(told) == 1, ends
    assert told[0], ends
    assert told[0][1] in (None, str(winners[0]))
    figure(f"two runs of one folder at once: one wins, the other ends with 7: {told[0][0]}")
