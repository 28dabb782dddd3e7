"""Folders that are called like parts are parts, or refused; never two classes called Training and Testing."""

import os

import pytest

from tests.data.test_folder import refusal, rows, tree
from transferkit.data import folder
from transferkit.data.parts import part_of
from transferkit.zoo.errors import DataError

TRAIN = ("train", "Training", "train_set", "training-set", "TrainingSet", "train data", "train1", "Train (2)")
VAL = ("val", "Valid", "validation_set", "dev", "Dev Set", "val 01")
TEST = ("test", "Testing", "test_set", "testset", "TEST_IMAGES", "eval", "evaluation", "test1", "test-2", "Hold-out")
NONE = ("train station", "test tube", "devil", "trainers", "latest", "contest", "evaluator", "value", "2020", "", "_")


def classes_of(*files, root):
    return folder.read(tree(root, *files)).classes


def test_names_of_parts_are_known_in_any_spelling():
    for part, names in (("train", TRAIN), ("val", VAL), ("test", TEST), ("", NONE)):
        assert {name: part_of(name) for name in names} == dict.fromkeys(names, part)


@pytest.mark.parametrize(
    ("train", "test"),
    [("Training", "Testing"), ("training_set", "test_set"), ("train", "test1"), ("Train Data", "eval")],
)
def test_folders_called_like_parts_are_parts_and_that_is_said(tmp_path, train, test):
    listing = folder.read(tree(tmp_path, *(f"{part}/{label}/1.jpg" for part in (train, test, "dev") for label in "ab")))
    assert listing.classes == ("a", "b")
    expected = {
        (f"{name}/{k}/1.jpg", k, part)
        for name, part in ((train, "train"), (test, "test"), ("dev", "val"))
        for k in "ab"
    }
    assert rows(listing) == expected
    (note,) = listing.notes
    assert f"{test} is test" in note
    assert "dev is val" in note


def test_names_as_they_are_documented_need_no_word(tmp_path):
    assert folder.read(tree(tmp_path, "train/a/1", "train/b/1", "Test/a/1")).notes == ()


def test_a_part_may_lie_beside_other_folders_where_it_has_the_same_classes(tmp_path):
    listing = folder.read(tree(tmp_path, "Training/a/1", "Training/b/1", "Testing/a/1", "docs/x.txt"))
    assert listing.classes == ("a", "b")
    assert ("docs", folder.NO_PART) in listing.ignored


@pytest.mark.parametrize("name", ["test", "Test", "test1", "testing"])
def test_photos_without_labels_beside_train_are_left_out_with_a_word(tmp_path, name):
    tree(tmp_path, "train/a/1.jpg", "train/b/2.jpg", *(f"{name}/{number}.jpg" for number in range(3)))
    listing = folder.read(tmp_path)
    assert set(listing.parts) == {"train"}
    assert [path for path, _ in listing.ignored] == [name]
    assert f"{name}/ has no class folders, so its photos (3) have no labels and are left out" in listing.notes[-1]
    assert listing.notes[-1].endswith(f"transferkit predict RUN {tmp_path / name}")


def test_photos_without_labels_in_test_and_in_a_folder_of_its_name_are_left_out(tmp_path):
    listing = folder.read(tree(tmp_path, "train/train/a/1.jpg", "train/train/b/2.jpg", "test/test/3.jpg"))
    assert rows(listing) == {("train/train/a/1.jpg", "a", "train"), ("train/train/b/2.jpg", "b", "train")}
    assert any("test/test/ has no class folders, so its photos (1)" in note for note in listing.notes)


@pytest.mark.parametrize(
    ("train", "test"), [("seg_train/seg_train", "seg_test/seg_test"), ("my-train", "my-test"), ("train/train", "test")]
)
def test_names_with_more_in_them_and_folders_of_one_name_are_parts_where_they_hold_the_same(tmp_path, train, test):
    files = [f"{part}/{label}/1.jpg" for part in (train, test) for label in ("cat", "dog")]
    listing = folder.read(tree(tmp_path, *files, f"{train.split('/')[0]}/note.txt", "seg_pred/seg_pred/1.jpg"))
    expected = {
        (f"{name}/{k}/1.jpg", k, part) for name, part in ((train, "train"), (test, "test")) for k in ("cat", "dog")
    }
    assert rows(listing) == expected
    assert {("seg_pred", folder.NO_PART), (f"{train.split('/')[0]}/note.txt", folder.LOOSE)} <= set(listing.ignored)


@pytest.mark.parametrize(("train", "test"), [("toy-train", "toy-test"), ("Toy Train", "toy TEST")])
def test_names_with_more_in_them_that_do_not_hold_the_same_are_refused(tmp_path, train, test):
    tree(tmp_path, f"{train}/steam/1.jpg", f"{train}/fast/2.jpg", f"{test}/tube/3.jpg", f"{test}/rack/4.jpg")
    with pytest.raises(DataError, match=f"{train}/ and {test}/, which are called like parts, not classes"):
        folder.read(tmp_path)


def test_eval_beside_test_is_validation(tmp_path):
    tree(tmp_path, *(f"{part}/{label}/1.jpg" for part in ("train", "eval", "test") for label in "ab"))
    assert {(path.split("/")[0], part) for path, _, part in rows(folder.read(tmp_path))} == {
        ("train", "train"), ("eval", "val"), ("test", "test")
    }  # fmt: skip
    tree(tmp_path, "val/a/1.jpg")
    assert ("eval", "no class folders, or not the only test part") in folder.read(tmp_path).ignored


def test_an_empty_class_in_a_part_that_is_not_trained_on_stops_nothing_and_is_said(tmp_path):
    tree(tmp_path, "train/a/1", "train/b/2", "test/a/3")
    for name in ("test/b", "test/c", "val/a"):
        (tmp_path / name).mkdir(parents=True)
    listing = folder.read(tmp_path)
    assert listing.classes == ("a", "b")
    assert {row[2] for row in rows(listing)} == {"train", "test"}
    assert listing.notes == ("test/b/, test/c/ hold no images", "val/a/ holds no images")
    (tmp_path / "train/d").mkdir()
    assert "train/d holds no images" in refusal(tmp_path)


@pytest.mark.parametrize(
    "names", [("train", "test1"), ("Training", "Testing"), ("train_set", "test_set"), ("seg_train", "seg_test")]
)
def test_images_that_lie_directly_in_parts_are_refused(tmp_path, names):
    message = refusal(tree(tmp_path, *(f"{name}/{number}.jpg" for name in names for number in range(3))))
    assert "CSV" in message
    assert names[0] in message


def test_a_training_and_a_test_folder_among_classes_are_refused(tmp_path):
    assert "test/" in refusal(tree(tmp_path, "train/1.jpg", "test/2.jpg", "cat/3.jpg"))


@pytest.mark.parametrize("upper", [("seg_train", "b_test"), ("a", "b"), ("my train photos", "my other photos")])
def test_the_same_folders_everywhere_are_refused(tmp_path, upper):
    message = refusal(tree(tmp_path, *(f"{name}/{label}/1.jpg" for name in upper for label in ("cat", "dog"))))
    assert "CSV (path,label,split)" in message


def test_parts_below_the_classes_are_refused(tmp_path):
    message = refusal(
        tree(tmp_path, *(f"{label}/{part}/1.jpg" for label in ("cat", "dog") for part in ("train", "test")))
    )
    assert "test, train" in message


def test_folders_below_a_class_may_have_any_bytes_for_a_name(tmp_path):
    odd = [os.fsdecode(b"\xff1"), os.fsdecode(b"\xff2")]
    try:
        tree(tmp_path, *(f"{label}/{name}/1" for label in ("cat", "dog") for name in odd))
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    assert folder.read(tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize(
    "files",
    [
        ("cat/1", "dog/2", "test/3"),
        ("car/1", "plane/2", "train/3"),
        ("bus/1", "train station/2", "test tube/3"),
        ("train/1", "tram/2", "bus/3"),
        ("cat/camera 1/1", "cat/camera 2/2", "dog/camera 1/3", "dog/camera 2/4"),
        ("cat/2019/1", "cat/2020/2", "dog/2019/3", "dog/2020/4"),
        ("cat/images/1", "dog/images/2"),
        ("Training/x/1", "Match/y/2", "Warm-up/3"),
        ("cat/young/1", "cat/old/1", "dog/young/1", "dog/2"),
    ],
)
def test_classes_stay_classes(tmp_path, files):
    assert classes_of(*files, root=tmp_path) == tuple(sorted({file.split("/")[0] for file in files}))
