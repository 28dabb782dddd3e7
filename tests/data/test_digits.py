"""The demo's digits never take the place of a user's files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.data import digits
from transferkit.data.digits import write_digits
from transferkit.zoo.errors import RunConflictError


@pytest.fixture(autouse=True)
def few(monkeypatch):
    images = {Path("train", "0", f"{index:03d}.png"): np.full((8, 8), index, np.uint8) for index in range(9)}
    monkeypatch.setattr(digits, "_images", lambda: images)


def test_digits_are_written_again_over_their_own_alone(tmp_path):
    folder = tmp_path / "digits"
    assert write_digits(folder) == 9
    cut = folder / "train" / "0" / "000.png"
    cut.write_bytes(cut.read_bytes()[:40])  # a run that was killed
    assert write_digits(folder) == 9
    Image.new("L", (8, 8), 7).save(cut)
    mine = cut.read_bytes()
    with pytest.raises(RunConflictError, match=r"000\.png, no digit of ours"):
        write_digits(folder)
    assert cut.read_bytes() == mine


def test_a_folder_of_other_images_is_left_alone(tmp_path):
    (tmp_path / "train" / "0").mkdir(parents=True)
    (tmp_path / "train" / "0" / "cat.jpg").write_bytes(b"mine")
    with pytest.raises(RunConflictError, match=r"cat\.jpg"):
        write_digits(tmp_path)
    assert len(list(tmp_path.rglob("*"))) == 3
