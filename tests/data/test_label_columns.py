"""The labels of a CSV: one class a row, several between bars, or a column of 0 and 1 for each class."""

import numpy as np
import pytest

from transferkit.data import folder, manifest
from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.zoo.errors import DataError


def read(tmp_path, text, **options):
    (tmp_path / "data.csv").write_text(text, encoding="utf-8")
    return folder.read(tmp_path / "data.csv", **options)


def test_labels_between_bars_are_several_classes_in_order_of_name(tmp_path):
    text = "path,labels,split\na.png,dog|cat,\nb.png,,val\nc.png, cat | bird ,train\nd.png,cat|cat,\n"
    listing = read(tmp_path, text)
    assert listing.task == MultiLabel()
    assert listing.classes == ("bird", "cat", "dog")
    assert listing.labels.tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert listing.parts.tolist() == ["", "val", "train", ""]
    assert listing.notes == ("multi-label: 0 to 2 labels an image, 1.2 in the mean",)


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False")])
def test_a_column_of_0_and_1_is_a_class_in_the_order_of_the_columns(tmp_path, yes, no):
    text = f"path,Dog,cat,split,group\na.png,{yes},{no},,x\nb.png,{yes},{yes},train,\nc.png,{no},{no},test,\n"
    listing = read(tmp_path, text)
    assert listing.task == MultiLabel()
    assert listing.classes == ("Dog", "cat")
    assert listing.labels.tolist() == [[1, 0], [1, 1], [0, 0]]
    assert listing.groups.tolist() == ["x", "", ""]
    assert listing.parts.tolist() == ["", "train", "test"]


def test_one_class_is_enough_where_some_images_are_without_it(tmp_path):
    assert read(tmp_path, "path,labels\na.png,crack\nb.png,\n").classes == ("crack",)
    assert read(tmp_path, "path,crack\na.png,1\nb.png,0\n").labels.tolist() == [[True], [False]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,labels\na.png,cat||dog\nb.png,\n", "line 2: a label of 'cat||dog' is empty"),
        ("path,labels\na.png,\nb.png,\n", "has no label; at least 1"),
        ("path,labels\na.png,cat|dog\nb.png,dog|cat\n", "every label on every image"),
        ("path,labels,split\na.png,cat,train\nb.png,dog,test\nc.png,,\n", "without a training image: 'dog'"),
        ("path,label,labels\na.png,cat,dog\n", "has label and labels, either of which could be the label"),
        ("path,cat,dog\na.png,1,0\nb.png,1,2\n", "line 3: '2' in column dog; a class has 0 or 1"),
        ("path,cat,dog\na.png,1,0\nb.png,,1\n", "line 3: '' in column cat"),
        ("path,kind\na.png,cat\nb.png,dog\n", "it lacks label"),
        ("path,cat,cat\na.png,1,0\nb.png,0,0\n", "has 2 columns called cat; keep one"),
        ("path,caf\u00e9,cafe\u0301\na.png,1,0\nb.png,0,1\n", "'caf\u00e9' cannot be the name of a class"),
        ("path,a|b\na.png,1\nb.png,0\n", "'a|b' cannot be the name of a class"),
        ("path\na.png\n", "it lacks label"),
        (
            "path,cat,note\na.png,1,good\nb.png,0,\n",
            "'good' in column note; without a column label, every other column",
        ),
        ("path,cat,dog\na.png,-1,1\nb.png,1,1\n", "line 2: '-1' in column cat; "),
        ("path,,cat\na.png,0,1\nb.png,0,0\n", "has a column without a name"),
    ],
)
def test_what_cannot_be_understood_is_said_with_the_line(tmp_path, text, reason):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_may_be_meant_otherwise_is_said(tmp_path):
    (note,) = read(tmp_path, "path,label\na.png,cat|dog\nb.png,dog\n").notes
    assert note == "'cat|dog' is taken as one class; if it is several, call the column labels"
    (note,) = read(tmp_path, "path,labels\na.png,cat\nb.png,dog\n").notes
    assert note.endswith("where an image has one class and no other, call the column label")
    assert read(tmp_path, "path,label\na.png,cat\nb.png,dog\n").notes == ()


@pytest.mark.parametrize("cell", ["cat;dog", "cat, dog"])
def test_labels_between_other_marks_than_bars_are_said_to_be_one_class(tmp_path, cell):
    *_, note = read(tmp_path, f'path,labels\na.png,"{cell}"\nb.png,dog\n').notes
    assert note.endswith("is taken as one class; labels are separated by |")
    assert len(read(tmp_path, f'path,labels\na.png,"{cell}|bird"\nb.png,dog\n').notes) == 1


@pytest.mark.parametrize("text", ["path,labels\na.png,b|=a\nb.png,\n", "path,=a,b\na.png,1,1\nb.png,0,0\n"])
def test_a_manifest_is_read_back_as_it_was(tmp_path, text):
    listing = read(tmp_path, text)
    manifest.write_manifest(tmp_path / "manifest.csv", listing, sha256=["0"] * 2, bytes=[1] * 2)
    again = folder.read(tmp_path / "manifest.csv")
    assert (again.classes, again.task) == (("=a", "b"), MultiLabel())
    assert np.array_equal(again.labels, listing.labels)


def test_a_folder_of_classes_has_one_label_an_image(digit_folder):
    assert folder.read(digit_folder).task == SINGLE_LABEL
