"""Folders and names from hell: the right listing or one line, nothing in between."""

import os
import unicodedata

import pytest
from PIL import Image

from tests.data.test_folder import rows, tree
from transferkit.cli.main import run as cli
from transferkit.data import folder
from transferkit.zoo.errors import DataError, TransferkitError

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
        lambda root: tree(root, "a/.hidden", "b/1", "c/1"),
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


def photographed(root, names):
    """A class of four small pictures for each name; a file of each has a name that is no text."""
    for shade, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.new("RGB", (32, 32), (60 * shade, 20 * number, 128))
            picture.save(root / name / f"{number}.png")
        os.rename(root / name / "3.png", os.path.join(os.fsencode(root / name), b"caf\xe9\x1b[2J.png"))
    return root


def test_a_whole_run_on_names_from_hell_shows_no_escape_and_reads_its_own_manifest(tmp_path, capfd):
    names = ("new\nline", "\x1b[2Jclear", "=1+1")
    data = photographed(tmp_path / "data", names)
    arguments = ["--backbone", "cifar_resnet", "--strategy", "probe", "--precision", "fp32"]
    assert cli(["finetune", str(data), "-o", str(tmp_path / "r"), *arguments]) == 0
    assert cli(["predict", str(tmp_path / "r"), str(data), "--format", "csv"]) == 0
    assert cli(["evaluate", str(tmp_path / "r"), str(data)]) == 0
    shown = "".join(capfd.readouterr())
    assert "\x1b" not in shown
    assert "\\x1b[2Jclear" in shown
    assert not [line for line in shown.splitlines() if ",=1+1" in line]
    listing = folder.read(tmp_path / "r" / "manifest.csv")
    assert set(listing.classes) == set(names)
    assert len(listing.labels) == 12
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "\x1b" not in page


def test_twins_in_other_bytes_are_refused_by_name(tmp_path):
    for name in (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")):
        tree(tmp_path, f"{name}/1")
    with pytest.raises(DataError, match="spelled in other bytes; rename one"):
        folder.read(tmp_path)
