"""A small data set that is always at hand: scikit-learn's handwritten digits as a folder of PNG files."""

from pathlib import Path

import numpy as np
from PIL import Image

TEST_SHARE = 4  # every fourth image of a class


def write_digits(folder: Path) -> int:
    """Write 1,797 images of 8 x 8 pixels as `folder`/train|test/DIGIT/NNN.png and return how many.

    Source: Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    for digit in range(10):
        for part in ("train", "test"):
            (folder / part / str(digit)).mkdir(parents=True, exist_ok=True)
        for index, pixels in enumerate(digits.images[digits.target == digit]):
            part = "test" if index % TEST_SHARE == TEST_SHARE - 1 else "train"
            image = Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8))  # ink is 0 to 16
            image.save(folder / part / str(digit) / f"{index:03d}.png")
    return len(digits.images)
