"""The three shapes of DATA, what is left out of them, and what is refused in one line."""

import os
import re
import socket
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from transferkit import config
from transferkit.data import entries, folder
from transferkit.data.folder import PathTable
from transferkit.data.source import DecodeError, read_file
from transferkit.zoo.errors import DataError, StorageError, UsageError


def tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def rows(listing) -> set[tuple[str, str, str]]:
    return {
        (listing.relative(i), listing.classes[label], str(part))
        for i, (label, part) in enumerate(zip(listing.labels, listing.parts))
    }


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(source: Path, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        folder.read(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_class_folders_are_read_with_their_sub_folders(tmp_path):
    listing = folder.read(tree(tmp_path, "cat/1.jpg", "cat/deep/er/2.jpg", "dog/3", "test/4.jpg"))
    assert listing.classes == ("cat", "dog", "test")
    assert rows(listing) == {
        ("cat/1.jpg", "cat", ""),
        ("cat/deep/er/2.jpg", "cat", ""),
        ("dog/3", "dog", ""),
        ("test/4.jpg", "test", ""),
    }


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_parts_are_matched_by_class_name(tmp_path, name):
    listing = folder.read(tree(tmp_path, "train/a/1", "train/b/2", "train/c/3", f"{name}/c/4", "test/b/5"))
    assert listing.classes == ("a", "b", "c")
    assert {row for row in rows(listing) if row[2] != "train"} == {
        (f"{name}/c/4", "c", "val"),
        ("test/b/5", "b", "test"),
    }


def test_a_class_called_train_is_a_class_where_it_holds_images(tmp_path):
    assert folder.read(tree(tmp_path, "bus/1.jpg", "car/2.jpg", "train/3.jpg")).classes == ("bus", "car", "train")


def test_classes_are_in_order_of_their_nfc_name(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é")
    listing = folder.read(tree(tmp_path, "z/1", f"{decomposed}/2", "10/3", "9/4", "Z/5"))
    assert listing.classes == ("10", "9", "Z", "z", "é")


def test_a_class_spelled_in_nfc_and_nfd_is_one_class_across_parts_and_refused_within_one(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    tree(tmp_path, f"train/{composed}/1", "train/tea/2", f"test/{decomposed}/3")
    if len(os.listdir(tmp_path / "train")) < 2:
        pytest.skip("this file system makes both spellings one name")
    assert folder.read(tmp_path).classes == ("café", "tea")
    assert "café" in refusal(tree(tmp_path, f"train/{decomposed}/4"))


def test_hidden_system_and_loose_entries_are_left_out_with_a_reason(tmp_path):
    hidden = [".ipynb_checkpoints/1.jpg", "__MACOSX/1.jpg", "a/._1.jpg", "a/Thumbs.db", "b/.DS_Store", "b/desktop.ini"]
    listing = folder.read(tree(tmp_path, "a/1.jpg", "b/2.jpg", "readme.txt", "a/@eaDir/1.jpg", *hidden))
    assert rows(listing) == {("a/1.jpg", "a", ""), ("b/2.jpg", "b", "")}
    assert dict(listing.ignored) == {
        ".ipynb_checkpoints": entries.HIDDEN,
        "__MACOSX": entries.HIDDEN,
        "a/._1.jpg": entries.HIDDEN,
        "a/Thumbs.db": entries.HIDDEN,
        "a/@eaDir": entries.HIDDEN,
        "b/.DS_Store": entries.HIDDEN,
        "b/desktop.ini": entries.HIDDEN,
        "readme.txt": folder.LOOSE,
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_sockets_broken_links_and_loops_of_links_are_left_out(tmp_path, monkeypatch):
    tree(tmp_path, "a/1", "b/2")
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    os.symlink("nowhere", tmp_path / "a" / "broken.jpg")
    os.symlink(".", tmp_path / "a" / "loop")
    os.symlink(tmp_path / "a" / "1", tmp_path / "b" / "linked")
    monkeypatch.chdir(tmp_path / "b")  # a socket's name may have about 100 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        listing = folder.read(tmp_path)
    assert rows(listing) == {("a/1", "a", ""), ("b/2", "b", ""), ("b/linked", "b", "")}
    assert dict(listing.ignored) == {
        "a/pipe.jpg": entries.SPECIAL,
        "a/broken.jpg": entries.SPECIAL,
        "a/loop": entries.LOOPED,
        "b/socket": entries.SPECIAL,
    }


def test_the_order_does_not_depend_on_when_files_were_made(tmp_path):
    names = [f"{label}/{i}" for label in "ab" for i in range(20)]
    first, second = tree(tmp_path / "1", *names), tree(tmp_path / "2", *reversed(names))
    in_order = [[listing.relative(i) for i in range(40)] for listing in map(folder.read, (first, second))]
    assert in_order[0] == in_order[1] == sorted(names)


def test_what_cannot_be_a_data_set_is_refused_in_one_line(tmp_path):
    assert "no such" in refusal(tmp_path / "missing", UsageError)
    flat = tree(tmp_path / "flat", "1.jpg", "2.JPG")
    assert "2 images directly" in refusal(flat)
    assert "flat/CLASS/IMAGE" in refusal(flat)
    assert "'cat'" in refusal(tree(tmp_path / "one", "cat/1.jpg"))
    empty = tree(tmp_path / "empty", "a/1", "b/2", "c/.hidden")
    assert str(empty / "c") in refusal(empty)
    assert "'c'" in refusal(tree(tmp_path / "extra", "train/a/1", "train/b/2", "test/c/3"))
    assert str(tmp_path / "bare" / "val") in refusal(tree(tmp_path / "bare", "train/a/1", "train/b/2", "val/3.jpg"))
    assert "keep one" in refusal(tree(tmp_path / "two", "train/a/1", "train/b/2", "val/a/3", "valid/a/4"))


def test_an_empty_folder_is_called_empty(tmp_path):
    assert "it is empty" in refusal(tmp_path)


def test_a_folder_too_high_up_gets_a_hint(tmp_path):
    nested = tree(tmp_path, "photos/cat/1.jpg", "photos/dog/2.jpg")
    assert f"did you mean {nested / 'photos'}" in refusal(nested)


def test_data_that_is_only_scored_may_lack_classes(tmp_path):
    assert folder.read(tree(tmp_path / "one", "cat/1"), to_train=False).classes == ("cat",)
    only_test = table(tmp_path / "t.csv", "path,label,split\n1,a,test\n2,b,test\n")
    assert folder.read(only_test, to_train=False).parts.tolist() == ["test", "test"]
    assert "'a', 'b'" in refusal(only_test)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="a superuser may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    tree(tmp_path, "a/1", "b/2")
    (tmp_path / "b").chmod(0)
    try:
        assert str(tmp_path / "b") in refusal(tmp_path, StorageError)
    finally:
        (tmp_path / "b").chmod(0o755)


def test_a_csv_counts_paths_from_its_folder_and_ignores_other_columns(tmp_path):
    lines = ["note,label,path,split,group", "x,dog,1.jpg,train,g", ",cat,sub/2.jpg,valid,"]
    lines += [",dog,/abs/3.jpg,,g", ",cat,4,test,", ",cat,5,,"]
    listing = folder.read(table(tmp_path / "list.csv", "\n".join(lines)))
    assert listing.classes == ("cat", "dog")
    assert list(listing.paths)[:3] == [tmp_path / "1.jpg", tmp_path / "sub/2.jpg", Path("/abs/3.jpg")]
    assert listing.parts.tolist() == ["train", "val", "", "test", ""]
    assert listing.groups.tolist() == ["g", "", "g", "", ""]
    assert [listing.relative(i) for i in range(3)] == ["1.jpg", "sub/2.jpg", "/abs/3.jpg"]


def test_labels_of_a_csv_are_normalised_and_a_byte_order_mark_is_no_letter(tmp_path):
    decomposed = unicodedata.normalize("NFD", "café")
    listing = folder.read(table(tmp_path / "l.csv", f"\ufeffpath,label\r\n1,café\r\n2,{decomposed}\r\n\r\n3,tea\r\n"))
    assert listing.classes == ("café", "tea")
    assert listing.groups is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "path,label"),
        ("just a text file\nwith lines\n", "path,label"),
        ("path,kind\n1,a\n", "[,group] or path,labels: it lacks label, its first line has 'path', 'kind'; line 2: 'a'"),
        ("path|label\n1|a\n", "with bars where commas"),
        ("a/1.jpg,ant\na/2.jpg,bee\n", "put a line with the names of the columns before it"),
        ("'path','label'\n1,a\n", "it lacks path and label, its first line has"),
        ("path,label,Path,LABEL,label\n1,a,2,b,c\n", "2 columns called label"),
        ("path,label\n", "no rows"),
        ("path,label\n1,a\n2,\n", "line 3: the label"),
        ("path,label\n,a\n", "line 2: the path"),
        ("path,label,split\n1,a,later\n", "line 2: split 'later'"),
        ("path,label\n1,a\n2,b,c\n", "line 3: 3 values"),
        ('path,label\n"1"x,a\n', "line 2: not valid CSV"),
        ("path,label\n1,a\n2,a\n", "one class"),
        ("path,label,split\n1,a,\n2,b,\n3,c,test\n", "'c'"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused_with_its_line(tmp_path, text, words):
    assert words in refusal(table(tmp_path / "list.csv", text))


@pytest.mark.parametrize(
    "header",
    ["Path, Label , SPLIT", "PATH,LABEL,Split", " path ,label,\u00a0split", "\ufeff\ufeffpath,label,split\u200b"],
)
def test_blanks_and_capitals_in_a_header_do_not_matter(tmp_path, header):
    text = f"{header}\n1.jpg, a, Train\n2.jpg,b , TEST\n3.jpg,b,\n"
    listing = folder.read(table(tmp_path / "list.csv", text))
    assert listing.classes == ("a", "b")
    assert [path.name for path in listing.paths] == ["1.jpg", "2.jpg", "3.jpg"]
    assert listing.parts.tolist() == ["train", "test", ""]


def test_blanks_are_kept_where_the_header_has_none(tmp_path):
    listing = folder.read(table(tmp_path / "list.csv", "path,label\n 1.jpg, a\n2.jpg,b\n"))
    assert listing.paths[0].name == " 1.jpg"
    assert listing.classes == (" a", "b")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256)), "is a photo; name the folder"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is a photo; name the folder"),
        (b"PK\x03\x04" + bytes(range(256)), "is ZIP"),
        ("path,label\n1,a\n".encode("utf-16")[:-1], "not all of it is text in UTF-16"),
        (bytes(range(256)) * 10, "is no text"),
    ],
)
def test_what_is_no_text_is_refused_and_none_of_it_shown(tmp_path, content, words):
    (tmp_path / "data").write_bytes(content)
    message = refusal(tmp_path / "data")
    assert words in message
    assert message.isprintable()
    assert len(message) < 200 + len(str(tmp_path))


def test_a_file_that_is_not_there_is_told_with_the_folder_that_was_searched(tmp_path):
    with pytest.raises(DecodeError, match=f"no such file in {re.escape(str(tmp_path))}$"):
        read_file(tmp_path / "0001")
    with pytest.raises(DecodeError, match="lost, which is no folder"):
        read_file(tmp_path / "lost" / "0001")


def test_a_tilde_is_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    tree(tmp_path / "photos", "a/1.jpg", "b/2.jpg")
    assert folder.read("~/photos").classes == ("a", "b")
    listing = folder.read(table(tmp_path / "l.csv", "path,label\n~/photos/a/1.jpg,a\nphotos/b/2.jpg,b\n"))
    assert [path.is_file() for path in listing.paths] == [True, True]
    made = config.make("~/photos", {"out": "~/run", "weights": "~/w", "cache_dir": "~", "seed": 1})
    assert (made.data, made.out, made.cache_dir) == (str(tmp_path / "photos"), str(tmp_path / "run"), str(tmp_path))


def test_a_subset_keeps_classes_and_rows_together(tmp_path):
    listing = folder.read(table(tmp_path / "l.csv", "path,label,group\n1,a,x\n2,b,y\n3,c,z\n"))
    part = listing.subset(np.array([2, 0]))
    assert (part.classes, part.labels.tolist(), part.groups.tolist()) == (("a", "b", "c"), [2, 0], ["z", "x"])
    assert [path.name for path in part.paths] == ["3", "1"]


def test_a_path_table_gives_back_any_path():
    paths = [Path("a"), Path("é/猫"), Path("x" * 300), Path(os.fsdecode(b"\xff\xfe")), Path("line\nbreak")]
    table_of_paths = PathTable.from_paths(paths)
    assert list(table_of_paths) == paths
    assert table_of_paths[-1] == paths[-1]
    assert list(table_of_paths.subset(np.array([3, 0]))) == [paths[3], paths[0]]
    assert list(PathTable.from_paths([])) == []
    with pytest.raises(IndexError):
        table_of_paths[5]


def test_twenty_thousand_files_are_listed_within_seconds(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(10_000):
            os.close(os.open(tmp_path / label / f"{i}.jpg", os.O_CREAT))
    started = time.monotonic()
    assert len(folder.read(tmp_path).paths) == 20_000
    assert time.monotonic() - started < 5
