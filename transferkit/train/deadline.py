"""When a run has to be done."""

import math
import time
from dataclasses import dataclass

from transferkit import ranks


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """A moment on the clock of `time.monotonic` at which fitting has to be over; infinite for a run without one."""

    at: float = math.inf

    def allows(self, seconds: float) -> bool:
        """Whether so much more can be done before it; the same for all ranks."""
        return math.isinf(self.at) or ranks.from_first(time.monotonic() + seconds <= self.at)
