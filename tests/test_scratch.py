import os
import subprocess
import sys
import tempfile

import pytest

from transferkit import scratch


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_its_block_and_those_of_killed_processes_at_the_next_start(temporary):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = temporary / f"transferkit-compiler-{scratch._machine()}-{dead.stdout.strip()}-abc"
    others = [
        temporary / f"transferkit-compiler-{scratch._machine()}-{os.getppid()}-abc",
        temporary / f"transferkit-compiler-00000000-{dead.stdout.strip()}-abc",  # of another machine
        temporary / "transferkit-compiler-mine",
    ]
    for path in (left, *others):
        (path / "in it").mkdir(parents=True)
    with scratch.folder("compiler") as made:
        assert made.is_dir()
        assert not left.exists()
    assert sorted(temporary.iterdir()) == sorted(others)


def test_the_compiler_writes_where_the_user_says_else_into_a_folder_that_goes(temporary, monkeypatch):
    monkeypatch.delenv(scratch.COMPILER, raising=False)
    with scratch.compiler():
        assert os.path.dirname(os.environ[scratch.COMPILER]) == str(temporary)
    assert scratch.COMPILER not in os.environ
    monkeypatch.setenv(scratch.COMPILER, "mine")
    with scratch.compiler():
        assert os.environ[scratch.COMPILER] == "mine"
    assert [*temporary.iterdir()] == []
