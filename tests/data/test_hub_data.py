"""Photos inside of Parquet and Arrow files are read as datasets writes them, or refused in a line."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from transferkit.data import folder
from transferkit.data.hints import Hints
from transferkit.zoo.errors import DataError, UsageError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
CLASSES = ["ant", "bee"]


def photo(number):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 10 * number, np.uint8)).save(file, "PNG")
    return file.getvalue()


def table(rows, *, features=None):
    made = pa.Table.from_pylist(rows)
    return (
        made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        if features
        else made
    )


def rows(labels, *, name="label", path="{}.png"):
    photos = [{"bytes": photo(number), "path": path.format(number)} for number in range(len(labels))]
    return [{"image": image, name: label} for image, label in zip(photos, labels)]


def names(column="label"):
    return {"image": {"_type": "Image"}, column: {"names": CLASSES, "_type": "ClassLabel"}}


def saved(target, made):
    target.mkdir(parents=True)
    with pa.OSFile(str(target / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, made.schema) as to:
        to.write_table(made, max_chunksize=3)
    (target / "dataset_info.json").write_text("{}")
    (target / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    return target


def read(path, tmp_path, **options):
    return folder.read(path, cache=tmp_path / "cache", **options)


def said(listing):
    return [(path.name, listing.classes[label]) for path, label in zip(listing.paths, listing.labels)]


def test_photos_in_a_parquet_file_are_its_bytes_with_the_names_of_their_classes(tmp_path):
    pq.write_table(table(rows([0, 1, 1, 0]), features=names()), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", tmp_path)
    assert said(found) == [("0.png", "ant"), ("1.png", "bee"), ("2.png", "bee"), ("3.png", "ant")]
    assert [path.read_bytes() for path in found.paths] == [photo(number) for number in range(4)]
    assert found.data == str(tmp_path / "a.parquet")
    before = sorted((tmp_path / "cache").rglob("*"))
    assert said(read(tmp_path / "a.parquet", tmp_path)) == said(found)
    assert sorted((tmp_path / "cache").rglob("*")) == before  # found again


def test_a_saved_data_set_with_parts_has_them(tmp_path):
    data = tmp_path / "saved"
    saved(data / "train", table(rows([0, 1, 0, 1, 1]), features=names()))
    saved(data / "test", table(rows([1, -1]), features=names()))
    (data / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    found = read(data, tmp_path)
    assert found.parts.tolist() == ["train"] * 5 + ["test"]
    assert [found.classes[label] for label in found.labels] == ["ant", "bee", "ant", "bee", "bee", "bee"]
    assert [path.read_bytes() for path in found.paths] == [photo(number) for number in (0, 1, 2, 3, 4, 0)]
    assert "1 of 7 rows have no label and are left out" in found.notes


@pytest.mark.parametrize("place", ["", "data"])
def test_a_folder_of_parquet_files_has_the_parts_in_their_names(tmp_path, place):
    (tmp_path / "repo" / place).mkdir(parents=True)
    for part in ("train", "test", "validation"):
        pq.write_table(
            table(rows([0, 1]), features=names()), tmp_path / "repo" / place / f"{part}-00000-of-00001.parquet"
        )
    (tmp_path / "repo/README.md").write_text("a card")
    found = read(tmp_path / "repo", tmp_path)
    assert sorted(found.parts.tolist()) == ["test", "test", "train", "train", "val", "val"]


def test_one_class_a_row_in_a_column_of_another_name_is_no_list_of_labels(tmp_path):
    for column in ("labels", "animal"):
        pq.write_table(table(rows([0, 1, 1], name=column), features=names(column)), tmp_path / f"{column}.parquet")
        found = read(tmp_path / f"{column}.parquet", tmp_path)
        assert found.task.names_one
        assert [name for _, name in said(found)] == ["ant", "bee", "bee"]
    several = {"labels": {"feature": {"names": CLASSES, "_type": "ClassLabel"}, "_type": "List"}}
    pq.write_table(table(rows([[0], [0, 1], []], name="labels"), features=several), tmp_path / "s.parquet")
    found = read(tmp_path / "s.parquet", tmp_path)
    assert found.labels.tolist() == [[1, 0], [1, 1], [0, 0]]


def test_names_that_lead_elsewhere_or_come_twice_are_not_taken(tmp_path):
    for number, path in enumerate(
        ("../{}.png", "/tmp/{}.png", "a\\..\\..\\{}.png", "same.png", "table.jsonl", "x\0{}.png")
    ):
        at = tmp_path / f"{number}.parquet"
        pq.write_table(table(rows(["a", "b", "b"], path=path)), at)
        found = read(at, tmp_path)
        assert [each.read_bytes() for each in found.paths] == [photo(0), photo(1), photo(2)]
        (table_of,) = {
            each for each in (tmp_path / "cache").rglob("table.jsonl") if each.parent in found.paths[0].parents
        }
        assert all(each.resolve().is_relative_to(table_of.parent) for each in found.paths)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (b"PAR1 and no more", "is damaged: "),
        ([{"text": "a", "label": 1}], "has no column with the bytes of photos; its columns: text, label"),
        ([{"image": {"bytes": b"", "path": "1.png"}, "label": 1}], "in all of its 1 rows their bytes are missing"),
        ([{"a": b"x", "b": b"y", "label": 1}], "has several columns of photos: a, b; call one image"),
        (rows([7, 0]), "has the class 7, of 2 that it names"),
        ([{"image": {"bytes": b"x", "path": ""}}] * 3, "it lacks label"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line_and_nothing_is_kept(tmp_path, made, words):
    at = tmp_path / "a.parquet"
    if isinstance(made, bytes):
        at.write_bytes(made)
    else:
        pq.write_table(table(made, features=names() if words.startswith("has the class") else None), at)
    with pytest.raises(DataError) as caught:
        read(at, tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "cache/" not in str(caught.value)


def test_a_saved_folder_names_no_file_outside_of_it(tmp_path):
    data = saved(tmp_path / "saved", table(rows([0, 1]), features=names()))
    (data / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../secret.arrow"}]}))
    with pytest.raises(DataError, match="which is not in it"):
        read(data, tmp_path)
    (data / "state.json").write_text(json.dumps({"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}))
    with pytest.raises(DataError, match="flatten_indices"):
        read(data, tmp_path)


def test_class_folders_beside_a_parquet_file_are_the_data(digit_folder, tmp_path):
    data = shutil.copytree(digit_folder, tmp_path / "digits")
    pq.write_table(table(rows([0, 1]), features=names()), data / "embeddings.parquet")
    assert read(data, tmp_path).classes == folder.read(digit_folder).classes


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    pq.write_table(table(rows([0, 1]), features=names()), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'transferkit\[datasets\]'"):
        read(tmp_path / "a.parquet", tmp_path)
    with pytest.raises(UsageError, match="--label-from is for folders"):
        read(tmp_path / "a.parquet", tmp_path, hints=Hints(label_from="(a)"))
