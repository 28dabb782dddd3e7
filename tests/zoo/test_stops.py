"""A stop that is swallowed, or made another error of, comes all the same."""

import contextlib
import os
import signal
import sys

import pytest

from transferkit.ship.runs import open_run
from transferkit.zoo import stops
from transferkit.zoo.errors import DataError, EndedElsewhereError, StoppedError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM")


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Named:
    def __set_name__(self, owner, name):
        terminate()


def while_a_class_is_made() -> None:
    type("Made", (), {"member": Named()})  # up to Python 3.11 what is raised there becomes a RuntimeError


def as_damage() -> None:
    try:
        terminate()
    except BaseException as stop:  # as a library does that catches everything
        raise DataError("damaged") from stop


@pytest.mark.parametrize("way", [while_a_class_is_made, as_damage])
def test_an_error_that_was_made_of_a_stop_is_the_stop_again_and_no_bug_of_the_run(way, tmp_path):
    with pytest.raises(StoppedError), stops.working(), open_run(tmp_path / "r", overwrite=False, resume=False):
        way()
    assert not (tmp_path / "r" / "crash.txt").exists()


def told_by_another() -> None:
    try:
        terminate()
    except StoppedError as stop:
        raise EndedElsewhereError(75) from stop


def swallowed() -> None:
    with contextlib.suppress(BaseException):
        terminate()
    stops.check()
    pytest.fail("it went on")


def test_that_another_process_tells_of_the_end_stays_as_it_is():
    with pytest.raises(EndedElsewhereError), stops.working():
        told_by_another()


def test_a_stop_that_was_swallowed_is_raised_at_the_next_look_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError), stops.working():
        swallowed()
    assert signal.getsignal(signal.SIGTERM) is before
    stops.check()  # the next call of the library begins anew
