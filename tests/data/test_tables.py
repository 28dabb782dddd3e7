"""Tables as programs and people write them: encodings, separators, names of columns, and where the photos are."""

import json
import os

import pytest

from tests.data.test_folder import rows, tree
from transferkit.data import folder
from transferkit.data.hints import Hints
from transferkit.zoo.errors import DataError, UsageError

PLAIN = "path;label\r\na/1.jpg;Ameise groß\r\na/2.jpg;Biene\r\n"


def read(root, text, *, name="list.csv", encoding="utf-8", **hints):
    """The listing of a table with that content; a photo is there for each a/1.jpg, a/2.jpg."""
    tree(root, "a/1.jpg", "a/2.jpg")
    (root / name).write_bytes(text.encode(encoding))
    return folder.read(root / name, Hints(**hints))


def refusal(root, text, kind=DataError, **about):
    with pytest.raises(kind) as caught:
        read(root, text, **about)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_the_same_table_is_read_in_any_encoding_and_with_any_separator(tmp_path, encoding, separator, end):
    text = PLAIN.replace(";", separator).removesuffix("\r\n") + end
    listing = read(tmp_path, text, encoding=encoding)
    assert rows(listing) == {("a/1.jpg", "Ameise groß", ""), ("a/2.jpg", "Biene", "")}
    assert [path.is_file() for path in listing.paths] == [True, True]
    assert [note for note in listing.notes if "cp1252" in note and "Ameise groß" in note] == (
        list(listing.notes) if encoding == "cp1252" else []
    )


def test_separators_in_names_are_no_separators(tmp_path):
    listing = read(tmp_path, 'path;label\na/1.jpg;"red; green"\na/2.jpg;red, green\n')
    assert listing.classes == ("red, green", "red; green")
    assert "in quotes" in refusal(tmp_path, "path,label\na/1.jpg,red, green\n")
    assert read(tmp_path, '"path","label"\n"a/1.jpg","x;y;z"\n"a/2.jpg","y"\n').classes == ("x;y;z", "y")
    several = read(tmp_path, "image;red, green;blue, or not\na/1.jpg;1;0\na/2.jpg;1;1\n")
    assert several.classes == ("red, green", "blue, or not")


def test_a_line_that_names_the_separator_and_rows_of_nothing_but_separators_are_passed_over(tmp_path):
    text = "sep=;\r\npath;label\r\na/1.jpg;x\r\n;\r\na/2.jpg;y\r\n;\r\n"
    assert read(tmp_path, text).classes == ("x", "y")
    assert "line 5: the label is empty" in refusal(tmp_path, text.replace("y", ""))


def test_text_of_two_encodings_keeps_names_of_files_that_are_no_text(tmp_path):
    odd = os.fsdecode(b"a/\xe9.jpg")
    try:
        tree(tmp_path, odd, "a/é.png")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    for label in ("x", "ü"):  # all of it could be that of Windows, or not
        (tmp_path / "l.csv").write_bytes(b"path,label\na/\xe9.jpg,x\na/1.jpg," + label.encode() + b"2\n")
        tree(tmp_path, "a/1.jpg")
        listing = folder.read(tmp_path / "l.csv")
        assert [path.is_file() for path in listing.paths] == [True, True]
        assert listing.classes == ("x", label + "2")


def test_bytes_that_are_no_text_of_windows_either_are_refused_as_labels(tmp_path):
    (tmp_path / "l.csv").write_bytes(b"path,label\n1.jpg,\x81\x8d\n2.jpg,b\n")
    with pytest.raises(DataError, match="not valid UTF-8"):
        folder.read(tmp_path / "l.csv")


@pytest.mark.parametrize("path", ["path", "File", "file_name", "Filename", "image", "IMAGE ID", "id", "Image Path"])
@pytest.mark.parametrize("label", ["label", "Class", "category", " Breed ", "species", "target", "class-name"])
def test_usual_names_of_columns_are_understood_and_said(tmp_path, path, label):
    listing = read(tmp_path, f"{path},width,{label}\na/1.jpg,3,x\na/2.jpg,4,y\n")
    assert rows(listing) == {("a/1.jpg", "x", ""), ("a/2.jpg", "y", "")}
    note = "; ".join(listing.notes)
    assert (f"{path} is the path" in note) == (path != "path")
    assert (f"{label} is the label" in note) == (label != "label")


@pytest.mark.parametrize(
    ("header", "both"), [("path,species,breed", "species and breed"), ("path,label,class", "label and class"),
                         ("id,target,labels", "target and labels")]
)  # fmt: skip
def test_where_two_columns_could_be_the_label_one_has_to_be_named(tmp_path, header, both):
    text = f"{header}\na/1.jpg,x,1\na/2.jpg,x,2\n"
    assert f"has {both}, either of which could be the label: choose with --label-column" in refusal(tmp_path, text)
    last = header.split(",")[-1]
    assert read(tmp_path, text, label_column=last.upper()).classes == ("1", "2")
    assert "has one class ('x')" in refusal(tmp_path, text, label_column=header.split(",")[1])


def test_a_column_of_any_name_can_be_the_label(tmp_path):
    text = "path,kind,label\na/1.jpg,x,1\na/2.jpg,y,1\n"
    assert read(tmp_path, text, label_column="kind").classes == ("x", "y")
    assert "which has path, kind, label" in refusal(tmp_path, text, UsageError, label_column="sort")
    assert "name it with --label-column" in refusal(tmp_path, "path,kind\na/1.jpg,x\n")


def test_a_column_of_0_and_1_among_others_is_not_taken_for_the_label_unasked(tmp_path):
    text = "id,ant,target\na/1.jpg,1,0\na/2.jpg,0,1\n"
    assert "target may be the label or a class" in refusal(tmp_path, text)
    assert read(tmp_path, text, label_column="target").classes == ("0", "1")
    assert read(tmp_path, "id,age,target\na/1.jpg,50,0\na/2.jpg,60,1\n").classes == ("0", "1")
    assert read(tmp_path, "ant,image,bee\n1,a/1.jpg,0\n0,a/2.jpg,1\n").classes == ("ant", "bee")
    several = read(tmp_path, ",image,ant,bee\n0,a/1.jpg,1,0\n1,a/2.jpg,1,1\n")  # the first is pandas' index
    assert (several.classes, several.labels.tolist()) == (("ant", "bee"), [[True, False], [True, True]])


@pytest.mark.parametrize("column", ["split", "Subset", "fold"])
def test_parts_are_named_in_usual_words(tmp_path, column):
    listing = read(tmp_path, f"path,label,{column}\na/1.jpg,x,Training\na/2.jpg,y,TRAIN\na/2.jpg,y,dev\n")
    assert listing.parts.tolist() == ["train", "train", "val"]
    assert f"{column} 'dev' is val" in listing.notes


def test_numbers_of_folds_are_no_parts_and_that_is_said(tmp_path):
    text = "path,label,fold\na/1.jpg,x,0\na/2.jpg,y,1\n"
    listing = read(tmp_path, text)
    assert listing.parts.tolist() == ["", ""]
    assert "column fold has numbers" in listing.notes[0]
    assert read(tmp_path, text, group_by="fold").groups.tolist() == ["0", "1"]
    assert "split '0' is unknown" in refusal(tmp_path, text.replace("fold", "split"))


def test_a_column_that_says_parts_in_another_way_is_said_not_to_be_read(tmp_path):
    listing = read(tmp_path, "fname,label,is_valid\na/1.jpg,x,False\na/2.jpg,y,True\n")
    assert listing.parts.tolist() == ["", ""]
    assert any("column is_valid is not read" in note for note in listing.notes)
    both = read(tmp_path, "path,label,is_valid,is_test\na/1.jpg,x,0,0\na/2.jpg,y,1,0\n")
    assert any("column is_valid is not read" in note for note in both.notes)
    named = read(tmp_path, "path,is_test,split\na/1.jpg,yes,train\na/2.jpg,no,train\n", label_column="is_test")
    assert not any("not read" in note for note in named.notes)
    assert not any(
        "not read" in note
        for note in read(tmp_path, "path,is_test\na/1.jpg,y\na/2.jpg,n\n", label_column="is_test").notes
    )
    several = read(tmp_path, "path,is_valid,is_test\na/1.jpg,1,0\na/2.jpg,0,1\n")
    assert several.classes == ("is_valid", "is_test")
    assert not any("not read" in note for note in several.notes)


def test_bars_are_named_where_they_stand_between_values(tmp_path):
    assert "with bars where commas" in refusal(tmp_path, "path|label\na/1.jpg|x\n")
    assert "with bars" not in refusal(tmp_path, "photo|name,colour\na/1.jpg,x\n")
    assert "with bars" not in refusal(tmp_path, "photo\na/1.jpg\n")


def test_folders_called_like_parts_are_those_of_paths_where_no_column_says_it(tmp_path):
    tree(tmp_path, "train/1.jpg", "train/2.jpg", "test/3.jpg")
    listing = read(tmp_path, "path,label\ntrain/1.jpg,x\ntrain\\2.jpg,y\ntest/3.jpg,y\n")
    assert listing.parts.tolist() == ["train", "train", "test"]
    assert listing.notes == ("parts are those of the folders in the paths: test, train",)
    assert set(read(tmp_path, "path,label\ntrain/1.jpg,x\na/2.jpg,y\ntest/3.jpg,y\n").parts) == {""}
    assert set(read(tmp_path, "path,label\ntrain/1.jpg,x\ntrain/2.jpg,y\n").parts) == {""}  # nothing is divided


def test_ids_are_found_with_any_suffix_in_folders_beside_the_table(tmp_path):
    tree(tmp_path, "train_images/0a.JPG", "train_images/0a.xml", "train_images/0b.png", "test_images/0a.jpg")
    listing = read(tmp_path, "id,breed\n0a,x\n0B,y\n")
    assert [listing.relative(row) for row in range(2)] == ["train_images/0a.JPG", "train_images/0b.png"]
    assert "found by name: '0a' is train_images/0a.JPG" in listing.notes


def test_ids_of_another_part_are_looked_for_in_its_folder_alone(tmp_path):
    tree(tmp_path, "train/1.jpg", "train/2.jpg", "test/1.jpg", "test/2.jpg")
    listing = read(tmp_path, "id,label,split\n1,x,train\n2,y,train\n1,y,test\n")
    assert [listing.relative(row) for row in range(3)] == ["train/1.jpg", "train/2.jpg", "test/1.jpg"]
    alone = read(tmp_path, "id,label\n1,x\n2,y\n", name="test.csv")
    assert [alone.relative(row) for row in range(2)] == ["test/1.jpg", "test/2.jpg"]


def test_names_are_found_whatever_their_case_and_how_accents_are_written(tmp_path):
    tree(tmp_path, "Images/Train/IMG_1.JPG", "Images/Train/cafe\u0301.jpg")
    listing = read(tmp_path, "file,label\nimg_1.jpg,x\ntrain/caf\u00e9.jpg,y\n")
    assert [path.is_file() for path in listing.paths] == [True, True]


@pytest.mark.parametrize(
    "files", [("train/1.jpg", "images/1.jpg"), ("train/1.jpg", "train/1.png"), ("1.jpg", "train/1.jpg")]
)
def test_a_name_in_two_places_is_not_guessed(tmp_path, files):
    tree(tmp_path, *files)
    message = refusal(tmp_path, "id,label\n1,x\n")
    assert "line 2: '1' may be" in message
    assert all(file in message for file in files)
    exact = read(tmp_path, f"id,label\n{files[0]},x\n{files[1]},y\n")
    assert [exact.relative(row) for row in range(2)] == [*files]


def test_where_no_photo_is_found_the_folders_that_were_searched_are_named(tmp_path):
    tree(tmp_path, "images/8.jpg", "train/9.jpg", "notes/1.jpg")
    message = refusal(tmp_path, "id,label\n1,x\n2,y\n")
    assert f"such as '1'; searched: {tmp_path} and, in it, images/, train/" in message
    some = read(tmp_path, "id,label\n8,x\n2,y\n")  # the second is left out when it is read
    assert [path.is_file() for path in some.paths] == [True, False]


def test_back_slashes_and_tildes_mean_folders_unless_a_file_is_called_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    tree(tmp_path, "home/1.jpg", "a/b/1.jpg", "~/2.jpg")
    listing = read(tmp_path, "path,label\na\\b\\1.jpg,x\n~/1.jpg,y\n~\\1.jpg,z\n~/2.jpg,x\n")
    found = ["a/b/1.jpg", "home/1.jpg", "home/1.jpg", "~/2.jpg"]
    assert [path.resolve() for path in listing.paths] == [(tmp_path / name).resolve() for name in found]


def test_text_that_is_cut_off_and_paths_that_no_file_has_are_refused(tmp_path):
    (tmp_path / "l.csv").write_bytes("path,label\na/1.jpg,x\na/2.jpg,y\n".encode("utf-16")[:-1])
    with pytest.raises(DataError, match="cut off: not all of it is text in UTF-16"):
        folder.read(tmp_path / "l.csv")
    far = "path,label\n" + "a/1.jpg,x\n" * 600
    assert "line 602: '~\\x00' cannot be the path of a file" in refusal(tmp_path, far + "~\0,y\n")
    assert "cannot be the path of a file" in refusal(tmp_path, '{"path": "\\ud800.jpg", "label": "x"}')


def test_a_photo_on_the_web_is_refused(tmp_path):
    assert "line 2: https://x.org/1.jpg is a URL; download" in refusal(tmp_path, "path,label\nhttps://x.org/1.jpg,x\n")


def lines(*objects):
    return "\n".join(map(json.dumps, objects))


def test_json_lines_are_tables(tmp_path):
    one, two = {"id": "a/1.jpg", "label": "x", "objects": {"box": [1]}}, {"label": 7, "id": "a/2.jpg", "split": "test"}
    listing = read(tmp_path, lines(one, two | {"label": "x"}, {}, {"id": "a/2.jpg", "label": 7}).replace("{}", ""))
    assert rows(listing) == {("a/1.jpg", "x", ""), ("a/2.jpg", "x", "test"), ("a/2.jpg", "7", "")}
    several = read(tmp_path, lines({"image": "a/1.jpg", "label": ["x", "y"]}, {"image": "a/2.jpg", "label": []}))
    assert (several.classes, several.labels.tolist()) == (("x", "y"), [[True, True], [False, False]])
    switched = read(tmp_path, lines({"path": "a/1.jpg", "x": True, "y": 0}, {"path": "a/2.jpg", "x": 0, "y": True}))
    assert (switched.classes, switched.labels.tolist()) == (("x", "y"), [[True, False], [False, True]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"path": "a/1.jpg", "label": "x"}\n{"path"', "line 2: no object of JSON"),
        ('{\n "path": "a/1.jpg"\n}', "line 1: no object of JSON"),
        ('[{"path": "a/1.jpg", "label": "x"}]', "one JSON array"),
        (lines({"path": "a/1.jpg", "label": "x"}, {"path": "a/2.jpg"}), "line 2: the label is empty"),
        (lines({"path": "a/1.jpg", "label": "x"}, {"path": "a/2.jpg", "label": ["x"]}), "line 2: column label has"),
        (lines({"path": {"bytes": ""}, "label": "x"}), "line 1: column path has"),
        (lines({"path": "a/1.jpg", "label": ["x|y"]}), "cannot be the name of a class"),
        (lines({"path": "a/1.jpg", "x": 1}, {"path": "a/2.jpg", "y": 1}), "line 1: '' in column y"),
        ("[" * 100_000, "no object of JSON"),
    ],
)
def test_json_that_is_no_table_is_refused_with_its_line(tmp_path, text, words):
    assert words in refusal(tmp_path, text if text[0] != "[" or text[1] == "{" else '{"a": ' + text, name="l.jsonl")
