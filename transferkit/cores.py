"""The cores that this process may use, and how its threads share them with others."""

import math
import os
import sys
from contextlib import suppress
from pathlib import Path

AWAKE = {"GOMP_SPINCOUNT": "10000"}  # rounds in which a thread of libgomp waits awake, without which it makes 300,000
WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # variables by which a person says how threads wait
THREADS = "OMP_NUM_THREADS"  # and how many there are
QUOTAS = (  # of a container: microseconds of all cores in each period, and the period; control groups 2 and 1
    ("cpu.max", "cpu.max"),
    ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
)


def count(system: Path = Path("/")) -> int:
    """Cores that this process may use: those of the machine, fewer where a scheduler or a container gives it fewer.

    Of a container's share, as `docker run --cpus 1.5`, a part of a core counts as one.
    """
    found = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    group = system / "sys/fs/cgroup"
    for quota, period in QUOTAS:
        with suppress(OSError, ValueError, IndexError):  # no such files, or "max"
            most, length = int((group / quota).read_text().split()[0]), int((group / period).read_text().split()[-1])
            if most > 0 and length > 0:
                found = min(found, math.ceil(most / length))
    return found


def wait_asleep() -> None:
    """Let threads that compute wait for each other asleep, but for microseconds; call it before torch is imported.

    Where another program has a core, a thread that waits awake takes what the one that it waits for would need: with
    libgomp's 300,000 rounds, fine-tuning on 2 cores took 6.6 times as long beside one busy process as alone, with
    these 1.7 times (`benchmarks/busy.py`). Nothing is computed otherwise. What the environment says is obeyed
    (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html).
    """
    if not any(name in os.environ for name in WAITS):
        os.environ.update(AWAKE)


def limit_threads() -> None:
    """Let torch compute with a thread for each core that this process may use, unless the environment says how many.

    torch counts the cores of the machine: in a container that has a few of many, its threads would use up the share of
    each period at once, and wait.
    """
    if THREADS in os.environ or count() == os.cpu_count():
        return
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(min(torch.get_num_threads(), count()))
    else:  # it takes seconds to import
        os.environ[THREADS] = str(count())
