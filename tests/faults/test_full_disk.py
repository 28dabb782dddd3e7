"""Whatever does not fit on the disk, a run that was there stays, or the new one is whole, and one line says why."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

import transferkit as tk
from tests.conftest import write_digits
from tests.faults.conftest import environment
from transferkit.ship import runs
from transferkit.ship.classifier import load
from transferkit.zoo import files
from transferkit.zoo.errors import StorageError

resource = pytest.importorskip("resource")

FAST = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "augment": "none", "batch_size": 8}
NEW = {"strategy": "lp-ft", "epochs": 2, **FAST}
LEVELS = [0, 3_000, 300_000]  # bytes of the largest file that fits
MANY = [0, 1, 40, *(int(100 * 1.35**step) for step in range(36))]


@contextmanager
def largest_file(level: int):
    """No file grows beyond `level` bytes in the block; Python ignores the signal, so a write fails with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (level, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("full") / "data", classes=(0, 1), per_class=6)


@pytest.fixture(scope="module")
def old(data, tmp_path_factory):
    return tk.finetune(data, out=str(tmp_path_factory.mktemp("full") / "r"), strategy="probe", **FAST).folder


def result(data, out, level: int, tmp_path, **options) -> StorageError | None:
    """What a run ends with where no file may be larger than `level`; None where it succeeds."""
    cache = tmp_path / "cache"
    with largest_file(level):
        try:
            tk.finetune(data, out=str(out), cache_dir=str(cache), **NEW, **options)
        except StorageError as error:
            return error
        finally:
            shutil.rmtree(cache, ignore_errors=True)
    return None


def hashes(run) -> dict[str, str]:
    return {str(path.relative_to(run)): files.sha256(path) for path in run.rglob("*") if path.is_file()}


def ends_whole(data, old, tmp_path, levels: list[int]) -> tuple[int, int]:
    """Replace a run at each level; how often the old one stayed, and how often the new one came."""
    stayed = came = 0
    before = hashes(old)
    for level in levels:
        out = tmp_path / str(level)
        shutil.copytree(old, out)
        error = result(data, out, level, tmp_path, overwrite=True)
        found = {name: digest for name, digest in hashes(out).items() if not name.startswith(".replacement/")}
        if error is None:
            came += 1
            assert found["model/model.safetensors"] != before["model/model.safetensors"], level
        else:
            stayed += 1
            assert found == before, level
        assert load(out).classes == ("digit 0", "digit 1")
        shutil.rmtree(out)
    return stayed, came


def test_on_a_full_disk_the_old_run_stays_whole_or_the_new_one_is(data, old, tmp_path, figure):
    stayed, came = ends_whole(data, old, tmp_path, [*LEVELS, 10**8])
    assert stayed
    assert came
    figure(f"full disk, --overwrite: {stayed} times the old run whole, {came} times the new one, of {len(LEVELS) + 1}")


@pytest.mark.faults
def test_on_a_full_disk_of_any_size_the_old_run_stays_whole_or_the_new_one_is(data, old, tmp_path, figure):
    stayed, came = ends_whole(data, old, tmp_path, MANY)
    figure(f"full disk, --overwrite: {stayed} times the old run whole, {came} times the new one, of {len(MANY)}")


@pytest.mark.parametrize("level", [2_000, *(pytest.param(level, marks=pytest.mark.faults) for level in (0, 200_000))])
def test_a_new_run_on_a_full_disk_leaves_nothing_that_bars_the_next(data, tmp_path, level):
    assert result(data, tmp_path / "r", level, tmp_path) is not None
    run = result(data, tmp_path / "r", 10**8, tmp_path, overwrite=True)
    assert run is None
    assert not list((tmp_path / "r").rglob(".*"))


def test_a_disk_without_room_is_told_before_an_image_is_read(data, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3 << 20))
    monkeypatch.setattr("transferkit.fitting.read_images", lambda *_: pytest.fail("images were read"))
    with pytest.raises(StorageError, match=r"r has 3 MB free and the run needs \d+ MB"):
        tk.finetune(data, out=str(tmp_path / "r"), **NEW)
    assert not (tmp_path / "r").exists()


def test_a_file_system_that_does_not_tell_its_size_is_written_to(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(total=0, free=0))
    runs.check_space(tmp_path, 1 << 50)
    monkeypatch.undo()
    with pytest.raises(StorageError):
        runs.check_space(tmp_path, 1 << 60)


def test_a_folder_below_a_file_is_told_before_the_images_are_looked_for(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file is a file"):
        tk.finetune(tmp_path / "nowhere", out=str(tmp_path / "file" / "r"), **NEW)


def read_only(folder) -> bool:
    """Whether a read-only mount over a folder, in a namespace of its own, is allowed here."""
    words = ["unshare", "-m", "sh", "-c", f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"]
    with suppress(OSError):
        return subprocess.run(words, capture_output=True).returncode == 0
    return False


@pytest.mark.faults
@pytest.mark.parametrize(
    "words",
    ["finetune {data} -o {folder}/r", "finetune {data} -o {folder}/old --overwrite", "demo -o {folder}/demo"],
)
def test_a_read_only_folder_is_told_in_a_line(data, old, tmp_path, words):
    folder = tmp_path / "locked"
    shutil.copytree(old, folder / "old")
    if not read_only(folder):
        pytest.skip("no read-only mounts here")
    command = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec python -m transferkit "
    command = command.replace("python", sys.executable) + words.format(data=data, folder=folder)
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, env=environment())
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("error: cannot write")
    assert len(done.stderr.splitlines()) == 1


def test_what_cannot_be_written_is_a_storage_error_for_a_user_who_is_not_root(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(StorageError, match="read-only or belongs to somebody else"):
        runs.check_writable(tmp_path / "locked" / "r")
