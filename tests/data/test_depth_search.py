"""How many bits a data set of 16-bit files has is found where its values tell, and nowhere else."""

import tarfile

import numpy as np
import pytest
from PIL import Image

from transferkit.data.depth_search import Found, search
from transferkit.data.source import Member
from transferkit.progress import Progress


class Counted(Progress):
    def __init__(self):
        self.images = 0

    def advance(self, images):
        self.images += images


def folder(tmp_path, values):
    """PNG files of 16 bits with these largest values; 8-bit ones where it is None."""
    paths = []
    for number, value in enumerate(values):
        paths.append(tmp_path / f"{number:04d}.png")
        pixels = np.zeros((4, 4), np.uint8) if value is None else np.array([[0, value], [1, 2]], np.uint16)
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([4095, 100], Found(12, 2, 4095)),
        ([1023] * 70, Found(10, 70, 1023)),
        ([3000] * 100 + [4000] + [3000] * 3, Found(12, 104, 4000)),
        ([200, 3], Found(8, 2, 200)),
        ([3000, None], Found(12, 1, 3000)),
        ([3000, None, None], None),
        ([4096, 100], None),
        ([3000] * 100 + [60000] + [3000] * 3, None),
        ([None], None),
    ],
)
def test_the_largest_value_of_all_images_tells_how_many_bits_they_have(tmp_path, values, found):
    assert search(folder(tmp_path, values), Progress()) == found


def test_of_most_data_sets_a_few_images_are_looked_at(tmp_path):
    progress = Counted()
    assert search(folder(tmp_path, [None] * 70), progress) is None
    assert search(folder(tmp_path, [60000] * 70), progress) is None
    assert progress.images == 0


def test_the_search_ends_where_a_value_needs_more_than_12_bits(tmp_path):
    progress = Counted()
    assert search(folder(tmp_path, [3000] * 42 + [60000] + [3000] * 97), progress) is None
    assert progress.images == 64


def test_files_that_cannot_be_read_stop_nothing(tmp_path):
    paths = folder(tmp_path, [3000] * 3)
    paths[0].write_bytes(paths[0].read_bytes()[:40])
    (tmp_path / "text.png").write_text("no image")
    assert search([*paths, tmp_path / "text.png", tmp_path / "gone.png"], Progress()) is None
    assert search([*paths, tmp_path / "text.png"], Progress()) == Found(12, 2, 3000)


def test_members_of_a_tar_here_are_looked_at_and_those_behind_a_url_are_not(tmp_path):
    (path,) = folder(tmp_path, [3000])
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(path, "a.png")
    with tarfile.open(tmp_path / "a.tar") as tar:
        member = tar.getmember("a.png")
    inside = Member(str(tmp_path / "a.tar"), member.offset_data, member.size, "a.png")
    assert search([inside.path], Progress()) == Found(12, 1, 3000)
    assert search([inside._replace(shard="http://127.0.0.1:9/a.tar").path], Progress()) is None
