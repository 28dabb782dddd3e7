"""A small data set that is always at hand: scikit-learn's handwritten digits as a folder of PNG files."""

import io
from operator import itemgetter
from pathlib import Path

import numpy as np
from PIL import Image

from transferkit.zoo import files
from transferkit.zoo.errors import RunConflictError

TEST_SHARE = 4  # every fourth image of a class


def write_digits(folder: Path) -> int:
    """Write 1,797 images of 8 x 8 pixels as `folder`/train|test/DIGIT/NNN.png and return how many.

    Source: Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49

    Raises: RunConflictError if the folder holds anything else.
    """
    images = _images()
    others = [path for path in folder.rglob("*") if not _is_known(path, images.get(path.relative_to(folder)))]
    if others:
        raise RunConflictError(f"{folder} holds {others[0].relative_to(folder)}, no digit of ours; name another folder")
    for name, pixels in images.items():
        with files.storage_errors(folder / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / name)
    return len(images)


def _images() -> dict[Path, np.ndarray]:
    from sklearn.datasets import load_digits

    every_image, labels = itemgetter("images", "target")(load_digits())
    images = {}
    for digit in range(10):
        for index, pixels in enumerate(every_image[labels == digit]):
            part = "test" if index % TEST_SHARE == TEST_SHARE - 1 else "train"
            image = np.round(pixels * (255 / 16)).astype(np.uint8)  # ink is 0 to 16
            images[Path(part, str(digit), f"{index:03d}.png")] = image
    return images


def _is_known(path: Path, pixels: np.ndarray | None) -> bool:
    """Whether what lies there may be replaced: a folder, or an image of these pixels, or a part of one."""
    if path.is_symlink():
        return False
    if path.is_dir():
        return True
    if pixels is None or not path.is_file():
        return False
    try:
        with Image.open(path) as image:
            return np.array_equal(np.asarray(image), pixels)
    except (OSError, SyntaxError):  # begun and not ended, or no image
        with io.BytesIO() as buffer:
            Image.fromarray(pixels).save(buffer, "PNG")
            return buffer.getvalue().startswith(path.read_bytes())
