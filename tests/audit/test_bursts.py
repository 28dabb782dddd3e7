"""Photos of one burst are those of one camera or one series that follow each other and look alike."""

import numpy as np
import pytest
from PIL import Image

from tests.audit.test_near_copies import found
from tests.photos import photo
from transferkit.data.copies import BURST


def frame(seed, step):
    """The next photo of a burst: what is in the foreground moved, the camera shook, and there is noise."""
    image = np.asarray(photo(seed).crop((step, step // 2, 230 + step, 180 + step // 2)), float)
    image[60:120, 60 + 2 * step : 120 + 2 * step] = np.asarray(photo(seed + 500, size=(60, 60)), float)
    noise = np.random.default_rng(step).normal(0, 3, image.shape)
    return Image.fromarray(np.clip(image + noise, 0, 255).astype(np.uint8))


def write(path, image, *, taken=None, camera="A"):
    exif = Image.Exif()
    if taken:
        exif[0x010F], exif[0x0110] = "Maker", camera
        exif.get_ifd(0x8769)[0x9003] = taken
    path.parent.mkdir(exist_ok=True)
    image.save(path, quality=90, exif=exif.tobytes())


@pytest.fixture
def others(tmp_path):
    """Twenty photos of other things, so that there are strangers."""
    for number in range(20):
        write(tmp_path / "a" / f"other {chr(97 + number)}.jpg", photo(200 + number))
    return tmp_path


@pytest.mark.parametrize(
    ("second", "camera", "is_burst"),
    [("2024:05:01 10:00:02", "A", True), ("2024:05:01 10:00:09", "A", False), ("2024:05:01 10:00:02", "B", False)],
)
def test_a_burst_is_of_one_camera_within_seconds(others, second, camera, is_burst):
    write(others / "a" / "x.jpg", frame(1, 0), taken="2024:05:01 10:00:00")
    write(others / "a" / "y.jpg", frame(1, 4), taken=second, camera=camera)
    assert found(others) == ({("x.jpg", "y.jpg", BURST)} if is_burst else set())


def test_photos_of_other_things_within_seconds_are_no_burst(others):
    write(others / "a" / "x.jpg", photo(1), taken="2024:05:01 10:00:00")
    write(others / "a" / "y.jpg", photo(2), taken="2024:05:01 10:00:01")
    assert found(others) == set()


def test_a_series_of_numbers_is_a_burst_where_its_photos_look_alike_and_not_by_numbers_alone(others):
    for number in range(3):
        write(others / "a" / f"img_{number + 9:03d}.jpg", frame(1, 3 * number))
        write(others / "a" / f"scan{number}.jpg", photo(300 + number))
    assert found(others) == {("img_009.jpg", "img_010.jpg", BURST), ("img_010.jpg", "img_011.jpg", BURST)}


def test_a_broken_date_is_no_date(others):
    for name in ("x.jpg", "y.jpg"):
        write(others / "a" / name, photo(ord(name[0])), taken="0000:00:00 00:00:00")
    assert found(others) == set()
