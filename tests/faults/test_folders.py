"""Folders and names from hell: the right listing or one line, nothing in between."""

import os
import unicodedata

import pytest

from tests.data.test_folder import rows, tree
from transferkit.data import folder
from transferkit.zoo.errors import TransferkitError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="names as POSIX has them")
ODD = ("new\nline", "\x1b[2Jclear", "-rf", "=1+1", "a" * 255, "%s{}", "'quote\"", "tab\t", "​", "..double", " blank ")


def test_classes_of_any_name_are_read_as_they_are_called(tmp_path, figure):
    usable = [name for name in ODD if not name.startswith(".")]
    listing = folder.read(tree(tmp_path, *(f"{name}/{name[:200]}.jpg" for name in usable)))
    assert rows(listing) == {(f"{name}/{name[:200]}.jpg", unicodedata.normalize("NFC", name), "") for name in usable}
    figure(f"class names from hell: {len(usable)} of {len(usable)} read as they are called")


@pytest.mark.parametrize(
    "make",
    [
        lambda root: None,
        lambda root: tree(root, "a/.hidden", "b/1"),
        lambda root: tree(root, "a/1"),
        lambda root: (root / "a").mkdir() or os.mkfifo(root / "a/pipe") or tree(root, "b/1"),
        lambda root: os.symlink(".", root / "a") or os.symlink("..", root / "b"),
        lambda root: (root / "a").mkdir() or os.symlink("x", root / "a/x") or tree(root, "b/1"),
        lambda root: tree(root, "1.jpg", "2.jpg"),
    ],
    ids=["empty", "one empty class", "one image", "a pipe for a class", "links for classes", "a loop", "flat"],
)
def test_what_is_no_data_set_is_refused_in_one_line(make, tmp_path):
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    with pytest.raises(TransferkitError) as caught:
        folder.read(tmp_path / "data")
    assert "\n" not in str(caught.value)
