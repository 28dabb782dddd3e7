"""How many cores a process takes, and how its threads share them with others."""

import os
import re
import subprocess
import sys

import pytest
import torch

from transferkit import cores, runtime
from transferkit.cli import launch
from transferkit.zoo.errors import UsageError

ROUNDS = re.compile(r"GOMP_SPINCOUNT = '(\d+)'")  # as libgomp tells what it does where it is asked for it
OF_A_ROOM = "import transferkit as tk; tk.zoo.create('cifar_resnet')"
IN_PYTHON = "import transferkit as tk; tk.freeze"
IN_A_SHELL = "import sys; sys.argv[1:] = 'zoo', 'list', '*lite0*'; from transferkit.cli.main import main; main()"
TELLS = (
    "import os, pathlib as p; p.Path(os.environ['TOLD'], os.environ['RANK']).write_text(os.environ['OMP_NUM_THREADS'])"
)
ONE_CORE = "from transferkit import cores, runtime; cores.count = lambda: 1"
PREPARE = "runtime.prepare_process()"
QUOTAS = {  # of a control group of version 2 and of version 1: the files and what they say of so many microseconds
    "2": lambda told: {"cpu.max": f"{told} 100000"},
    "1": lambda told: {"cpu/cpu.cfs_quota_us": told, "cpu/cpu.cfs_period_us": "100000"},
}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 64 cores on which `say` writes what a container may use."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)

    def say(files):
        for name, told in files.items():
            file = tmp_path / "sys" / "fs" / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{told}\n")
        return cores.count(tmp_path)

    return say


@pytest.mark.parametrize("version", QUOTAS)
@pytest.mark.parametrize(
    ("told", "allowed"), [("400000", 4), ("150000", 2), ("50000", 1), ("6400000", 64), ("9900000", 64)]
)
def test_a_container_has_the_cores_that_it_was_given(machine, version, told, allowed):
    assert machine({}) == 64
    assert machine(QUOTAS[version](told)) == allowed


@pytest.mark.parametrize("files", [QUOTAS["2"]("max"), QUOTAS["1"]("-1"), {"cpu.max": "?"}, {"cpu.max": ""}])
def test_without_a_share_of_its_own_it_has_all_of_them(machine, files):
    assert machine(files) == 64


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells")
def test_a_process_has_the_cores_that_it_may_run_on(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6})
    assert cores.count(tmp_path) == 3


def test_photos_are_read_by_a_thread_a_core_that_there_is_for_us(monkeypatch):
    monkeypatch.setattr(cores, "count", lambda: 3)
    assert runtime.default_workers() == 3
    with pytest.raises(UsageError, match=r"--processes 4 is more than there are cores for it; allowed: 1 to 3"):
        launch.start([], processes=4)


@pytest.mark.parametrize(("said", "threads"), [("", "3"), ("2", "2")])
def test_processes_divide_the_cores_among_them(monkeypatch, tmp_path, said, threads):
    monkeypatch.setattr(cores, "count", lambda: 6)
    monkeypatch.setattr(launch.children, "command", lambda *_, **__: [sys.executable, "-c", TELLS])
    monkeypatch.setenv("TOLD", str(tmp_path))
    monkeypatch.setenv(cores.THREADS, said)
    assert launch.start([], processes=2) == 0
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"0": threads, "1": threads}


@pytest.mark.parametrize(
    ("steps", "said", "threads"),
    [
        (["import torch", PREPARE], {}, 1),
        ([PREPARE, "import torch"], {}, 1),
        (["import torch", PREPARE], {"OMP_NUM_THREADS": "2"}, 2),
    ],
)
def test_torch_takes_a_thread_a_core_unless_the_environment_says_how_many(steps, said, threads):
    ours = {name: value for name, value in os.environ.items() if name != cores.THREADS}
    code = "; ".join([ONE_CORE, *steps, "print(torch.get_num_threads())"])
    told = subprocess.run([sys.executable, "-c", code], env=ours | said, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(threads)


def test_on_a_whole_machine_threads_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(cores, "count", os.cpu_count)
    monkeypatch.delenv(cores.THREADS, raising=False)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: pytest.fail("nobody asked for it"))
    cores.limit_threads()
    assert cores.THREADS not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="torch computes by another OpenMP there")
@pytest.mark.parametrize(
    ("code", "said", "rounds"),
    [
        (IN_PYTHON, {}, 10_000),
        (IN_PYTHON, {"GOMP_SPINCOUNT": "77"}, 77),
        (OF_A_ROOM, {}, 10_000),
        (IN_A_SHELL, {}, 10_000),
    ],
)
def test_threads_wait_for_each_other_asleep_unless_the_environment_says_how(tmp_path, code, said, rounds):
    ours = {name: value for name, value in os.environ.items() if name not in cores.WAITS}
    ours |= {"TRANSFERKIT_CACHE": str(tmp_path), "OMP_DISPLAY_ENV": "verbose"}  # nothing is known of networks yet
    told = subprocess.run([sys.executable, "-c", code], env=ours | said, capture_output=True, text=True)
    assert told.returncode == 0
    assert set(ROUNDS.findall(told.stderr)) == {str(rounds)}
