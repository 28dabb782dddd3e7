"""Processes of Python that are started: what they find, and when they end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from transferkit.zoo import children

HOSTILE = "open({!r}, 'w').close()"


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """The current folder holds modules that must not run; returns the file that they would leave."""
    folder, canary = tmp_path / "here", tmp_path / "canary"
    folder.mkdir()
    for name in ("json", "runpy", "platform", "ctypes"):
        (folder / f"{name}.py").write_text(HOSTILE.format(str(canary)))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", str(folder), *sys.path])  # as `python -c` and `python -m` leave it
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    return canary


def test_a_child_runs_nothing_of_the_current_folder_and_gets_its_words(hostile):
    command = children.command("json.tool", "--sort-keys", "--compact", ends_with_this=True)
    done = subprocess.run(command, input='{"b": 1, "a": 2}', capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == '{"a":2,"b":1}\n'
    assert not hostile.exists()


def test_a_folder_that_pythonpath_names_stays_on_the_path(hostile, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    assert os.getcwd() in children.search_path()
    monkeypatch.setenv("PYTHONPATH", "")
    assert os.getcwd() not in children.search_path()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_child_dies_with_its_killed_parent():
    code = (
        "import subprocess, sys; from transferkit.zoo import children;"
        "child = subprocess.Popen(children.command('timeit', '-n1', '-r1', '-s', 'import time', 'time.sleep(20)',"
        " ends_with_this=True), stdout=subprocess.DEVNULL); print(child.pid, flush=True); child.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    time.sleep(0.5)
    os.kill(pid, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 5
    while _runs(pid):
        assert time.monotonic() < until
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether it is there and no zombie that nobody has asked after."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
