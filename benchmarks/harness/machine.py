"""Where a number was measured."""

import os
import platform
from importlib import metadata
from typing import Any

from transferkit import runtime

ALSO = ("scikit-learn", "transferkit")


def describe() -> dict[str, Any]:
    """Processor, cores that this process may use, memory and the versions that a figure depends on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": runtime.processor(),
        "cores": cores,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "versions": runtime.versions() | {name: metadata.version(name) for name in ALSO},
    }
