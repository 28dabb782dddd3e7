"""Processes make the bits that threads make, name the file at which one of them was lost, and leave nothing behind."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import deque
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import transferkit as tk
from tests.conftest import write_digits
from tests.data.augmentations import PREPROCESSING, Broken, Impatient, Slow
from transferkit import runtime
from transferkit.data import augment
from transferkit.data.batches import batches
from transferkit.data.folder import PathTable
from transferkit.data.known import Known
from transferkit.data.photos import Decoding, Photos
from transferkit.data.store import Store
from transferkit.data.views import Views
from transferkit.data.worker_pool import CHUNK, WorkerPool
from transferkit.progress import Progress
from transferkit.zoo import children
from transferkit.zoo.card import Preprocessing
from transferkit.zoo.errors import RankLostError, UsageError

VIEWS = Views(augment.load("default", PREPROCESSING), 0)
PLAIN = Views(augment.load("none", PREPROCESSING), 0)  # for which a worker imports no augmentation
COUNT = 50

pytestmark = pytest.mark.skipif(os.name != "posix", reason="elsewhere threads read the photos of a GPU too")


@pytest.fixture
def paths(tmp_path):
    """Images of which 3 is none and 7 is gone."""
    for i in range(COUNT):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 20 + i, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_text("<html>")
    (tmp_path / "7.png").unlink()
    return PathTable.from_paths(tmp_path / f"{i}.png" for i in range(COUNT))


@pytest.fixture(scope="module")
def pool():
    """One worker for the tests that ask nothing special of it."""
    with WorkerPool(PLAIN, photos=Photos(Decoding(64), workers=1)) as started:
        yield started


@pytest.fixture
def large(tmp_path):
    """Ten images of 90 kB of pixels each, all alike but in one value."""
    for i in range(10):
        Image.fromarray(np.full((150, 200, 3), 20 * i, np.uint8)).save(tmp_path / f"large {i}.png")
    return PathTable.from_paths(tmp_path / f"large {i}.png" for i in range(10))


def photos(folder, *, workers, side=384):
    store = Store(folder, side=side, progress=Progress())
    return Photos(Decoding(side), workers=workers, store=store, index=Known(folder / "known.sqlite"))


def content(found):
    """All that batches hold, as copies."""
    return [(each.rows.tolist(), each.pixels.numpy().tobytes(), each.sha256, each.bytes, each.faults) for each in found]


def passes(paths, rows, epochs, *, workers):
    """What a pool makes of those epochs."""
    with WorkerPool(VIEWS, photos=Photos(Decoding(64), workers=workers)) as pool:
        return [content(pool.batches(paths, rows, epoch=epoch)) for epoch in epochs]


@pytest.mark.parametrize("workers", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_processes_make_the_bits_of_threads(paths, workers):
    order = np.random.default_rng(0).permutation(COUNT)
    rows = [order[:20], order[20:21], order[21:21], order[21:], order[:2]]
    epochs = (0, None, 5)
    made = passes(paths, rows, epochs, workers=workers)
    for threads in (0, 1, 2):
        for found, epoch in zip(made, epochs):
            view = partial(VIEWS, epoch=epoch)
            assert found == content(batches(paths, rows, view, photos=Photos(Decoding(64), workers=threads)))
    assert [row for _, _, _, _, faults in made[0] for row, _ in faults[:1]] != []
    assert made[0] != made[2]


def test_pixels_are_laid_out_as_those_of_threads(paths, pool):
    (batch,) = pool.batches(paths, [np.array([0, 1, 2])], epoch=0)
    assert batch.pixels.shape == (3, 3, 16, 24)
    assert batch.pixels.is_contiguous(memory_format=torch.channels_last)


def test_photos_are_decoded_once_where_there_is_room_for_them(large):
    rows, room = [np.array([4, 5])], 2 * 3 * 150 * 200 - 1
    with WorkerPool(PLAIN, photos=Photos(Decoding(384), workers=1), kept_bytes=room) as pool:
        before = content(pool.batches(large, rows, epoch=2))
        for row in (4, 5):
            large[row].write_text("<html>")
        (again,) = content(pool.batches(large, rows, epoch=2))
    ((_, pixels, sha256, sizes, _),) = before
    assert again == ([4], pixels[: len(pixels) // 2], sha256[:1], sizes[:1], [(5, "not an image (HTML or XML)")])


def test_what_the_store_keeps_is_not_kept_a_second_time(tmp_path):
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(tmp_path / "0.png")
    paths = PathTable.from_paths([tmp_path / "0.png"])
    with WorkerPool(PLAIN, photos=photos(tmp_path / "cache", workers=1, side=150), kept_bytes=10 << 20) as pool:
        list(pool.batches(paths, [np.array([0])], epoch=0))
        assert not pool._kept
    assert any((tmp_path / "cache" / "pixels").rglob("*"))


def test_a_first_pass_leaves_hashes_and_largest_values_here_and_photos_for_those_that_follow(large, tmp_path):
    Image.fromarray(np.full((200, 200), 900, np.uint16)).save(tmp_path / "dim.png")
    paths = PathTable.from_paths([*large, tmp_path / "dim.png"])
    reader = Impatient(Decoding(384), workers=1, index=Known(tmp_path / "known.sqlite"))
    with WorkerPool(PLAIN, photos=reader, kept_bytes=10 << 20) as pool:
        (batch,) = pool.batches(paths, [np.arange(11)], epoch=None, is_seen=False)
        assert batch.pixels.shape == (11, 3, 0, 0)
        assert [found.sha256 for found in reader.contents(large)] == batch.sha256[:10]
        assert reader.largest == {batch.sha256[10]: 900}
        for row in range(10):
            large[row].unlink()
        fewer = large.subset(np.array([7, 2]))
        (batch,) = pool.batches(fewer, [np.array([0, 1])], epoch=None)
        assert batch.pixels[:, 0, 0, 0].tolist() == [140, 40]


def test_a_file_of_which_the_store_has_the_pixels_is_not_decoded_in_a_worker(paths, tmp_path):
    os.utime(paths[0], (time.time() - 60,) * 2)
    reader = photos(tmp_path / "cache", workers=1, side=16)
    sha256 = reader.read(paths[0]).sha256
    planted = np.full((20, 20, 3), 200, np.uint8)
    Store(tmp_path / "cache", side=16, progress=Progress()).put(sha256, planted)
    with WorkerPool(PLAIN, photos=reader) as pool:
        (batch,) = pool.batches(paths, [np.array([0])], epoch=None)
        assert (batch.pixels == 200).all()


def test_a_pass_that_is_broken_off_leaves_the_next_one_right_and_cannot_go_on_itself(paths):
    rows = np.array_split(np.delete(np.arange(COUNT), (3, 7)), 6)
    view = partial(VIEWS, epoch=1)
    expected = content(batches(paths, rows, view, photos=Photos(Decoding(64), workers=0)))
    with WorkerPool(VIEWS, photos=Photos(Decoding(64), workers=2)) as pool:
        old = pool.batches(paths, rows[::-1], epoch=0)
        next(old)
        assert content(pool.batches(paths, rows, epoch=1)) == expected
        with pytest.raises(RuntimeError, match="another pass"):
            next(old)
        larger = [np.concatenate(rows)]  # the shared memory grows
        ((_, pixels, *_),) = content(pool.batches(paths, larger, epoch=1))
        assert pixels == b"".join(part for _, part, *_ in expected)


def test_a_worker_that_is_killed_is_told_with_the_file_it_held(paths, tmp_path):
    table = PathTable.from_paths([paths[0], tmp_path / "link.png"])
    (tmp_path / "link.png").symlink_to(paths[1])
    slow = Views(Slow(VIEWS.augment, tmp_path / "started"), 0)
    with WorkerPool(slow, photos=Photos(Decoding(64), workers=1)) as pool:
        found = pool.batches(table, [np.array([0]), np.array([1])], epoch=0)
        next(found)
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        (process,) = (worker.process for worker in pool._workers)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(RankLostError, match=r"reads photos was lost at .*link\.png \(signal 9\).*fewer --workers"):
            next(found)


def test_a_batch_of_more_tasks_than_a_connection_holds_ends(paths, pool):
    rows = np.resize([0, 1, 2], 4000)
    (batch,) = pool.batches(paths, [rows], epoch=0)
    assert batch.rows.tolist() == rows.tolist()


def test_workers_run_nothing_of_the_current_folder(paths, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    monkeypatch.chdir(tmp_path)
    with WorkerPool(PLAIN, photos=Photos(Decoding(64), workers=1)) as pool:
        assert len(next(pool.batches(paths, [np.array([0])], epoch=0)).rows) == 1
    assert not (tmp_path / "ran").exists()


def test_all_workers_together_keep_no_more_than_there_is_room_for(large):
    size = 3 * 150 * 200
    with WorkerPool(PLAIN, photos=Photos(Decoding(384), workers=2), kept_bytes=4 * size) as pool:
        for epoch in range(3):
            list(pool.batches(large, [np.arange(10)], epoch=epoch))
        assert 2 <= len(pool._kept) <= 4
        starts = sorted(found.place.start for found in pool._kept.values())
        assert all(after - before >= size for before, after in itertools.pairwise(starts))


def test_what_a_view_raises_in_a_worker_is_raised_here(paths):
    with WorkerPool(Views(Broken(), 0), photos=Photos(Decoding(64), workers=1)) as pool:
        with pytest.raises(UsageError, match=r"broken\.json failed"):
            list(pool.batches(paths, [np.array([0])], epoch=0))
        assert len(next(pool.batches(paths, [np.array([0])], epoch=None)).rows) == 1
        with pytest.raises(RuntimeError, match=r"(?s)Traceback.*KeyError: 'a bug'"):
            list(pool.batches(paths, [np.array([0])], epoch=1))


ORPHANS = """
import sys
import numpy as np
from transferkit.data import augment
from transferkit.data.folder import PathTable
from transferkit.data.photos import Decoding, Photos
from transferkit.data.views import Views
from transferkit.data.worker_pool import WorkerPool
from transferkit.zoo.card import Preprocessing
paths = PathTable.from_paths(sys.argv[1:])
views = Views(augment.load("none", Preprocessing(size_px=(16, 24))), 0)
pool = WorkerPool(views, photos=Photos(Decoding(64), workers=2))
found = pool.batches(paths, [np.zeros(8, int)] * 100_000, epoch=0)
next(found)
print(*(worker.process.pid for worker in pool._workers), flush=True)
for _ in found:
    pass
"""


def test_no_worker_outlives_the_process_that_started_it(paths):
    command = [sys.executable, "-c", ORPHANS, str(paths[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        pids = [int(pid) for pid in started.stdout.readline().split()]
        assert len(pids) == 2
        assert all(children.is_alive(pid) for pid in pids)
        started.kill()
    until = time.monotonic() + 10
    while any(children.is_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(children.is_alive(pid) for pid in pids)


def test_a_worker_imports_no_torch(paths):
    code = (
        "import sys; from transferkit.data import augment, worker; from transferkit.zoo.card import Preprocessing; "
        "augment._albumentations(); sys.exit(sum(name in sys.modules for name in ('torch', 'timm', 'torchvision')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow  # which engine makes what: tests/data/test_augment.py
def test_a_worker_makes_views_with_the_engine_of_the_run(paths, without_albumentations):
    """Though it could import the other."""
    views = Views(augment.load("strong", PREPROCESSING), 0)
    with WorkerPool(views, photos=Photos(Decoding(64), workers=1)) as pool:
        (found,) = pool.batches(paths, [np.arange(8, 16)], epoch=0)
    (wanted,) = batches(paths, [np.arange(8, 16)], partial(views, epoch=0), photos=Photos(Decoding(64), workers=0))
    assert torch.equal(found.pixels, wanted.pixels)


@pytest.mark.slow
def test_memory_does_not_grow_from_pass_to_pass(paths):
    views = Views(augment.load("none", Preprocessing(size_px=(224, 224))), 0)
    rows = [np.array([0, 1, 2, 4] * 8)] * 8  # 38 MB of views a pass
    with WorkerPool(views, photos=Photos(Decoding(64), workers=1)) as pool:
        sizes = []
        for epoch in range(6):
            assert sum(1 for _ in pool.batches(paths, rows, epoch=epoch)) == 8
            sizes.append(_resident(pool._workers[0].process.pid) + _resident(os.getpid()))
    assert sizes[-1] - sizes[1] < 20 << 20


def _resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_run_whose_photos_processes_read_has_the_bytes_of_one_whose_threads_do(tmp_path, monkeypatch):
    write_digits(tmp_path / "digits", classes=(1, 2), per_class=12)
    options = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "strategy": "finetune"}
    options |= {"epochs": 1, "batch_size": CHUNK}
    options |= {"device": "cpu", "precision": "fp32"}  # which is else timed, for each cache
    models, used = [], []
    made = WorkerPool.batches
    monkeypatch.setattr(
        WorkerPool,
        "batches",
        lambda self, *given, **how: used.append({"is_seen": True} | how) or made(self, *given, **how),
    )
    for processes in (False, True):
        monkeypatch.setattr(runtime, "wants_processes", lambda device, processes=processes: processes)
        cache = tmp_path / f"cache-{processes}"
        run = tk.finetune(tmp_path / "digits", out=tmp_path / f"run-{processes}", cache_dir=cache, workers=2, **options)
        models.append((run.folder / "model" / "model.safetensors").read_bytes())
        assert bool(used) == processes
    assert models[0] == models[1]
    assert [how["is_seen"] for how in used][:1] == [False]  # the first pass


def test_workers_make_the_views_that_are_shown_last(paths, pool):
    rows, other = [np.arange(8, 16)], Views(augment.load("default-crop-mirror+turn", PREPROCESSING), 1)
    deque(pool.batches(paths, rows, epoch=0), maxlen=0)
    pool.show(other)
    try:
        (found,) = pool.batches(paths, rows, epoch=0)
        (wanted,) = batches(paths, rows, partial(other, epoch=0), photos=Photos(Decoding(64), workers=0))
        assert torch.equal(found.pixels, wanted.pixels)
    finally:
        pool.show(PLAIN)
