"""A store gives back what was put into it or nothing: after a crash, damage, a full disk, beside other processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from transferkit.data import store as module
from transferkit.data.store import Store
from transferkit.progress import Progress
from transferkit.zoo.cache_folder import KINDS

ROOT = Path(__file__).resolve().parents[2]  # from where a child process finds this file
SIDE = 16
ENTRY_BYTES = module.HEADER.size + 16 * 24 * 3


class Heard(Progress):
    """Keeps the lines it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def key(number: int) -> str:
    return f"{number:064x}"[::-1]


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (16, 24, 3), np.uint8)


def opened(folder, *, progress=None) -> Store:
    return Store(folder, side=SIDE, progress=progress or Progress())


@pytest.fixture
def limited(monkeypatch):
    """Stores opened from now on may take so many entries' bytes."""

    def limit(count: int) -> None:
        monkeypatch.setitem(KINDS, "pixels", KINDS["pixels"]._replace(limit_bytes=count * ENTRY_BYTES))

    return limit


def entries(folder) -> list:
    return [path for path in (folder / "pixels").rglob("*") if path.is_file()]


def held(store: Store, numbers) -> list[int]:
    """Which of the numbers' pixels the store has; fails if it has other ones."""
    found = {number: store.get(key(number)) for number in numbers}
    assert all(np.array_equal(found[n], pixels(n)) for n in numbers if found[n] is not None)
    return [number for number in numbers if found[number] is not None]


def last_used(folder, ages: dict[int, float]) -> None:
    """Make as if the entries had been used so many seconds ago."""
    for path in entries(folder):
        number = int((path.parent.name + path.name)[::-1], 16)
        os.utime(path, (time.time() - ages[number],) * 2)


def test_what_was_put_is_there_for_every_later_store_and_cannot_be_written_to(tmp_path):
    store = opened(tmp_path)
    assert store.get(key(1)) is None
    store.put(key(1), pixels(1))
    for reader in (store, opened(tmp_path)):
        found = reader.get(key(1))
        assert np.array_equal(found, pixels(1))
        assert found.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            found[0, 0, 0] = 1


def test_pixels_that_lie_scattered_in_memory_are_kept_as_they_look(tmp_path):
    store = opened(tmp_path)
    store.put(key(1), pixels(1)[::-1, ::2])
    assert np.array_equal(store.get(key(1)), pixels(1)[::-1, ::2])


def test_another_side_rule_or_decoder_finds_nothing(tmp_path, monkeypatch):
    opened(tmp_path).put(key(1), pixels(1))
    assert Store(tmp_path, side=SIDE + 1, progress=Progress()).get(key(1)) is None
    version = module.features.version
    for change in (
        lambda: monkeypatch.setattr(module, "RULE", module.RULE + 1),
        lambda: monkeypatch.setattr(module.features, "version", lambda name: version(name) + ".1"),
    ):
        with monkeypatch.context():
            change()
            module.decode_rule.cache_clear()
            assert opened(tmp_path).get(key(1)) is None
        monkeypatch.undo()
    module.decode_rule.cache_clear()
    assert held(opened(tmp_path), [1]) == [1]


@pytest.mark.parametrize("at", [*range(module.HEADER.size), module.HEADER.size, 500, ENTRY_BYTES - 1])
def test_an_entry_with_a_flipped_bit_is_not_there_and_can_be_put_again(tmp_path, at):
    opened(tmp_path).put(key(1), pixels(1))
    (path,) = entries(tmp_path)
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    store = opened(tmp_path)
    assert store.get(key(1)) is None
    store.put(key(1), pixels(1))
    assert held(store, [1]) == [1]


@pytest.mark.parametrize("size", [0, 1, module.HEADER.size, ENTRY_BYTES - 1, ENTRY_BYTES + 1])
def test_an_entry_that_is_too_short_or_too_long_is_not_there(tmp_path, size):
    store = opened(tmp_path)
    store.put(key(1), pixels(1))
    (path,) = entries(tmp_path)
    path.write_bytes((path.read_bytes() + b"\0")[:size])
    assert store.get(key(1)) is None


def test_an_entry_in_the_place_of_another_is_not_there(tmp_path):
    store = opened(tmp_path)
    store.put(key(1), pixels(1))
    (path,) = entries(tmp_path)
    store.put(key(2), pixels(2))
    (other,) = (each for each in entries(tmp_path) if each != path)
    path.replace(other)
    assert held(store, [1, 2]) == []


def test_the_least_recently_used_go_first(tmp_path, limited):
    limited(10)
    store = opened(tmp_path)
    for number in range(10):
        store.put(key(number), pixels(number))
    last_used(tmp_path, {number: 100 * (10 - number) for number in range(10)})
    later = opened(tmp_path)
    assert held(later, [0]) == [0]  # which is a use of it
    later.put(key(10), pixels(10))
    assert held(opened(tmp_path), range(11)) == [0, 3, 4, 5, 6, 7, 8, 9, 10]


def test_what_another_rule_left_behind_counts_and_goes_too(tmp_path, limited):
    limited(10)
    old = Store(tmp_path, side=SIDE + 1, progress=Progress())
    for number in range(10):
        old.put(key(number), pixels(number))
    last_used(tmp_path, dict.fromkeys(range(10), 100))
    store = opened(tmp_path)
    for number in range(10):
        store.put(key(number), pixels(number))
    assert held(store, range(10)) == list(range(10))
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 10 * ENTRY_BYTES


def test_of_a_folder_that_is_too_large_the_store_keeps_what_it_had_and_says_so_once(tmp_path, limited):
    limited(10)
    for _ in range(3):  # a run over 15 photos, the first of which are then asked for again
        heard = Heard()
        store = opened(tmp_path, progress=heard)
        for number in range(15):
            if store.get(key(number)) is None:
                store.put(key(number), pixels(number))
        assert held(store, range(15)) == list(range(10))
        assert len(heard.lines) == 1
        assert "full" in heard.lines[0]
        last_used(tmp_path, {number: 100 - number for number in range(15)})


def test_no_more_than_a_tenth_of_the_disk_is_taken(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    heard = Heard()
    store = opened(tmp_path, progress=heard)
    for number in range(30):
        left = 50 * ENTRY_BYTES - sum(path.stat().st_size for path in entries(tmp_path))
        monkeypatch.setattr(shutil, "disk_usage", lambda path, left=left: usage._replace(free=left))
        store.put(key(number), pixels(number))
    assert len(entries(tmp_path)) == 5
    assert len(heard.lines) == 1


def test_a_folder_that_cannot_be_written_is_said_once_and_done_without(tmp_path):
    (tmp_path / "pixels").touch()
    heard = Heard()
    store = opened(tmp_path, progress=heard)
    for number in range(3):
        store.put(key(number), pixels(number))
        assert store.get(key(number)) is None
    assert len(heard.lines) == 1
    assert str(tmp_path / "pixels") in heard.lines[0]


def test_a_folder_that_may_only_be_read_still_serves_what_is_in_it(tmp_path):
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("a superuser may write everything")
    opened(tmp_path).put(key(1), pixels(1))
    for folder in [tmp_path / "pixels", *(path for path in (tmp_path / "pixels").rglob("*") if path.is_dir())]:
        folder.chmod(0o555)
    heard = Heard()
    store = opened(tmp_path, progress=heard)
    store.put(key(2), pixels(2))
    assert (held(store, [1, 2]), len(heard.lines)) == ([1], 1)


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.data.test_store import Heard, key, opened, pixels
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
heard = Heard()
store = opened(Path(sys.argv[1]), progress=heard)
for number in range(5):
    store.put(key(number), pixels(number))
print(len(heard.lines), heard.lines[0])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs limits of a process")
def test_a_full_disk_is_said_once_and_leaves_nothing_half_written(tmp_path):
    opened(tmp_path).put(key(9), pixels(9))
    child = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert child.stdout.startswith("1 no more photos are kept in")
    assert held(opened(tmp_path), range(10)) == [9]
    assert len(entries(tmp_path)) == 1


WRITER = """
import sys
from pathlib import Path
from tests.data.test_store import key, opened, pixels
store = opened(Path(sys.argv[1]))
print(flush=True)
for turn in range(int(sys.argv[2])):
    for number in range(40):
        store.put(key(number), pixels(number))
"""


def test_two_processes_may_write_the_same_entries(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, "2"], cwd=ROOT, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    store = opened(tmp_path)
    while any(writer.poll() is None for writer in writers):
        held(store, range(40))
    assert [writer.returncode for writer in writers] == [0, 0]
    assert held(store, range(40)) == list(range(40))
    assert len(entries(tmp_path)) == 40


def test_many_threads_may_write_and_read_the_same_entries(tmp_path, limited):
    limited(30)
    store = opened(tmp_path)

    def use(number: int) -> None:
        store.put(key(number % 20), pixels(number % 20))
        held(store, [number % 20, (number + 7) % 20])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(200)))
    assert held(store, range(20)) == list(range(20))


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("milliseconds", [3, 11, 29])
def test_a_writer_killed_at_any_moment_leaves_whole_entries_or_none(tmp_path, milliseconds):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, "100000"], cwd=ROOT, stdout=subprocess.PIPE)
    writer.stdout.readline()
    time.sleep(milliseconds / 1000)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    store = opened(tmp_path)
    held(store, range(40))
    for number in range(40):
        store.put(key(number), pixels(number))
    assert held(store, range(40)) == list(range(40))
