"""Hugging Face's image folders: a table called metadata beside the photos of the whole, or of each part."""

import json

import pytest

from tests.data.test_folder import refusal, rows, tree
from transferkit.data import folder
from transferkit.data.hints import Hints
from transferkit.zoo.errors import DataError


def write(root, *names, text="file_name,label\n1.jpg,a\n2.jpg,b\n"):
    for name in names:
        (root / name).write_text(text)
    return root


def test_each_part_has_its_own_table(tmp_path):
    tree(tmp_path, *(f"{part}/{number}.jpg" for part in ("train", "validation", "test") for number in "12"))
    write(tmp_path, *(f"{part}/metadata.csv" for part in ("train", "validation", "test")))
    listing = folder.read(tmp_path)
    assert {(path.split("/")[0], part) for path, _, part in rows(listing)} == {
        ("train", "train"), ("validation", "val"), ("test", "test")
    }  # fmt: skip
    assert {path.rsplit("/", 1)[1]: label for path, label, _ in rows(listing)} == {"1.jpg": "a", "2.jpg": "b"}
    assert "test/metadata.csv, train/metadata.csv" in listing.notes[0]


def test_classes_of_several_tables_are_joined_by_name(tmp_path):
    tree(tmp_path, "train/1.jpg", "train/2.jpg", "train/3.jpg", "test/1.jpg")
    write(tmp_path, "train/metadata.csv", text="file_name,label\n1.jpg,a\n2.jpg,b\n3.jpg,c\n")
    write(tmp_path, "test/metadata.jsonl", text=json.dumps({"file_name": "1.jpg", "label": "c"}))
    assert ("test/1.jpg", "c", "test") in rows(folder.read(tmp_path))


def test_one_table_for_all_names_photos_in_the_folders_of_parts(tmp_path):
    tree(tmp_path, "train/1.jpg", "train/2.jpg", "test/3.jpg")
    write(tmp_path, "metadata.csv", text="file_name,label\ntrain/1.jpg,a\ntrain/2.jpg,b\ntest/3.jpg,b\n")
    assert rows(folder.read(tmp_path)) == {
        ("train/1.jpg", "a", "train"), ("train/2.jpg", "b", "train"), ("test/3.jpg", "b", "test")
    }  # fmt: skip


def test_photos_that_no_row_names_are_left_out_and_that_is_said(tmp_path):
    write(tree(tmp_path, "1.jpg", "2.jpg", "more/3.jpg", "notes.txt"), "metadata.csv")
    listing = folder.read(tmp_path)
    assert rows(listing) == {("1.jpg", "a", ""), ("2.jpg", "b", "")}
    assert "photos in no row of the metadata are left out: 1, such as more/3.jpg" in listing.notes


def test_captions_beside_class_folders_are_no_labels(tmp_path):
    tree(tmp_path, *(f"train/{label}/1.jpg" for label in "ab"))
    write(tmp_path, "train/metadata.csv", text="file_name,text\na/1.jpg,a house\nb/1.jpg,a boat\n")
    assert folder.read(tmp_path).classes == ("a", "b")
    (tmp_path / "train/metadata.csv").write_bytes(bytes(range(256)))
    assert folder.read(tmp_path).classes == ("a", "b")
    write(tmp_path, "train/metadata.csv", text="file_name,text\na/1.jpg,house\nb/1.jpg,boat\n")
    assert folder.read(tmp_path, Hints(label_column="text")).classes == ("boat", "house")


def test_what_counts_twice_or_differs_is_refused(tmp_path):
    root = write(tree(tmp_path / "both", "1.jpg", "2.jpg"), "metadata.csv", "metadata.jsonl")
    assert "both metadata.csv and metadata.jsonl; keep one" in refusal(root)
    root = tree(tmp_path / "deep", "train/1.jpg", "train/2.jpg")
    write(root, "metadata.csv", "train/metadata.csv")
    assert "has metadata.csv, and train/ another" in refusal(root)
    root = tree(tmp_path / "kinds", "train/1.jpg", "train/2.jpg", "test/1.jpg")
    write(root, "train/metadata.csv")
    write(root, "test/metadata.csv", text="file_name,labels\n1.jpg,a|b\n")
    assert "other columns for labels" in refusal(root)
    root = tree(tmp_path / "words", "1.jpg")
    write(root, "metadata.csv", text="file_name,text\n1.jpg,a house\n")
    assert "it lacks label" in refusal(root)


def test_groups_and_the_label_can_be_columns_of_every_table(tmp_path):
    for part in ("train", "test"):
        tree(tmp_path, f"{part}/1.jpg", f"{part}/2.jpg")
        write(tmp_path, f"{part}/metadata.csv", text="file_name,species,breed,who\n1.jpg,x,a,p\n2.jpg,x,b,q\n")
    listing = folder.read(tmp_path, Hints(label_column="breed", group_by="who"))
    assert (listing.classes, sorted(listing.groups.tolist())) == (("a", "b"), ["p", "p", "q", "q"])
    with pytest.raises(DataError, match="species and breed"):
        folder.read(tmp_path)
