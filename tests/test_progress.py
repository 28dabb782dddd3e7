"""What long work tells of itself, shown or not."""

import contextlib
import os
import signal
import sys

import pytest

from transferkit.progress import Progress
from transferkit.zoo import stops
from transferkit.zoo.errors import StoppedError


def swallowed() -> None:
    with contextlib.suppress(BaseException):  # as a library does that catches everything
        os.kill(os.getpid(), signal.SIGTERM)
    Progress().advance(1)
    pytest.fail("it went on")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")
def test_a_stop_that_was_swallowed_is_heard_where_nobody_watches_the_progress():
    with pytest.raises(StoppedError), stops.working():
        swallowed()
