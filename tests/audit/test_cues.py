"""What is seen of a photo is what its pixels, header and EXIF block hold."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.audit import cues
from transferkit.audit import exif as tags
from transferkit.data.listing import PathTable
from transferkit.data.photos import Decoding, Photos
from transferkit.progress import Progress

ROOT = Path(__file__).resolve().parents[2]


def look(*paths):
    return cues.look(PathTable.from_paths(paths), Photos(Decoding(384), workers=2), progress=Progress())


def test_a_photo_of_one_colour_has_its_brightness_no_spread_and_its_border(tmp_path):
    Image.new("RGB", (90, 60), (200, 100, 50)).save(tmp_path / "a.png")
    (seen,) = look(tmp_path / "a.png").seen
    assert (seen.width, seen.height) == (90, 60)
    assert seen.brightness == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=0.1)
    assert seen.border == pytest.approx((200, 100, 50, 0), abs=0.1)
    assert seen.spread == pytest.approx(0, abs=1e-3)
    assert seen.encoding == ("PNG RGB", 0)
    assert seen.camera == ""
    assert np.isnan(seen.taken)


@pytest.mark.parametrize("size", [(160, 120), (1000, 900)])
def test_border_and_brightness_of_small_and_large_photos_are_those_of_their_pixels(tmp_path, size):
    pixels = np.full((size[1], size[0], 3), 200, np.uint8)
    edge = min(size) // 8
    pixels[:edge] = pixels[-edge:] = 10
    pixels[:, :edge] = pixels[:, -edge:] = 10
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    (seen,) = look(tmp_path / "a.jpg").seen
    assert seen.brightness == pytest.approx(pixels.mean(), abs=3)
    assert seen.border == pytest.approx((10, 10, 10, 0), abs=6)
    assert seen.spread > 50


def test_the_first_photo_of_a_process_is_seen_as_any_other(tmp_path):
    for name in ("a.jpg", "b.webp", "c.tif"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    code = (
        "import sys\nfrom tests.audit.test_cues import look\n"
        "sys.exit(None in look(*sys.argv[1:]).seen or look(*sys.argv[1:]).seen[1].encoding[0] != 'WEBP RGB')"
    )
    subprocess.run([sys.executable, "-c", code, *map(str, sorted(tmp_path.iterdir()))], cwd=ROOT, check=True)


def test_camera_and_date_come_from_the_exif_block(tmp_path):
    exif = Image.Exif()
    exif[tags.MAKE], exif[tags.MODEL] = "Maker", "X\0"
    exif.get_ifd(tags.DETAILS)[tags.TAKEN] = "1970:01:03 12:00:00"
    Image.new("RGB", (32, 32)).save(tmp_path / "a.jpg", exif=exif)
    (seen,) = look(tmp_path / "a.jpg").seen
    assert (seen.camera, seen.taken) == ("Maker X", 2.5)


def test_only_photos_of_nearly_one_colour_are_empty(tmp_path):
    random = np.random.default_rng(0)
    noise = np.clip(random.normal(240, 3, (200, 200, 3)), 0, 255).astype(np.uint8)
    page = noise.copy()
    page[80:120, 40:160] = 200
    for name, pixels in (("blank", noise), ("page", page)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg")
    assert look(tmp_path / "blank.jpg", tmp_path / "page.jpg").is_empty.tolist() == [True, False]


def test_detail_is_what_a_pixel_takes_whatever_the_size_and_next_to_nothing_of_one_colour():
    noise = np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)
    small, large = (cues._detail(Image.fromarray(noise[:side, :side])) for side in (96, 192))
    assert small == pytest.approx(large, rel=0.03)
    assert cues._detail(Image.new("RGB", (96, 96))) < 0.04


def test_whatever_a_photo_is_like_nothing_stops(tmp_path):
    Image.new("L", (2, 2), 7).save(tmp_path / "tiny.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((9, 700), 40_000, np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe1\x00\x10Exif\0\0broken")
    names = ("tiny.png", "clear.png", "deep.png", "text.jpg", "cut.jpg", "missing.jpg")
    found = look(*(tmp_path / name for name in names))
    assert [seen is not None for seen in found.seen] == [True, True, True, False, False, False]
    assert found.is_empty.tolist() == [True, True, True, False, False, False]
    assert found.column("border").shape == (6, 4)
    assert found.seen[1].brightness == pytest.approx(255)
