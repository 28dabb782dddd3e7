"""The processes that share a run, called ranks: which part is whose, and what all of them are to know.

`cli/launch.py` or `torchrun` starts them. With one process every function here does nothing, and torch.distributed is
not imported. What travels are bytes of arrays and JSON, never a pickle.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from transferkit import rendezvous
from transferkit.zoo import children, stops
from transferkit.zoo.errors import EndedElsewhereError, RankLostError, StoppedError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.distributed.distributed_c10d import Store

TIMEOUT = timedelta(minutes=30)  # for a slow rank; that one has died is told at once by its closed connection
FAILURE = "failure"  # the key under which the first rank to fail says so


def launched() -> bool:
    """Whether `cli/launch.py`, `torchrun`, or whoever set their variables, has started several processes for it."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def size() -> int:
    """How many ranks there are."""
    found = _distributed()
    return found.get_world_size() if found else 1


def rank() -> int:
    """The number of this rank, from 0."""
    found = _distributed()
    return found.get_rank() if found else 0


def is_first() -> bool:
    """Whether this is the rank that writes and prints."""
    return rank() == 0


def _distributed() -> Any:
    found = sys.modules.get("torch.distributed")
    return found if found and found.is_available() and found.is_initialized() else None


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the ranks through the block, where there are several; it ends when all of them are done.

    If one fails, all do: the first keeps its error, the others get EndedElsewhereError, so that it is told once.
    """
    if not launched() or size() > 1:
        yield
        return
    import torch
    import torch.distributed as dist

    has_nccl = torch.cuda.is_available() and dist.is_nccl_available()
    store, number, count = rendezvous.meet(timeout=TIMEOUT)
    backend = "cpu:gloo,cuda:nccl" if has_nccl else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=TIMEOUT)
    try:
        with losses():
            yield
            gather(None)  # who left early would not miss a rank that dies late
    except BaseException as error:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, at a failure; this one ends and tells of it
        settled = _settled(error, store)
        if settled is error:
            raise
        raise settled from error
    dist.destroy_process_group()


@contextmanager
def losses() -> Iterator[None]:
    """Turn the failure of an exchange inside the block into a RankLostError."""
    try:
        yield
    except RuntimeError as error:
        found = _distributed()
        if not found or not (isinstance(error, found.DistError) or "gloo" in str(error) or "NCCL" in str(error)):
            raise
        raise _loss() from error


def _loss() -> RankLostError:
    return RankLostError(
        f"one of the {size()} processes of this run is gone: killed, out of memory, or its machine is lost"
    )


def _settled(error: BaseException, store: "Store") -> BaseException:
    """The error itself if this rank is the first to fail, else EndedElsewhereError with the exit code of the first."""
    stop = error.__cause__ if isinstance(error.__cause__, KeyboardInterrupt) else error  # click makes an Abort of it
    try:
        if isinstance(stop, (StoppedError, KeyboardInterrupt)) and _misses_neighbour(store):
            error = _loss()  # torchrun stops the others with a signal
            vars(error)["run_folder"] = getattr(stop, "run_folder", None)
        code = getattr(error, "exit_code", stops.INTERRUPTED if isinstance(stop, KeyboardInterrupt) else 1)
        own = json.dumps({"rank": rank(), "exit_code": code})
        first = store.compare_set(FAILURE, "", own).decode()
    except RuntimeError:  # the store is gone too, so nobody else can tell
        return error
    return error if first == own else EndedElsewhereError(json.loads(first)["exit_code"])


def _misses_neighbour(store: "Store") -> bool:
    """Whether a rank on this machine is no longer there."""
    if os.name != "posix":
        return False
    for number in range(size()):
        host, pid = store.get(f"process/{number}").decode().split()
        if host == socket.gethostname() and not children.is_alive(int(pid)):
            return True
    return False


def may_restart() -> bool:
    """Whether `torchrun --max-restarts` starts all ranks again when one fails."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def was_restarted() -> bool:
    """Whether `torchrun` has started the ranks before and one of them failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def local_rank() -> int:
    """The number of this rank among those on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() else 0


def local_size() -> int:
    """How many ranks run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() else 1


def shard(rows: "np.ndarray", *, least: int = 1) -> "np.ndarray":
    """This rank's part of `rows`, all parts nearly equal; if there are less than `least` a rank, some get none.

    >>> import numpy as np
    >>> shard(np.arange(3)).tolist()
    [0, 1, 2]
    """
    import numpy as np

    parts = np.array_split(rows, max(1, min(size(), len(rows) // least)))
    return parts[rank()] if rank() < len(parts) else rows[:0]


def blocks(count: int, *, of: int) -> list[slice]:
    """`count` rows divided among the ranks, one block each, in whole batches of `of` rows.

    >>> blocks(100, of=32)
    [slice(0, 100, None)]
    """
    import numpy as np

    batches = np.array_split(np.arange(0, count, of), size())
    ends = np.minimum(np.cumsum([len(part) for part in batches]) * of, count).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends)]


def fill(array: "np.ndarray", owned: Sequence[slice]) -> None:
    """Complete `array`, of which each rank has its own block of rows: every rank gets all the blocks."""
    if size() == 1 or not array.size:
        return
    import torch

    raw = torch.from_numpy(array.reshape(len(array), -1).view("uint8"))  # (N, bytes of a row)
    for owner, block in enumerate(owned):
        if block.start < block.stop:
            _distributed().broadcast(raw[block], src=owner)


def gather(value: Any) -> list[Any]:
    """The values of all ranks, in their order, on every rank. A value is anything that JSON can hold."""
    if size() == 1:
        return [value]
    import numpy as np

    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = np.zeros(size(), np.int64)
    lengths[rank()] = len(data)
    fill(lengths, [slice(number, number + 1) for number in range(size())])
    ends = np.cumsum(lengths).tolist()
    places = [slice(start, end) for start, end in zip([0, *ends], ends)]
    buffer = np.empty(ends[-1], np.uint8)
    buffer[places[rank()]] = data
    fill(buffer, places)
    return [json.loads(buffer[place].tobytes()) for place in places]


def from_first(value: Any) -> Any:
    """The first rank's value, on every rank: what decides must not differ in a last bit."""
    return gather(value)[0]


def total(values: Sequence[float]) -> list[float]:
    """The sums of the ranks' values."""
    if size() == 1:
        return list(values)
    import torch

    sums = torch.tensor(values, dtype=torch.float64)
    _distributed().all_reduce(sums)
    return sums.tolist()


def average(tensors: Sequence["Tensor"]) -> None:
    """Replace the tensors, all of one type and device, by their means over the ranks."""
    if size() == 1 or not tensors:
        return
    import torch

    flat = torch.cat([tensor.flatten() for tensor in tensors])
    _distributed().all_reduce(flat)
    for tensor, mean in zip(tensors, (flat / size()).split([tensor.numel() for tensor in tensors])):
        tensor.copy_(mean.view_as(tensor))


def copy_first(tensors: Sequence["Tensor"]) -> None:
    """Replace the tensors by those of the first rank."""
    if size() > 1:
        for tensor in tensors:
            _distributed().broadcast(tensor, src=0)
