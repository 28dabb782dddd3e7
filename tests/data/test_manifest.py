"""A manifest is itself a valid DATA, whatever the names in it."""

import csv
import os
import sys

import numpy as np
import pytest

from transferkit.data import folder, manifest
from transferkit.zoo.errors import StorageError

NAMES = [
    "plain.jpg",
    "a, b.jpg",
    'q"uote.jpg',
    "line\nbreak.jpg",
    "back\rslash\\.jpg",
    " space .jpg",
    "é猫.jpg",
    "=1+1.jpg",
]


def test_unusual_names_survive_the_round_trip(tmp_path):
    data = tmp_path / "data"
    names = [*NAMES, os.fsdecode(b"\xff\xfe.jpg")] if sys.platform == "linux" else ["plain.jpg", "é猫.jpg"]
    for label in ("cat, 'big'", "dog "):
        (data / label).mkdir(parents=True)
        for name in names:
            (data / label / name).write_bytes(b"x")
    listing = folder.read(data)
    count = len(listing.paths)
    manifest.write_manifest(tmp_path / "run" / "manifest.csv", listing, sha256=["ab"] * count, bytes=[1] * count)
    again = folder.read(tmp_path / "run" / "manifest.csv")
    assert list(again.paths) == list(listing.paths)
    assert again.classes == listing.classes
    assert np.array_equal(again.labels, listing.labels)
    assert np.array_equal(again.parts, listing.parts)
    assert again.groups is None


def test_parts_groups_sizes_and_hashes_are_kept(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("path,label,split,group\n1.jpg,a,train,g1\n2.jpg,b,test,\n3.jpg,b,val,g2\n4.jpg,b,train,\n")
    listing = folder.read(source)
    manifest.write_manifest(tmp_path / "out.csv", listing, sha256=["s1", "s2", "s3", "s4"], bytes=[1, 2, 3, 4])
    again = folder.read(tmp_path / "out.csv")
    assert again.parts.tolist() == ["train", "test", "val", "train"]
    assert again.groups.tolist() == ["g1", "", "g2", ""]
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["bytes"], row["sha256"]) for row in rows] == [("1", "s1"), ("2", "s2"), ("3", "s3"), ("4", "s4")]


def test_the_quarantine_lists_path_and_reason(tmp_path):
    manifest.write_quarantine(tmp_path / "q.csv", [("a/1,2.jpg", "empty file"), ("b", "truncated")])
    assert (tmp_path / "q.csv").read_bytes() == b'path,reason\r\n"a/1,2.jpg",empty file\r\nb,truncated\r\n'


def test_a_file_where_the_folder_should_be_is_a_storage_error(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(StorageError, match="run"):
        manifest.write_quarantine(tmp_path / "run" / "q.csv", [])
