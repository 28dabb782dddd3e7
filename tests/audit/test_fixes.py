"""What a person decides in fixes.csv is done, no more, and what cannot be done is one line."""

import csv
import re

import numpy as np
import pytest

from transferkit.audit import fixes
from transferkit.data import folder
from transferkit.progress import Progress
from transferkit.zoo.errors import DataError, RunConflictError, UsageError

HEAD = ("path", "problem", "label", "suggestion", "action")
BAD_NAME = "=1+1,\x1b[2J\n.png"


@pytest.fixture
def data(tmp_path):
    """Two classes, two parts; one file has a hostile name. No photo need be readable."""
    for part, label, names in (
        ("train", "cat", ("1.png", "2.png", BAD_NAME)),
        ("train", "dog|s", ("1.png",)),
        ("test", "cat", ("1.png",)),
    ):
        (tmp_path / "photos" / part / label).mkdir(parents=True)
        for name in names:
            (tmp_path / "photos" / part / label / name).write_bytes(b"")
    return tmp_path / "photos"


def listing(source):
    return folder.read(source, cache=source.parent / "cache", progress=Progress())


def rows(source):
    """Path, label and part of each image."""
    found = listing(source)
    labels = [found.task.text(label, found.classes) for label in found.labels]
    return {(str(path), label, part) for path, label, part in zip(found.paths, labels, found.parts)}


def decided(path, *lines, delimiter=",", mark=""):
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(mark)
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(HEAD)
        writer.writerows(lines)
    return path


def test_where_every_action_is_keep_the_data_set_is_the_same(data, tmp_path):
    lines = [("train/cat/1.png", "", "cat", "remove", "keep"), ("train/cat/2.png", "x", "cat", "label:dog|s", "")]
    cleaned = fixes.apply(listing(data), decided(tmp_path / "f.csv", *lines), tmp_path / "clean.csv")
    assert (cleaned.images, cleaned.removed, cleaned.relabelled) == (5, 0, 0)
    assert rows(tmp_path / "clean.csv") == rows(data)


@pytest.mark.parametrize(("delimiter", "mark"), [(",", ""), (";", "\ufeff")])  # the second as a spreadsheet saves it
def test_what_is_removed_or_relabelled_is_so_and_all_else_stays(data, tmp_path, delimiter, mark):
    bad = f"train/cat/{BAD_NAME}"
    lines = [("train/cat/1.png", "", "cat", "", "Remove"), (bad, "", "cat", "", " label:dog|s ")]
    path = decided(tmp_path / "f.csv", *lines, delimiter=delimiter, mark=mark)
    before = rows(data)
    cleaned = fixes.apply(listing(data), path, tmp_path / "sub" / "clean.csv")
    assert (cleaned.images, cleaned.removed, cleaned.relabelled) == (4, 1, 1)
    gone, moved = str(data / "train/cat/1.png"), str(data / bad)
    expected = {(name, "dog|s" if name == moved else label, part) for name, label, part in before if name != gone}
    assert rows(tmp_path / "sub" / "clean.csv") == expected
    assert rows(data) == before
    assert "\r\n=1" not in (tmp_path / "sub" / "clean.csv").read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("train/cat/9.png", "", "cat", "", "keep"), "f.csv, line 2: train/cat/9.png is no image of"),
        (("train/cat/1.png", "", "dog|s", "", "keep"), "train/cat/1.png has not, or no longer, the label 'dog|s'"),
        (
            ("train/cat/1.png", "", "cat", "", "delete"),
            "action 'delete' is unknown; allowed: keep, remove, label:CLASS",
        ),
        (("train/cat/1.png", "", "cat", "", "label:bird"), "class 'bird' is unknown; allowed: cat, dog|s"),
        (("train/cat/1.png", "", "cat", "", "label:"), "class '' is unknown"),
        (("train/dog|s/1.png", "", "dog|s", "", "remove"), "leave no image to train on of dog|s"),
        (("train/dog|s/1.png", "", "dog|s", "", "label:cat"), "leave no image to train on of dog|s"),
        (("a\nb", "", "cat", "", "keep"), r"a\nb is no image of"),
        (("train/cat/1.png", "cat"), "line 2: 2 values for 5 columns"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(data, tmp_path, line, words):
    with pytest.raises(DataError) as error:
        fixes.apply(listing(data), decided(tmp_path / "f.csv", line), tmp_path / "clean.csv")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "clean.csv").exists()


@pytest.mark.parametrize(("count", "end"), [(10, ", j"), (11, ", j, ...")])
def test_of_many_classes_ten_are_named(tmp_path, count, end):
    for letter in "abcdefghijk"[:count]:
        (tmp_path / "photos" / letter).mkdir(parents=True)
        (tmp_path / "photos" / letter / "1.png").write_bytes(b"")
    path = decided(tmp_path / "f.csv", ("a/1.png", "", "a", "", "label:z"))
    with pytest.raises(DataError, match=f"class 'z' is unknown; allowed: a, b.*{re.escape(end)}$"):
        fixes.apply(listing(tmp_path / "photos"), path, tmp_path / "clean.csv")


def test_a_file_of_another_kind_is_refused(data, tmp_path):
    (tmp_path / "f.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="has no column action"):
        fixes.apply(listing(data), tmp_path / "f.csv", tmp_path / "clean.csv")
    with pytest.raises(UsageError, match="no such file"):
        fixes.apply(listing(data), tmp_path / "missing.csv", tmp_path / "clean.csv")


def test_what_lies_there_is_never_replaced(data, tmp_path):
    path = decided(tmp_path / "f.csv")
    for out in (path, tmp_path / "there.csv"):
        out.touch()
        before = out.read_bytes()
        with pytest.raises(RunConflictError):
            fixes.apply(listing(data), path, out)
        assert out.read_bytes() == before


def test_of_one_path_named_twice_the_later_line_is_removed(tmp_path):
    (tmp_path / "data.csv").write_text("path,label,split,group\na.png,x,train,g\nb.png,y,train,\na.png,x,test,g\n")
    path = decided(tmp_path / "f.csv", ("a.png", "", "x", "", "remove"))
    fixes.apply(listing(tmp_path / "data.csv"), path, tmp_path / "clean.csv")
    found = listing(tmp_path / "clean.csv")
    assert found.parts.tolist() == ["train", "train"]
    assert found.groups.tolist() == ["g", ""]


def test_names_that_a_spreadsheet_would_compute_are_meant_as_they_are(tmp_path):
    (tmp_path / "data.csv").write_text("path,label\n=a.png,-x\nb.png,-x\nc.png,y\n")
    path = decided(tmp_path / "f.csv", ("'=a.png", "", "'-x", "", "remove"), ("b.png", "", "'-x", "", "keep"))
    fixes.apply(listing(tmp_path / "data.csv"), path, tmp_path / "clean.csv")
    assert {(name.rpartition("/")[2], label) for name, label, _ in rows(tmp_path / "clean.csv")} == {
        ("b.png", "-x"),
        ("c.png", "y"),
    }


def test_an_image_may_get_several_labels_or_none_where_it_may_have_several(tmp_path):
    (tmp_path / "data.csv").write_text("path,labels\na.png,x\nb.png,y\nc.png,x|y\nd.png,y|x\n")
    lines = [("a.png", "", "x", "", "label:y|x"), ("b.png", "", "y", "", "label:")]
    cleaned = fixes.apply(listing(tmp_path / "data.csv"), decided(tmp_path / "f.csv", *lines), tmp_path / "clean.csv")
    found = listing(tmp_path / "clean.csv")
    assert found.labels.tolist() == [[True, True], [False, False], [True, True], [True, True]]
    assert cleaned.relabelled == 2
    assert np.isin(found.classes, ("x", "y")).all()
