"""Limits that this process sets itself before it reads what strangers made; where the system has none, none."""

import contextlib
from pathlib import Path

STATUS = Path("/proc/self/status")


def processor(*, seconds: int) -> None:
    """Let the system end this process once it has computed for so long."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def memory(more_bytes: int | None) -> None:
    """Let this process, on Linux, take at most so much more memory than it has now; None lifts the limit.

    What counts is memory that can be written and belongs to it alone: files that are mapped, as libraries are, do not.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = hard if more_bytes is None else _data_bytes() + more_bytes
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _data_bytes() -> int:
    """The memory that this process has now, of the kind that is limited."""
    lines = [line.split() for line in STATUS.read_text().splitlines() if line.startswith("VmData")]
    if not lines:
        raise ValueError(f"{STATUS} tells no VmData")
    return int(lines[0][1]) << 10
