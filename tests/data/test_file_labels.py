"""Photos without class folders, whose labels are in their names: a pattern is suggested, or taken."""

import re
import shlex

import pytest

from tests.data.test_folder import refusal, rows, tree
from transferkit.data import folder
from transferkit.data.hints import Hints
from transferkit.zoo.errors import UsageError

NAMES = {
    "cat.0.jpg cat.1.jpg cat.20.jpg dog.0.jpg dog.10.JPG": {"cat": 3, "dog": 2},
    "great_pyrenees_1.jpg great_pyrenees_22.jpg pug_3.jpg pug_4.jpg": {"great_pyrenees": 2, "pug": 2},
    "n01440764_10026.JPEG n01440764_9.JPEG n02102040_1.JPEG n02102040_7.JPEG": {"n01440764": 2, "n02102040": 2},
    "cat (1).png cat (2).png big dog (1).png big dog (2).png": {"cat": 2, "big dog": 2},
    "cat12.png cat13.png 3d_print7.png 3d_print8.png": {"cat": 2, "3d_print": 2},
    "001_cat.jpg 002_cat.jpg 003_dog.jpg 004_dog.jpg": {"cat": 2, "dog": 2},
    "cat-af.jpg cat-bx.jpg dog-af.jpg dog-zz.jpg": {"cat": 2, "dog": 2},
    "猫_1.jpg 猫_2.jpg 犬_1.jpg 犬_2.jpg": {"猫": 2, "犬": 2},
}


@pytest.mark.parametrize("names", NAMES)
def test_the_pattern_that_is_suggested_finds_the_classes_that_it_says(tmp_path, names):
    files = re.findall(r"\S.*?\.(?:jpg|JPG|JPEG|png)", names)
    message = refusal(tree(tmp_path, *files))
    words = shlex.split(message.partition("--label-from ")[2].replace("'s", ""))
    listing = folder.read(tmp_path, Hints(label_from=words[0]))
    counts = {name: int((listing.labels == number).sum()) for number, name in enumerate(listing.classes)}
    assert counts == NAMES[names]
    assert all(f"{name} ({count})" in message for name, count in counts.items())


@pytest.mark.parametrize(("classes", "end"), [(5, "(2)"), (6, "(2), ...")])
def test_of_many_classes_five_are_shown(tmp_path, classes, end):
    tree(tmp_path, *(f"{'abcdef'[number]}x_{photo}.jpg" for number in range(classes) for photo in (1, 2)))
    found = refusal(tmp_path)
    assert found.endswith(end)
    assert found.count("(2)") == 5


@pytest.mark.parametrize(
    "files",
    [
        ("IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg"),
        ("1.jpg", "2.jpg", "12.jpg"),
        ("a1.jpg", "b1.jpg", "c2.jpg"),
        ("11.jpg", "12.jpg", "21.jpg", "22.jpg"),
    ],
)
def test_where_names_show_no_classes_none_are_suggested(tmp_path, files):
    assert "say where with --label-from REGEX" in refusal(tree(tmp_path, *files))


def test_what_the_pattern_does_not_find_is_left_out_and_that_is_said(tmp_path):
    tree(tmp_path, "train/cat.0.jpg", "train/dog.0.jpg", "train/cat.0.xml", "test1/12.jpg", "test1/3.jpg", ".cat.1.jpg")
    pattern = refusal(tmp_path).partition("--label-from ")[2]
    assert "finds cat" not in pattern  # one photo a class is none
    listing = folder.read(tmp_path, Hints(label_from=r"([a-z]+)\.\d+\.jpg$"))
    assert rows(listing) == {("train/cat.0.jpg", "cat", ""), ("train/dog.0.jpg", "dog", "")}
    assert listing.notes == ("photos in which --label-from finds no class are left out: 2, such as test1/12.jpg",)
    assert {path for path, _ in listing.ignored} == {"train/cat.0.xml", "test1/12.jpg", "test1/3.jpg", ".cat.1.jpg"}


def test_folders_called_like_parts_are_parts_if_every_photo_lies_in_one(tmp_path):
    files = [
        f"{part}/{label}_{number}.jpg" for part in ("Train", "valid", "test1") for label in "ab" for number in "12"
    ]
    listing = folder.read(tree(tmp_path, *files), Hints(label_from=r"/(\w)_"))
    assert {(path.split("/")[0], part) for path, _, part in rows(listing)} == {
        ("Train", "train"), ("valid", "val"), ("test1", "test")
    }  # fmt: skip
    assert "folders taken as parts: test, train, val" in listing.notes
    listing = folder.read(tree(tmp_path, "more/a_1.jpg"), Hints(label_from=r"/(\w)_"))
    assert set(listing.parts) == {""}


def test_the_class_is_the_first_group_or_all_that_is_found(tmp_path):
    tree(tmp_path, "1 red.jpg", "2 blue.jpg", "3 .jpg")
    listing = folder.read(tmp_path, Hints(label_from="red|blue"))
    assert listing.classes == ("blue", "red")
    assert listing.arguments == (str(tmp_path), "--label-from", "red|blue")
    assert folder.read(tmp_path, Hints(label_from=r"\d (.*)\.")).classes == ("blue", "red")


@pytest.mark.parametrize(("pattern", "words"), [("(", "no regular expression"), ("x(y)", "in none of the 2 photos of")])
def test_a_pattern_that_finds_nothing_is_refused(tmp_path, pattern, words):
    tree(tmp_path, "1.jpg", "2.jpg", "y.txt")
    with pytest.raises(UsageError, match=words):
        folder.read(tmp_path, Hints(label_from=pattern))


def test_hints_that_say_nothing_of_the_data_are_refused(tmp_path):
    tree(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "l.csv").write_text("path,label\na/1.jpg,a\nb/2.jpg,b\n")
    for data, hints in (("l.csv", Hints(label_from="a")), (".", Hints(label_column="label")),
                        (".", Hints(label_column="label", label_from="(a|b)"))):  # fmt: skip
        with pytest.raises(UsageError, match="--label-"):
            folder.read(tmp_path / data, hints)


def test_a_table_beside_photos_is_named_where_there_are_no_class_folders(tmp_path):
    tree(tmp_path, "1.jpg", "2.jpg")
    for name in ("test.csv", "train.csv"):
        (tmp_path / name).write_text("path,label\n1.jpg,a\n2.jpg,b\n")
    names = f"{tmp_path / 'test.csv'} or {tmp_path / 'train.csv'}"
    assert f"if {names} lists them with their labels, name that file" in refusal(tmp_path)
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "images" / name)
    assert f"has one class ('images'); at least 2 are needed; did you mean {names}" in refusal(tmp_path)
    (tmp_path / "images").rename(tmp_path / "train")
    assert f"if {names} lists them" in refusal(tmp_path)
