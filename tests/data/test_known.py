"""The index says what a file holds only while it cannot have changed, and no harm to it is ever an error."""

import os
import sqlite3
import subprocess
import sys
import time

import pytest

from transferkit.data import known
from transferkit.data.known import Content, Known, identity

SHA = "5a" * 32
posix = pytest.mark.skipif(os.name == "nt", reason="Windows keeps no time of the last change of a file's status")


@pytest.fixture
def settled(monkeypatch):
    """Files written before the call of what is returned count as long unchanged."""
    monkeypatch.setattr(known, "MARGIN_NS", 0)
    return lambda: time.sleep(0.02)  # more than a tick of the file system's clock


@pytest.fixture
def photo(tmp_path, settled):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"photo")
    settled()
    return path


@pytest.fixture
def index(tmp_path):
    return Known(tmp_path / "cache" / "files.sqlite")


def test_a_file_is_known_by_what_it_is_not_by_its_name(index, photo, tmp_path):
    assert index.contents([photo]) == [None]
    os.symlink(photo, tmp_path / "link.jpg")
    index.add([(identity(photo), SHA)])
    assert index.contents([photo, tmp_path / "link.jpg", str(photo)]) == [Content(SHA, 5)] * 3
    assert Known(tmp_path / "cache" / "files.sqlite").contents([photo]) == [Content(SHA, 5)]
    (tmp_path / "other.jpg").write_bytes(b"photo")
    assert index.contents([tmp_path / "other.jpg", tmp_path, tmp_path / "gone.jpg"]) == [None] * 3


def test_a_longer_shorter_or_touched_file_is_not_known(index, photo, settled):
    index.add([(identity(photo), SHA)])
    for content in (b"longer photo", b"p", b"photo"):
        photo.write_bytes(content)
        assert index.contents([photo]) == [None]
        settled()
        index.add([(identity(photo), content.hex())])
        assert index.contents([photo]) == [Content(content.hex(), len(content))]


@posix
def test_a_change_that_hides_behind_the_old_size_and_time_is_seen(index, photo):
    before = photo.stat()
    index.add([(identity(photo), SHA)])
    photo.write_bytes(b"pheto")
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (photo.stat().st_size, photo.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert index.contents([photo]) == [None]


def test_a_file_that_just_changed_or_says_it_will_has_no_identity_yet(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"photo")
    assert identity(path) is None
    os.utime(path, (1e9, 1e9))  # its content may have changed as lately as its status
    if os.name != "nt":
        assert identity(path) is None
    os.utime(path, (time.time() + 1000,) * 2)
    assert identity(path) is None
    assert identity(tmp_path / "gone.jpg") is None


def test_a_thousand_files_are_asked_for_at_once_and_answered_in_their_order(index, tmp_path, settled):
    paths = [tmp_path / f"{i}" for i in range(1200)]
    for path in paths[::2]:
        path.touch()
    settled()
    index.add([(identity(path), path.name) for path in paths[::2]])
    answers = index.contents(paths[::-1])
    assert [answer and answer.sha256 for answer in answers] == [None if i % 2 else str(i) for i in range(1200)][::-1]


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\0" + bytes(5000), None])
def test_a_damaged_index_is_begun_anew(tmp_path, photo, damage):
    file = tmp_path / "cache" / "files.sqlite"
    Known(file).add([(identity(photo), SHA)] + [(known.Identity(f"1:{i}", "x"), SHA) for i in range(2000)])
    content = file.read_bytes()
    file.write_bytes(content[:9000] + b"\xff" * (len(content) - 9000) if damage is None else damage)
    index = Known(file)
    assert index.contents([photo]) in ([None], [Content(SHA, 5)])
    for _ in range(2):  # the first may still meet the damage
        index.add([(identity(photo), SHA), (known.Identity("1:1999", "x"), SHA)])
        index.contents([photo])
    assert Known(file).contents([photo]) == [Content(SHA, 5)]
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_index_that_grew_too_large_is_begun_anew(tmp_path, photo, monkeypatch):
    file = tmp_path / "cache" / "files.sqlite"
    Known(file).add([(identity(photo), SHA)])
    monkeypatch.setattr(known, "MAX_BYTES", 1000)
    assert Known(file).contents([photo]) == [None]


def test_where_nothing_can_be_kept_nothing_is_known(tmp_path, photo):
    (tmp_path / "file").touch()
    index = Known(tmp_path / "file" / "files.sqlite")
    index.add([(identity(photo), SHA)])
    assert index.contents([photo]) == [None]


def test_an_index_that_another_process_holds_for_long_is_done_without(tmp_path, photo, monkeypatch):
    file = tmp_path / "cache" / "files.sqlite"
    Known(file).add([(identity(photo), SHA)])
    monkeypatch.setattr(known, "BUSY_SECONDS", 0.1)
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        index = Known(file)
        started = time.monotonic()
        for _ in range(20):
            assert index.contents([photo]) == [None]
        assert time.monotonic() - started < 1
        other.execute("ROLLBACK")
    other.close()
    assert Known(file).contents([photo]) == [Content(SHA, 5)]


WRITER = """
import sys
from pathlib import Path
from transferkit.data.known import Identity, Known
index = Known(Path(sys.argv[1]))
for start in range(0, 300, 10):
    index.add([(Identity(f"{sys.argv[2]}:{start + i}", "x"), "aa") for i in range(10)])
"""


def test_what_two_processes_add_at_the_same_time_is_all_there(tmp_path):
    file = tmp_path / "files.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, file, name]) for name in "12"]
    assert [writer.wait() for writer in writers] == [0, 0]
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM known").fetchone() == (600,)
    connection.close()


FULL_DISK = """
import resource, sys
from pathlib import Path
from transferkit.data.known import Identity, Known
index = Known(Path(sys.argv[1]))
index.add([(Identity("1:1", "x"), "aa")])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for start in range(0, 10_000, 1000):
    index.add([(Identity(f"2:{start + i}", "x"), "aa") for i in range(1000)])
"""


@posix
def test_a_full_disk_is_no_error_and_harms_nothing_that_was_there(tmp_path):
    file = tmp_path / "files.sqlite"
    subprocess.run([sys.executable, "-c", FULL_DISK, file], check=True)
    assert file.stat().st_size <= 20_000
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM known WHERE file = '1:1'").fetchone() == (1,)
    connection.close()


def test_an_index_that_is_let_go_closes_its_file(photo, tmp_path):
    index = Known(tmp_path / "files.sqlite")
    index.contents([photo])
    connection = index._connection
    del index
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
