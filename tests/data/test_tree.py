"""A path means each file once, whatever links there are, and no folder is passed over in silence."""

import glob
import os
import socket

import pytest

from tests.data.test_folder import refusal, rows, tree
from transferkit.data import entries, folder
from transferkit.data.decode import DecodeError, decode
from transferkit.data.tree import files, refuse_url, walk
from transferkit.zoo.errors import UsageError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and pipes as POSIX has them")


def names(found, root):
    return [os.path.relpath(path, root) for path in found]


@pytest.fixture
def photos(tmp_path):
    return tree(tmp_path / "photos", "b/2.jpg", "a/1.jpg", "a/deep/3.jpg", "top.jpg", ".hidden/4.jpg", "a/.5.jpg")


def test_a_folder_means_its_files_by_name_and_a_pattern_those_that_fit(photos):
    every = ["top.jpg", "a/1.jpg", "a/deep/3.jpg", "b/2.jpg"]
    assert names(walk(str(photos)), photos) == every
    assert names(files(f"{photos}/**"), photos) == every
    assert names(files(f"{photos}/**/*.jpg"), photos) == every
    assert names(files(f"{photos}/**/deep/*.jpg"), photos) == ["a/deep/3.jpg"]
    assert names(files(f"{photos}/a/**/[0-9].*"), photos) == ["a/1.jpg", "a/deep/3.jpg"]
    assert names(files(f"{photos}/**/deep"), photos) == ["a/deep/3.jpg"]
    assert names(files(f"{photos}/a*"), photos) == ["a/1.jpg", "a/deep/3.jpg"]
    assert names(files(f"{photos}/*.jpg"), photos) == ["top.jpg"]
    assert list(files(f"{photos}/none*")) == list(files(f"{photos}/**/none")) == []


def test_a_pattern_fits_the_files_that_the_standard_library_finds(photos, monkeypatch):
    monkeypatch.chdir(photos)
    for pattern in ("**", "**/*.jpg", "a/**", "./**/1.jpg", "*/**/*.jpg", "**/deep/*"):
        expected = {os.path.normpath(path) for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)}
        assert {os.path.normpath(path) for path in files(pattern)} == expected, pattern


def test_what_a_file_is_called_is_no_pattern(tmp_path):
    tree(tmp_path, "odd[1].jpg", "odd1.jpg")
    assert names(files(f"{tmp_path}/odd[1].jpg"), tmp_path) == ["odd[1].jpg"]


def test_addresses_that_are_no_photos_of_the_web_are_refused():
    for path in ("https://host/a.jpg", "photos/a.jpg", "photos.tar/a.jpg"):
        refuse_url(path)
    with pytest.raises(UsageError, match="is no URL of the web"):
        refuse_url("ftp://host/a.jpg")


def test_links_to_a_folder_itself_or_above_it_are_entered_once(photos, tmp_path):
    tree(tmp_path / "else", "6.jpg")
    for target, link in ((".", "self"), (".", "a/self"), ("..", "a/up"), ("../..", "a/upper"), (tmp_path, "b/root")):
        os.symlink(target, photos / link)
    os.symlink(tmp_path / "else", photos / "linked")
    expected = ["top.jpg", "a/1.jpg", "a/deep/3.jpg", "b/2.jpg", "linked/6.jpg"]
    assert names(files(str(photos)), photos) == expected
    assert names(files(f"{photos}/**"), photos) == expected
    assert names(files(f"{photos}/a"), photos) == ["a/1.jpg", "a/deep/3.jpg"]


def test_what_is_no_regular_file_is_listed_with_a_reason_and_never_opened(photos, monkeypatch):
    os.mkfifo(photos / "pipe.jpg")
    os.symlink("loop.jpg", photos / "loop.jpg")
    os.symlink("nowhere", photos / "broken.jpg")
    os.symlink("/dev/zero", photos / "zero.jpg")
    monkeypatch.chdir(photos)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        faults = {}
        for path in files("."):
            with pytest.raises(DecodeError) as caught:
                decode(path)
            faults[os.path.basename(path)] = str(caught.value)
    assert {name: fault for name, fault in faults.items() if not name[0].isdigit() and name != "top.jpg"} == {
        "pipe.jpg": "not a regular file",
        "socket.jpg": "not a regular file",
        "zero.jpg": "not a regular file",
        "loop.jpg": "too many levels of symbolic links",
        "broken.jpg": "a link to nowhere, which is not there",
    }


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="a superuser may read everything")
def test_a_folder_that_may_not_be_read_comes_with_its_reason(photos):
    (photos / "a").chmod(0)
    try:
        assert names(walk(str(photos)), photos) == ["top.jpg", "a", "b/2.jpg"]
        with pytest.raises(DecodeError, match="permission denied"):
            decode(photos / "a")
    finally:
        (photos / "a").chmod(0o755)


def test_a_folder_that_cannot_be_read_comes_with_its_reason(photos, monkeypatch):
    scandir = os.scandir

    def failing(path):
        if os.path.basename(path) == "a":
            raise OSError(5, "Input/output error", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    assert names(walk(str(photos)), photos) == ["top.jpg", "a", "b/2.jpg"]
    with pytest.raises(DecodeError, match="input/output error"):
        decode(photos / "a")


def test_a_link_brings_no_photos_of_another_class(tmp_path):
    tree(tmp_path, "cat/1", "cat/more/2", "dog/3", "dog/sub/4", ".pool/5", "elsewhere.txt")
    for target, link in (("..", "cat/up"), ("../dog", "cat/other"), ("../dog/sub", "cat/within"), (".", "cat/self")):
        os.symlink(target, tmp_path / link)
    os.symlink("../.pool", tmp_path / "cat" / "pool")
    os.symlink("../..", tmp_path / "dog" / "upper")
    listing = folder.read(tmp_path)
    expected = {("cat/1", "cat", ""), ("cat/more/2", "cat", ""), ("cat/pool/5", "cat", "")}
    assert rows(listing) == expected | {("dog/3", "dog", ""), ("dog/sub/4", "dog", "")}
    foreign = {path for path, reason in listing.ignored if reason == entries.FOREIGN}
    assert foreign == {"cat/up", "cat/other", "cat/within", "dog/upper"}


def test_a_link_brings_no_photos_of_another_part(tmp_path):
    tree(tmp_path, "train/cat/1", "train/dog/2", "test/cat/3", "test/dog/4")
    os.symlink("../../test", tmp_path / "train" / "cat" / "more")
    os.symlink("../../train/cat", tmp_path / "test" / "cat" / "more")
    assert {path for path, *_ in rows(folder.read(tmp_path))} == {
        "train/cat/1",
        "train/dog/2",
        "test/cat/3",
        "test/dog/4",
    }


def test_a_link_to_itself_is_left_out_wherever_it_lies(tmp_path):
    tree(tmp_path, "cat/1", "dog/2")
    for place in ("loop.jpg", "cat/loop.jpg"):
        os.symlink("loop.jpg", tmp_path / place)
    ignored = dict(folder.read(tmp_path).ignored)
    assert ignored == {"loop.jpg": folder.LOOSE, "cat/loop.jpg": entries.SPECIAL}
    (tmp_path / "bird").mkdir()
    os.symlink("x", tmp_path / "bird" / "x")
    assert "bird" in refusal(tmp_path)
