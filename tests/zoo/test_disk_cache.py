"""Whatever kind it is: what is kept is found or is not there, the oldest goes first, and nobody else's files do."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transferkit.zoo import cache_folder, files
from transferkit.zoo.cache_folder import KINDS, Kind
from transferkit.zoo.disk_cache import DiskCache
from transferkit.zoo.errors import StorageError


def in_the_table(monkeypatch, **limits) -> None:
    """Put one more kind of cache there."""
    monkeypatch.setitem(KINDS, "words", Kind("words", r"(\w+/)?\w+\.txt", **limits))


def write(cache: DiskCache, name: str, *, age: float = 0, content: str = "12345678") -> Path:
    path = cache.folder / name
    assert cache.write(path, files.write_text, content)
    used_ago(path, age)
    return path


def used_ago(path: Path, seconds: float) -> None:
    if path.exists():
        os.utime(path, (time.time() - seconds,) * 2)


def names(cache: DiskCache) -> set[str]:
    return {Path(entry.path).relative_to(cache.folder).as_posix() for entry in cache.entries()}


def test_a_line_in_the_table_is_all_that_a_new_kind_needs_to_be_counted_bounded_and_cleared(tmp_path, monkeypatch):
    in_the_table(monkeypatch, limit_bytes=20)
    cache = DiskCache(tmp_path, "words")
    for age, name in enumerate(("c.txt", "b.txt", "a.txt")):
        write(cache, name, age=30 - age)
    assert names(cache) == {"b.txt", "a.txt"}
    assert sum(entry.bytes for entry in cache.entries()) == 16
    assert cache_folder.find(tmp_path) == tmp_path
    cache.clear()
    assert os.listdir(tmp_path) == ["CACHEDIR.TAG"]


def test_what_is_used_again_outlives_what_is_not(tmp_path, monkeypatch):
    in_the_table(monkeypatch, limit_bytes=20)
    cache = DiskCache(tmp_path, "words")
    first, _ = write(cache, "a.txt", age=30), write(cache, "b.txt", age=20)
    cache.use(first)
    write(cache, "c.txt")
    assert names(cache) == {"a.txt", "c.txt"}


def test_what_lies_in_one_folder_goes_together_and_by_the_time_of_the_folder(tmp_path, monkeypatch):
    in_the_table(monkeypatch, limit_bytes=30, in_folders=True)
    cache = DiskCache(tmp_path, "words")
    for name in ("new/a.txt", "old/b.txt", "new/c.txt"):
        write(cache, name, age=50 if name.startswith("new") else 0)
    used_ago(cache.folder / "old", 40)
    used_ago(cache.folder / "new", 20)
    write(cache, "last/d.txt")
    assert names(cache) == {"new/a.txt", "new/c.txt", "last/d.txt"}
    used_ago(cache.folder / "new", 20)
    write(cache, "last/e.txt")
    assert names(cache) == {"last/d.txt", "last/e.txt"}
    assert sorted(os.listdir(cache.folder)) == ["last"]


def test_what_was_used_since_a_time_stays_and_the_room_that_is_left_is_told(tmp_path, monkeypatch):
    in_the_table(monkeypatch)
    cache, began = DiskCache(tmp_path, "words"), time.time() - 10
    for age, name in ((30, "a.txt"), (5, "b.txt"), (4, "c.txt")):
        write(cache, name, age=age)
    in_the_table(monkeypatch, limit_bytes=20)
    assert DiskCache(tmp_path, "words").make_room(8, since=began) == 4
    assert names(cache) == {"b.txt", "c.txt"}


def test_no_more_than_a_twentieth_of_the_limit_or_one_large_entry_is_written_before_the_next_look(
    tmp_path, monkeypatch
):
    in_the_table(monkeypatch, limit_bytes=200)
    cache = DiskCache(tmp_path, "words")
    assert [cache.make_room(size) for size in (1, 50, 200, 201)] == [10, 50, 200, 200]


def calls(monkeypatch, name: str, folder: Path) -> list[str]:
    """The paths in `folder`, relative to it, for which a function of `os` is called from now on."""
    seen, function = [], getattr(os, name)

    def spy(path, **given):
        if folder in Path(path).parents:
            seen.append(Path(path).relative_to(folder).as_posix())
        return function(path, **given)

    monkeypatch.setattr(os, name, spy)
    return seen


def test_where_there_is_no_limit_keeping_one_more_looks_at_no_other(tmp_path, monkeypatch):
    in_the_table(monkeypatch)
    cache = DiskCache(tmp_path, "words")
    write(cache, "old/a.txt")
    listed = calls(monkeypatch, "scandir", tmp_path)
    write(cache, "new/b.txt")
    assert listed == []
    cache.entries()
    assert sorted(listed) == ["words", "words/new", "words/old"]


@pytest.mark.parametrize("in_folders", [True, False])
def test_a_file_is_looked_at_once_a_folder_no_oftener_for_two_files_and_only_folders_are_removed_as_such(
    in_folders, tmp_path, monkeypatch
):
    in_the_table(monkeypatch, limit_bytes=100, in_folders=in_folders)
    cache = DiskCache(tmp_path, "words")
    paths = ["a/1.txt", "a/2.txt", "b/3.txt"]
    for path in paths:
        write(cache, path)
    in_the_table(monkeypatch, limit_bytes=0, in_folders=in_folders)
    asked, removed = (calls(monkeypatch, name, cache.folder) for name in ("lstat", "rmdir"))
    cache = DiskCache(tmp_path, "words")
    cache.make_room()
    assert sorted(path for path in asked if path in paths) == paths
    assert asked.count("a") == asked.count("b")
    assert sorted(removed) == (["a", "b"] if in_folders else [])
    assert cache.entries() == []


def test_a_limit_of_nothing_takes_no_file_of_a_user(tmp_path, monkeypatch):
    in_the_table(monkeypatch)
    cache = DiskCache(tmp_path / "cache", "words")
    write(cache, "a.txt")
    (tmp_path / "mine.txt").write_text("x")
    (cache.folder / "ab").mkdir()
    theirs = [cache.folder / "my words.txt", cache.folder / "ab" / "thesis.tex", cache.folder / "link.txt"]
    theirs[0].write_text("x")
    theirs[1].write_text("x")
    theirs[2].symlink_to(tmp_path / "mine.txt")
    in_the_table(monkeypatch, limit_bytes=0)
    DiskCache(tmp_path / "cache", "words").make_room()
    assert names(cache) == set()
    assert all(path.read_text() == "x" for path in theirs)


@pytest.mark.parametrize("error", [StorageError("full"), KeyError("a"), ValueError("a"), OSError("a")])
def test_what_cannot_be_read_as_it_was_written_is_not_there(tmp_path, error):
    def reader(path):
        raise error

    assert DiskCache(tmp_path, "timings").read(tmp_path / "a", reader) is None


def test_a_fault_in_our_own_code_is_not_taken_for_a_damaged_file(tmp_path):
    with pytest.raises(NameError):
        DiskCache(tmp_path, "timings").read(tmp_path / "a", lambda path: nothing)  # noqa: F821


def test_where_nothing_can_be_written_it_says_so_and_raises_nothing(tmp_path):
    (tmp_path / "timings").write_text("a file in the place of the folder")
    cache = DiskCache(tmp_path, "timings")
    assert not cache.write(cache.folder / "a.json", cache_folder.write, {"a": 1})
    assert cache.entries() == []
    cache.use(cache.folder / "a.json")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from transferkit.zoo import cache_folder
from transferkit.zoo.disk_cache import DiskCache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
cache = DiskCache(Path(sys.argv[1]), "timings")
print(cache.write(cache.folder / ("a" * 64 + ".json"), cache_folder.write, {"a": "x" * 400}))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs limits of a process")
def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    child = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True)
    assert child.stdout == "False\n"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
