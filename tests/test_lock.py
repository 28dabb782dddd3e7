import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest

from transferkit import lock
from transferkit.zoo.errors import RunConflictError, StorageError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no flock on Windows")


def contend(path, rounds, inside, failures):
    """Take the lock again and again; `inside` counts who holds it."""
    for _ in range(rounds):
        try:
            with lock.held(path, of=path.parent):
                with inside.get_lock():
                    inside.value += 1
                    if inside.value != 1:
                        failures.put("two at once")
                time.sleep(0.0002)
                with inside.get_lock():
                    inside.value -= 1
        except RunConflictError:
            pass


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_never_do_two_hold_the_lock_however_often_it_is_taken_and_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0)
    context = multiprocessing.get_context("fork")
    inside, failures = context.Value("i", 0), context.Queue()
    others = [context.Process(target=contend, args=(tmp_path / "l", 200, inside, failures)) for _ in range(4)]
    for process in others:
        process.start()
    for process in others:
        process.join()
    assert failures.empty()
    assert not (tmp_path / "l").exists()


def test_of_threads_that_start_at_once_one_wins_and_the_others_are_told_by_whom(tmp_path):
    ready, told, held = threading.Barrier(6), [], threading.Event()

    def start():
        ready.wait()
        try:
            with lock.held(tmp_path / "l", of=tmp_path):
                held.wait(10)
        except RunConflictError as error:
            told.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    while len(told) < 5 and any(thread.is_alive() for thread in threads):
        time.sleep(0.01)
    held.set()
    for thread in threads:
        thread.join()
    assert told == [f"{tmp_path} is in use by process {os.getpid()}; wait for it or use another -o"] * 5


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from transferkit import lock\n"
        "with lock.held(Path(sys.argv[1]), of=Path('r')): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path / "l"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunConflictError, match=f"in use by process {holder.pid}"):
            lock.held(tmp_path / "l", of=tmp_path).__enter__()
    finally:
        holder.kill()
        holder.communicate()
    with lock.held(tmp_path / "l", of=tmp_path):
        assert (tmp_path / "l").read_text() == str(os.getpid())


def test_a_lock_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError), lock.held(tmp_path / "file" / "l", of=tmp_path):
        pass
