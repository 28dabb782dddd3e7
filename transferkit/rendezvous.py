"""Where the processes of one run meet, whoever started them: `cli/launch.py`, or `torchrun`."""

import os
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from transferkit.zoo import stops
from transferkit.zoo.errors import RankLostError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store


def meet(*, timeout: timedelta) -> tuple["Store", int, int]:
    """What all processes of a run write to and read from, once all are there; this one's number; how many they are.

    Raises: RankLostError if some are not there when the time is over.
    """
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if folder := os.environ.get(stops.LAUNCH):  # of our own launcher: a file, no port
        number, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        store = dist.FileStore(os.path.join(folder, "store"), count)  # pyright: ignore[reportPrivateImportUsage]
        store.set_timeout(timeout)
    else:
        store, number, count = next(rendezvous("env://", timeout=timeout))
        # after a restart the store still has the addresses of the processes that are gone
        store = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    store.set(f"process/{number}", f"{socket.gethostname()} {os.getpid()}")
    until = time.monotonic() + timeout.total_seconds()
    names = [f"process/{other}" for other in range(count)]
    while not store.check(names):
        if time.monotonic() > until:
            missing = sum(not store.check([name]) for name in names)
            raise RankLostError(
                f"{missing} of the {count} processes of this run did not start within "
                f"{timeout.total_seconds():g} seconds; start the run again"
            )
        time.sleep(0.02)  # in Python, where a signal is heard; the exchanges wait in C++
    return store, number, count
