"""Runs one command and writes what it used: timed.py FILE COMMAND...; a process of its own, for two reasons.

The system counts the largest process that ever waited-for children were, so each command needs a parent that has no
other; and a new process is charged with the memory of the one it was copied from until its own program begins, so that
the parent must be small.
"""

import json
import os
import sys
import time
from pathlib import Path

KIB_TO_MB = 1024 / 1e6 if sys.platform == "linux" else 1 / 1e6  # macOS counts bytes


def main() -> None:
    file, *command = sys.argv[1:]
    started = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(process, 0)
    spent = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * KIB_TO_MB,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    Path(file).write_text(json.dumps(spent))


if __name__ == "__main__":
    main()
