"""Several processes on this machine for one run: what `torchrun` does, with the exit code of the run as its own."""

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence

from transferkit.ranks import INTERRUPTED
from transferkit.zoo.errors import RankLostError, StoppedError, UsageError

SHUTDOWN_SECONDS = "10"  # between the death of a process and the end of those that do not notice it


def start(arguments: Sequence[str], *, processes: int, debug: bool = False) -> int:
    """Run `transferkit ARGUMENTS` in `processes` processes of this machine; the exit code of the first that failed.

    The cores are divided among them, unless OMP_NUM_THREADS says how many threads each is to have.

    Raises: UsageError for more processes than cores; RankLostError if all processes were killed.
    """
    cores = os.cpu_count() or 1
    if processes > cores:
        raise UsageError(f"--processes {processes} is more than this machine has cores; allowed: 1 to {cores}")
    os.environ.setdefault("OMP_NUM_THREADS", str(cores // processes))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SHUTDOWN_SECONDS)
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.NOTSET if debug else logging.ERROR)  # torchrun tells of signals and of each exit code
    try:
        with tempfile.TemporaryDirectory(prefix="transferkit-") as logs:
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=processes,
                run_id=uuid.uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                max_restarts=0,
                logs_specs=DefaultLogsSpecs(log_dir=logs),  # of its own it makes a folder that stays
            )
            elastic_launch(config, sys.executable)("-m", "transferkit", *arguments)
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        if len(codes) == processes and max(codes) < 0:  # nobody was left to say so
            raise RankLostError(f"all {processes} processes were killed; the machine may be out of memory") from error
        return max(*codes, 0) or RankLostError.exit_code
    except SignalException as error:
        return INTERRUPTED if error.sigval == signal.SIGINT else StoppedError.exit_code
    finally:
        logging.disable(logging.NOTSET)
    return 0
